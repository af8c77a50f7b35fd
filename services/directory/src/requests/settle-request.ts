/** After a part of an account stands: marks the line, and when it was the last, the request, as fulfilled. */
import type { Database } from '@congvu/database';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { settleLine } from './request-store.ts';

export async function settleRequest(database: Database, accountId: string): Promise<void> {
  await database.transaction(async (transaction) => {
    const completed = await settleLine(transaction, accountId);
    if (!completed) return;
    await insertEvents(transaction, [
      {
        actor: systemActor,
        action: 'request.fulfilled',
        subjectType: 'request',
        subjectId: completed.id,
        agencyId: completed.agency_id,
        requestId: completed.id,
        before: { state: 'approved' },
        after: { state: 'fulfilled' },
      },
    ]);
  });
}
