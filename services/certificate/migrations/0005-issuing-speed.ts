/**
 * Many certificates a second. Invariant that it adds: an enrolment has one certificate, for ever, revoked or not; and it is found
 * by its enrolment. And server-made keys that are made ahead: wrapped, and bound to the enrolment that will have their id.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
drop index certificate.certificates_one_per_enrolment;
create unique index certificates_one_per_enrolment on certificate.certificates (enrolment_id);

-- What waits for its signature, which is little, whatever the size of the register.
create index certificates_signing on certificate.certificates (created_at) where state = 'signing';

create table certificate.key_pool (
  id uuid primary key,
  key_kind text not null,
  wrapping_key_id text not null,
  wrapped_private_key bytea not null,
  subject_public_key_info bytea not null,
  created_at timestamptz(3) not null default now()
);
grant select, insert, update, delete on certificate.key_pool to congvu_certificate; -- update, to lock the one that is taken
`);
