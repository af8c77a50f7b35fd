/**
 * At midnight an agency closes, opens or takes the name that was planned for it, without anybody writing anything: its row, the
 * audit log and LDAP follow. Harmless to repeat, and to leave out for days.
 */
import type { Database } from '@congvu/database';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { hasOverdueAgencies, lockAgencies, settleOverdueAgencies } from './agency-store.ts';
import { queueAgencies } from './record-agencies.ts';

export async function settleAgencies(database: Database): Promise<void> {
  if (!(await hasOverdueAgencies(database))) return;
  await database.transaction(async (transaction) => {
    await lockAgencies(transaction);
    const settled = await settleOverdueAgencies(transaction);
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
    if (settled.length > 0) await queueAgencies(transaction);
  });
}
