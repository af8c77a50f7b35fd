/**
 * Search, the filters of the audit list, and clients with roles. Invariants that it adds:
 * - every account is found by what it and its agency are called now: directory.account_search follows directory.accounts and
 *   directory.agencies by triggers, and no service may write it
 * - lists sort as Vietnamese lists do by a key of plain octets, which no version of ICU or of the C library can reorder
 * - a client has one of the roles there are, or none; an end date lies after its making
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- Small ASCII letters without marks, words separated by single spaces: what searchKey of packages/vietnamese makes of a query,
-- with everything but letters, digits and . @ _ - taken for a space.
create function directory.search_text(value text) returns text
language sql immutable strict parallel safe
return trim(regexp_replace(
  translate(regexp_replace(normalize(lower(value collate pg_c_utf8), NFD), U&'[\\0300-\\036F]+', '', 'g'), 'đðɖƀ', 'dddb'),
  '[^a-z0-9.@_-]+', ' ', 'g'));

-- The letters of a name as octets that sort by the Vietnamese alphabet (a ă â b c d đ e ê …), tones behind their letter:
-- U+00C1 to U+00C5 for huyền, hỏi, ngã, sắc, nặng.
create function directory.sort_letters(value text) returns text
language sql immutable strict parallel safe
return replace(
  translate(normalize(lower(value collate pg_c_utf8), NFD), U&'\\0306\\0302\\031B\\0300\\0309\\0303\\0301\\0323',
    U&'{|}\\00C1\\00C2\\00C3\\00C4\\00C5'),
  'đ', 'd~');

create function directory.sort_primary(letters text) returns text
language sql immutable strict parallel safe
return translate(letters, U&'\\00C1\\00C2\\00C3\\00C4\\00C5', '');

-- Letters decide before tones do; tones only where letters are equal.
create function directory.sort_part(value text) returns text
language sql immutable strict parallel safe
return directory.sort_primary(directory.sort_letters(value)) || chr(1) ||
  case when directory.sort_letters(value) = directory.sort_primary(directory.sort_letters(value)) then ''
    else directory.sort_letters(value) end || chr(1);

-- An agency is found by its name, its code in both official forms, and its short name.
create function directory.agency_search_text(name text, code text, short_name text) returns text
language sql immutable strict parallel safe
return directory.search_text(name || ' ' || code || ' ' || short_name || ' ' || case
  when code ~ '^[A-Y][0-9]{2}([.][0-9A-Z]{2}){0,2}$|^[A-Y][0-9]{2}([.][0-9A-Z]{2}){2}[.][0-9][0-9A-Z]{2}$'
  then coalesce(nullif(split_part(code, '.', 4), ''), '000') || '.' || coalesce(nullif(split_part(code, '.', 3), ''), '00')
    || '.' || coalesce(nullif(split_part(code, '.', 2), ''), '00') || '.' || split_part(code, '.', 1)
  else '' end);

-- What accounts are found by. The document holds the words of name, position and agency, each after a space; tokens are the same words, and '^' with
-- the letters that the sort key begins with (the given name, or a first word), '#' with the agency, '~' with a state or kind that is not the usual one.
create table directory.account_search (
  account_id uuid primary key,
  agency_id uuid not null,
  kind text not null,
  state text not null,
  address text collate "C" not null,
  -- The given name at the head of the address, which the document holds too.
  address_head text collate "C" not null,
  sort_key text collate "C" not null,
  document text not null,
  tokens text[] not null
);
-- Wide enough that walking the list in order never leaves the index.
create index account_search_order on directory.account_search (sort_key, account_id)
  include (document, agency_id, address, kind, state);
-- A short pending list: searches read it from end to end.
create index account_search_tokens on directory.account_search using gin (tokens) with (gin_pending_list_limit = 64);
create index account_search_address on directory.account_search (address_head, address);
create index account_search_agency on directory.account_search (agency_id);

-- Every word that any account was ever found by, so that a part of a word leads to the words that hold it.
create table directory.search_words (
  token text collate "C" primary key,
  word text collate "C" not null
);

-- The agencies are locked so that one that is being renamed cannot miss the account that just comes to it.
create function directory.refresh_account_search(account_ids uuid[]) returns void
language sql security definer set search_path = directory, public, pg_temp as $$
  with source as materialized (
    select c.id, c.agency_id, c.kind, c.state, lower(c.address) as address, c.display_name, c.surname, a.code as agency_code,
      case when c.kind = 'person' then nullif(c.given_name, '') end as given_name,
      coalesce(case when c.kind = 'person' then nullif(c.given_name, '') end, split_part(c.display_name, ' ', 1)) as head,
      case when c.kind = 'person' then left(c.display_name, greatest(length(c.display_name) - length(c.given_name), 0))
        else c.display_name end as other_names,
      search_text(c.title) as title, agency_search_text(a.name, a.code, a.short_name) as agency
    from accounts c join agencies a on a.id = c.agency_id where c.id = any(account_ids) for share of a),
  word as (
    select source.id, w.word, w.word as token from source
    cross join unnest(string_to_array(concat_ws(' ', search_text(other_names), title, agency), ' ')) as w(word) where w.word <> ''
    union
    select id, search_text(head), '^' || sort_primary(sort_letters(head)) from source where head <> ''),
  new_words as (
    insert into search_words (token, word)
    select distinct token, word from word where not exists (select from search_words known where known.token = word.token)
    order by token on conflict do nothing)
  insert into account_search (account_id, agency_id, kind, state, address, address_head, sort_key, document, tokens)
  select source.id, agency_id, kind, state, address,
    coalesce(case when starts_with(address, search_text(given_name)) then search_text(given_name) end, ''),
    left(case when given_name is null then sort_part(display_name)
      else sort_part(given_name) || sort_part(surname) || sort_part(trim(substr(other_names, length(surname) + 1))) end, 600),
    left(concat(' ', search_text(display_name), ' | ', title, ' | ', agency), 1000),
    coalesce(words.tokens, '{}') || ('#' || agency_code)
      || case when state <> 'active' then array['~' || state] end || case when kind <> 'person' then array['~' || kind] end
  from source left join (select id, array_agg(token) as tokens from word group by id) words on words.id = source.id
  on conflict (account_id) do update set agency_id = excluded.agency_id, kind = excluded.kind, state = excluded.state,
    address = excluded.address, address_head = excluded.address_head, sort_key = excluded.sort_key,
    document = excluded.document, tokens = excluded.tokens
$$;

create function directory.search_new_accounts() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
begin
  perform directory.refresh_account_search(array(select id from opened));
  return null;
end $$;
create function directory.search_changed_account() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
begin
  perform directory.refresh_account_search(array[new.id]);
  return null;
end $$;
create function directory.search_renamed_agency() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
begin
  perform directory.refresh_account_search(array(select account_id from directory.account_search where agency_id = new.id));
  return null;
end $$;
create trigger accounts_search_insert after insert on directory.accounts
  referencing new table as opened for each statement execute function directory.search_new_accounts();
create trigger accounts_search_update after update on directory.accounts for each row
  when ((old.display_name, old.surname, old.given_name, old.title, old.agency_id, old.kind, old.state, old.address)
    is distinct from (new.display_name, new.surname, new.given_name, new.title, new.agency_id, new.kind, new.state, new.address))
  execute function directory.search_changed_account();
create trigger agencies_search_update after update on directory.agencies for each row
  when ((old.name, old.code, old.short_name) is distinct from (new.name, new.code, new.short_name))
  execute function directory.search_renamed_agency();
select directory.refresh_account_search(array(select id from directory.accounts));
grant select on directory.account_search, directory.search_words to congvu_directory;

-- Lists by time of what is rare.
create index accounts_unusual_state on directory.accounts (state, created_at desc, id desc) where state <> 'active';
create index accounts_unusual_kind on directory.accounts (kind, created_at desc, id desc) where kind <> 'person';

-- The audit list, filtered, at a million events.
create index audit_events_request on directory.audit_events (request_id, id) where request_id is not null;
create index audit_events_actor on directory.audit_events (actor_id, id);
create index audit_events_action on directory.audit_events (action, id);
create index audit_events_time on directory.audit_events (occurred_at);
create index requests_decision on directory.requests (decision_number) where decision_number is not null;

alter table directory.clients
  add column role text,
  add column expires_at timestamptz(3),
  add column last_used_at timestamptz(3),
  add column version int not null default 1,
  add constraint clients_expiry check (expires_at > created_at),
  add constraint clients_role_check check (role in
    ('requester', 'approver', 'administrator', 'platform_administrator', 'auditor', 'recovery_officer'));
`);
