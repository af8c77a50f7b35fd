/**
 * The one place where a password is set: in LDAP, only in the epoch for which its holder proved to be the holder, and by two sets of
 * rules: the server's policy (length, history; infra/openldap/tree.ldif), and here what only we can know or it does not look at.
 */
import { invalid, ServiceError } from '@congvu/errors';
import { distinguishedName, type Ldap } from '@congvu/ldap';
import type { SignInAccount } from './account-store.ts';

/** False, and nothing done, when the entry is not there or at another epoch. */
export async function setHolderPassword(
  { ldap, baseDn }: { ldap: Ldap; baseDn: string },
  account: SignInAccount,
  password: string,
  pointer: string,
): Promise<boolean> {
  const detail = guessable(password, account.username);
  if (detail) throw invalid('password_policy', [{ pointer, code: 'password_guessable', detail }]);
  const dn = distinguishedName({ uid: account.username }, `ou=people,${baseDn}`);
  const provided = { attribute: 'congvuCredentialEpoch', value: String(account.credential_epoch) };
  try {
    return await ldap.setPasswordIf(dn, provided, password);
  } catch (error) {
    if (!(error instanceof ServiceError) || error.code !== 'password_policy') throw error;
    throw invalid('password_policy', [{ pointer, code: 'password_policy', detail: error.detail }]);
  }
}

/** NIST SP 800-63B section 5.1.1.2: not the name of the account, not one letter over and over; no rules of composition. */
function guessable(password: string, username: string): string | undefined {
  if (new Set(password.toLowerCase()).size < 5) return 'The password has fewer than five different characters.';
  if (password.toLowerCase().includes(username)) return 'The password contains the name of the account.';
  return undefined;
}
