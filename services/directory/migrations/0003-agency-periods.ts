/**
 * Agencies change names, move, merge and close. Every fact about one is kept with the dates between which it held. Invariants that
 * it adds:
 * - no two periods of one agency overlap, and none ends before it begins
 * - an agency that names a successor ends, and the successor is another agency
 *
 * `agency_periods` say what was, is and will be; the same columns of `agencies` say what holds today and are never written on their
 * own. Dates are calendar days in Việt Nam; an end (`valid_to`) is the first day on which it holds no more.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table directory.agency_periods (
  -- Deferred, because an agency is written from its periods.
  agency_id uuid not null references directory.agencies deferrable initially deferred,
  -- Without one: since before this record began.
  valid_from date,
  valid_to date,
  name text not null check (name <> ''),
  level text not null check (level in ('province', 'department', 'district', 'commune', 'school', 'public_unit')),
  parent_id uuid references directory.agencies deferrable initially deferred,
  mail_domain text not null,
  head_count int check (head_count >= 0),
  -- The name and codes in small letters without marks; only the service can make it, so every period brings its own.
  search_key text not null,
  constraint agency_periods_order check (valid_from < valid_to),
  constraint agency_periods_root_is_province check ((level = 'province') = (parent_id is null)),
  constraint agency_periods_parent_is_another check (parent_id <> agency_id),
  constraint agency_periods_one_at_a_time exclude using gist (agency_id with =, daterange(valid_from, valid_to) with &&)
);
create index agency_periods_parent on directory.agency_periods (parent_id);

alter table directory.agencies
  add column valid_from date,
  add column successor_id uuid references directory.agencies,
  add column head_count int,
  add column search_key text not null default '',
  -- The status that was last audited and sent to LDAP; it falls behind at midnight, and a task follows.
  add column settled_status text not null default 'active',
  add constraint agencies_validity check (valid_from < valid_to),
  add constraint agencies_successor_is_another check (successor_id <> id),
  add constraint agencies_successor_of_what_ends check (successor_id is null or valid_to is not null);
create index agencies_successor on directory.agencies (successor_id) where successor_id is not null;

create function directory.today() returns date language sql stable as $$
  select (now() at time zone 'Asia/Ho_Chi_Minh')::date
$$;

create function directory.agency_status(valid_from date, valid_to date, day date) returns text language sql immutable as $$
  select case when valid_to <= day then 'closed' when valid_from > day then 'future' else 'active' end
$$;

-- Each agency on a day: its period then, else the last one before, else the first one after; with the bounds of its whole life.
create function directory.agencies_at(day date) returns table (agency_id uuid, name text, level text, parent_id uuid,
  mail_domain text, head_count int, search_key text, valid_from date, valid_to date)
language sql stable as $$
  select distinct on (p.agency_id) p.agency_id, p.name, p.level, p.parent_id, p.mail_domain, p.head_count, p.search_key,
    nullif(min(coalesce(p.valid_from, '-infinity')) over life, '-infinity'),
    nullif(max(coalesce(p.valid_to, 'infinity')) over life, 'infinity')
  from directory.agency_periods p
  window life as (partition by p.agency_id)
  order by p.agency_id, coalesce(p.valid_from, '-infinity') <= day desc,
    case when coalesce(p.valid_from, '-infinity') <= day then coalesce(p.valid_from, '-infinity') end desc, p.valid_from
$$;

-- Whether one agency lies in a subtree: looks up from it, which is a few steps, where agency_subtree looks down at all there is.
create function directory.agency_lies_in(agency uuid, root_code text) returns boolean
language sql stable security definer set search_path = directory, pg_temp as $$
  with recursive up as (
    select id, code, parent_id from directory.agencies where id = agency
    union
    select parent.id, parent.code, parent.parent_id from directory.agencies parent join up on parent.id = up.parent_id)
  select exists (select 1 from up where code = root_code)
$$;

update directory.agencies set
  settled_status = directory.agency_status(null, valid_to, directory.today()),
  search_key = translate(lower(regexp_replace(normalize(concat_ws(' ', name, code, short_name), NFD), '[\\u0300-\\u036f]', '', 'g')), 'đð', 'dd');
insert into directory.agency_periods (agency_id, valid_to, name, level, parent_id, mail_domain, search_key)
  select id, valid_to, name, level, parent_id, mail_domain, search_key from directory.agencies;

create or replace view directory.agencies_v as
  select a.id, a.code, a.name, a.level, p.code as parent_code, a.short_name, a.mail_domain, a.valid_to,
    a.valid_from, directory.agency_status(a.valid_from, a.valid_to, directory.today()) as status,
    s.code as successor_code, a.head_count
  from directory.agencies a
  left join directory.agencies p on p.id = a.parent_id
  left join directory.agencies s on s.id = a.successor_id;

-- Who reads the view calls its functions.
grant execute on function directory.today, directory.agency_status to congvu_directory, congvu_mailbox, congvu_certificate;
grant execute on function directory.agencies_at, directory.agency_lies_in to congvu_directory;
-- Deleted only to be written anew in the same transaction.
grant select, insert, delete on directory.agency_periods to congvu_directory;
`);
