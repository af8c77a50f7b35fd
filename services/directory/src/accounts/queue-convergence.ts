/** After any change of accounts, in the same transaction: the services are asked to bring their parts to it. */
import type { CertificatePath } from '@congvu/contracts';
import { addJobs, type Transaction } from '@congvu/database';

/** So many accounts are one job: enough to share the price of a commit, few enough to be done in a second. */
const accountsPerJob = 500;

/** The LDAP entries alone; for new accounts, whose other parts are asked for once the entries are there. */
export async function queueEntries(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  const [only] = accountIds;
  if (accountIds.length === 1) {
    const job = { task: 'converge-entries', payload: { accountIds }, key: `entry:${only}` };
    return addJobs(transaction, 'directory', [job]);
  }
  const jobs = [];
  for (let start = 0; start < accountIds.length; start += accountsPerJob) {
    jobs.push({ task: 'converge-entries', payload: { accountIds: accountIds.slice(start, start + accountsPerJob) } });
  }
  return addJobs(transaction, 'directory', jobs);
}

/** After its last part, so that the search's wide indexes take nothing from the entries and mailboxes that people wait for. */
const searchDelayMs = 2_000;

/**
 * The search's rows of a request's new accounts that were inserted without them. Each part of a crowd puts the job off; the last one
 * asks for a job of its own too, which no worker can have taken before. One after the other, so that the second finds nothing left to do.
 */
export const queueSearch = (transaction: Transaction, requestId: string, isLast: boolean): Promise<void> =>
  addJobs(transaction, 'directory', [
    {
      task: 'search-request',
      payload: { requestId },
      ...(isLast ? {} : { key: `search:${requestId}` }),
      queue: 'search',
      runAt: new Date(Date.now() + searchDelayMs),
    },
  ]);

/** Mailboxes and certificates; of new accounts that were asked no certificate, which say so, only mailboxes. */
export async function queueOtherParts(
  transaction: Transaction,
  accounts: readonly { id: string; certificatePath?: CertificatePath }[],
): Promise<void> {
  const certified = accounts.filter((account) => account.certificatePath !== 'none');
  const idsOf = (some: typeof accounts): string[] => some.map((account) => account.id);
  await transaction.raw('select mailbox.request_convergence(?::uuid[])', [idsOf(accounts)]);
  if (certified.length > 0)
    await transaction.raw('select certificate.request_convergence(?::uuid[])', [idsOf(certified)]);
}
