/**
 * LDAP holds the valid certificates only: of those that ran out the accounts are converged. Each is marked in the transaction that queues
 * its account, so that none is missed however long nothing ran, and none is asked for again and again.
 */
import { addJobs, type Database } from '@congvu/database';
import { markWithdrawn } from '../certificates/certificate-store.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';

const batch = 500;

export async function withdrawExpired(database: Database, signal?: AbortSignal): Promise<void> {
  while (!signal?.aborted && (await withdrawBatch(database)) === batch);
}

const withdrawBatch = (database: Database): Promise<number> =>
  database.transaction(async (transaction) => {
    const accountIds = await markWithdrawn(transaction, batch);
    await addJobs(transaction, 'certificate', accountIds.map(convergenceJob));
    return accountIds.length;
  });
