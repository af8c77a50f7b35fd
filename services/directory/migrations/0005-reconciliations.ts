/**
 * Runs that compare the whole record with the whole of LDAP, and what they found. Invariants that it adds:
 * - a plan that had to wait is approved by another client than the one that started it
 * - a client's Idempotency-Key makes one run
 * - a finding that holds nothing but what is missing or too much names no attribute; one that changed always does
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table directory.reconciliations (
  id uuid primary key default gen_random_uuid(),
  mode text not null check (mode in ('report', 'repair')),
  remove_extra boolean not null default false check (not remove_extra or mode = 'repair'),
  -- The run looks at this agency and everything below it.
  agency_id uuid not null references directory.agencies,
  state text not null default 'queued' check (state in
    ('queued', 'comparing', 'awaiting_approval', 'repairing', 'completed', 'failed', 'cancelled')),
  -- Null for the schedule.
  started_by uuid references directory.clients,
  created_at timestamptz(3) not null default now(),
  finished_at timestamptz(3),
  approved_by uuid references directory.clients,
  approved_at timestamptz(3),
  approval_remark text,
  -- Who works on it: each taking up raises it, and an older worker's word no longer counts.
  attempt int not null default 0,
  seen_at timestamptz not null default now(),
  done_count int not null default 0,
  total_count int not null default 0,
  -- Accounts whose own jobs are still at work: neither right nor wrong yet.
  pending_count int not null default 0,
  -- Why it waits or failed: {code, detail}
  reason jsonb,
  idempotency_key text,
  body_hash bytea,
  version int not null default 1,
  constraint reconciliations_idempotency_unique unique (started_by, idempotency_key),
  constraint reconciliations_approved_by_another check (approved_by is null or approved_by is distinct from started_by),
  constraint reconciliations_finished check ((state in ('completed', 'failed', 'cancelled')) = (finished_at is not null))
);
create index reconciliations_list on directory.reconciliations (created_at desc, id desc);
create index reconciliations_active on directory.reconciliations (agency_id)
  where state in ('queued', 'comparing', 'repairing');

create table directory.reconciliation_findings (
  id bigint generated always as identity primary key,
  reconciliation_id uuid not null references directory.reconciliations,
  -- What it is about: account:<id>, agency:<code>, or entry:<dn> of an entry that nothing in the record stands for.
  subject text not null,
  kind text not null check (kind in ('missing', 'extra', 'changed')),
  account_id uuid references directory.accounts,
  agency_id uuid references directory.agencies,
  dn text not null,
  attribute text,
  expected text[] not null default '{}',
  actual text[] not null default '{}',
  last_modified_by text,
  last_modified_at timestamptz(3),
  detail text,
  state text not null default 'found' check (state in ('found', 'repairing', 'repaired', 'failed', 'obsolete')),
  -- Why it could not be repaired.
  failure text,
  constraint reconciliation_findings_attribute check ((kind = 'changed') = (attribute is not null))
);
create index reconciliation_findings_run on directory.reconciliation_findings (reconciliation_id, id);
create index reconciliation_findings_subject on directory.reconciliation_findings (reconciliation_id, state, subject);

grant select, insert, update on directory.reconciliations to congvu_directory;
-- What was not confirmed is taken back before the run ends.
grant select, insert, update, delete on directory.reconciliation_findings to congvu_directory;
`);
