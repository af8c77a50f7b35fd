/** After any change of accounts, in the same transaction: the services are asked to bring their parts to it. */
import { addJobs, type Transaction } from '@congvu/database';

/** The LDAP entries alone; for new accounts, whose other parts are asked for once the entries are there. */
export const queueEntries = (transaction: Transaction, accountIds: readonly string[]): Promise<void> =>
  addJobs(
    transaction,
    'directory',
    accountIds.map((accountId) => ({ task: 'converge-entry', payload: { accountId }, key: `entry:${accountId}` })),
  );

/** Mailboxes and certificates. */
export async function queueOtherParts(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  await transaction.raw('select mailbox.request_convergence(?::uuid[])', [[...accountIds]]);
  await transaction.raw('select certificate.request_convergence(?::uuid[])', [[...accountIds]]);
}
