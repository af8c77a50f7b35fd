/**
 * The register, what the Government's CA issued, and ends that draw near. Invariants that it adds:
 * - who picked a key up, and in which form, stands beside when
 * - a credential of the Government's CA has a certificate exactly while it is issued or revoked, and no certificate is in the record twice
 * - what was sent went with a letter; what came back has a remark
 * - a client's Idempotency-Key makes one request
 * - no certificate that ran out is passed over on its way out of LDAP
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.enrolments
  -- The name of the account's holder at that time: a position passes from hand to hand.
  add column picked_up_by text,
  add column picked_up_form text check (picked_up_form in ('modern', 'legacy'));

-- Up to which moment those that ran out were taken out of LDAP: one row.
create table certificate.withdrawals (
  one_row boolean primary key default true check (one_row),
  until timestamptz not null
);
insert into certificate.withdrawals (until) values ('2000-01-01');

create index certificates_agency on certificate.certificates (agency_id, created_at desc, id desc);
create index certificates_address on certificate.certificates (address);
create index certificates_request on certificate.certificates (request_id) where request_id is not null;
-- What runs out next, what ran out since.
create index certificates_ends on certificate.certificates (not_after, id);

create table certificate.external_credentials (
  id uuid primary key,
  kind text not null check (kind in ('individual', 'organisation', 'device')),
  state text not null default 'drafted'
    check (state in ('drafted', 'sent', 'returned', 'issued', 'revoked', 'cancelled')),
  account_id uuid not null,
  -- Where the account was when it was asked for.
  agency_id uuid not null,
  -- As the Government's CA asks it, but for the identity number, of which this has the last digits alone.
  form jsonb not null,
  identity_sealed bytea,
  letter_number text,
  sent_at timestamptz(3),
  sent_by uuid,
  remark text,
  certificate bytea,
  fingerprint_sha256 bytea constraint external_credentials_fingerprint_unique unique,
  key_sha256 bytea,
  serial_number bytea,
  issuer text,
  subject text,
  key_kind text,
  not_before timestamptz,
  not_after timestamptz,
  chain_verified boolean,
  registered_at timestamptz(3),
  revoked_at timestamptz,
  revocation_reason text check (revocation_reason in ('unspecified', 'keyCompromise', 'affiliationChanged', 'superseded',
    'cessationOfOperation', 'privilegeWithdrawn')),
  created_at timestamptz(3) not null default now(),
  created_by uuid not null,
  idempotency_key text,
  body_hash bytea,
  version int not null default 1,
  constraint external_credentials_idempotency_unique unique (created_by, idempotency_key),
  constraint external_credentials_certified
    check ((state in ('issued', 'revoked')) = (num_nulls(certificate, fingerprint_sha256, key_sha256, serial_number, issuer, subject,
      key_kind, not_before, not_after, registered_at) = 0)
      and num_nulls(certificate, fingerprint_sha256, key_sha256, serial_number, issuer, subject, key_kind, not_before, not_after,
      registered_at) in (0, 10)),
  constraint external_credentials_revoked
    check ((state = 'revoked') = (revoked_at is not null) and (revoked_at is null) = (revocation_reason is null)),
  constraint external_credentials_sent check (state not in ('sent', 'returned') or (letter_number is not null and sent_at is not null)),
  constraint external_credentials_returned check (state <> 'returned' or remark is not null)
);
create index external_credentials_list on certificate.external_credentials (created_at desc, id desc);
create index external_credentials_account on certificate.external_credentials (account_id);
create index external_credentials_agency on certificate.external_credentials (agency_id);
create index external_credentials_registered on certificate.external_credentials (registered_at desc, id desc)
  where registered_at is not null;
create index external_credentials_ends on certificate.external_credentials (not_after, id) where state = 'issued';
create index external_credentials_key on certificate.external_credentials (key_sha256) where key_sha256 is not null;

-- What the mail service tells holders and agencies of: valid now, and nothing there that takes its place. Of devices an account may
-- have many at once, and of each the end counts.
create view certificate.expiring_certificates_v as
  select x.account_id, encode(x.serial_number, 'hex') as serial_number, x.profile, x.issued_at, x.not_after
  from certificate.certificates x
  where x.state = 'valid' and not exists (select from certificate.certificates n
    where n.account_id = x.account_id and n.profile = x.profile and n.state = 'valid' and n.not_after > x.not_after
      and n.profile not like 'tls-%')
  union all
  select q.account_id, encode(q.serial_number, 'hex'), 'external-' || q.kind, q.registered_at, q.not_after
  from certificate.external_credentials q
  where q.state = 'issued' and not exists (select from certificate.external_credentials n
    where n.account_id = q.account_id and n.kind = q.kind and n.state = 'issued' and n.not_after > q.not_after
      and n.kind <> 'device');

grant select, insert, update on certificate.external_credentials to congvu_certificate;
grant select, update on certificate.withdrawals to congvu_certificate;
grant usage on schema certificate to congvu_mailbox;
grant select on certificate.expiring_certificates_v to congvu_mailbox;
`);
