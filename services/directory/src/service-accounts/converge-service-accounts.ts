/**
 * Makes `cn=<name>,ou=services` of connected systems say what the record says, and removes it when one is retired. Harmless to
 * repeat; looks again whether the record changed meanwhile. Never touches an entry that is not of the same account, such as the
 * platform's own identities beside it.
 */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Attributes, diffAttributes, distinguishedName, isRefusal, type Ldap } from '@congvu/ldap';
import { systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import {
  findServiceAccount,
  listIds,
  markConverged,
  type ServiceAccountRow,
  updateServiceAccount,
} from './service-account-store.ts';

export interface ServiceEntryDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
}

export const serviceDn = (name: string, baseDn: string): string =>
  distinguishedName({ cn: name }, `ou=services,${baseDn}`);

const batchSize = 100;

/**
 * Those that are behind, or all, with what somebody else did to their entries; one that cannot be put right holds up no other.
 */
export async function convergeServiceAccounts(
  dependencies: ServiceEntryDependencies,
  signal: AbortSignal,
  which: 'all' | 'behind' = 'behind',
): Promise<void> {
  let refusal: unknown;
  for (let after = noId; ; ) {
    const ids = await listIds(dependencies.database, which, after, batchSize);
    for (const id of ids) {
      signal.throwIfAborted();
      try {
        if (which === 'all') await recordDrift(dependencies, id);
        await convergeServiceAccount(dependencies, id);
      } catch (error) {
        if (!isRefusal(error) && !(error instanceof ServiceError && error.code === 'entry_of_another')) throw error;
        refusal ??= error;
      }
      after = id;
    }
    if (ids.length < batchSize) break;
  }
  if (refusal) throw refusal;
}
const noId = '00000000-0000-0000-0000-000000000000';

/** What is wrong with an entry that nobody was to change, on record before it is put right. With an entry its secret is gone. */
async function recordDrift({ database, ldap, baseDn }: ServiceEntryDependencies, id: string): Promise<void> {
  const account = await findServiceAccount(database, id);
  if (!account || account.entry_version < account.version) return;
  const dn = serviceDn(account.name, baseDn);
  const wanted = ownedAttributes(account);
  const entry = await ldap.find(dn, ['congvuAccountId', ...Object.keys(wanted)]);
  if (entry && entry.attributes.congvuAccountId?.[0] !== id) return;
  if (account.state === 'retired' ? !entry : entry && diffAttributes(entry.attributes, wanted).length === 0) return;
  const action = account.state === 'retired' ? 'entry_removed' : entry ? 'entry_repaired' : 'entry_restored';
  await database.transaction(async (transaction) => {
    if (action === 'entry_restored') await updateServiceAccount(transaction, id, { secret_issued_at: null });
    await insertEvents(transaction, [
      {
        actor: systemActor,
        action: `service_account.${action}`,
        subjectType: 'service_account',
        subjectId: id,
        agencyId: account.agency_id,
        before: entry ? { readScopes: (entry.attributes.congvuReadScope ?? []).map(String) } : null,
        after: account.state === 'retired' ? null : { readScopes: account.read_scopes },
      },
    ]);
  });
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

const ownedAttributes = (account: ServiceAccountRow): Attributes => ({
  displayName: [account.display_name],
  congvuAccountStatus: [account.state],
  congvuAgencyCode: [account.agency_code],
  congvuReadScope: account.read_scopes,
});

async function applyEntry(ldap: Ldap, baseDn: string, account: ServiceAccountRow): Promise<void> {
  const dn = serviceDn(account.name, baseDn);
  const owned = ownedAttributes(account);
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
