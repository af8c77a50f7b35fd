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
  await connection.raw(
    `select count(directory.record_event(actor_kind, actor_id, source_ip, action, subject_type, subject_id, agency_id,
       request_id, before, after))
     from jsonb_to_recordset(?::jsonb) as event(actor_kind text, actor_id text, source_ip inet, action text,
       subject_type text, subject_id text, agency_id uuid, request_id uuid, before jsonb, after jsonb)`,
    [JSON.stringify(rows)],
  );
}

/** A proxy may have made the address up; then the event is kept without one, and never lost for it. */
function addressOf(ip: string | null): string | null {
  const address = ip?.replace(/%.*$/, '') ?? ''; // the zone of a link-local address means nothing elsewhere
  return isIP(address) ? address : null;
}

export interface EventFilter {
  scope: string;
  subjectType?: string | undefined;
  subjectId?: string | undefined;
  action?: string | undefined;
  requestId?: string | undefined;
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
  before: unknown;
  after: unknown;
}

/** Newest first; `before` is the id of the last event seen. One more row than `limit` is returned when there are more. */
export async function listEvents(
  connection: Connection,
  filter: EventFilter,
  limit: number,
  before: string | undefined,
): Promise<WireEvent[]> {
  const rows: EventRow[] = await connection('directory.audit_events as e')
    .leftJoin('directory.agencies as a', 'a.id', 'e.agency_id')
    .select('e.*', 'a.code as agency_code')
    .where((where) => {
      where.whereRaw('e.agency_id in (select directory.agency_subtree(?))', [filter.scope]);
      // What belongs to no agency (clients, platform) is for those whose subtree is the whole province.
      where.orWhere((none) => {
        none
          .whereNull('e.agency_id')
          .whereRaw('exists (select 1 from directory.agencies root where root.code = ? and root.parent_id is null)', [
            filter.scope,
          ]);
      });
    })
    .modify((query) => {
      if (filter.subjectType) query.where('e.subject_type', filter.subjectType);
      if (filter.subjectId) query.where('e.subject_id', filter.subjectId);
      if (filter.action) query.where('e.action', filter.action);
      if (filter.requestId) query.where('e.request_id', filter.requestId);
      if (filter.from) query.where('e.occurred_at', '>=', filter.from);
      if (filter.to) query.where('e.occurred_at', '<', filter.to);
      if (before) query.where('e.id', '<', before);
    })
    .orderBy('e.id', 'desc')
    .limit(limit + 1);
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
    before: row.before,
    after: row.after,
  }));
}
