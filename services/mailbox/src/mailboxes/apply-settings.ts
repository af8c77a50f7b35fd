/** At each start: what follows from a changed configuration for mailboxes that nothing was said of by hand. */

import { applyQuotas } from './change-quotas.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { mailStatusOf } from './mailbox.ts';
import { listKinds, listOtherwiseSuspended } from './mailbox-store.ts';
import { queueMailboxes } from './queue-mailboxes.ts';

export async function applySettings(dependencies: MailboxDependencies): Promise<void> {
  const { database } = dependencies;
  const ids = await listOtherwiseSuspended(database, mailStatusOf('suspended', null, dependencies));
  const mailboxes = await listKinds(database, ids);
  await database.transaction((transaction) => queueMailboxes(transaction, mailboxes));
  await applyQuotas(dependencies);
}
