/**
 * Who holds each position, for the certificate of a title holder: it names the office and, as the one who signs, the person. A vacant
 * position is not in the view.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create view directory.position_holders_v as
  select h.position_id, h.holder_id, c.display_name, c.surname, c.given_name
  from directory.position_holdings h
  join directory.accounts c on c.id = h.holder_id
  where h.held_to is null;
grant select on directory.position_holders_v to congvu_certificate;
`);
