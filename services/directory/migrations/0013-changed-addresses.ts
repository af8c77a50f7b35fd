/**
 * A renamed person may ask for a new address with the new name. Invariant that it adds: only a line that renames asks for one.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.request_lines
  add column new_address boolean not null default false,
  add constraint request_lines_new_address check (not new_address or operation = 'rename');
`);
