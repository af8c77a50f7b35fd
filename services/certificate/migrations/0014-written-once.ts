/**
 * What a certificate still wrote more than once. Invariants, of which the first two were kept by the service before:
 * - a certificate is stored with its audit event, which names who had it intended; no role can store one without
 * - its fingerprint is of its own octets
 * - a key is enrolled once: `enrolled_keys`, a row each that is never changed, in place of an index that every later change of the
 *   enrolment had to write again
 *
 * No index of enrolments speaks of the key or the state itself any more, so a change of these finds room beside the row that it
 * changes and writes no index at all (PostgreSQL's heap-only tuples).
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
set local statement_timeout = 0; -- the table is written anew, and may be large
-- In the order in which issuing takes them.
lock table certificate.enrolments, certificate.intents, certificate.certificates in access exclusive mode;

drop index certificate.enrolments_one_open, certificate.enrolments_one_renewal, certificate.enrolments_key_unique;
alter table certificate.enrolments set (fillfactor = 50); -- before the table is written anew
alter table certificate.enrolments
  add column is_open boolean not null
    generated always as (state in ('awaiting_approval', 'awaiting_csr', 'awaiting_pickup', 'issued')) stored,
  add column renewing uuid generated always as (case when state not in ('rejected', 'revoked') then renews end) stored;
create unique index enrolments_one_open on certificate.enrolments (account_id, profile, dns_names) where is_open;
create unique index enrolments_one_renewal on certificate.enrolments (renewing) where renewing is not null;

create table certificate.enrolled_keys (
  -- SHA-256 of the SubjectPublicKeyInfo.
  fingerprint bytea constraint enrolled_keys_unique primary key,
  enrolment_id uuid not null
);
insert into certificate.enrolled_keys
  select sha256(subject_public_key_info), id from certificate.enrolments where subject_public_key_info is not null and not same_key;
-- Who has an enrolment's key is looked up by it; a renewal that keeps its key has none of its own.
create function certificate.enrol_key() returns trigger
language plpgsql security definer set search_path = certificate, pg_temp as $$
begin
  insert into enrolled_keys values (sha256(new.subject_public_key_info), new.id);
  return null;
end $$;
create trigger enrol_key_of_new after insert on certificate.enrolments for each row
  when (new.subject_public_key_info is not null and not new.same_key) execute function certificate.enrol_key();
create trigger enrol_key after update on certificate.enrolments for each row
  when ((new.subject_public_key_info, new.same_key) is distinct from (old.subject_public_key_info, old.same_key)
    and new.subject_public_key_info is not null and not new.same_key)
  execute function certificate.enrol_key();
revoke execute on function certificate.enrol_key from public;
grant select on certificate.enrolled_keys to congvu_certificate;

-- They are few, and read all together.
drop index certificate.intents_list;
alter table certificate.intents
  -- As in directory.audit_events. Of what waits already it is not known any more.
  add column actor_kind text not null default 'system' check (actor_kind in ('client', 'holder', 'system')),
  add column actor_id text not null default 'certificate',
  add column source_ip inet;
alter table certificate.intents alter column actor_kind drop default, alter column actor_id drop default;

drop function certificate.store_signed;
-- Certificates in the place of their intents, with their events, of those whose intent was there; the enrolments of these. By the index,
-- and so in its order: two who store the same do not wait for each other in a circle; and to the planner a table whose rows come and go
-- is always small, but what went stays in its pages until it is vacuumed.
create function certificate.store_issued(enrolment_ids uuid[], signed_certificates bytea[]) returns uuid[]
language plpgsql security definer set search_path = certificate, pg_temp
  set enable_seqscan = off set enable_bitmapscan = off as $$
declare stored uuid[];
begin
  with intended as (delete from intents i where i.enrolment_id = any(enrolment_ids) returning i.*),
  signed as materialized (
    select i.*, given.certificate, sha256(given.certificate) as fingerprint
    from unnest(enrolment_ids, signed_certificates) as given(enrolment_id, certificate)
    join intended i on i.enrolment_id = given.enrolment_id),
  inserted as (
    insert into certificates (id, authority_id, serial_number, crl_partition, enrolment_id, account_id, agency_id, request_id,
      address, profile, key_kind, not_before, not_after, created_at, certificate, fingerprint_sha256, issued_at)
    select id, authority_id, serial_number, crl_partition, enrolment_id, account_id, agency_id, request_id,
      address, profile, key_kind, not_before, not_after, created_at, certificate, fingerprint, now() from signed),
  recorded as materialized (
    select directory.record_account_events(array_agg(actor_kind), array_agg(actor_id), array_agg(source_ip),
      array_agg('certificate.issued'::text), array_agg(account_id), array_agg(agency_id), array_agg(request_id),
      array_agg(jsonb_build_object('enrolmentId', enrolment_id, 'serialNumber', encode(serial_number, 'hex'), 'profile', profile,
        'fingerprintSha256', encode(fingerprint, 'hex'), 'intendedAt', created_at)))
    from signed)
  select array_agg(enrolment_id) into stored from signed, recorded;
  return coalesce(stored, '{}');
end $$;
revoke execute on function certificate.store_issued from public;
grant execute on function certificate.store_issued to congvu_certificate;
revoke execute on function directory.record_account_events from congvu_certificate; -- which no longer calls it
analyze certificate.enrolments, certificate.enrolled_keys;
`);
