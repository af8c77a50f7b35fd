/** Audit events of the mailbox service: who did it, written by the directory's one function in the transaction of the fact. */
import { isIP } from 'node:net';
import type { AuditAction } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { client, type RouteContext } from '@congvu/http';

export interface Actor {
  kind: 'client' | 'system';
  id: string;
  ip: string | null;
}

export const systemActor: Actor = { kind: 'system', id: 'mailbox', ip: null };

export const actorOf = (context: RouteContext): Actor => ({ kind: 'client', id: client(context).id, ip: context.ip });

export interface AuditEvent {
  action: AuditAction;
  subjectType: 'account' | 'domain';
  subjectId: string;
  agencyId: string | null;
  before?: object | null;
  after?: object | null;
}

/** Many at once: one statement, whatever their number. */
export async function recordEvents(
  transaction: Transaction,
  actor: Actor,
  events: readonly AuditEvent[],
): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map(({ action, subjectType, subjectId, agencyId, before, after }) => ({
    actor_kind: actor.kind,
    actor_id: actor.id,
    source_ip: actor.ip !== null && isIP(actor.ip) ? actor.ip : null,
    action,
    subject_type: subjectType,
    subject_id: subjectId,
    agency_id: agencyId,
    before: before ?? null,
    after: after ?? null,
  }));
  await transaction.raw('select directory.record_events(?::json)', [JSON.stringify(rows)]);
}
