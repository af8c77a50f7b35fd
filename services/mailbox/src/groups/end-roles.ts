/**
 * Whoever runs a list because they are of its agency runs it no more once they are transferred away: what a transfer brought about is put on
 * record here, with an audit event. Posting does not wait for that (member-store.ts). Members by name stay: they are people, not an agency's.
 * Harmless to repeat.
 */
import type { Database } from '@congvu/database';
import { recordGroupEvents } from './group-event.ts';
import { updateGroup } from './group-store.ts';
import { deleteLostRoles } from './member-store.ts';

/** Of these accounts, or of all. */
export const endLostRoles = (database: Database, accountIds?: readonly string[]): Promise<void> =>
  database.transaction(async (transaction) => {
    const lost = await deleteLostRoles(transaction, accountIds);
    for (const id of new Set(lost.map((role) => role.group_id))) await updateGroup(transaction, id);
    await recordGroupEvents(
      transaction,
      lost.map(({ group_id, agency_id, role, account_id }) => ({
        action: `group.${role}_removed` as const,
        group: { id: group_id, agency_id },
        before: { accountId: account_id },
      })),
    );
  });
