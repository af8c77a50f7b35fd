/**
 * Of a crowd of certificates, one job every second or two brings to LDAP what was issued meanwhile, in place of one for each handful that was stored
 * together: each job costs as much as some certificates, and wakes every service. What waits for it is a row, stored with the certificate.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table certificate.unpublished (
  id bigint generated always as identity primary key,
  -- As it was read when the certificate was intended: {"id", "version", "key"}.
  account json not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
grant select, insert, delete on certificate.unpublished to congvu_certificate;
`);
