/**
 * LDAP holds the valid certificates only: of those that ran out the accounts are converged. How far it came is committed with the jobs that
 * it queues, so that none is missed however long nothing ran, and none is asked for again and again.
 */
import { addJobs, type Database } from '@congvu/database';
import { takeExpired } from '../certificates/certificate-store.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';

const batch = 500;

export async function withdrawExpired(database: Database, signal?: AbortSignal): Promise<void> {
  while (!signal?.aborted && (await withdrawBatch(database)) > 0);
}

const withdrawBatch = (database: Database): Promise<number> =>
  database.transaction(async (transaction) => {
    const accountIds = await takeExpired(transaction, batch);
    await addJobs(transaction, 'certificate', accountIds.map(convergenceJob));
    return accountIds.length;
  });
