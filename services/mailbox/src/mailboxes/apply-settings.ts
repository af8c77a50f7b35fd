/**
 * At each start and every night: what follows from a changed configuration for mailboxes that nothing was said of by hand; and shared and
 * service mailboxes, and the rights on any, are converged anew, since the directory's reconciliation looks after accounts alone.
 */
import { endForwards } from '../aliases/end-forwards.ts';
import type { ForwardPolicy } from '../aliases/set-forwarding.ts';
import { applyQuotas } from './change-quotas.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { mailStatusOf } from './mailbox.ts';
import { listKinds, listOtherwiseSuspended, listOwnMailboxes } from './mailbox-store.ts';
import { queueAccess, queueMailboxes } from './queue-mailboxes.ts';
import { listShared } from './rights-store.ts';

export async function applySettings(dependencies: MailboxDependencies & ForwardPolicy): Promise<void> {
  const { database } = dependencies;
  const ids = await listOtherwiseSuspended(database, mailStatusOf('suspended', null, dependencies));
  const mailboxes = [...(await listKinds(database, ids)), ...(await listOwnMailboxes(database))];
  const shared = await listShared(database);
  await database.transaction(async (transaction) => {
    await queueMailboxes(transaction, mailboxes);
    await queueAccess(transaction, shared);
  });
  await endForwards(dependencies);
  await applyQuotas(dependencies);
}
