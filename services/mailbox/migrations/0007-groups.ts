/**
 * Lists. Invariants that the database itself keeps:
 * - an agency has at most one list of its own, and that list's members are those of its subtree and nobody else
 * - a list is in itself never; who is in, owns or moderates one is so once
 * The members of an agency's list are written nowhere: they are found when a message comes.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table mailbox.groups (
  id uuid primary key default gen_random_uuid(),
  kind text not null check (kind in ('agency', 'hand_made')),
  -- What stands before the @; given once in the whole province (directory.take_mail_name).
  local_part text not null constraint groups_local_part_unique unique,
  address text not null,
  name text not null check (name <> ''),
  search_key text not null,
  agency_id uuid not null,
  posting text not null check (posting in ('anyone', 'province', 'members', 'moderators')),
  -- Besides the members by name: all people at and below an agency, or those with a title.
  rule_agency_id uuid,
  rule_title text,
  state text not null default 'active' check (state in ('active', 'closed')),
  client_id uuid,
  idempotency_key text,
  body_hash bytea,
  entry_version int not null default 0,
  version int not null default 1,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now(),
  constraint groups_idempotency_unique unique (client_id, idempotency_key),
  constraint groups_title_of_an_agency check (rule_title is null or rule_agency_id is not null),
  constraint groups_agency_rule check (kind <> 'agency' or (rule_agency_id = agency_id and rule_title is null))
);
create unique index groups_agency on mailbox.groups (agency_id) where kind = 'agency';
create index groups_of_agency on mailbox.groups (agency_id);
create index groups_list on mailbox.groups (created_at desc, id desc);
create index groups_unconverged on mailbox.groups (id) where entry_version < version;

create table mailbox.group_members (
  group_id uuid not null references mailbox.groups,
  -- Of one person or office.
  account_id uuid,
  -- Of another list.
  member_group_id uuid references mailbox.groups,
  constraint group_members_one check (num_nonnulls(account_id, member_group_id) = 1),
  constraint group_members_another check (member_group_id <> group_id),
  constraint group_members_account_once unique (group_id, account_id),
  constraint group_members_group_once unique (group_id, member_group_id)
);
create index group_members_group on mailbox.group_members (member_group_id);
create index group_members_account on mailbox.group_members (account_id);

create table mailbox.group_roles (
  group_id uuid not null references mailbox.groups,
  account_id uuid not null,
  role text not null check (role in ('owner', 'moderator')),
  -- Of an agency at or below the list's when the role was given: then the role is had no longer than that is so.
  is_bound boolean not null,
  primary key (group_id, role, account_id)
);
create index group_roles_account on mailbox.group_roles (account_id);

-- The lists in a list, itself among them.
create function mailbox.groups_within(outermost uuid) returns setof uuid
language sql stable set search_path = mailbox, pg_temp as $$
  with recursive inner_groups as (
    select g.id from groups g where g.id = outermost and g.state = 'active'
    union
    select g.id from inner_groups o join group_members m on m.group_id = o.id
      join groups g on g.id = m.member_group_id and g.state = 'active')
  select id from inner_groups
$$;

-- Whether the holder of a role, who is of that agency, still has it.
create function mailbox.role_holds(is_bound boolean, list_agency uuid, agency uuid) returns boolean
language sql stable set search_path = mailbox, pg_temp as $$
  select not is_bound or agency = list_agency
    or agency in (select directory.agency_subtree((select code from directory.agencies_v where id = list_agency)))
$$;

-- The directory says here, in its own transaction, which agencies changed, and can do nothing else with lists.
create function mailbox.request_agency_lists(agency_ids uuid[]) returns void
language sql security definer set search_path = mailbox, pg_temp as $$
  select mailbox_jobs.add_jobs(array(
    select row('converge-agency-lists', json_build_object('agencyIds', part.ids), null, null, null, null, null, null)::mailbox_jobs.job_spec
    from (select array_agg(id) as ids from unnest(agency_ids) with ordinality as one(id, place) group by (place - 1) / 500) part))
$$;

revoke execute on function mailbox.groups_within, mailbox.role_holds, mailbox.request_agency_lists from public;
grant execute on function mailbox.request_agency_lists to congvu_directory;
grant execute on function mailbox.groups_within, mailbox.role_holds to congvu_mailbox;
grant select, insert, update on mailbox.groups to congvu_mailbox;
grant select, insert, delete on mailbox.group_members, mailbox.group_roles to congvu_mailbox;
grant update (is_bound) on mailbox.group_roles to congvu_mailbox;
`);
