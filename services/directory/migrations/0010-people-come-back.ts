/**
 * People who come back. Invariant that it adds:
 * - the mobile number of a person is that of the last approved line that gave one
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw('grant update (mobile) on directory.people to congvu_directory');
