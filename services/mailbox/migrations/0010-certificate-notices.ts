/** Certificates that run out are told of: another kind of notice, once per certificate, threshold and addressee as all others. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table mailbox.notices
  drop constraint notices_kind_check,
  add constraint notices_kind_check check (kind in
    ('welcome', 'decision', 'return', 'suspension', 'resumption', 'expiry', 'certificate_expiry', 'digest'));
`);
