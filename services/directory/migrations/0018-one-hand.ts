/**
 * Whether two clients are one hand, for the other services' rules of two persons: the same client, or one whose secret the other was
 * shown. A yes or no, so that nobody else needs to read the clients.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create function directory.is_one_hand(one text, other text) returns boolean
language sql stable security definer set search_path = directory, pg_temp as $$
  select one = other or exists (select from directory.clients
    where (id::text = one and created_by::text = other) or (id::text = other and created_by::text = one))
$$;
revoke execute on function directory.is_one_hand from public;
grant execute on function directory.is_one_hand to congvu_certificate;
`);
