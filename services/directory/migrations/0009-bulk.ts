/**
 * Tens of thousands of accounts from one sheet at a multiple of the speed, and what was promised before stays promised: audit events
 * are added by one function and say who is logged in, and every account is found by what it is called as soon as it is committed.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- Many events at once, in their order: [{actor_kind, actor_id, source_ip, action, subject_type, subject_id, agency_id, request_id,
-- before, after}]. As in record_event the service is who is logged in.
create function directory.record_events(events json) returns void
language sql security definer set search_path = directory, pg_temp as $$
  insert into directory.audit_events
    (service, actor_kind, actor_id, actor_name, source_ip, action, subject_type, subject_id, agency_id, request_id, before, after)
  select replace(session_user, 'congvu_', ''), event.actor_kind, event.actor_id, client.name, event.source_ip, event.action,
    event.subject_type, event.subject_id, event.agency_id, event.request_id, event.before, event.after
  from rows from (json_to_recordset(events) as (actor_kind text, actor_id text, source_ip inet, action text, subject_type text,
    subject_id text, agency_id uuid, request_id uuid, before jsonb, after jsonb)) with ordinality as event
  left join directory.clients client on client.id::text = event.actor_id
  order by event.ordinality
$$;
revoke execute on function directory.record_events from public;
grant execute on function directory.record_events to congvu_directory, congvu_mailbox, congvu_certificate;

-- No role may delete what these name, and who writes them has just written or locked that: nothing is lost with a lookup for each.
alter table directory.provisioning drop constraint provisioning_account_id_fkey;
alter table directory.usernames drop constraint usernames_account_id_fkey;
alter table directory.request_lines drop constraint request_lines_request_id_fkey, drop constraint request_lines_account_id_fkey;
alter table directory.accounts drop constraint accounts_person_id_fkey;
-- No role may delete what an event names, so nothing is lost with the two lookups that each event cost; and an index that grows at
-- the end of each of its keys stays full and small.
alter table directory.audit_events drop constraint audit_events_agency_id_fkey, drop constraint audit_events_request_id_fkey;
drop index directory.audit_events_subject, directory.audit_events_agency;
create index audit_events_subject on directory.audit_events (subject_type, subject_id, id);
create index audit_events_agency on directory.audit_events (agency_id, id);

-- A line is known by its number in its request.
alter table directory.request_lines drop column id;
alter table directory.request_lines add constraint request_lines_number primary key (request_id, line_number);
alter table directory.request_lines drop constraint request_lines_number_unique;

-- Made for a search that directory.account_search took over.
alter table directory.people drop column search_key;
alter table directory.accounts drop column search_key;

-- What an agency is found by, made once and not for each of its accounts.
alter table directory.agencies add column search_text text not null
  generated always as (directory.agency_search_text(name, code, short_name)) stored;
-- Whoever writes an agency makes it.
grant execute on function directory.agency_search_text, directory.search_text to congvu_directory;

create function directory.sort_letters_part(letters text) returns text
language sql immutable strict parallel safe
return directory.sort_primary(letters) || chr(1) ||
  case when letters = directory.sort_primary(letters) then '' else letters end || chr(1);

-- As before, but each text is made once: what is not materialized is made again wherever it is used.
create or replace function directory.refresh_account_search(account_ids uuid[]) returns void
language sql security definer set search_path = directory, public, pg_temp as $$
  with account as materialized (
    select c.id, c.agency_id, c.kind, c.state, lower(c.address) as address, c.display_name, c.surname, c.title,
      a.code as agency_code, a.search_text as agency,
      case when c.kind = 'person' then nullif(c.given_name, '') end as given_name,
      case when c.kind = 'person' then left(c.display_name, greatest(length(c.display_name) - length(c.given_name), 0))
        else c.display_name end as other_names
    from accounts c join agencies a on a.id = c.agency_id where c.id = any(account_ids) for share of a),
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
    select jsonb_object_agg(value, sort_letters(value)) as map
    from (select head_name as value from named union select family_name from named union select middle_name from named) one
    where value is not null),
  text as materialized (
    select named.*, (select map from plain) ->> other_names as others, (select map from plain) ->> title as position,
      (select map from plain) ->> given_name as given, (select map from letters) ->> head_name as head_letters,
      (select map from letters) ->> family_name as surname_letters, (select map from letters) ->> middle_name as middle_letters
    from named),
  source as materialized (
    select text.*, array_remove(string_to_array(concat_ws(' ', others, position, agency), ' '), '') as words,
      coalesce(given, split_part(others, ' ', 1)) as head, '^' || sort_primary(head_letters) as head_token
    from text),
  new_words as (
    insert into search_words (token, word)
    select token, word from (
      select distinct word as token, word from source cross join unnest(words) as one(word)
      union
      select distinct head_token, head from source where head <> '') w
    where not exists (select from search_words known where known.token = w.token)
    order by token on conflict do nothing)
  insert into account_search (account_id, agency_id, kind, state, address, address_head, sort_key, document, tokens)
  select id, agency_id, kind, state, address,
    coalesce(case when starts_with(address, given) then given end, ''),
    left(case when given_name is null then sort_letters_part(surname_letters)
      else sort_letters_part(head_letters) || sort_letters_part(surname_letters) || sort_letters_part(middle_letters) end, 600),
    left(concat(' ', concat_ws(' ', nullif(others, ''), given), ' | ', position, ' | ', agency), 1000),
    words || case when head <> '' then head_token end || ('#' || agency_code)
      || case when state <> 'active' then array['~' || state] end || case when kind <> 'person' then array['~' || kind] end
  from source
  on conflict (account_id) do update set agency_id = excluded.agency_id, kind = excluded.kind, state = excluded.state,
    address = excluded.address, address_head = excluded.address_head, sort_key = excluded.sort_key,
    document = excluded.document, tokens = excluded.tokens
$$;

-- Nothing is looked up by these, and with them every account and every part that converges is written to each index anew. With
-- room in its page a row is changed where it stands.
drop index directory.accounts_unconverged;
drop index directory.provisioning_waiting;
alter table directory.accounts set (fillfactor = 50);
alter table directory.provisioning set (fillfactor = 50);
`);
