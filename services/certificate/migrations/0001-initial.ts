/**
 * Invariants that the database itself keeps:
 * - an account has one open enrolment per profile
 * - a serial number is used once per issuer, and is here, with what will be signed, before anything is signed
 * - what was signed never changes: the certificate of a serial is set once (no_second_certificate)
 * - CRL numbers of an issuer only grow
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create table certificate.authorities (
  id uuid primary key default gen_random_uuid(),
  name text not null constraint authorities_name_unique unique,
  kind text not null check (kind in ('root', 'issuing')),
  subject_key_identifier bytea not null constraint authorities_key_unique unique,
  certificate bytea not null,
  created_at timestamptz(3) not null default now()
);

create table certificate.enrolments (
  id uuid primary key default gen_random_uuid(),
  account_id uuid not null,
  profile text not null,
  path text not null check (path in ('server_key', 'csr')),
  state text not null check (state in ('awaiting_csr', 'awaiting_pickup', 'issued', 'rejected', 'expired')),
  wrapped_private_key bytea,
  subject_public_key_info bytea,
  picked_up_at timestamptz,
  pickup_open_until timestamptz,
  created_at timestamptz(3) not null default now(),
  updated_at timestamptz not null default now()
);
create index enrolments_list on certificate.enrolments (created_at desc, id desc);
-- A key belongs to one enrolment: nobody gets a certificate for a key that somebody else has.
create unique index enrolments_key_unique on certificate.enrolments (sha256(subject_public_key_info))
  where subject_public_key_info is not null and state <> 'rejected';
create unique index enrolments_one_open on certificate.enrolments (account_id, profile)
  where state in ('awaiting_csr', 'awaiting_pickup', 'issued');

create table certificate.certificates (
  id uuid primary key default gen_random_uuid(),
  authority_id uuid not null references certificate.authorities,
  serial_number bytea not null,
  enrolment_id uuid not null references certificate.enrolments,
  account_id uuid not null,
  agency_id uuid not null,
  request_id uuid,
  address text not null,
  profile text not null,
  key_kind text not null,
  state text not null default 'signing' check (state in ('signing', 'valid', 'revoked')),
  tbs bytea not null,
  certificate bytea,
  fingerprint_sha256 bytea constraint certificates_fingerprint_unique unique,
  not_before timestamptz not null,
  not_after timestamptz not null,
  created_at timestamptz(3) not null default now(),
  issued_at timestamptz,
  revoked_at timestamptz,
  revocation_reason text check (revocation_reason in ('unspecified', 'keyCompromise', 'affiliationChanged', 'superseded',
    'cessationOfOperation', 'certificateHold', 'privilegeWithdrawn')),
  constraint certificates_serial_unique unique (authority_id, serial_number),
  constraint certificates_signed check ((state = 'signing') = (certificate is null)),
  constraint certificates_revoked check ((state = 'revoked') = (revoked_at is not null))
);
create unique index certificates_one_per_enrolment on certificate.certificates (enrolment_id) where state <> 'revoked';
create index certificates_account on certificate.certificates (account_id);
create index certificates_list on certificate.certificates (created_at desc, id desc);
create index certificates_revoked_list on certificate.certificates (authority_id, serial_number) where state = 'revoked';

create function certificate.no_second_certificate() returns trigger language plpgsql as $$
begin
  if old.certificate is not null and new.certificate is distinct from old.certificate
     or new.tbs <> old.tbs or new.serial_number <> old.serial_number then
    raise exception 'what was signed under a serial number cannot change';
  end if;
  return new;
end $$;
create trigger no_second_certificate before update on certificate.certificates
  for each row execute function certificate.no_second_certificate();

create table certificate.crls (
  authority_id uuid not null references certificate.authorities,
  crl_number bigint not null check (crl_number > 0),
  this_update timestamptz not null,
  next_update timestamptz not null check (next_update > this_update),
  crl bytea not null,
  entry_count int not null,
  created_at timestamptz(3) not null default now(),
  primary key (authority_id, crl_number)
);

create function certificate.request_convergence(account_ids uuid[]) returns void
language sql security definer set search_path = certificate, pg_temp as $$
  -- One account alone is keyed, so that many changes of it make one job; many are shared out, 20 a job.
  select certificate_jobs.add_jobs(array(
    select row('converge-certificates', json_build_object('accountIds', part.ids), null, null, null,
      case when cardinality(account_ids) = 1 then 'certificates:' || account_ids[1] end, null, null)::certificate_jobs.job_spec
    from (select array_agg(id) as ids from unnest(account_ids) with ordinality as one(id, place) group by (place - 1) / 20) part))
$$;

revoke execute on all functions in schema certificate from public;
grant usage on schema certificate to congvu_certificate, congvu_directory;
grant execute on function certificate.request_convergence to congvu_directory;
grant select, insert, update on certificate.authorities, certificate.enrolments, certificate.certificates to congvu_certificate;
grant select, insert, delete on certificate.crls to congvu_certificate;
`);
