/** Audit events: written in the transaction of the fact that they record, read page by page, never changed. */
import { isIP } from 'node:net';
import type { AuditEvent as WireEvent } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import type { AuditEvent } from './audit-event.ts';

/** Many at once: one statement, whatever their number. */
export async function insertEvents(connection: Connection, events: readonly AuditEvent[]): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map(({ actor, action, subjectType, subjectId, agencyId, requestId, before, after }) => ({
    actor_kind: actor.kind,
    actor_id: actor.id,
    source_ip: addressOf(actor.ip),
    action,
    subject_type: subjectType,
    subject_id: subjectId,
    agency_id: agencyId,
    request_id: requestId ?? null,
    before: before ?? null,
    after: after ?? null,
  }));
  await connection.raw('select directory.record_events(?::json)', [JSON.stringify(rows)]);
}

/** A proxy may have made the address up; then the event is kept without one, and never lost for it. */
function addressOf(ip: string | null): string | null {
  const address = ip?.replace(/%.*$/, '') ?? ''; // the zone of a link-local address means nothing elsewhere
  return isIP(address) ? address : null;
}

export interface EventFilter {
  /** Agencies whose events may be seen; undefined means all events, also those of no agency. */
  agencyIds: readonly string[] | undefined;
  actorId?: string | undefined;
  actorName?: string | undefined;
  service?: string | undefined;
  subjectType?: string | undefined;
  subjectId?: string | undefined;
  action?: string | undefined;
  requestId?: string | undefined;
  decisionNumber?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

interface EventRow {
  id: string;
  occurred_at: Date;
  service: string;
  actor_kind: string;
  actor_id: string;
  actor_name: string | null;
  source_ip: string | null;
  action: string;
  subject_type: string;
  subject_id: string;
  agency_code: string | null;
  request_id: string | null;
  decision_number: string | null;
  decision_date: string | null;
  before: unknown;
  after: unknown;
}

/** With more agencies than this their events are met often enough in the list of all. */
const fewAgencies = 150;

/** In the order of their ids; `after` is the last one seen. One more than `limit` is returned when there are more. */
export async function listEvents(
  connection: Connection,
  filter: EventFilter,
  order: 'desc' | 'asc',
  limit: number,
  after: string | undefined,
): Promise<WireEvent[]> {
  const { agencyIds } = filter;
  const filtered = connection('directory.audit_events as e')
    .select('e.*')
    .modify((query) => {
      for (const [column, value] of [
        ['actor_id', filter.actorId],
        ['service', filter.service],
        ['subject_type', filter.subjectType],
        ['subject_id', filter.subjectId],
        ['action', filter.action],
        ['request_id', filter.requestId],
      ] as const) {
        if (value !== undefined) query.where(`e.${column}`, value);
      }
      if (filter.actorName !== undefined)
        query.whereRaw('e.actor_id = any(array(select id::text from directory.clients where name = ?))', [
          filter.actorName,
        ]);
      if (filter.decisionNumber !== undefined)
        query.whereRaw('e.request_id = any(array(select id from directory.requests where decision_number = ?))', [
          filter.decisionNumber,
        ]);
      // Ids grow with time but for events of the same moment: so the walk by id begins and ends near the times.
      if (filter.from)
        query.where('e.occurred_at', '>=', filter.from).whereRaw(
          `e.id > coalesce((select id from directory.audit_events where occurred_at < ?::timestamptz - interval '1 hour'
             order by occurred_at desc limit 1), 0)`,
          [filter.from],
        );
      if (filter.to)
        query.where('e.occurred_at', '<', filter.to).whereRaw(
          `e.id < coalesce((select id from directory.audit_events where occurred_at >= ?::timestamptz + interval '1 hour'
             order by occurred_at limit 1), 9223372036854775807)`,
          [filter.to],
        );
      if (after) query.where('e.id', order === 'desc' ? '<' : '>', after);
    })
    .orderBy('e.id', order)
    .limit(limit + 1);
  if (agencyIds && agencyIds.length > fewAgencies) filtered.whereIn('e.agency_id', agencyIds);
  // The first ones of each agency by its own index, however few its events are among all.
  const found =
    agencyIds && agencyIds.length <= fewAgencies
      ? connection
          .select('e.*')
          .fromRaw('unnest(?::uuid[]) as agency(id) cross join lateral ? as e', [
            agencyIds,
            filtered.whereRaw('e.agency_id = agency.id'),
          ] as never)
          .orderBy('e.id', order)
          .limit(limit + 1)
      : filtered;
  const rows: EventRow[] = await connection
    .from(found.as('e'))
    .leftJoin('directory.agencies as a', 'a.id', 'e.agency_id')
    .leftJoin('directory.requests as r', 'r.id', 'e.request_id')
    .select('e.*', 'a.code as agency_code', 'r.decision_number')
    .select(connection.raw("to_char(r.decision_date, 'YYYY-MM-DD') as decision_date"))
    .orderBy('e.id', order);
  return rows.map((row) => ({
    id: String(row.id),
    occurredAt: row.occurred_at.toISOString(),
    service: row.service,
    actorKind: row.actor_kind,
    actorId: row.actor_id,
    actorName: row.actor_name,
    sourceIp: row.source_ip,
    action: row.action,
    subjectType: row.subject_type,
    subjectId: row.subject_id,
    agencyCode: row.agency_code,
    requestId: row.request_id,
    decisionNumber: row.decision_number,
    decisionDate: row.decision_date,
    before: row.before,
    after: row.after,
  }));
}
