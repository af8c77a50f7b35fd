/**
 * The holder redeems the activation code and sets the password, which goes to LDAP and nowhere else. The order is: claim
 * the code, set the password, mark the code used. Killed in between, the code can be sent again after a minute.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HolderToken } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { distinguishedName, type Ldap } from '@congvu/ldap';
import { insertEvents } from '../audit/audit-store.ts';
import type { TokenIssuer } from '../clients/token-issuer.ts';
import { findAccountByName, type SignInAccount } from './account-store.ts';
import { claimActivationCode, markActivationCodeUsed, releaseActivationCode } from './activation-code-store.ts';
import { setHolderPassword } from './holder-password.ts';
import { hashCode } from './issue-activation-code.ts';

export interface SignInDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  tokens: TokenIssuer;
}

export async function activateAccount(
  { database, ldap, baseDn, tokens }: SignInDependencies,
  input: { account: string; code: string; password: string },
  ip: string,
): Promise<HolderToken> {
  // 1. Who, and by right? One answer for every way to be wrong, so that nothing is learnt from it.
  const account = await findAccountByName(database, input.account);
  const codeHash = hashCode(input.code);
  if (account?.state !== 'active' || !(await claimActivationCode(database, account.id, codeHash))) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'activation_refused',
      detail:
        'This account and activation code do not belong together, or the code has expired or was used; ask your agency for a new one.',
    });
  }

  // 2. The password, into LDAP; but not after the one who was given the code has gone.
  try {
    if (!(await setHolderPassword({ ldap, baseDn }, account, input.password, '/password'))) throw notReady();
  } catch (error) {
    await releaseActivationCode(database, codeHash);
    throw error;
  }

  // 3. The code is spent.
  await database.transaction(async (transaction) => {
    await markActivationCodeUsed(transaction, codeHash);
    await insertEvents(transaction, [
      {
        actor: { kind: 'holder', id: account.id, ip: ip || null, agencyCode: null },
        action: 'account.activated',
        subjectType: 'account',
        subjectId: account.id,
        agencyId: account.agency_id,
      },
    ]);
  });
  return holderToken(tokens, account);
}

/** Longer than a password check takes. */
export const refusalMs = 400;

/** The holder signs in with the own password, which LDAP checks, and gets a token that is good for the own account alone. */
export async function signIn(
  { database, ldap, baseDn, tokens }: SignInDependencies,
  input: { account: string; password: string },
): Promise<HolderToken> {
  // An unknown name is refused faster than a wrong password; the wait hides which it was.
  const notBefore = sleep(refusalMs);
  const account = await findAccountByName(database, input.account);
  const dn = distinguishedName({ uid: account?.username ?? 'nobody' }, `ou=people,${baseDn}`);
  const verified = await ldap.verifyPassword(dn, input.password);
  if (account?.state === 'active' && verified) return holderToken(tokens, account);
  await notBefore;
  throw signInRefused();
}

export const signInRefused = (): ServiceError =>
  new ServiceError({
    kind: 'forbidden',
    code: 'sign_in_refused',
    detail: 'The account or the password is wrong, or the account is not active.',
  });

async function holderToken(tokens: TokenIssuer, account: SignInAccount): Promise<HolderToken> {
  const { token, expiresInSeconds } = await tokens.issue({
    kind: 'holder',
    id: account.id,
    agencyCode: account.agency_code,
    permissions: [],
    credentialEpoch: account.credential_epoch,
  });
  return {
    access_token: token,
    token_type: 'Bearer',
    expires_in: expiresInSeconds,
    account: { id: account.id, address: account.address },
  };
}

const notReady = (): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'account_not_ready',
    detail: 'The account is still being set up; try again in a moment. The code stays good.',
    retryAfterSeconds: 5,
  });
