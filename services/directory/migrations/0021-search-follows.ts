/**
 * A crowd of new accounts is found by the search a moment later than it is on record, by a job of the same transaction: what makes them
 * one part after the other is not held up by the search's wide indexes. Whoever makes few, or changes any, has them in at once as before.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace function directory.search_new_accounts() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
begin
  if current_setting('congvu.search_later', true) is distinct from 'on' then
    perform directory.refresh_account_search(array(select id from opened));
  end if;
  return null;
end $$;

-- Those of the accounts that the search does not know yet. Their rows are held, so that a change of one meanwhile comes before or after.
create function directory.search_opened_accounts(account_ids uuid[]) returns void
language plpgsql security definer set search_path = directory, pg_temp as $$
declare opened uuid[] := array(
  select c.id from accounts c
  where c.id = any(account_ids) and not exists (select from account_search known where known.account_id = c.id offset 0)
  order by c.id for share of c);
begin
  perform directory.refresh_account_search(opened);
end $$;
revoke execute on function directory.search_opened_accounts from public;
grant execute on function directory.search_opened_accounts to congvu_directory;
`);
