/**
 * At each start and every night: what follows from a changed configuration for mailboxes that nothing was said of by hand; and shared and
 * service mailboxes, the rights on any, and the replies of those who are away are converged anew, since the directory's reconciliation
 * looks after accounts alone, and at neither of these two. What LDAP says of them and the record does not goes the same way.
 */
import { anyPresent, type Ldap } from '@congvu/ldap';
import { endForwards } from '../aliases/end-forwards.ts';
import type { ForwardPolicy } from '../aliases/set-forwarding.ts';
import { applyQuotas } from './change-quotas.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { mailStatusOf } from './mailbox.ts';
import { listKinds, listOtherwiseSuspended, listOwnMailboxes } from './mailbox-store.ts';
import { queueAccess, queueMailboxes } from './queue-mailboxes.ts';
import { listAway, listShared } from './rights-store.ts';

export async function applySettings(dependencies: MailboxDependencies & ForwardPolicy): Promise<void> {
  const { database, ldap, baseDn } = dependencies;
  const shared = await listShared(database);
  const ids = new Set([
    ...(await listOtherwiseSuspended(database, mailStatusOf('suspended', null, dependencies))),
    ...shared,
    ...(await listAway(database)),
    ...(await listSaidInLdap(ldap, baseDn)),
    ...(await listOwnMailboxes(database)),
  ]);
  const mailboxes = await listKinds(database, [...ids]);
  await database.transaction(async (transaction) => {
    await queueMailboxes(transaction, mailboxes);
    await queueAccess(transaction, shared);
  });
  await endForwards(dependencies);
  await applyQuotas(dependencies);
}

/** The accounts as which others may send, or that answer, by what LDAP says. */
async function listSaidInLdap(ldap: Ldap, baseDn: string): Promise<string[]> {
  const found = await ldap.search(`ou=people,${baseDn}`, {
    scope: 'one',
    filter: anyPresent(['congvuMailSender', 'congvuVacationText']),
    attributes: ['congvuAccountId'],
  });
  return found.map(({ attributes }) => String(attributes.congvuAccountId?.[0]));
}
