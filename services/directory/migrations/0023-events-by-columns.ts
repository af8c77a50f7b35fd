/**
 * Events of many accounts from what a statement has at hand already, a column each: as JSON each was written by one side and read by the
 * other, which was half of what it cost.
 */
import type { Knex } from 'knex';

export const up = (transaction: Knex.Transaction): Promise<unknown> =>
  transaction.raw(`
-- As in record_events the service is who is logged in. All arrays are of one length; of none, nothing happened.
create function directory.record_account_events(actor_kinds text[], actor_ids text[], source_ips inet[], actions text[],
  account_ids uuid[], agency_ids uuid[], request_ids uuid[], afters jsonb[]) returns void
language sql security definer set search_path = directory, pg_temp as $$
  insert into directory.audit_events
    (service, actor_kind, actor_id, actor_name, source_ip, action, subject_type, subject_id, agency_id, request_id, after)
  select replace(session_user, 'congvu_', ''), event.actor_kind, event.actor_id, client.name, event.source_ip, event.action,
    'account', event.account_id::text, event.agency_id, event.request_id, event.after
  from unnest(actor_kinds, actor_ids, source_ips, actions, account_ids, agency_ids, request_ids, afters) with ordinality
    as event(actor_kind, actor_id, source_ip, action, account_id, agency_id, request_id, after, place)
  left join directory.clients client on client.id::text = event.actor_id
  order by event.place
$$;
revoke execute on function directory.record_account_events from public;
grant execute on function directory.record_account_events to congvu_certificate;
revoke execute on function directory.record_events from congvu_certificate; -- which it no longer calls
`);
