/**
 * What will be signed stands in a table of its own until it is: a certificate and its enrolment are written once, with their many
 * indexes, and not twice. Invariants, of which the first was one of `certificates` before:
 * - a serial number is used once per issuer, an enrolment has one certificate, an authority and the approval that it needs; this is
 *   looked at before anything is signed
 * - an intent does not change, and it ends by its certificate alone: no role may delete it, and no role makes a certificate but by
 *   `store_signed`, which takes everything but the certificate itself from the intent
 * - of a certificate nothing changes but its revocation
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- In the order in which issuing takes them.
lock table certificate.enrolments, certificate.certificates in access exclusive mode;

create table certificate.intents (
  enrolment_id uuid primary key,
  -- Of the certificate.
  id uuid not null default gen_random_uuid(),
  authority_id uuid not null,
  serial_number bytea not null,
  crl_partition int not null,
  account_id uuid not null,
  agency_id uuid not null,
  request_id uuid,
  address text not null,
  profile text not null,
  key_kind text not null,
  tbs bytea not null,
  not_before timestamptz not null,
  not_after timestamptz not null,
  created_at timestamptz(3) not null default now()
) with (toast_tuple_target = 4080, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
alter table certificate.intents add constraint intents_serial_unique unique (authority_id, serial_number);
create index intents_list on certificate.intents (created_at desc, id desc);

insert into certificate.intents (enrolment_id, id, authority_id, serial_number, crl_partition, account_id, agency_id, request_id, address,
    profile, key_kind, tbs, not_before, not_after, created_at)
  select enrolment_id, id, authority_id, serial_number, crl_partition, account_id, agency_id, request_id, address,
    profile, key_kind, tbs, not_before, not_after, created_at
  from certificate.certificates where state = 'signing';
update certificate.enrolments e set state = 'issued', updated_at = now()
  from certificate.intents i where e.id = i.enrolment_id and e.path = 'csr' and e.state = 'awaiting_csr';
delete from certificate.certificates where state = 'signing';

drop trigger no_second_certificate on certificate.certificates;
create trigger no_second_certificate before update on certificate.certificates for each row
  when (new.certificate <> old.certificate or new.serial_number <> old.serial_number or new.crl_partition <> old.crl_partition
    or new.authority_id <> old.authority_id or new.enrolment_id <> old.enrolment_id)
  execute function certificate.no_second_certificate();
drop trigger note_status_change on certificate.certificates;
create trigger note_status_change before update on certificate.certificates for each row
  when ((new.state, new.revoked_at, new.revocation_reason) is distinct from (old.state, old.revoked_at, old.revocation_reason))
  execute function certificate.note_status_change();
drop trigger nothing_unapproved on certificate.certificates;
drop index certificate.certificates_signing;
alter table certificate.certificates
  drop constraint certificates_signed,
  drop constraint certificates_state_check,
  add constraint certificates_state_check check (state in ('valid', 'revoked')),
  alter column state set default 'valid',
  alter column certificate set not null,
  drop column tbs;

-- By the indexes, row by row, though the plan may be made while the register is empty.
create or replace function certificate.nothing_unapproved() returns trigger language plpgsql set enable_seqscan = off as $$
declare wrong record;
begin
  select named.* into wrong from added cross join lateral (
    select (select e.state from certificate.enrolments e where e.id = added.enrolment_id) as enrolment_state,
      (select a.id from certificate.authorities a where a.id = added.authority_id) as authority_id,
      (select c.id from certificate.certificates c
        where c.authority_id = added.authority_id and c.serial_number = added.serial_number) as of_serial,
      (select c.id from certificate.certificates c where c.enrolment_id = added.enrolment_id) as of_enrolment) named
  where named.authority_id is null or of_serial is not null or of_enrolment is not null
    or enrolment_state is null or enrolment_state in ('awaiting_approval', 'rejected')
  limit 1;
  if not found then
    return null;
  elsif wrong.authority_id is null then
    raise foreign_key_violation using message = 'an intent names an authority that is not there',
      schema = 'certificate', table = 'intents', constraint = 'intents_authority_id_fkey';
  elsif wrong.enrolment_state is null then
    raise foreign_key_violation using message = 'an intent names an enrolment that is not there',
      schema = 'certificate', table = 'intents', constraint = 'intents_enrolment_id_fkey';
  elsif wrong.of_serial is not null then
    raise unique_violation using message = 'a serial number is used once per issuer',
      schema = 'certificate', table = 'certificates', constraint = 'certificates_serial_unique';
  elsif wrong.of_enrolment is not null then
    raise unique_violation using message = 'an enrolment has one certificate',
      schema = 'certificate', table = 'certificates', constraint = 'certificates_one_per_enrolment';
  end if;
  raise exception 'an enrolment without the approval that it needs gets no certificate';
end $$;
-- Once for however many are intended together.
create trigger nothing_unapproved after insert on certificate.intents referencing new table as added
  for each statement execute function certificate.nothing_unapproved();

-- Certificates in the place of their intents, of those whose intent was there. Locked in one order, so that two who
-- store the same do not wait for each other in a circle. By the index: to the planner a table whose rows come and go is always small,
-- but what went stays in its pages until it is vacuumed.
create function certificate.store_signed(enrolment_ids uuid[], signed_certificates bytea[], fingerprints bytea[])
  returns setof certificate.certificates
language plpgsql security definer set search_path = certificate, pg_temp set enable_seqscan = off as $$
begin
  return query
    with locked as materialized (
      select i.enrolment_id from intents i where i.enrolment_id = any(enrolment_ids) order by i.enrolment_id for update),
    intended as (delete from intents i using locked where i.enrolment_id = locked.enrolment_id returning i.*)
    insert into certificates as c (id, authority_id, serial_number, crl_partition, enrolment_id, account_id, agency_id, request_id,
      address, profile, key_kind, not_before, not_after, created_at, certificate, fingerprint_sha256, issued_at)
    select i.id, i.authority_id, i.serial_number, i.crl_partition, i.enrolment_id, i.account_id, i.agency_id, i.request_id,
      i.address, i.profile, i.key_kind, i.not_before, i.not_after, i.created_at, signed.certificate, signed.fingerprint, now()
    from unnest(enrolment_ids, signed_certificates, fingerprints) as signed(enrolment_id, certificate, fingerprint)
    join intended i on i.enrolment_id = signed.enrolment_id
    returning c.*;
end $$;

revoke execute on function certificate.store_signed from public;
grant execute on function certificate.store_signed to congvu_certificate;
grant select, insert on certificate.intents to congvu_certificate;
revoke insert, update on certificate.certificates from congvu_certificate;
grant update (state, revoked_at, revocation_reason, invalidity_date, hold_decided) on certificate.certificates to congvu_certificate;
`);
