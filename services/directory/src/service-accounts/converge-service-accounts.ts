/**
 * Makes `cn=<name>,ou=services` of connected systems say what the record says, and removes it when one is retired. Harmless to
 * repeat; looks again whether the record changed meanwhile. Never touches an entry that is not of the same account, such as the
 * platform's own identities beside it.
 */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Attributes, diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';
import { findServiceAccount, listUnconverged, markConverged, type ServiceAccountRow } from './service-account-store.ts';

export interface ServiceEntryDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
}

export const serviceDn = (name: string, baseDn: string): string =>
  distinguishedName({ cn: name }, `ou=services,${baseDn}`);

const batchSize = 100;

/** All that are behind. */
export async function convergeServiceAccounts(
  dependencies: ServiceEntryDependencies,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const ids = await listUnconverged(dependencies.database, batchSize);
    for (const id of ids) {
      signal.throwIfAborted();
      await convergeServiceAccount(dependencies, id);
    }
    if (ids.length < batchSize) return;
  }
}

export async function convergeServiceAccount(dependencies: ServiceEntryDependencies, id: string): Promise<void> {
  const { database, ldap, baseDn } = dependencies;
  for (;;) {
    const account = await findServiceAccount(database, id);
    if (!account) return;
    await applyEntry(ldap, baseDn, account);
    await markConverged(database, id, account.version);
    const now = await findServiceAccount(database, id);
    if (now?.version === account.version) return;
  }
}

async function applyEntry(ldap: Ldap, baseDn: string, account: ServiceAccountRow): Promise<void> {
  const dn = serviceDn(account.name, baseDn);
  const owned: Attributes = {
    displayName: [account.display_name],
    congvuAccountStatus: [account.state],
    congvuAgencyCode: [account.agency_code],
    congvuReadScope: account.read_scopes,
  };
  if (account.state === 'active') {
    const fresh = await ldap.add(dn, {
      objectClass: ['applicationProcess', 'congvuAccount', 'congvuServiceAccount'],
      cn: [account.name],
      congvuAccountId: [account.id],
      congvuAccountKind: ['service'],
      pwdPolicySubentry: [`cn=systems,ou=policies,${baseDn}`],
      ...owned,
    });
    if (fresh) return;
  }
  const entry = await ldap.find(dn, ['congvuAccountId', ...Object.keys(owned)]);
  const isOurs = entry?.attributes.congvuAccountId?.[0] === account.id;
  if (account.state === 'retired') {
    if (isOurs) await ldap.remove(dn);
    return;
  }
  if (!isOurs) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'entry_of_another',
      detail: 'An LDAP entry of that name is not of this service account; an administrator has to look at it.',
    });
  }
  const changes = diffAttributes(entry.attributes, owned);
  if (changes.length > 0) await ldap.modify(dn, changes);
}
