/** After parts of accounts stand: marks the lines, and the requests of which they were the last, as fulfilled. */
import type { Transaction } from '@congvu/database';
import { findWhole } from '../accounts/convergence-store.ts';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { completeRequests, lockRequests } from './request-store.ts';
import { findOpenLines, settleLines } from './work-store.ts';

export async function settleRequests(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  // Most that is reported is of accounts that still wait for another part: those must not queue up for their request's lock.
  const whole = await findWhole(transaction, accountIds);
  if (whole.length === 0) return;
  const lines = await findOpenLines(transaction, whole);
  if (lines.size === 0) return;
  const requestIds = [...lines.keys()];
  await lockRequests(transaction, requestIds);
  for (const [requestId, lineNumbers] of lines) await settleLines(transaction, requestId, lineNumbers);
  await complete(transaction, requestIds);
}

/** After its last lines were carried out: some of them may have been at their end with that. */
export async function completeRequest(transaction: Transaction, id: string): Promise<void> {
  await lockRequests(transaction, [id]);
  await complete(transaction, [id]);
}

async function complete(transaction: Transaction, ids: readonly string[]): Promise<void> {
  const completed = await completeRequests(transaction, ids);
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
      after: { state: 'fulfilled', ...request.counts },
    })),
  );
}
