/**
 * What the OCSP responder needs. Invariants that it adds:
 * - whoever changes the status of a certificate, by whatever way, leaves the number of the transaction with it, so that a reader that
 *   knows its last snapshot finds exactly what was committed since, without a lock and in any order of commits
 * - a responder's serial number and TBS are here before anything is signed, and what was signed is set once
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.certificates add column status_changed_in xid8;
create index certificates_status_changed on certificate.certificates (status_changed_in) where status_changed_in is not null;

create function certificate.note_status_change() returns trigger language plpgsql as $$
begin
  new.status_changed_in := pg_current_xact_id();
  return new;
end $$;
create trigger note_status_change before update on certificate.certificates for each row
  when (old.state <> 'signing' and
    (new.state, new.revoked_at, new.revocation_reason) is distinct from (old.state, old.revoked_at, old.revocation_reason))
  execute function certificate.note_status_change();

create table certificate.ocsp_responders (
  id uuid primary key default gen_random_uuid(),
  authority_id uuid not null references certificate.authorities,
  serial_number bytea not null,
  tbs bytea not null,
  certificate bytea,
  -- Shared by all processes; destroyed when the certificate has ended.
  wrapped_private_key bytea,
  not_before timestamptz not null,
  not_after timestamptz not null check (not_after > not_before),
  created_at timestamptz(3) not null default now(),
  constraint ocsp_responders_serial_unique unique (authority_id, serial_number)
);
create index ocsp_responders_newest on certificate.ocsp_responders (authority_id, not_after desc);

create function certificate.no_second_responder() returns trigger language plpgsql as $$
begin
  if old.certificate is not null and new.certificate is distinct from old.certificate
     or new.tbs <> old.tbs or new.serial_number <> old.serial_number or new.authority_id <> old.authority_id then
    raise exception 'what was signed under a serial number cannot change';
  end if;
  return new;
end $$;
create trigger no_second_responder before update on certificate.ocsp_responders
  for each row execute function certificate.no_second_responder();

revoke execute on function certificate.note_status_change, certificate.no_second_responder from public;
grant select, insert, update on certificate.ocsp_responders to congvu_certificate;
`);
