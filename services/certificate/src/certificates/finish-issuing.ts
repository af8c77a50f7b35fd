/**
 * Finishes what a process that was killed, or could not store, had begun: an intent on record is signed and stored whatever became of
 * its account meanwhile, because nobody knows whether it was signed; then the account's convergence takes back what it must not have.
 */
import { addJobs, type Database } from '@congvu/database';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { certificateSystem } from './certificate-event.ts';
import { listForsaken } from './certificate-store.ts';
import type { Issue } from './issue-certificate.ts';

/** Longer than signing and storing take, or two would do the same work: harmless, but for nothing. */
const patienceSeconds = 60;
const mostAtOnce = 200;

export async function finishIssuing({ database, issue }: { database: Database; issue: Issue }): Promise<void> {
  for (;;) {
    const forsaken = await listForsaken(database, patienceSeconds, mostAtOnce);
    const outcomes = await Promise.allSettled(
      forsaken.map(({ enrolment_id: enrolmentId }) => issue({ enrolmentId, actor: certificateSystem })),
    );
    await addJobs(
      database,
      'certificate',
      forsaken.map(({ account_id }) => convergenceJob(account_id)),
    );
    const failure = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failure) throw failure.reason;
    if (forsaken.length < mostAtOnce) return;
  }
}
