/**
 * Several authorities, each for its purposes, one after the other. Invariants that it adds: the CRL partition of a certificate is
 * fixed at issuance, because it stands in the certificate; the name of an authority never changes, because it stands there too.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.authorities
  add column purposes text[] not null default '{}' check (purposes <@ array['signature', 'encryption', 'device']),
  add column state text not null default 'active' check (state in ('active', 'retired')),
  add column crl_partitions int not null default 1 check (crl_partitions between 1 and 1000);
update certificate.authorities set purposes = array['signature', 'encryption'] where kind = 'issuing';

create function certificate.name_stays() returns trigger language plpgsql as $$
begin
  if new.name <> old.name or new.certificate <> old.certificate then
    raise exception 'what stands in certificates about their authority cannot change';
  end if;
  return new;
end $$;
create trigger name_stays before update on certificate.authorities
  for each row execute function certificate.name_stays();
revoke execute on function certificate.name_stays from public;

alter table certificate.certificates
  add column crl_partition int not null default 0 check (crl_partition between 0 and 999);

create or replace function certificate.no_second_certificate() returns trigger language plpgsql as $$
begin
  if old.certificate is not null and new.certificate is distinct from old.certificate
     or new.tbs <> old.tbs or new.serial_number <> old.serial_number or new.crl_partition <> old.crl_partition then
    raise exception 'what was signed under a serial number cannot change';
  end if;
  return new;
end $$;
`);
