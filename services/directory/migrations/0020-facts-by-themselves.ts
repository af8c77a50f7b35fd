/**
 * What the mail service asks of one account or agency at a time, without the many tables of accounts_v and without looking through the
 * whole tree: an account's own facts, and the line of agencies from one up to the province.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create view directory.account_facts_v as
  select id, kind, state, username, address, display_name, title, agency_id from directory.accounts;
grant select on directory.account_facts_v to congvu_mailbox;

-- The agency first, the province last; without any where there is no such agency.
create function directory.agency_path(agency uuid) returns uuid[]
language sql stable security definer set search_path = directory, pg_temp as $$
  with recursive up as (
    select id, parent_id, 0 as distance from directory.agencies where id = agency
    union all
    select a.id, a.parent_id, up.distance + 1 from up join directory.agencies a on a.id = up.parent_id)
  select array_agg(id order by distance) from up
$$;
revoke execute on function directory.agency_path from public;
grant execute on function directory.agency_path to congvu_mailbox;
`);
