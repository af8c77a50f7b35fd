/** A mailbox knows the epoch of the account up to which sessions were ended: whoever held the account before has none. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table mailbox.mailboxes add column credential_epoch int not null default 1;
-- With room in its page a row is marked as provisioned where it stands.
alter table mailbox.mailboxes set (fillfactor = 50);
`);
