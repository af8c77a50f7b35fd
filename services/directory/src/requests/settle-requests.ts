/** After parts of accounts stand: marks the lines, and the requests of which they were the last, as fulfilled. */
import type { Transaction } from '@congvu/database';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { settleLines } from './request-store.ts';

export async function settleRequests(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  const completed = await settleLines(transaction, accountIds);
  await insertEvents(
    transaction,
    completed.map((request) => ({
      actor: systemActor,
      action: 'request.fulfilled',
      subjectType: 'request',
      subjectId: request.id,
      agencyId: request.agency_id,
      requestId: request.id,
      before: { state: 'approved' },
      after: { state: 'fulfilled' },
    })),
  );
}
