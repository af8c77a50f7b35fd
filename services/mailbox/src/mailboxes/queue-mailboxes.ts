/** The jobs that carry what changed of mailboxes to LDAP and Dovecot, queued in the transaction of the change. */
import { addJobs, type JobSpec, type Transaction } from '@congvu/database';
import { listForwardersTo } from '../aliases/forward-store.ts';
import { isOwn } from './mailbox.ts';
import { filterShared, touchShared } from './rights-store.ts';

const batchSize = 500;

/** One alone is keyed, so that many changes of it make one job; many are shared out. */
export async function queueMailboxes(
  transaction: Transaction,
  mailboxes: readonly { id: string; kind: string }[],
): Promise<void> {
  const own = mailboxes.filter(({ kind }) => isOwn(kind));
  const ofAccounts = mailboxes.filter(({ kind }) => !isOwn(kind)).map(({ id }) => id);
  const jobs: JobSpec[] = own.map(({ id }) => ({
    task: 'converge-own-mailbox',
    payload: { mailboxId: id },
    key: `mailbox:${id}`,
  }));
  for (let start = 0; start < ofAccounts.length; start += batchSize) {
    const accountIds = ofAccounts.slice(start, start + batchSize);
    const key = ofAccounts.length === 1 ? { key: `mailbox:${ofAccounts[0]}` } : {};
    jobs.push({ task: 'converge-mailboxes', payload: { accountIds }, ...key });
  }
  await addJobs(transaction, 'mailbox', jobs);
}

/** After addresses of mailboxes changed, or whether they receive mail: what is forwarded to them goes elsewhere. */
export async function queueForwarders(transaction: Transaction, mailboxIds: readonly string[]): Promise<void> {
  if (mailboxIds.length > 0) await queueMailboxes(transaction, await listForwardersTo(transaction, mailboxIds));
}

/** Who may open the mailbox in Dovecot, after LDAP says who may send as it. */
export const queueAccess = (transaction: Transaction, mailboxIds: readonly string[]): Promise<void> =>
  addJobs(
    transaction,
    'mailbox',
    mailboxIds.map((mailboxId) => ({ task: 'converge-access', payload: { mailboxId }, key: `access:${mailboxId}` })),
  );

/**
 * After addresses or states of mailboxes changed: whoever has rights on another has them under the address of now, and rights rest
 * while either side is not active.
 */
export async function queueShared(transaction: Transaction, mailboxIds: readonly string[]): Promise<void> {
  if (mailboxIds.length === 0) return;
  const others = await touchShared(transaction, mailboxIds);
  await queueMailboxes(transaction, others);
  await queueAccess(transaction, [...others.map(({ id }) => id), ...(await filterShared(transaction, mailboxIds))]);
}
