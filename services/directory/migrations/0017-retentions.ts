/** Until when the mailboxes of retired accounts are kept, for the mail service to know: read-only, and nothing else. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace view directory.account_ends_v as
  select id as account_id, suspension_reason, suspended_until, retained_until from directory.accounts
  where state = 'suspended' or retained_until is not null;
grant select on directory.account_ends_v to congvu_mailbox;
`);
