/**
 * Issuing writes each certificate and each enrolment twice, and for every row a function was called that had nothing to say, and the
 * authority and the enrolment were looked up and locked one row at a time. The same rules, asked where they may be broken: conditions
 * of triggers decide whether a function is called, and what an insertion names is looked up for all its rows together. As everywhere,
 * no role may delete what is named; and what a certificate is of does not change either.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- In the order in which issuing takes them.
lock table certificate.enrolments, certificate.certificates in access exclusive mode;

create or replace function certificate.no_second_certificate() returns trigger language plpgsql as $$
begin
  raise exception 'what was signed under a serial number cannot change';
end $$;
drop trigger no_second_certificate on certificate.certificates;
create trigger no_second_certificate before update on certificate.certificates for each row
  when (old.certificate is not null and new.certificate is distinct from old.certificate
    or new.tbs <> old.tbs or new.serial_number <> old.serial_number or new.crl_partition <> old.crl_partition
    or new.authority_id <> old.authority_id or new.enrolment_id <> old.enrolment_id)
  execute function certificate.no_second_certificate();

create or replace function certificate.revoked_stays_revoked() returns trigger language plpgsql as $$
begin
  raise exception 'an enrolment that was closed does not open again';
end $$;
drop trigger revoked_stays_revoked on certificate.enrolments;
create trigger revoked_stays_revoked before update on certificate.enrolments for each row
  when (old.state = 'revoked' and new.state <> 'revoked')
  execute function certificate.revoked_stays_revoked();

alter table certificate.certificates
  drop constraint certificates_authority_id_fkey, drop constraint certificates_enrolment_id_fkey;
create or replace function certificate.nothing_unapproved() returns trigger language plpgsql as $$
begin
  if exists (select from added cross join lateral (
      select (select e.state from certificate.enrolments e where e.id = added.enrolment_id) as enrolment_state,
        exists (select from certificate.authorities a where a.id = added.authority_id) as has_authority) named
    where not has_authority or enrolment_state is null or enrolment_state in ('awaiting_approval', 'rejected')) then
    if exists (select from added where not exists (select from certificate.authorities a where a.id = added.authority_id)) then
      raise foreign_key_violation using message = 'a certificate names an authority that is not there',
        schema = 'certificate', table = 'certificates', constraint = 'certificates_authority_id_fkey';
    elsif exists (select from added where not exists (select from certificate.enrolments e where e.id = added.enrolment_id)) then
      raise foreign_key_violation using message = 'a certificate names an enrolment that is not there',
        schema = 'certificate', table = 'certificates', constraint = 'certificates_enrolment_id_fkey';
    end if;
    raise exception 'an enrolment without the approval that it needs gets no certificate';
  end if;
  return null;
end $$;
`);
