/**
 * What happens to an account after it was opened. Invariants that it adds:
 * - a suspension that ends by itself, and a retention, belong to an account that is suspended, or retired
 * - a position has one holder at a time: its holdings never overlap
 * - what was handed out for an account (password, activation code, certificate) is bound to an epoch; when the one who held it
 *   goes, the epoch grows, and nothing of an earlier epoch lets anybody in
 * - an account is behind its entry as soon as its agency gets another name or another place in the tree
 * - a connected system has a name of its own, and reads only what its scopes name
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.accounts
  add column suspended_until timestamptz(3),
  add column retained_until date,
  add column credential_epoch int not null default 1,
  -- The epoch that the entry is at: 0 until it has one.
  add column entry_credential_epoch int not null default 0,
  add constraint accounts_suspended_until check (suspended_until is null or state = 'suspended'),
  add constraint accounts_retained_until check (retained_until is null or state = 'retired');
create index accounts_suspension_over on directory.accounts (suspended_until) where suspended_until is not null;

alter table directory.activation_codes add column credential_epoch int not null default 1;

create table directory.position_holdings (
  id uuid primary key default gen_random_uuid(),
  position_id uuid not null references directory.accounts,
  holder_id uuid not null references directory.accounts,
  held_from timestamptz(3) not null,
  held_to timestamptz(3),
  -- Who ordered that it begins and that it ends, and why: as in the audit, where the rest stands.
  begun_by text not null,
  begun_reason text not null,
  ended_by text,
  ended_reason text,
  constraint position_holdings_end check ((held_to is null) = (ended_by is null) and (held_to is null) = (ended_reason is null)),
  constraint position_holdings_order check (held_to >= held_from),
  constraint position_holdings_one_holder exclude using gist (position_id with =, tstzrange(held_from, held_to) with &&)
);
create index position_holdings_position on directory.position_holdings (position_id, held_from desc);
create unique index position_holdings_current on directory.position_holdings (position_id) where held_to is null;
create index position_holdings_holder on directory.position_holdings (holder_id) where held_to is null;

create table directory.service_accounts (
  id uuid primary key default gen_random_uuid(),
  name text not null constraint service_accounts_name_unique unique
    check (name ~ '^[a-z][a-z0-9-]{1,38}[a-z0-9]$'),
  display_name text not null,
  agency_id uuid not null references directory.agencies,
  state text not null default 'active' check (state in ('active', 'retired')),
  read_scopes text[] not null,
  secret_issued_at timestamptz(3),
  version int not null default 1,
  entry_version int not null default 0,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now()
);
create index service_accounts_list on directory.service_accounts (created_at desc, id desc);
create index service_accounts_unconverged on directory.service_accounts (id) where entry_version < version;

-- New columns at the end: what others read stays where it was.
create or replace view directory.accounts_v as
  select c.id, c.kind, c.state, c.username, c.address, c.display_name, c.surname, c.given_name, c.title,
    c.certificate_path, c.version, c.entry_version, c.created_at, a.id as agency_id, a.code as agency_code, a.name as agency_name, a.mail_domain,
    own.address as agency_address,
    r.id as request_id, r.submitted_at, s.name as submitted_by_name, r.decided_at as approved_at,
    d.id as approved_by, d.name as approved_by_name, r.decision_number, r.decision_date,
    c.credential_epoch, c.entry_credential_epoch
  from directory.accounts c
  join directory.agencies a on a.id = c.agency_id
  left join directory.request_lines l on l.account_id = c.id
  left join directory.requests r on r.id = l.request_id
  left join directory.clients s on s.id = r.submitted_by
  left join directory.clients d on d.id = r.decided_by
  left join directory.accounts own on own.agency_id = c.agency_id and own.kind = 'agency' and own.state <> 'retired';

create function directory.queue_entries(account_ids uuid[]) returns void
language sql security definer set search_path = directory, pg_temp as $$
  select directory_jobs.add_jobs(array(
    select row('converge-entries', json_build_object('accountIds', part.ids), null, null, null, null, null, null)::directory_jobs.job_spec
    from (select array_agg(id) as ids from unnest(account_ids) with ordinality as one(id, place) group by (place - 1) / 500) part))
$$;

-- An entry names its agency, and the codes of all those above, by which connected systems are let in: whoever renames an agency,
-- the entries in it follow; whoever moves one, those of its whole subtree.
create function directory.agency_moved_or_renamed() returns trigger
language plpgsql security definer set search_path = directory, pg_temp as $$
declare behind uuid[];
begin
  with recursive tree as (
    select n.id from new_rows n join old_rows o on o.id = n.id
    where n.parent_id is distinct from o.parent_id or n.code <> o.code
    union
    select child.id from directory.agencies child join tree on child.parent_id = tree.id),
  affected as (
    select id from tree
    union
    select n.id from new_rows n join old_rows o on o.id = n.id where n.name <> o.name),
  locked as (
    select c.id from directory.accounts c where c.agency_id in (select id from affected) order by c.id for update),
  changed as (
    update directory.accounts c set version = c.version + 1, updated_at = now() from locked where c.id = locked.id returning c.id)
  select array_agg(id) into behind from changed;
  if behind is not null then
    perform directory.queue_entries(behind);
  end if;
  return null;
end $$;
create trigger agency_moved_or_renamed after update on directory.agencies
  referencing old table as old_rows new table as new_rows
  for each statement execute function directory.agency_moved_or_renamed();

revoke execute on function directory.queue_entries, directory.agency_moved_or_renamed from public;
grant select, insert, update on directory.position_holdings, directory.service_accounts to congvu_directory;
-- A person may get another name, and nothing else about the person changes.
grant update (full_name, surname, middle_names, given_name) on directory.people to congvu_directory;

-- Every entry gets what this version adds to it.
update directory.accounts set version = version + 1;
select directory.queue_entries(array_agg(id)) from directory.accounts having count(*) > 0;
`);
