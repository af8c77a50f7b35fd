/** Audit events of this service: who did what to what, recorded by the directory in the transaction of the fact. */
import type { AuditAction } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { client, type RouteContext } from '@congvu/http';

export interface Actor {
  kind: 'client' | 'system';
  id: string;
  ip: string | null;
  /** Agency whose subtree the actor may touch. */
  agencyCode: string;
}

export function actorOf(context: RouteContext): Actor {
  const { id, agencyCode } = client(context);
  return { kind: 'client', id, ip: context.ip || null, agencyCode };
}

export const systemActor = { kind: 'system', id: 'mailbox', ip: null } as const;

export interface AuditEvent {
  actor: Pick<Actor, 'id' | 'ip'> & { kind: string };
  action: AuditAction;
  subjectType: string;
  subjectId: string;
  agencyId: string | null;
  requestId?: string | null;
  /** Only what changed; never a secret. */
  before?: object | null;
  after?: object | null;
}

export async function recordEvents(transaction: Transaction, events: readonly AuditEvent[]): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map(({ actor, action, subjectType, subjectId, agencyId, requestId, before, after }) => ({
    actor_kind: actor.kind,
    actor_id: actor.id,
    source_ip: actor.ip,
    action,
    subject_type: subjectType,
    subject_id: subjectId,
    agency_id: agencyId,
    request_id: requestId ?? null,
    before: before ?? null,
    after: after ?? null,
  }));
  await transaction.raw('select directory.record_events(?::jsonb)', [JSON.stringify(rows)]);
}
