/** After any change of accounts: the three services are asked, in the same transaction, to bring their parts to it. */
import { addJobs, type Transaction } from '@congvu/database';

export async function queueConvergence(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  await addJobs(
    transaction,
    'directory',
    accountIds.map((accountId) => ({ task: 'converge-entry', payload: { accountId }, key: `entry:${accountId}` })),
  );
  await transaction.raw('select mailbox.request_convergence(?::uuid[])', [[...accountIds]]);
  await transaction.raw('select certificate.request_convergence(?::uuid[])', [[...accountIds]]);
}
