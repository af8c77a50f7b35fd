/**
 * A certificate and what it was signed from stay in their row. They are a little over the size at which PostgreSQL tries to compress a
 * row, in vain because keys and signatures do not compress, and then stores a part of it elsewhere, under an index of its own.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw('alter table certificate.certificates set (toast_tuple_target = 4080)');
