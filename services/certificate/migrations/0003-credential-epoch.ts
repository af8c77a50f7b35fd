/** An enrolment is of one epoch of its account: when whoever held the account goes, its key and certificate are no longer the account's. */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw('alter table certificate.enrolments add column credential_epoch int not null default 1');
