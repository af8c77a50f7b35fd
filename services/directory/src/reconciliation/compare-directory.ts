/**
 * Streams all of LDAP past all of the record and keeps what differs as findings. Memory holds a page of entries and the ids seen
 * (AccountIds), whatever the size of the province. LDAP that is empty while the record is not, or the other way round, is an error:
 * neither is ever believed to say that everything is gone.
 */
import { ServiceError } from '@congvu/errors';
import { type Entry, NoSuchObjectError } from '@congvu/ldap';
import { findAgenciesByCode } from '../agencies/agency-store.ts';
import { agencyDn, wantedAgencyAttributes } from '../agencies/converge-agencies.ts';
import { AccountIds, idOf } from './account-ids.ts';
import { comparedNames, differencesOf } from './compare-entry.ts';
import { agencyDifferences, type DriftDependencies, describeDrift, isSettled } from './describe-drift.ts';
import { countRecord, listEnteredIds, listExpected } from './expected-store.ts';
import type { Finding, Subject } from './finding.ts';

export interface Comparison extends DriftDependencies {
  /** Whether the scope is the whole province. */
  whole: boolean;
  /** Called after every page; throws when the run is to stop. */
  progress: (done: number, total: number, pending: number) => Promise<void>;
  keep: (subjects: readonly Subject[], findings: readonly Finding[]) => Promise<void>;
}

const subjectsAtOnce = 200;

export async function compareDirectory(comparison: Comparison): Promise<{ done: number; pending: number }> {
  const counts = await countRecord(comparison.database);
  const total = counts.accounts + counts.agencies;
  const run: Run = { ...comparison, counts: { done: 0, pending: 0, total } };
  await compareAgencies(run, counts.enteredAgencies);
  await compareAccounts(run, counts);
  return run.counts;
}

interface Run extends Comparison {
  counts: { done: number; pending: number; total: number };
}

async function compareAgencies(run: Run, entered: number): Promise<void> {
  const { database, baseDn, scope, whole } = run;
  const base = `ou=agencies,${baseDn}`;
  const names = ['ou', ...Object.keys(wantedAgencyAttributes({} as never))];
  const seen = new Set<string>();
  for await (const batch of readAll(run, base, names)) {
    const codes = batch.map((entry) => String(entry.attributes.ou?.[0]));
    const agencies = new Map((await findAgenciesByCode(database, codes, run.scopeCode)).map((row) => [row.code, row]));
    const suspects = batch.flatMap((entry, index): Subject[] => {
      const agency = agencies.get(codes[index] as string);
      if (agency && entry.dn.toLowerCase() === agencyDn(base, agency.code).toLowerCase()) {
        seen.add(agency.code);
        return agencyDifferences(agency, entry).length > 0 ? [`agency:${agency.code}`] : [];
      }
      // In a part of the province another's agency is not ours to judge.
      return whole ? [`entry:${entry.dn}`] : [];
    });
    await keep(run, suspects);
    await advance(run, batch.length);
  }
  refuseEmptiness(base, { entered, found: seen.size, scoped: !whole });
  await keep(
    run,
    [...scope.keys()].filter((code) => !seen.has(code)).map((code): Subject => `agency:${code}`),
  );
}

async function compareAccounts(run: Run, counts: { accounts: number; enteredAccounts: number }): Promise<void> {
  const base = `ou=people,${run.baseDn}`;
  const seen = new AccountIds();
  let entries = 0;
  // While one page is compared with the record, the next is read from LDAP.
  let comparing: Promise<void> = Promise.resolve();
  try {
    for await (const batch of readAll(run, base, comparedNames)) {
      await comparing;
      entries += batch.length;
      comparing = comparePage(run, base, batch, seen);
      comparing.catch(() => undefined); // awaited with the next page, or below
    }
  } finally {
    await comparing;
  }
  if (entries > 0 && counts.accounts === 0) {
    throw refused('record_empty', `The record holds no account, while ${base} holds ${entries} entries.`);
  }
  refuseEmptiness(base, { entered: counts.enteredAccounts, found: entries, scoped: false });
  await findMissing(run, seen);
}

async function comparePage(run: Run, base: string, batch: readonly Entry[], seen: AccountIds): Promise<void> {
  const ids = batch.map((entry) => accountIdOf(entry));
  const expected = await listExpected(
    run.database,
    ids.filter((id) => id !== undefined),
  );
  const suspects: Subject[] = [];
  for (const [index, entry] of batch.entries()) {
    const id = ids[index];
    const wanted = id === undefined ? undefined : expected.get(id);
    if (!id || !wanted) {
      if (run.whole || run.scope.has(String(entry.attributes.congvuAgencyCode?.[0])))
        suspects.push(`entry:${entry.dn}`);
      continue;
    }
    if (!seen.add(id)) suspects.push(`entry:${entry.dn}`);
    if (!run.scope.has(wanted.source.agencyCode)) continue;
    if (!isSettled(wanted)) run.counts.pending += 1;
    else if (differencesOf(base, wanted, entry).length > 0) suspects.push(`account:${id}`);
  }
  await keep(run, suspects);
  await advance(run, batch.length);
}

const accountIdOf = (entry: Entry): string | undefined => {
  const id = entry.attributes.congvuAccountId?.[0];
  return id === undefined ? undefined : String(id).toLowerCase();
};

const idsPerPage = 20_000;

/** Every account that had an entry and was not met. */
async function findMissing(run: Run, seen: AccountIds): Promise<void> {
  for (let after = '00000000-0000-0000-0000-000000000000'; ; ) {
    const ids = await listEnteredIds(run.database, after, idsPerPage);
    const missing: Subject[] = [];
    for (let offset = 0; offset < ids.length; offset += 16) {
      if (!seen.hasOctets(ids, offset)) missing.push(`account:${idOf(ids, offset)}`);
    }
    await keep(run, missing);
    if (ids.length < idsPerPage * 16) return;
    after = idOf(ids, ids.length - 16);
  }
}

/** A base that is not there is no empty one. */
async function* readAll(run: Run, base: string, attributes: readonly string[]): AsyncGenerator<Entry[]> {
  try {
    yield* run.ldap.stream(base, { scope: 'one', attributes });
  } catch (error) {
    if (error instanceof NoSuchObjectError) throw refused('ldap_base_missing', `${base} is not there in LDAP.`);
    throw error;
  }
}

function refuseEmptiness(
  base: string,
  { entered, found, scoped }: { entered: number; found: number; scoped: boolean },
) {
  if (found > 0 || entered === 0 || scoped) return;
  throw refused('ldap_empty', `${base} is empty in LDAP, while the record has ${entered} entries there.`);
}

const refused = (code: string, what: string): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code,
    detail: `${what} That is taken for a fault and never for the truth: nothing was changed. Bring back a backup.`,
  });

/** What seemed wrong is looked at closely at once, while the page is in hand; the run does so again at its end. */
async function keep(run: Run, suspects: readonly Subject[]): Promise<void> {
  for (let start = 0; start < suspects.length; start += subjectsAtOnce) {
    const some = suspects.slice(start, start + subjectsAtOnce);
    await run.keep(some, await describeDrift(run, some));
  }
}

async function advance({ counts, progress }: Run, entries: number): Promise<void> {
  counts.done += entries;
  await progress(counts.done, counts.total, counts.pending);
}
