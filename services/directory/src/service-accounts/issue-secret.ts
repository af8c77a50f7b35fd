/**
 * A new secret for a connected system, shown this once; the one before opens nothing from then on. On record before it is set, so
 * that none is ever in use without a trace; should LDAP not answer, the old one stays good and the call is repeated.
 */
import { createHash, randomBytes } from 'node:crypto';
import type { ServiceSecret } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { lockActive, record, type ServiceAccountRef } from './change-service-account.ts';
import { convergeServiceAccount, type ServiceEntryDependencies, serviceDn } from './converge-service-accounts.ts';
import { requireScopesWithin } from './read-scopes.ts';
import { updateServiceAccount } from './service-account-store.ts';

export async function issueSecret(
  dependencies: ServiceEntryDependencies,
  ref: ServiceAccountRef,
  actor: Actor & { agencyCode: string },
): Promise<ServiceSecret> {
  const { database, ldap, baseDn } = dependencies;
  // 1. By right, and on record.
  const name = await database.transaction(async (transaction) => {
    const account = await lockActive(transaction, ref, actor);
    await requireScopesWithin(transaction, account.read_scopes, actor.agencyCode);
    await updateServiceAccount(transaction, account.id, { secret_issued_at: new Date() });
    await record(transaction, account, 'service_account.secret_issued', {}, actor);
    return account.name;
  });

  // 2. Into LDAP, hashed; its entry may not be there yet.
  await convergeServiceAccount(dependencies, ref.id);
  const secret = randomBytes(24).toString('base64url');
  const dn = serviceDn(name, baseDn);
  const [refusal] = await ldap.applyAll([
    { kind: 'modify', dn, changes: [{ attribute: 'userPassword', operation: 'replace', values: [hashOf(secret)] }] },
  ]);
  if (refusal) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'service_entry_refused',
      detail: 'The LDAP entry did not take the secret; was the service account just retired? Read it again.',
      cause: refusal,
    });
  }
  return { id: ref.id, distinguishedName: dn, secret };
}

/** 192 random bits need no slow hash, and connected systems bind often. As OpenLDAP's pw-sha2 reads it. */
function hashOf(secret: string): string {
  const salt = randomBytes(16);
  const digest = createHash('sha512').update(secret).update(salt).digest();
  return `{SSHA512}${Buffer.concat([digest, salt]).toString('base64')}`;
}
