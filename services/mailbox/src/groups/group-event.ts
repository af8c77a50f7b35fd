/** The audit events of lists, written in the transaction of the fact; and with each the wish that LDAP follow. */
import type { AuditAction } from '@congvu/contracts';
import { addJobs, type Transaction } from '@congvu/database';
import { type Actor, recordEvents, systemActor } from '../audit/audit-event.ts';

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
  actor?: Actor,
): Promise<void> {
  if (events.length === 0) return;
  await recordEvents(
    transaction,
    events.map(({ group, ...event }) => ({
      ...event,
      actor: actor ?? systemActor,
      subjectType: 'group',
      subjectId: group.id,
      agencyId: group.agency_id,
    })),
  );
  await addJobs(transaction, 'mailbox', [{ task: 'converge-groups', payload: {}, key: 'groups' }]);
}
