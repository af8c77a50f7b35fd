/**
 * Which request a certificate rests on: the one that ordered it, not the one that once opened the account. And who asked and who decided,
 * by name, for the register of certificates. Read-only, and nothing else.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
create or replace view directory.certificate_orders_v as
  select c.id as account_id, c.certificate_path, c.certificate_number, c.certificate_revocation_reason,
    coalesce(
      (select o.request_id from directory.request_lines o
       where o.target_account_id = c.id and o.operation = 'issue_certificate' and o.state in ('approved', 'fulfilled')
         and o.carried_out_at is not null order by o.carried_out_at desc limit 1),
      (select l.request_id from directory.request_lines l where l.account_id = c.id)) as certificate_request_id
  from directory.accounts c;

create view directory.request_provenance_v as
  select r.id as request_id, s.name as submitted_by_name, r.submitted_at, r.decided_at as approved_at,
    d.id as approver_id, d.name as approved_by_name, r.decision_number
  from directory.requests r
  left join directory.clients s on s.id = r.submitted_by
  left join directory.clients d on d.id = r.decided_by;

create view directory.client_names_v as select id, name from directory.clients;

grant select on directory.request_provenance_v, directory.client_names_v to congvu_certificate;
`);
