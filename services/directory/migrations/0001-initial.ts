/**
 * Invariants that the database itself keeps:
 * - an agency code has the official form and names one agency; a parent exists; only the province has none
 * - a national identity number belongs to one person, and a person has one account that is not retired
 * - a username is given once and never again, not even after retirement (directory.usernames is only added to)
 * - a client's Idempotency-Key makes one request
 * - nobody decides on a request that the same client submitted
 * - audit events are added and never changed: the runtime role may insert and read, and no more
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table directory.agencies (
  id uuid primary key default gen_random_uuid(),
  code text not null constraint agencies_code_unique unique
    constraint agencies_code_form check (code ~ '^[A-Y][0-9]{2}(\\.[0-9A-Z]+)*$' and length(code) <= 35),
  name text not null check (name <> ''),
  level text not null check (level in ('province', 'department', 'district', 'commune', 'school', 'public_unit')),
  parent_id uuid references directory.agencies,
  short_name text not null constraint agencies_short_name_unique unique,
  mail_domain text not null,
  gso_code text,
  valid_to date,
  entry_version int not null default 0,
  version int not null default 1,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now(),
  constraint agencies_root_is_province check ((level = 'province') = (parent_id is null))
);
create index agencies_parent on directory.agencies (parent_id);

-- Union (not union all) so that it ends even if a cycle ever got in.
create function directory.agency_subtree(root_code text) returns setof uuid
language sql stable security definer set search_path = directory, pg_temp as $$
  with recursive tree as (
    select id from directory.agencies where code = root_code
    union
    select child.id from directory.agencies child join tree on child.parent_id = tree.id)
  select id from tree
$$;

create table directory.clients (
  id uuid primary key,
  name text not null constraint clients_name_unique unique,
  agency_code text not null,
  permissions text[] not null,
  secret_hash bytea not null,
  created_by uuid references directory.clients,
  created_at timestamptz(3) not null default now(),
  disabled_at timestamptz
);

create table directory.people (
  id uuid primary key default gen_random_uuid(),
  full_name text not null,
  surname text not null,
  middle_names text not null,
  given_name text not null,
  search_key text not null,
  birth_date date not null,
  sex text check (sex in ('male', 'female')),
  mobile text,
  national_id_sealed bytea not null,
  national_id_hash bytea not null constraint people_national_id_unique unique,
  created_at timestamptz(3) not null default now()
);

create table directory.requests (
  id uuid primary key default gen_random_uuid(),
  agency_id uuid not null references directory.agencies,
  state text not null default 'submitted'
    check (state in ('submitted', 'approved', 'returned', 'rejected', 'cancelled', 'fulfilled')),
  submitted_by uuid not null references directory.clients,
  submitted_at timestamptz(3) not null default now(),
  decided_by uuid references directory.clients,
  decided_at timestamptz,
  remark text,
  decision_number text,
  decision_date date,
  contact_address text,
  fulfilled_at timestamptz,
  idempotency_key text,
  body_hash bytea not null,
  version int not null default 1,
  constraint requests_idempotency_unique unique (submitted_by, idempotency_key),
  constraint requests_decided_by_another check (state = 'cancelled' or decided_by is distinct from submitted_by)
);
create index requests_agency on directory.requests (agency_id, submitted_at desc, id desc);
create index requests_list on directory.requests (submitted_at desc, id desc);

create table directory.accounts (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('person', 'position', 'agency', 'service')),
  state text not null default 'active' check (state in ('pending', 'active', 'suspended', 'retired')),
  username text not null constraint accounts_username_unique unique,
  address text not null constraint accounts_address_unique unique,
  agency_id uuid not null references directory.agencies,
  person_id uuid references directory.people,
  display_name text not null,
  surname text not null,
  given_name text not null,
  search_key text not null,
  title text,
  certificate_path text not null check (certificate_path in ('server_key', 'csr', 'none')),
  suspension_reason text,
  version int not null default 1,
  entry_version int not null default 0,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now(),
  constraint accounts_person_kind check ((kind = 'person') = (person_id is not null))
);
create unique index accounts_one_per_person on directory.accounts (person_id) where state <> 'retired';
create unique index accounts_one_per_agency on directory.accounts (agency_id) where kind = 'agency' and state <> 'retired';
create index accounts_agency on directory.accounts (agency_id, created_at desc, id desc);
create index accounts_list on directory.accounts (created_at desc, id desc);
create index accounts_unconverged on directory.accounts (id) where entry_version < version;

create table directory.usernames (
  username text primary key check (username ~ '^[a-z0-9]([a-z0-9.-]*[a-z0-9]){0,1}$' and length(username) <= 64),
  account_id uuid not null references directory.accounts deferrable initially deferred,
  taken_at timestamptz not null default now()
);

create table directory.request_lines (
  id uuid primary key default gen_random_uuid(),
  request_id uuid not null references directory.requests,
  line_number int not null,
  agency_id uuid not null references directory.agencies,
  kind text not null check (kind in ('person', 'agency')),
  state text not null default 'submitted'
    check (state in ('submitted', 'approved', 'rejected', 'cancelled', 'fulfilled')),
  full_name text,
  birth_date date,
  sex text check (sex in ('male', 'female')),
  title text,
  mobile text,
  national_id_sealed bytea,
  national_id_hash bytea,
  certificate_path text not null check (certificate_path in ('server_key', 'csr', 'none')),
  account_id uuid constraint request_lines_one_account unique references directory.accounts,
  constraint request_lines_number_unique unique (request_id, line_number),
  constraint request_lines_person_complete check (
    kind <> 'person' or (full_name is not null and birth_date is not null and national_id_hash is not null))
);
create index request_lines_national_id on directory.request_lines (national_id_hash) where state = 'submitted';

create table directory.provisioning (
  account_id uuid not null references directory.accounts,
  part text not null check (part in ('entry', 'mailbox', 'certificate')),
  state text not null default 'waiting' check (state in ('waiting', 'done')),
  updated_at timestamptz not null default now(),
  primary key (account_id, part)
);
create index provisioning_waiting on directory.provisioning (account_id) where state = 'waiting';

create table directory.activation_codes (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null references directory.accounts,
  code_hash bytea not null constraint activation_codes_hash_unique unique,
  issued_by uuid not null references directory.clients,
  issued_at timestamptz not null default now(),
  expires_at timestamptz not null,
  claimed_until timestamptz,
  used_at timestamptz
);
create unique index activation_codes_one_open on directory.activation_codes (account_id) where used_at is null;

create table directory.rate_limits (
  key varchar(255) primary key,
  points integer not null default 0,
  expire bigint
);

create table directory.audit_events (
  id bigint generated always as identity primary key,
  occurred_at timestamptz not null default clock_timestamp(),
  service text not null,
  actor_kind text not null check (actor_kind in ('client', 'holder', 'system')),
  actor_id text not null,
  actor_name text,
  source_ip inet,
  action text not null,
  subject_type text not null,
  subject_id text not null,
  agency_id uuid references directory.agencies,
  request_id uuid references directory.requests,
  before jsonb,
  after jsonb
);
create index audit_events_subject on directory.audit_events (subject_type, subject_id, id desc);
create index audit_events_agency on directory.audit_events (agency_id, id desc);

-- The one way in for all three services: the service is who is logged in, not what the caller says.
create function directory.record_event(
  actor_kind text, actor_id text, source_ip inet, action text, subject_type text, subject_id text,
  agency_id uuid, request_id uuid, before jsonb, after jsonb) returns void
language sql security definer set search_path = directory, pg_temp as $$
  insert into directory.audit_events
    (service, actor_kind, actor_id, actor_name, source_ip, action, subject_type, subject_id, agency_id, request_id, before, after)
  values (replace(session_user, 'congvu_', ''), actor_kind, actor_id,
    (select name from directory.clients where id::text = actor_id), source_ip, action, subject_type, subject_id,
    agency_id, request_id, before, after)
$$;

-- The mailbox and certificate services say here that their part of accounts stands; which part is theirs is who they are.
create function directory.report_provisioned(account_ids uuid[]) returns void
language plpgsql security definer set search_path = directory, pg_temp as $$
declare reported uuid[];
begin
  with done as (
    update directory.provisioning set state = 'done', updated_at = now()
    where account_id = any(account_ids) and part = replace(session_user, 'congvu_', '') and state <> 'done'
    returning account_id)
  select array_agg(account_id) into reported from done;
  if reported is not null then
    perform directory_jobs.add_job('settle-requests', json_build_object('accountIds', reported));
  end if;
end $$;

create view directory.agencies_v as
  select a.id, a.code, a.name, a.level, p.code as parent_code, a.short_name, a.mail_domain, a.valid_to
  from directory.agencies a left join directory.agencies p on p.id = a.parent_id;

create view directory.accounts_v as
  select c.id, c.kind, c.state, c.username, c.address, c.display_name, c.surname, c.given_name, c.title,
    c.certificate_path, c.version, c.entry_version, c.created_at, a.id as agency_id, a.code as agency_code, a.name as agency_name, a.mail_domain,
    own.address as agency_address,
    r.id as request_id, r.submitted_at, s.name as submitted_by_name, r.decided_at as approved_at,
    d.id as approved_by, d.name as approved_by_name, r.decision_number, r.decision_date
  from directory.accounts c
  join directory.agencies a on a.id = c.agency_id
  left join directory.request_lines l on l.account_id = c.id
  left join directory.requests r on r.id = l.request_id
  left join directory.clients s on s.id = r.submitted_by
  left join directory.clients d on d.id = r.decided_by
  left join directory.accounts own on own.agency_id = c.agency_id and own.kind = 'agency' and own.state <> 'retired';

-- What a decision notice says, and to whom it goes: the contact of the request, else the agency's own mailbox.
create view directory.decisions_v as
  select r.id as request_id, r.state, r.decided_at, r.remark, r.decision_number, r.decision_date, a.name as agency_name,
    a.code as agency_code, d.name as decided_by_name, r.submitted_at,
    coalesce(r.contact_address, own.address) as recipient,
    (select count(*) from directory.request_lines l where l.request_id = r.id)::int as line_count,
    (select coalesce(json_agg(json_build_object('name', c.display_name, 'address', c.address) order by l.line_number), '[]')
     from directory.request_lines l join directory.accounts c on c.id = l.account_id where l.request_id = r.id) as accounts
  from directory.requests r
  join directory.agencies a on a.id = r.agency_id
  left join directory.clients d on d.id = r.decided_by
  left join directory.accounts own on own.agency_id = r.agency_id and own.kind = 'agency' and own.state <> 'retired';

revoke execute on all functions in schema directory from public;
grant execute on function directory.agency_subtree to congvu_directory, congvu_mailbox, congvu_certificate;
grant execute on function directory.record_event to congvu_directory, congvu_mailbox, congvu_certificate;
grant execute on function directory.report_provisioned to congvu_directory, congvu_mailbox, congvu_certificate;
grant usage on schema directory to congvu_directory, congvu_mailbox, congvu_certificate;
grant select on directory.agencies_v, directory.accounts_v to congvu_mailbox, congvu_certificate;
grant select on directory.decisions_v to congvu_mailbox;
grant select, insert, update on directory.agencies, directory.clients, directory.requests, directory.request_lines,
  directory.accounts, directory.provisioning, directory.activation_codes to congvu_directory;
grant select, insert on directory.people, directory.usernames to congvu_directory;
grant select on directory.audit_events, directory.accounts_v, directory.agencies_v to congvu_directory;
grant select, insert, update, delete on directory.rate_limits to congvu_directory;
`);
