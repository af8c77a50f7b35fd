/**
 * A holder changes the own password, knowing the one before. The server's policy decides on the new one (length, the last five); a
 * wrong old one counts toward its lockout. Set only as long as the holder is the holder: whoever lost the account meanwhile sets none.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { distinguishedName } from '@congvu/ldap';
import { insertEvents } from '../audit/audit-store.ts';
import { findAccountByName } from './account-store.ts';
import { refusalMs, type SignInDependencies, signInRefused } from './activate-account.ts';
import { setHolderPassword } from './holder-password.ts';

export async function changePassword(
  { database, ldap, baseDn }: SignInDependencies,
  input: { account: string; password: string; newPassword: string },
  ip: string,
): Promise<void> {
  // 1. Who, by the old password.
  const notBefore = sleep(refusalMs);
  const account = await findAccountByName(database, input.account);
  const dn = distinguishedName({ uid: account?.username ?? 'nobody' }, `ou=people,${baseDn}`);
  const verified = await ldap.verifyPassword(dn, input.password);
  if (account?.state !== 'active' || !verified) {
    await notBefore;
    throw signInRefused();
  }

  // 2. The new one, into LDAP.
  if (!(await setHolderPassword({ ldap, baseDn }, account, input.newPassword, '/newPassword'))) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'account_changed',
      detail: 'The account was changed a moment ago; sign in again.',
    });
  }

  // 3. On record.
  await database.transaction((transaction) =>
    insertEvents(transaction, [
      {
        actor: { kind: 'holder', id: account.id, ip: ip || null, agencyCode: null },
        action: 'account.password_changed',
        subjectType: 'account',
        subjectId: account.id,
        agencyId: account.agency_id,
      },
    ]),
  );
}
