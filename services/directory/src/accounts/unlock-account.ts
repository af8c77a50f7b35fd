/**
 * Takes away the lock that too many wrong passwords left, before it ends by itself. A suspension is another thing and stays; and
 * the password is not changed.
 */
import type { Database } from '@congvu/database';
import { distinguishedName, type Ldap, NoSuchAttributeError } from '@congvu/ldap';
import { insertEvents } from '../audit/audit-store.ts';
import { type Cause, lockAccountFor } from './change-account.ts';
import { lockedForGood } from './entry.ts';

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
  // By its value: the lock of a suspension that was written meanwhile stays. The policy forgets the failures together with its own.
  const attribute = 'pwdAccountLockedTime';
  const entry = await ldap.find(dn, [attribute]);
  const values = (entry?.attributes[attribute] ?? []).filter((value) => value !== lockedForGood);
  if (values.length === 0) return;
  await ldap.modify(dn, [{ attribute, operation: 'delete', values }]).catch((error: unknown) => {
    if (!(error instanceof NoSuchAttributeError)) throw error; // ended, or made way for a suspension's, meanwhile
  });
}
