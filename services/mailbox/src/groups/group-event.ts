/** The audit events of lists, written in the transaction of the fact; and with each the wish that LDAP follow. */
import type { AuditAction } from '@congvu/contracts';
import { addJobs, type Transaction } from '@congvu/database';
import { client, type RouteContext } from '@congvu/http';

/** Who changes a list: a client of the API, who keeps to the subtree of an agency. */
export interface GroupActor {
  id: string;
  ip: string | null;
  agencyCode: string;
}

export const groupActorOf = (context: RouteContext): GroupActor => {
  const { id, agencyCode } = client(context);
  return { id, ip: context.ip || null, agencyCode };
};

export interface GroupEvent {
  action: Extract<AuditAction, `group.${string}`>;
  group: { id: string; agency_id: string };
  before?: object | null;
  after?: object | null;
}

/** Without an actor the platform did it by itself. */
export async function recordGroupEvents(
  transaction: Transaction,
  events: readonly GroupEvent[],
  actor?: GroupActor,
): Promise<void> {
  if (events.length === 0) return;
  const rows = events.map(({ action, group, before, after }) => ({
    actor_kind: actor ? 'client' : 'system',
    actor_id: actor?.id ?? 'mailbox',
    source_ip: actor?.ip ?? null,
    action,
    subject_type: 'group',
    subject_id: group.id,
    agency_id: group.agency_id,
    before: before ?? null,
    after: after ?? null,
  }));
  await transaction.raw('select directory.record_events(?::json)', [JSON.stringify(rows)]);
  await addJobs(transaction, 'mailbox', [{ task: 'converge-groups', payload: {}, key: 'groups' }]);
}
