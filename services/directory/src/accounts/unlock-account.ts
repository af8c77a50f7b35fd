/**
 * Takes away the lock that too many wrong passwords left, before it ends by itself. A suspension is another thing and stays; and
 * the password is not changed.
 */
import type { Database } from '@congvu/database';
import { distinguishedName, type Ldap } from '@congvu/ldap';
import { insertEvents } from '../audit/audit-store.ts';
import { type Cause, lockAccountFor } from './change-account.ts';

export async function unlockAccount(
  { database, ldap, baseDn }: { database: Database; ldap: Ldap; baseDn: string },
  accountId: string,
  cause: Cause,
): Promise<void> {
  const account = await database.transaction(async (transaction) => {
    const locked = await lockAccountFor(transaction, 'unlock', { accountId }, cause.actor);
    await insertEvents(transaction, [
      {
        actor: cause.actor,
        action: 'account.unlocked',
        subjectType: 'account',
        subjectId: accountId,
        agencyId: locked.agency_id,
      },
    ]);
    return locked;
  });
  const dn = distinguishedName({ uid: account.username }, `ou=people,${baseDn}`);
  // The policy forgets the failures together with the lock. A suspension that is committed meanwhile locks again by its own job.
  await ldap.modify(dn, [{ attribute: 'pwdAccountLockedTime', operation: 'replace', values: [] }]);
}
