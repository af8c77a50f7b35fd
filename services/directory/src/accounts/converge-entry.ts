/**
 * Makes the LDAP entry of an account say what the record says: creates it with every class that the three services need,
 * or applies the smallest change to the attributes that the directory service owns. Harmless to repeat; joins by
 * congvuAccountId and never by name, so that it never takes somebody else's entry for its own.
 */
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Attributes, anyOf, diffAttributes, distinguishedName, type Entry, type Ldap } from '@congvu/ldap';
import { type EntrySource, listEntrySources, markEntryConverged, markEntryPartDone } from './account-store.ts';
import { queueOtherParts } from './queue-convergence.ts';

/** ppolicy: locked until an administrator unlocks (draft-behera-ldap-password-policy section 5.3.3). */
const lockedForGood = '000001010000Z';

export interface ConvergeDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
}

export async function convergeEntries(
  dependencies: ConvergeDependencies,
  accountIds: readonly string[],
): Promise<void> {
  const { database, ldap, baseDn } = dependencies;
  let ids = accountIds;
  while (ids.length > 0) {
    // 1. What should be.
    const sources = await listEntrySources(database, ids);

    // 2. What is, and the smallest change to it.
    await applyEntries(ldap, `ou=people,${baseDn}`, sources);

    // 3. Say so; the other services wait for new entries.
    await database.transaction((transaction) => recordConverged(transaction, sources));

    // 4. What changed meanwhile is done again, so that of two jobs that overlap the older never has the last word.
    const written = new Map(sources.map((source) => [source.id, source.version]));
    const now = await listEntrySources(database, ids);
    ids = now.filter((source) => written.get(source.id) !== source.version).map((source) => source.id);
  }
}

async function applyEntries(ldap: Ldap, base: string, sources: readonly EntrySource[]): Promise<void> {
  const created = new Set<string>();
  for (const source of sources) {
    if (source.entryVersion === 0 && (await createEntry(ldap, base, source))) created.add(source.id);
  }
  const rest = sources.filter((source) => !created.has(source.id));
  const entries = await findEntries(ldap, base, rest);
  for (const source of rest) await convergeEntry(ldap, base, source, entries.get(source.id));
}

async function recordConverged(transaction: Transaction, sources: readonly EntrySource[]): Promise<void> {
  await markEntryConverged(transaction, sources);
  const done = await markEntryPartDone(
    transaction,
    sources.map((source) => source.id),
  );
  if (done.length === 0) return;
  await addJobs(
    transaction,
    'directory',
    done.map((accountId) => ({ task: 'settle-requests', payload: { accountId }, key: `settle:${accountId}` })),
  );
  await queueOtherParts(transaction, done);
}

const ownedNames = [
  'cn',
  'sn',
  'givenName',
  'displayName',
  'title',
  'o',
  'congvuAccountKind',
  'congvuAccountStatus',
  'congvuAgencyCode',
] as const;

const entryDn = (base: string, source: EntrySource): string => distinguishedName({ uid: source.username }, base);

function wantedAttributes(source: EntrySource): Attributes {
  return {
    cn: [source.displayName],
    sn: [source.surname],
    givenName: [source.givenName],
    displayName: [source.displayName],
    title: source.title ? [source.title] : [],
    o: [source.agencyName],
    congvuAccountKind: [source.kind],
    congvuAccountStatus: [source.state],
    congvuAgencyCode: [source.agencyCode],
  };
}

const isLocked = (source: EntrySource): boolean => source.state === 'suspended' || source.state === 'retired';

function createEntry(ldap: Ldap, base: string, source: EntrySource): Promise<boolean> {
  return ldap.add(entryDn(base, source), {
    objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'],
    uid: [source.username],
    congvuAccountId: [source.id],
    ...wantedAttributes(source),
    ...(isLocked(source) ? { pwdAccountLockedTime: [lockedForGood] } : {}),
  });
}

async function findEntries(ldap: Ldap, base: string, sources: readonly EntrySource[]): Promise<Map<string, Entry>> {
  if (sources.length === 0) return new Map();
  const entries = await ldap.search(base, {
    scope: 'one',
    filter: anyOf(
      'congvuAccountId',
      sources.map((source) => source.id),
    ),
    attributes: ['congvuAccountId', 'pwdAccountLockedTime', ...ownedNames],
  });
  return new Map(entries.map((entry) => [String(entry.attributes.congvuAccountId?.[0]), entry]));
}

async function convergeEntry(ldap: Ldap, base: string, source: EntrySource, entry: Entry | undefined): Promise<void> {
  if (!entry) {
    if (await createEntry(ldap, base, source)) return;
    throw new ServiceError({
      kind: 'conflict',
      code: 'entry_of_another',
      detail: `The LDAP entry uid=${source.username} belongs to another account; an administrator has to look at it.`,
    });
  }
  const changes = diffAttributes(entry.attributes, wantedAttributes(source));
  // A lock of another value is the policy's own, after failed attempts; only the administrative one is ours.
  const locked = entry.attributes.pwdAccountLockedTime?.[0] === lockedForGood;
  if (locked !== isLocked(source)) {
    changes.push({ attribute: 'pwdAccountLockedTime', operation: 'replace', values: locked ? [] : [lockedForGood] });
  }
  if (changes.length > 0) await ldap.modify(entry.dn, changes);
}
