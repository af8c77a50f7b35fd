/**
 * A line of a request goes through four states, and each change wrote it to most of its indexes anew. Which lines wait, and which are
 * few among many, is now said by columns of their own, which seldom change: a row with room in its page is changed where it stands. New
 * accounts cost less too: what many of them share (letters of a name, words of an agency, that the agency is there) is looked at once.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
drop index directory.request_lines_unusual_state, directory.request_lines_approved, directory.request_lines_to_carry_out,
  directory.request_lines_one_waiting_person, directory.request_lines_one_waiting_agency, directory.request_lines_one_waiting_operation;
alter table directory.request_lines set (fillfactor = 50);
alter table directory.request_lines
  -- Submitted or approved, and not carried out: nobody else may ask for the same.
  add column waiting boolean not null generated always as
    (carried_out_at is null and state in ('submitted', 'approved')) stored,
  add column unusual boolean not null generated always as
    (state in ('refused', 'rejected', 'cancelled', 'failed')) stored;
create index request_lines_waiting on directory.request_lines (request_id, line_number) where waiting;
create unique index request_lines_one_waiting_person on directory.request_lines (national_id_hash)
  where waiting and operation = 'open' and kind = 'person';
create unique index request_lines_one_waiting_agency on directory.request_lines (agency_id)
  where waiting and operation = 'open' and kind = 'agency';
create unique index request_lines_one_waiting_operation on directory.request_lines (target_account_id, operation)
  where waiting and operation <> 'open';
-- The lines of a request that are few among many; the others are met in the order of their numbers.
create index request_lines_unusual on directory.request_lines (request_id, line_number) where unusual;

-- The agencies of many new accounts are looked up together; as everywhere, no role may delete what is named.
alter table directory.accounts drop constraint accounts_agency_id_fkey;
create function directory.require_agencies() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
begin
  if tg_level = 'ROW' then
    if exists (select from agencies where id = new.agency_id) then return null; end if;
  elsif not exists (select from opened where not exists (select from agencies where id = opened.agency_id)) then
    return null;
  end if;
  raise foreign_key_violation using message = 'an account names an agency that is not there',
    schema = 'directory', table = 'accounts', constraint = 'accounts_agency_id_fkey';
end $$;
revoke execute on function directory.require_agencies from public;
create trigger accounts_agency_insert after insert on directory.accounts
  referencing new table as opened for each statement execute function directory.require_agencies();
create trigger accounts_agency_update after update on directory.accounts for each row
  when (old.agency_id is distinct from new.agency_id) execute function directory.require_agencies();

alter index directory.account_search_tokens set (gin_pending_list_limit = 256);
create or replace function directory.refresh_account_search(account_ids uuid[]) returns void
language sql security definer set search_path = directory, public, pg_temp as $$
  with agency as materialized (
    select id, code, search_text from agencies
    where id in (select agency_id from accounts where id = any(account_ids)) for share),
  account as materialized (
    select c.id, c.agency_id, c.kind, c.state, lower(c.address) as address, c.display_name, c.surname, c.title,
      a.code as agency_code, a.search_text as agency,
      case when c.kind = 'person' then nullif(c.given_name, '') end as given_name,
      case when c.kind = 'person' then left(c.display_name, greatest(length(c.display_name) - length(c.given_name), 0))
        else c.display_name end as other_names
    from accounts c join agency a on a.id = c.agency_id where c.id = any(account_ids)),
  named as materialized (
    select account.*, coalesce(given_name, split_part(display_name, ' ', 1)) as head_name,
      case when given_name is null then display_name else surname end as family_name,
      case when given_name is not null then trim(substr(other_names, length(surname) + 1)) end as middle_name
    from account),
  -- Surnames, middle and given names and positions come again and again in a crowd. As objects, because a join would be planned for few.
  plain as materialized (
    select jsonb_object_agg(value, search_text(value)) as map
    from (select other_names as value from named union select title from named union select given_name from named) one
    where value is not null),
  letters as materialized (
    select jsonb_object_agg(value, sort_letters_part(sort_letters(value))) as map
    from (select head_name as value from named union select family_name from named union select middle_name from named) one
    where value is not null),
  text as materialized (
    select named.*, (select map from plain) ->> other_names as others, (select map from plain) ->> title as position,
      (select map from plain) ->> given_name as given, (select map from letters) ->> head_name as head_part,
      (select map from letters) ->> family_name as surname_part, (select map from letters) ->> middle_name as middle_part
    from named),
  source as materialized (
    select text.*, array_remove(string_to_array(concat_ws(' ', others, position, agency), ' '), '') as words,
      coalesce(given, split_part(others, ' ', 1)) as head, '^' || split_part(head_part, chr(1), 1) as head_token
    from text),
  -- Of each text once, not of each account.
  words as materialized (
    select distinct word from (
      select others as text from source union select position from source union select agency from source) one
    cross join unnest(string_to_array(text, ' ')) as each(word) where word <> ''),
  new_words as (
    insert into search_words (token, word)
    select token, word from (
      select word as token, word from words
      union
      select distinct head_token, head from source where head <> '') w
    where not exists (select from search_words known where known.token = w.token)
    order by token on conflict do nothing)
  insert into account_search (account_id, agency_id, kind, state, address, address_head, sort_key, document, tokens)
  select id, agency_id, kind, state, address,
    coalesce(case when starts_with(address, given) then given end, ''),
    left(case when given_name is null then surname_part else head_part || surname_part || middle_part end, 600) as sort_key,
    left(concat(' ', concat_ws(' ', nullif(others, ''), given), ' | ', position, ' | ', agency), 1000),
    words || case when head <> '' then head_token end || ('#' || agency_code)
      || case when state <> 'active' then array['~' || state] end || case when kind <> 'person' then array['~' || kind] end
  from source
  -- One after the other into the widest index.
  order by sort_key
  on conflict (account_id) do update set agency_id = excluded.agency_id, kind = excluded.kind, state = excluded.state,
    address = excluded.address, address_head = excluded.address_head, sort_key = excluded.sort_key,
    document = excluded.document, tokens = excluded.tokens
$$;
`);
