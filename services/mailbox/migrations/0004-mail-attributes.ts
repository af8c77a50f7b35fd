/** What each account's LDAP entry should say of mail, for the directory's reconciliation to compare: read-only, and nothing else. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create view mailbox.mail_attributes_v as
  select account_id, address as mail, state as mail_status, quota_bytes::text as mail_quota_bytes from mailbox.mailboxes;
grant select on mailbox.mail_attributes_v to congvu_directory;
`);
