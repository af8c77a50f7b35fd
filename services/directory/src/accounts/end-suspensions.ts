/**
 * Lets those resume whose suspension is over. Asked each minute of what the record holds now, so that a time at which nothing
 * ran is made up for; in batches, each a transaction of its own.
 */
import type { Database } from '@congvu/database';
import { systemActor } from '../audit/audit-event.ts';
import { takeSuspensionsOver } from './account-store.ts';
import { resumeAccount } from './suspend-account.ts';

const batchSize = 100;

export async function endSuspensions(database: Database, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const ended = await database.transaction(async (transaction) => {
      const ids = await takeSuspensionsOver(transaction, batchSize);
      for (const accountId of ids) {
        const cause = { actor: systemActor, requestId: null };
        await resumeAccount(transaction, { accountId, reason: 'The suspension is over.' }, cause);
      }
      return ids.length;
    });
    if (ended < batchSize) return;
  }
}
