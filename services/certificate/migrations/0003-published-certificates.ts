/**
 * Which certificates each account's LDAP entry should hold, for the directory's reconciliation to compare: fingerprints alone, read-only.
 * One that ran out stays in the view, because LDAP is rid of it only when the next hourly job has run.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create view certificate.published_certificates_v as
  select account_id, encode(fingerprint_sha256, 'hex') as fingerprint_sha256, not_after
  from certificate.certificates where state = 'valid';
grant select on certificate.published_certificates_v to congvu_directory;
`);
