/**
 * Enrolments that are asked for here, beside those that the directory orders; renewal; compromised keys; escrow. Invariants that it adds:
 * - an account has one open enrolment per profile and set of host names
 * - what needs two persons is decided by another than who asked
 * - nothing is signed for an enrolment that awaits its second person, or that was refused
 * - a key is enrolled once; a renewal that keeps its key has the key of the enrolment that it renews, and no other
 * - a key whose certificate was revoked as compromised is known as such from that moment on, whoever revokes
 * - an escrowed key is for two different officers, and stays as it was written; two officers at most are on duty
 * - a recovery is confirmed by another officer than who asked for it
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.enrolments
  -- What the directory orders goes by its number, what is asked for here by the account's credential epoch.
  add column credential_epoch int not null default 1,
  add column dns_names text[] not null default '{}',
  add column asked_by_kind text check (asked_by_kind in ('client', 'holder', 'system')),
  add column asked_by text,
  add column decided_by text,
  add column decided_at timestamptz(3),
  add column decision_remark text,
  add column idempotency_key text,
  add column body_hash bytea,
  add column renews uuid references certificate.enrolments,
  add column same_key boolean not null default false,
  add column wrapped_passphrase bytea,
  add column passphrase_shown_at timestamptz(3),
  drop constraint enrolments_state_check,
  add constraint enrolments_state_check check (state in ('awaiting_approval', 'awaiting_csr', 'awaiting_pickup', 'issued',
    'renewed', 'rejected', 'expired', 'revoked')),
  add constraint enrolments_four_eyes check (decided_by <> asked_by),
  add constraint enrolments_same_key check (not same_key or renews is not null);
drop index certificate.enrolments_one_open;
create unique index enrolments_one_open on certificate.enrolments (account_id, profile, dns_names)
  where state in ('awaiting_approval', 'awaiting_csr', 'awaiting_pickup', 'issued');
drop index certificate.enrolments_key_unique;
create unique index enrolments_key_unique on certificate.enrolments (sha256(subject_public_key_info))
  where subject_public_key_info is not null and not same_key;
create unique index enrolments_idempotency_unique on certificate.enrolments (asked_by, idempotency_key)
  where idempotency_key is not null;
create unique index enrolments_one_renewal on certificate.enrolments (renews) where state <> 'rejected' and state <> 'revoked';

create index enrolments_passphrase_shown on certificate.enrolments (passphrase_shown_at) where wrapped_passphrase is not null;

create function certificate.same_key_is_the_same() returns trigger language plpgsql as $$
begin
  if new.subject_public_key_info is distinct from (select subject_public_key_info from certificate.enrolments where id = new.renews) then
    raise exception 'a renewal that keeps its key has the key of the enrolment that it renews';
  end if;
  return new;
end $$;
create trigger same_key_is_the_same before insert or update of subject_public_key_info, same_key, renews on certificate.enrolments
  for each row when (new.same_key and new.subject_public_key_info is not null) execute function certificate.same_key_is_the_same();

create function certificate.nothing_unapproved() returns trigger language plpgsql as $$
begin
  if exists (select from added join certificate.enrolments e on e.id = added.enrolment_id
    where e.state in ('awaiting_approval', 'rejected')) then
    raise exception 'an enrolment without the approval that it needs gets no certificate';
  end if;
  return null;
end $$;
-- Once for however many are issued together.
create trigger nothing_unapproved after insert on certificate.certificates referencing new table as added
  for each statement execute function certificate.nothing_unapproved();

create table certificate.compromised_keys (
  -- SHA-256 of the SubjectPublicKeyInfo.
  fingerprint bytea primary key check (octet_length(fingerprint) = 32),
  reason text not null,
  reported_by_kind text not null,
  reported_by text not null,
  reported_at timestamptz(3) not null default now()
);

create function certificate.remember_compromised_key() returns trigger
language plpgsql security definer set search_path = certificate, pg_temp as $$
begin
  insert into compromised_keys (fingerprint, reason, reported_by_kind, reported_by)
  select sha256(subject_public_key_info), 'keyCompromise: certificate ' || encode(new.serial_number, 'hex'), 'system', 'certificate'
  from enrolments where id = new.enrolment_id and subject_public_key_info is not null
  on conflict do nothing;
  return null;
end $$;
create trigger remember_compromised_key after update of revocation_reason on certificate.certificates
  for each row when (new.revocation_reason = 'keyCompromise') execute function certificate.remember_compromised_key();

create table certificate.recovery_officers (
  id uuid primary key default gen_random_uuid(),
  client_id text not null,
  agency_id uuid not null,
  name text not null,
  certificate bytea not null,
  fingerprint_sha256 bytea not null constraint recovery_officers_certificate_unique unique,
  state text not null check (state in ('awaiting_proof', 'awaiting_approval', 'active', 'retired')),
  -- Of the two places on duty, which one: no two officers sit in one.
  seat smallint check (seat in (1, 2)),
  proof_hash bytea not null,
  approved_by text,
  created_at timestamptz(3) not null default now(),
  active_from timestamptz(3),
  retired_at timestamptz(3),
  constraint recovery_officers_seat check ((state = 'active') = (seat is not null)),
  constraint recovery_officers_approval check (approved_by <> client_id and (state <> 'active' or approved_by is not null))
);
create unique index recovery_officers_seat_unique on certificate.recovery_officers (seat) where seat is not null;
create unique index recovery_officers_client_unique on certificate.recovery_officers (client_id) where state <> 'retired';

create table certificate.escrowed_keys (
  enrolment_id uuid primary key references certificate.enrolments,
  account_id uuid not null,
  sealed_key bytea not null,
  first_officer_id uuid not null references certificate.recovery_officers,
  second_officer_id uuid not null references certificate.recovery_officers,
  first_share bytea not null,
  second_share bytea not null,
  created_at timestamptz(3) not null default now(),
  constraint escrowed_keys_two_officers check (first_officer_id <> second_officer_id)
);
create index escrowed_keys_account on certificate.escrowed_keys (account_id);

create table certificate.recoveries (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null,
  agency_id uuid not null,
  reason text not null,
  state text not null default 'awaiting_confirmation' check (state in ('awaiting_confirmation', 'confirmed', 'cancelled')),
  asked_by uuid not null references certificate.recovery_officers,
  confirmed_by uuid references certificate.recovery_officers,
  created_at timestamptz(3) not null default now(),
  confirmed_at timestamptz(3),
  -- A confirmation and the shares are to be had until then.
  open_until timestamptz(3) not null,
  constraint recoveries_two_officers check (confirmed_by <> asked_by),
  constraint recoveries_confirmed check ((state = 'confirmed') = (confirmed_by is not null and confirmed_at is not null))
);
create index recoveries_list on certificate.recoveries (created_at desc, id desc);
create unique index recoveries_one_waiting on certificate.recoveries (account_id) where state = 'awaiting_confirmation';

revoke execute on function certificate.same_key_is_the_same, certificate.nothing_unapproved, certificate.remember_compromised_key
  from public;
grant select, insert on certificate.compromised_keys, certificate.escrowed_keys to congvu_certificate;
grant select, insert, update on certificate.recovery_officers, certificate.recoveries to congvu_certificate;
`);
