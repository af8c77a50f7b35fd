/**
 * Requests that are carried out a part at a time, returned, and never two for one thing. Invariants that it adds:
 * - one line alone may wait to open an account for a person, or a mailbox for an agency; drafts reserve nothing
 * - one line alone may wait for the same operation on the same account
 * - a certificate is asked for by number: the account says how many it has been asked for, so that a new one after a
 *   revocation is another number and no retry ever makes two
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
alter table directory.requests
  -- Further documents by reference: [{number, date, issuer}]
  add column attachments jsonb not null default '[]',
  -- Lines that were read differently from how they were written.
  add column corrected_count int not null default 0,
  -- From where it was decided: what is carried out later was decided there too.
  add column decided_from inet;

alter table directory.request_lines add column carried_out_at timestamptz(3);
update directory.request_lines set carried_out_at = now() where account_id is not null;

-- Of lines that wait for the same person, the later ones' requests go back: an approval of them could only have failed.
with twice as (
  select l.request_id from directory.request_lines l join directory.requests r on r.id = l.request_id
  where l.state = 'submitted' and r.state = 'submitted' and exists (
    select 1 from directory.request_lines o join directory.requests q on q.id = o.request_id
    where o.state = 'submitted' and q.state = 'submitted' and (q.submitted_at, o.id) < (r.submitted_at, l.id)
      and (o.national_id_hash = l.national_id_hash or o.kind = 'agency' and l.kind = 'agency' and o.agency_id = l.agency_id))),
back as (
  update directory.requests set state = 'returned', version = version + 1,
    remark = 'Another request for one of these lines waited already.' where id in (select request_id from twice))
update directory.request_lines set state = 'draft' where request_id in (select request_id from twice);

drop index directory.request_lines_national_id;
create unique index request_lines_one_waiting_person on directory.request_lines (national_id_hash)
  where operation = 'open' and kind = 'person' and carried_out_at is null and state in ('submitted', 'approved');
create unique index request_lines_one_waiting_agency on directory.request_lines (agency_id)
  where operation = 'open' and kind = 'agency' and carried_out_at is null and state in ('submitted', 'approved');
create unique index request_lines_one_waiting_operation on directory.request_lines (target_account_id, operation)
  where operation <> 'open' and carried_out_at is null and state in ('submitted', 'approved');
create index request_lines_to_carry_out on directory.request_lines (request_id, line_number)
  where state = 'approved' and carried_out_at is null;
create index requests_open on directory.requests (agency_id) where state in ('submitted', 'returned');

create table directory.request_returns (
  id uuid primary key default gen_random_uuid(),
  request_id uuid not null references directory.requests,
  returned_by uuid not null references directory.clients,
  returned_at timestamptz(3) not null default now(),
  remark text not null,
  -- [{lineNumber, remark}]
  lines jsonb not null
);

alter table directory.accounts
  add column certificate_number int not null default 1,
  -- Why the last one was revoked by a request, as RFC 5280 names it.
  add column certificate_revocation_reason text;

-- What was revoked at retirement stays revoked, and what was a former holder's is not the new one's: the account is to have another.
create function directory.another_certificate() returns trigger language plpgsql as $$
begin
  new.certificate_number := old.certificate_number + 1;
  if new.credential_epoch > old.credential_epoch then
    new.certificate_revocation_reason := 'affiliationChanged';
  end if;
  return new;
end $$;
create trigger another_certificate before update on directory.accounts
  for each row when (new.state <> 'retired' and (old.state = 'retired' or new.credential_epoch > old.credential_epoch))
  execute function directory.another_certificate();
revoke execute on function directory.another_certificate from public;

-- What the certificate service makes true of an account.
create view directory.certificate_orders_v as
  select id as account_id, certificate_path, certificate_number, certificate_revocation_reason from directory.accounts;

-- What a decision notice says, and to whom it goes: the contact of the request, else the agency's own mailbox. It names the
-- first accounts alone, whatever the size of the request.
create or replace view directory.decisions_v as
  select r.id as request_id, r.state, r.decided_at, r.remark, r.decision_number, r.decision_date, a.name as agency_name,
    a.code as agency_code, d.name as decided_by_name, r.submitted_at,
    coalesce(r.contact_address, own.address) as recipient,
    (select count(*) from directory.request_lines l where l.request_id = r.id)::int as line_count,
    (select coalesce(json_agg(json_build_object('name', first.display_name, 'address', first.address) order by first.line_number), '[]')
     from (select l.line_number, c.display_name, c.address
       from directory.request_lines l join directory.accounts c on c.id = l.account_id
       where l.request_id = r.id order by l.line_number limit 50) first) as accounts,
    (select count(*) from directory.request_lines l where l.request_id = r.id and l.operation = 'open'
       and l.state in ('approved', 'fulfilled'))::int as opened_count,
    (select count(*) from directory.request_lines l where l.request_id = r.id and l.state = 'rejected')::int as rejected_count
  from directory.requests r
  join directory.agencies a on a.id = r.agency_id
  left join directory.clients d on d.id = r.decided_by
  left join directory.accounts own on own.agency_id = r.agency_id and own.kind = 'agency' and own.state <> 'retired';

create view directory.returns_v as
  select b.id as return_id, r.id as request_id, b.returned_at, b.remark, b.lines, a.name as agency_name, a.code as agency_code,
    d.name as returned_by_name, r.submitted_at, r.due_at, coalesce(r.contact_address, own.address) as recipient
  from directory.request_returns b
  join directory.requests r on r.id = b.request_id
  join directory.agencies a on a.id = r.agency_id
  join directory.clients d on d.id = b.returned_by
  left join directory.accounts own on own.agency_id = r.agency_id and own.kind = 'agency' and own.state <> 'retired';

grant select on directory.returns_v to congvu_mailbox;
grant select on directory.certificate_orders_v to congvu_certificate;
grant select, insert on directory.request_returns to congvu_directory;
`);
