/**
 * At midnight an agency closes, opens or takes the name that was planned for it, without anybody writing anything: its row, the
 * audit log and LDAP follow. Harmless to repeat, and to leave out for days. A few at a time, because with each go the accounts of
 * its whole subtree.
 */
import type { Database } from '@congvu/database';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { hasOverdueAgencies, lockAgencies, settleOverdueAgencies } from './agency-store.ts';
import { queueAgencies } from './record-agencies.ts';

const atOnce = 50;

export async function settleAgencies(database: Database): Promise<void> {
  if (!(await hasOverdueAgencies(database))) return;
  while ((await settleSome(database)) === atOnce);
}

const settleSome = (database: Database): Promise<number> =>
  database.transaction(async (transaction) => {
    await lockAgencies(transaction);
    const settled = await settleOverdueAgencies(transaction, atOnce);
    await insertEvents(
      transaction,
      settled.map(({ id, code, before, after }) => ({
        actor: systemActor,
        action: 'agency.settled',
        subjectType: 'agency',
        subjectId: code,
        agencyId: id,
        before,
        after,
      })),
    );
    if (settled.length > 0)
      await queueAgencies(
        transaction,
        settled.map(({ id }) => id),
      );
    return settled.length;
  });
