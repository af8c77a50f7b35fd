/**
 * Streams all of LDAP past all of the record and keeps what differs as findings. Memory holds a page of each and 36 octets an
 * account (AccountTable), whatever the size of the province. LDAP that is empty while the record is not, or the other way round, is an error:
 * neither is ever believed to say that everything is gone.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { NoSuchObjectError } from '@congvu/ldap';
import type { AgencyPaths } from '../accounts/convergence-store.ts';
import { findAgenciesByCode } from '../agencies/agency-store.ts';
import { agencyDn, wantedAgencyAttributes } from '../agencies/converge-agencies.ts';
import { AccountTable } from './account-table.ts';
import { comparedNames, digestOfExpected } from './compare-entry.ts';
import { agencyDifferences, type DriftDependencies, describeDrift, isSettled } from './describe-drift.ts';
import type { DigestedEntry } from './digest-entries.ts';
import { countRecord, listExpectedAfter } from './expected-store.ts';
import type { Finding, Subject } from './finding.ts';

export interface Comparison extends DriftDependencies {
  /** Called after every page; throws when the run is to stop. */
  progress: (done: number, total: number, pending: number) => Promise<void>;
  keep: (subjects: readonly Subject[], findings: readonly Finding[]) => Promise<void>;
}

const subjectsAtOnce = 200;
const batchSize = 500;
const digestEntries = new URL('./digest-entries.ts', import.meta.url);

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
  const entries = run.ldap.stream(base, { scope: 'one', attributes: names, batchSize });
  for await (const batch of sayingWhatIsMissing(base, entries)) {
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

/** Both sides are read at once, each at its own pace, and meet in the table. */
async function compareAccounts(run: Run, counts: { accounts: number; enteredAccounts: number }): Promise<void> {
  const base = `ou=people,${run.baseDn}`;
  const table = new AccountTable(counts.accounts);
  const stopping = new AbortController();
  const sides = [
    readEntries(run, base, table, stopping.signal),
    readRecord(run, base, table, stopping.signal),
  ] as const;
  const [entries, accounts] = await Promise.all(sides).catch(async (error: unknown) => {
    stopping.abort();
    await Promise.allSettled(sides);
    throw error;
  });
  if (entries > 0 && accounts === 0) {
    throw refused('record_empty', `The record holds no account, while ${base} holds ${entries} entries.`);
  }
  refuseEmptiness(base, { entered: counts.enteredAccounts, found: entries, scoped: false });

  let suspects: Subject[] = [];
  for (const { id, kind } of table.disagreements()) {
    if (kind !== 'extra') suspects.push(`account:${id}`);
    else suspects.push(...(await entriesOf(run, base, id)));
    if (suspects.length < subjectsAtOnce) continue;
    await keep(run, suspects);
    suspects = [];
  }
  await keep(run, suspects);
}

async function readEntries(run: Run, base: string, table: AccountTable, signal: AbortSignal): Promise<number> {
  let entries = 0;
  const options = { scope: 'one', attributes: comparedNames, batchSize } as const;
  const digested = run.ldap.streamMapped<DigestedEntry>(base, digestEntries, options);
  for await (const batch of sayingWhatIsMissing(base, digested)) {
    signal.throwIfAborted();
    const strangers: Subject[] = [];
    for (const { dn, id, digest } of batch) {
      // One without an id, or a second one of the same, stands for no account.
      if (id === undefined || !table.addFromLdap(id, digest)) strangers.push(`entry:${dn}`);
    }
    entries += batch.length;
    await keep(run, strangers);
    await advance(run, batch.length);
  }
  return entries;
}

/** So few that they are forgotten while they are young, which costs V8 least. */
const accountsPerPage = 1_000;
const accountsPerTurn = 250;

async function readRecord(run: Run, base: string, table: AccountTable, signal: AbortSignal): Promise<number> {
  let accounts = 0;
  // Kept for the whole run: an account whose agency moves meanwhile looks wrong at worst, and is then looked at closely.
  const paths: AgencyPaths = new Map();
  let page = listExpectedAfter(run.database, '00000000-0000-0000-0000-000000000000', accountsPerPage, paths);
  for (;;) {
    signal.throwIfAborted();
    const expected = await page;
    const last = [...expected.keys()].at(-1);
    if (last === undefined) return accounts;
    page = listExpectedAfter(run.database, last, accountsPerPage, paths);
    page.catch(() => undefined); // awaited in the next round, if there is one
    accounts += expected.size;
    let turn = 0;
    for (const [id, wanted] of expected) {
      // In between the questions for the next page go out, and PostgreSQL answers them while we are at this one.
      if (turn++ % accountsPerTurn === 0) await nextTurn();
      const isOurs = run.scope.has(wanted.source.agencyCode);
      const isJudged = isOurs && isSettled(wanted);
      if (isOurs && !isJudged && wanted.source.entryVersion > 0) run.counts.pending += 1;
      table.addFromRecord(id, isJudged ? digestOfExpected(base, wanted) : undefined);
    }
  }
}

async function entriesOf(run: Run, base: string, id: string): Promise<Subject[]> {
  const found = await run.ldap.findBy(base, 'congvuAccountId', [id], ['1.1']);
  return found.map(({ dn }): Subject => `entry:${dn}`);
}

/** A base that is not there is no empty one. */
async function* sayingWhatIsMissing<T>(base: string, batches: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* batches;
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
