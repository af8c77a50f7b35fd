/**
 * What the reading of a sheet found beside its lines, and by which octets it is known again. Invariant that it adds:
 * - a kept sheet has the report of its reading, and the fingerprint of what was sent
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.sheets
  -- Which sheet, header and columns were read, how many rows of each kind, and where the remarks go; no person is named in it.
  add column report jsonb not null,
  -- SHA-256 of the client, what it said, and the file: the same one sent again while its draft is open makes no second draft.
  add column fingerprint bytea not null;
create index sheets_fingerprint on directory.sheets (fingerprint);
`);
