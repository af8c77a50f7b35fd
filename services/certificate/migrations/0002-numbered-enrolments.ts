/**
 * An account may be asked for a certificate more than once. Invariant that it adds: an enrolment says which of them it is, and
 * one that a later one took the place of, or that was withdrawn, is closed as revoked and never opens again.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table certificate.enrolments
  add column number int not null default 1,
  drop constraint enrolments_state_check,
  add constraint enrolments_state_check
    check (state in ('awaiting_csr', 'awaiting_pickup', 'issued', 'rejected', 'expired', 'revoked'));
create index enrolments_account on certificate.enrolments (account_id);

create function certificate.revoked_stays_revoked() returns trigger language plpgsql as $$
begin
  if old.state = 'revoked' and new.state <> 'revoked' then
    raise exception 'an enrolment that was closed does not open again';
  end if;
  return new;
end $$;
create trigger revoked_stays_revoked before update on certificate.enrolments
  for each row execute function certificate.revoked_stays_revoked();
revoke execute on function certificate.revoked_stays_revoked from public;
`);
