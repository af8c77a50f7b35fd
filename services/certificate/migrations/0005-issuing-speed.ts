/**
 * Many certificates a second. Invariant that it adds: an enrolment has one certificate, for ever, revoked or not; and it is found
 * by its enrolment.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
drop index certificate.certificates_one_per_enrolment;
create unique index certificates_one_per_enrolment on certificate.certificates (enrolment_id);

-- What waits for its signature, which is little, whatever the size of the register.
create index certificates_signing on certificate.certificates (created_at) where state = 'signing';
`);
