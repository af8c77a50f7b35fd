/**
 * Revocation lists whose making costs what changed. Invariants that it adds:
 * - whoever changes what a list says of a certificate, the change waits in crl_changes until a list has it, in the same transaction
 * - CRL numbers of a list only grow: each is taken once, and that of the last stays on record
 * - encoded entries never change under their id: what a process has read of them it may keep
 * - a hold that was decided does not end with a suspension; a revocation that lies ahead is one per certificate
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.certificates
  add column invalidity_date timestamptz,
  -- By somebody, and not only because the account is suspended.
  add column hold_decided boolean not null default false,
  add constraint certificates_hold_decided
    check (not hold_decided or revocation_reason is not distinct from 'certificateHold'),
  add constraint certificates_invalidity_date check (invalidity_date is null or state = 'revoked');
drop index certificate.certificates_revoked_list;
create index certificates_revoked_list on certificate.certificates (authority_id, crl_partition, serial_number)
  include (revoked_at, revocation_reason, invalidity_date, not_after) where state = 'revoked';

create table certificate.scheduled_revocations (
  certificate_id uuid primary key references certificate.certificates,
  revoke_at timestamptz(3) not null,
  reason text not null check (reason <> 'certificateHold'),
  invalidity_date timestamptz,
  actor_kind text not null,
  actor_id text not null,
  actor_ip text,
  created_at timestamptz(3) not null default now()
);
create index scheduled_revocations_due on certificate.scheduled_revocations (revoke_at);

create table certificate.crl_changes (
  authority_id uuid not null references certificate.authorities,
  crl_partition int not null,
  serial_number bytea not null
);
create index crl_changes_list on certificate.crl_changes (authority_id, crl_partition);

create function certificate.note_crl_change() returns trigger
language plpgsql security definer set search_path = certificate, pg_temp as $$
begin
  insert into crl_changes values (new.authority_id, new.crl_partition, new.serial_number);
  return null;
end $$;
create trigger note_crl_change after update of state, revoked_at, revocation_reason, invalidity_date on certificate.certificates
  for each row when ((old.state = 'revoked' or new.state = 'revoked') and
    (old.state, old.revoked_at, old.revocation_reason, old.invalidity_date) is distinct from
    (new.state, new.revoked_at, new.revocation_reason, new.invalidity_date))
  execute function certificate.note_crl_change();
create trigger note_crl_insertion after insert on certificate.certificates
  for each row when (new.state = 'revoked') execute function certificate.note_crl_change();
revoke execute on function certificate.note_crl_change from public;
insert into certificate.crl_changes
  select authority_id, crl_partition, serial_number from certificate.certificates where state = 'revoked';

-- Entries in the order of their serial numbers, from first_serial on to that of the next chunk.
create table certificate.crl_chunks (
  id bigint generated always as identity primary key,
  authority_id uuid not null references certificate.authorities,
  crl_partition int not null,
  first_serial bytea not null,
  entries bytea not null,
  entry_count int not null check (entry_count > 0),
  -- When the first of its certificates ends, and so has to leave it.
  first_end timestamptz not null
);
create index crl_chunks_list on certificate.crl_chunks (authority_id, crl_partition);

-- What is served: prefix, the chunks, suffix.
create table certificate.published_crls (
  authority_id uuid not null references certificate.authorities,
  crl_partition int not null,
  -- Another with every list, by which readers know what they have.
  version uuid not null default gen_random_uuid(),
  crl_number bigint not null,
  this_update timestamptz not null,
  next_update timestamptz not null,
  prefix bytea not null,
  chunk_ids bigint[] not null,
  suffix bytea not null,
  delta bytea,
  delta_next_update timestamptz,
  primary key (authority_id, crl_partition),
  check ((delta is null) = (delta_next_update is null))
);
insert into certificate.published_crls (authority_id, crl_partition, crl_number, this_update, next_update, prefix, chunk_ids, suffix)
  select distinct on (authority_id) authority_id, 0, crl_number, this_update, next_update, crl, '{}'::bigint[], ''::bytea
  from certificate.crls order by authority_id, crl_number desc;

-- The lists on which a delta can build: those still in date, with the serial numbers of what each changed.
delete from certificate.crls c where exists
  (select from certificate.crls later where later.authority_id = c.authority_id and later.crl_number > c.crl_number);
alter table certificate.crls
  add column crl_partition int not null default 0,
  add column changed bytea[] not null default '{}',
  drop column crl,
  drop constraint crls_pkey,
  add primary key (authority_id, crl_partition, crl_number);

alter table certificate.crl_chunks alter column entries set storage external;
alter table certificate.published_crls alter column delta set storage external;
grant select, delete on certificate.crl_changes to congvu_certificate;
grant select, insert, delete on certificate.crl_chunks, certificate.scheduled_revocations to congvu_certificate;
grant select, insert, update on certificate.published_crls to congvu_certificate;
`);
