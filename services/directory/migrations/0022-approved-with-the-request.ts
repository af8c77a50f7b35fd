/**
 * An approval no longer writes each line of its request: those that wait to be carried out are submitted, and approved because their
 * request is. The letter about the decision counts them too.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
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
       and (l.state in ('approved', 'fulfilled') or l.state = 'submitted' and r.state = 'approved'))::int as opened_count,
    (select count(*) from directory.request_lines l where l.request_id = r.id and l.state = 'rejected')::int as rejected_count
  from directory.requests r
  join directory.agencies a on a.id = r.agency_id
  left join directory.clients d on d.id = r.decided_by
  left join directory.accounts own on own.agency_id = r.agency_id and own.kind = 'agency' and own.state <> 'retired';
`);
