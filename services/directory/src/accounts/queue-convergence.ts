/** After any change of accounts, in the same transaction: the services are asked to bring their parts to it. */
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

/** Mailboxes and certificates. */
export async function queueOtherParts(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  await transaction.raw('select mailbox.request_convergence(?::uuid[])', [[...accountIds]]);
  await transaction.raw('select certificate.request_convergence(?::uuid[])', [[...accountIds]]);
}
