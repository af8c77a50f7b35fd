/**
 * Makes the LDAP entries of accounts say what the record says: creates them with every class that the three services need,
 * or applies the smallest change to the attributes that the directory service owns; many at a time. Harmless to repeat; joins by
 * congvuAccountId and never by name, so that it never takes somebody else's entry for its own.
 */
import type { Database, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type AttributeChange, type Entry, isAlreadyThere, type Ldap, type Operation } from '@congvu/ldap';
import { settleRequests } from '../requests/settle-requests.ts';
import {
  type EntrySource,
  findChanged,
  listEntrySources,
  markEntryConverged,
  markEntryPartDone,
} from './convergence-store.ts';
import { changesTo, entryDn, epochOf, isRenamed, ownedNames, wantedEntry } from './entry.ts';
import { queueEntries, queueOtherParts } from './queue-convergence.ts';

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
  const failed = new Map<string, Error>();
  let ids = accountIds;
  while (ids.length > 0) {
    // 1. What should be.
    const sources = await listEntrySources(database, ids);

    // 2. What is, and the smallest change to it.
    const errors = await applyEntries(ldap, `ou=people,${baseDn}`, sources);
    for (const [id, error] of errors) failed.set(id, error);
    const converged = sources.filter((source) => !errors.has(source.id));

    // 3. Say so; the other services wait for new entries.
    await database.transaction((transaction) => recordConverged(transaction, converged));

    // 4. What changed meanwhile is done again, so that of two jobs that overlap the older never has the last word.
    ids = await findChanged(database, converged);
  }
  await failSingly(database, accountIds, failed);
}

/** An account that fails alone fails its job; one among many gets a job of its own, so that it holds up no other. */
async function failSingly(database: Database, accountIds: readonly string[], failed: ReadonlyMap<string, Error>) {
  const [error] = failed.values();
  if (error && accountIds.length === 1) throw error;
  if (failed.size === 0) return;
  await database.transaction(async (transaction) => {
    for (const id of failed.keys()) await queueEntries(transaction, [id]);
  });
}

/** Creates what is not there and changes what differs, all together; the errors by account. */
async function applyEntries(ldap: Ldap, base: string, sources: readonly EntrySource[]): Promise<Map<string, Error>> {
  const fresh = sources.filter((source) => source.entryVersion === 0);
  const outcomes = await ldap.applyAll(fresh.map((source) => additionOf(base, source)));
  const errors = errorsOf(fresh, outcomes);
  const there = new Set(fresh.filter((source) => isAlreadyThere(errors.get(source.id))).map((source) => source.id));
  for (const id of there) errors.delete(id); // ours from an attempt before, or another's: looked at below

  let rest = sources.filter((source) => source.entryVersion > 0 || there.has(source.id));
  let entries = await findNamedEntries(ldap, base, rest, errors);
  const behind = rest.filter((source) => epochOf(entries.get(source.id)?.attributes) < source.credentialEpoch);
  if (behind.length > 0) {
    for (const [id, error] of await voidPasswords(ldap, behind, entries)) errors.set(id, error);
    rest = rest.filter((source) => !errors.has(source.id));
    entries = await findEntries(ldap, base, rest);
  }
  const differing = rest.flatMap((source) => {
    const operation = repairOf(base, source, entries.get(source.id));
    return operation ? [{ source, operation }] : [];
  });
  const repaired = await ldap.applyAll(differing.map(({ operation }) => operation));
  const repairErrors = errorsOf(
    differing.map(({ source }) => source),
    repaired,
  );
  for (const [id, error] of repairErrors) errors.set(id, isAlreadyThere(error) ? entryOfAnother(error) : error);
  return errors;
}

/**
 * Takes the passwords of an earlier epoch away, each together with the mark of that epoch, so that neither an old password
 * outlives it nor a new one is taken for old. By itself and first: at any change of a password ppolicy also takes away the lock
 * that may be due. The errors by account.
 */
async function voidPasswords(
  ldap: Ldap,
  behind: readonly EntrySource[],
  entries: ReadonlyMap<string, Entry>,
): Promise<Map<string, Error>> {
  const attribute = 'congvuCredentialEpoch';
  const operations = behind.map(({ id, credentialEpoch }): Operation => {
    const entry = entries.get(id) as Entry;
    const marks = entry.attributes[attribute] ?? [];
    const changes: AttributeChange[] = [
      { attribute, operation: 'add', values: [String(credentialEpoch)] },
      { attribute: 'userPassword', operation: 'replace', values: [] },
    ];
    if (marks.length > 0) changes.unshift({ attribute, operation: 'delete', values: marks });
    return { kind: 'modify', dn: entry.dn, changes };
  });
  return errorsOf(behind, await ldap.applyAll(operations));
}

function errorsOf(sources: readonly EntrySource[], outcomes: readonly (Error | undefined)[]): Map<string, Error> {
  return new Map(
    sources.flatMap((source, index) => {
      const error = outcomes[index];
      return error ? [[source.id, error] as const] : [];
    }),
  );
}

async function recordConverged(transaction: Transaction, sources: readonly EntrySource[]): Promise<void> {
  const voided = await markEntryConverged(transaction, sources);
  const done = await markEntryPartDone(
    transaction,
    sources.map((source) => source.id),
  );
  if (done.length > 0) await settleRequests(transaction, done);
  // Sessions can end for good only now that the old password opens no new one.
  const isVoided = new Set(voided);
  const isDone = new Set(done);
  const waiting = sources.filter(({ id }) => isDone.has(id) || isVoided.has(id));
  if (waiting.length === 0) return;
  await queueOtherParts(
    transaction,
    waiting.map(({ id, certificatePath }) => (isVoided.has(id) ? { id } : { id, certificatePath })),
  );
}

const additionOf = (base: string, source: EntrySource): Operation => ({ kind: 'add', ...wantedEntry(base, source) });

async function findEntries(ldap: Ldap, base: string, sources: readonly EntrySource[]): Promise<Map<string, Entry>> {
  if (sources.length === 0) return new Map();
  const ids = sources.map((source) => source.id);
  const entries = await ldap.findBy(base, 'congvuAccountId', ids, ['congvuAccountId', ...ownedNames]);
  return new Map(entries.map((entry) => [String(entry.attributes.congvuAccountId?.[0]), entry]));
}

/** An entry that was renamed by hand is the account's all the same, and gets its name back before anything else. */
async function findNamedEntries(
  ldap: Ldap,
  base: string,
  sources: readonly EntrySource[],
  errors: Map<string, Error>,
): Promise<Map<string, Entry>> {
  const entries = await findEntries(ldap, base, sources);
  const renamed = sources
    .filter(({ id }) => entries.has(id))
    .filter((source) => isRenamed(base, source, entries.get(source.id) as Entry));
  if (renamed.length === 0) return entries;
  for (const source of renamed) {
    const { dn } = entries.get(source.id) as Entry;
    await ldap.rename(dn, entryDn(base, source)).catch((error: Error) => {
      if (error instanceof ServiceError) throw error;
      errors.set(source.id, isAlreadyThere(error) ? entryOfAnother(error) : error);
    });
  }
  return findEntries(ldap, base, sources);
}

/** What makes the entry right; undefined when it is. One that is gone is made again. */
function repairOf(base: string, source: EntrySource, entry: Entry | undefined): Operation | undefined {
  if (!entry) return additionOf(base, source);
  const changes = changesTo(base, entry.attributes, source);
  return changes.length > 0 ? { kind: 'modify', dn: entry.dn, changes } : undefined;
}

const entryOfAnother = (cause: Error): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'entry_of_another',
    detail: 'An LDAP entry of that name belongs to another account; an administrator has to look at it.',
    cause,
  });
