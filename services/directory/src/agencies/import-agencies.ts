/**
 * Imports agencies from a file. All or nothing, unless the faulty rows are to be left out: then the sound ones are taken, and none
 * that hangs on a refused one. Importing the same file again changes nothing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { AgencyImportReport, ImportFinding } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { type Fault, invalid } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { type Life, periodAt, type Statement, state, stateHistory, statusAt } from './agency-periods.ts';
import { type AgencyRecord, countAccounts, loadRecord, lockAgencies, subtreeCodes, today } from './agency-store.ts';
import { checkTree } from './check-tree.ts';
import { type AgencyFile, type AgencyLine, type Column, readAgencyRows } from './read-agency-rows.ts';
import { recordAgencies, type WantedAgency } from './record-agencies.ts';

export async function importAgencies(
  database: Database,
  file: { content: Buffer; mediaType: string },
  options: { dryRun: boolean; skipRefused: boolean },
  actor: Actor & { agencyCode: string },
): Promise<AgencyImportReport> {
  // 1. Read and check every row by itself.
  const read = await readAgencyRows(file.content, file.mediaType);

  return database.transaction(async (transaction) => {
    // 2. Check the rows against each other and against the record.
    await lockAgencies(transaction);
    const record = await loadRecord(transaction);
    const day = await today(transaction);
    const inside = new Set(await subtreeCodes(transaction, actor.agencyCode));
    const { wanted, refused } = settleRows(read, { record, inside, scope: actor.agencyCode, day }, options.skipRefused);
    if (refused.length > 0 && !options.skipRefused) throw invalid('agencies_invalid', toFaults(refused));

    // 3. Say what it comes to.
    const changed = [...wanted.values()].filter((agency) => !isSame(agency, record.get(agency.code)));
    const added = changed.filter((agency) => !record.has(agency.code)).length;
    const report = {
      dryRun: options.dryRun,
      added,
      changed: changed.length - added,
      unchanged: wanted.size - changed.length,
      refused,
      corrections: read.corrections.slice(0, mostRemarks),
      warnings: [...read.warnings, ...(await remarkEnds(transaction, changed, record, read, day))].slice(
        0,
        mostRemarks,
      ),
    };

    // 4. Write it, with its events, and bring LDAP to the same state.
    if (!options.dryRun) await recordAgencies(transaction, changed, record, actor, day);
    return report;
  });
}

interface ImportContext {
  record: ReadonlyMap<string, AgencyRecord>;
  inside: ReadonlySet<string>;
  scope: string;
  day: string;
}

/**
 * The agencies as the sound rows want them. Where rows may be left out, refusing one can pull others down, so that it is done until
 * no more fall; where not, what merely follows from the fault of another row is not said.
 */
function settleRows(
  read: AgencyFile,
  { record, inside, scope, day }: ImportContext,
  skipRefused: boolean,
): { wanted: Map<string, WantedAgency>; refused: ImportFinding[] } {
  const refused = [...read.refused];
  const refusedCodes = new Set(read.refusedCodes);
  for (let lines: AgencyLine[] = read.lines; ; ) {
    const faults: (ImportFinding & { isConsequence?: boolean })[] = [];
    const fault = (row: number, column: Column, code: string, detail: string, isConsequence = false): void => {
      faults.push({ row, cell: read.cellOf(row, column), code, detail, isConsequence });
    };
    // 1. Each agency by itself: one row, or several that are its history.
    const wanted = new Map<string, WantedAgency>();
    for (const [code, rows] of Map.groupBy(lines, (line) => line.code)) {
      if (refusedCodes.has(code)) {
        for (const { row } of rows) {
          fault(row, 'code', 'agency_refused', `Another row of ${code} is refused, and so is this one.`, true);
        }
        continue;
      }
      const agency = wantedAgency(rows, record.get(code), day, fault);
      if (agency) wanted.set(code, agency);
    }
    checkShortNames(lines, wanted, record, fault);
    // 2. All of them as one tree.
    const next = new Map([...record, ...(wanted as Map<string, AgencyRecord>)]);
    const sound = lines.flatMap(({ row, code, facts }) => (wanted.has(code) ? [{ row, code, ...facts }] : []));
    const fallen = new Set([...refusedCodes, ...lines.flatMap(({ code }) => (wanted.has(code) ? [] : [code]))]);
    for (const found of checkTree(sound, { record, next, refused: fallen, scope, inside })) {
      fault(found.row, found.field, found.code, found.detail, found.isConsequence);
    }
    // 3. What fell.
    const said = faults.filter((found) => skipRefused || !found.isConsequence);
    refused.push(...said.map(({ isConsequence: _, ...finding }) => finding));
    refused.sort((one, other) => one.row - other.row);
    if (faults.length === 0 || !skipRefused) return { wanted, refused };
    const fallenRows = new Set(faults.map(({ row }) => row));
    for (const { row, code } of lines) if (fallenRows.has(row)) refusedCodes.add(code);
    lines = lines.filter(({ row }) => !fallenRows.has(row));
  }
}

type NoteFault = (row: number, column: Column, code: string, detail: string) => void;

/** What the rows of one agency make of it. */
function wantedAgency(
  rows: readonly AgencyLine[],
  present: AgencyRecord | undefined,
  day: string,
  fault: NoteFault,
): WantedAgency | undefined {
  // 1. Two rows for the same time are one too many.
  const byDate = new Map<string | undefined, AgencyLine>();
  for (const line of rows) {
    const first = byDate.get(line.validFrom);
    if (first) {
      const detail = `${line.code} stands already in row ${first.row}, from the same date on; codes are the same in both forms and in small letters.`;
      fault(line.row, 'code', 'duplicate_code', detail);
    } else byDate.set(line.validFrom, line);
  }
  if (byDate.size < rows.length) return undefined;
  // 2. Its life.
  const ordered = [...rows].sort((one, other) => ((one.validFrom ?? '') < (other.validFrom ?? '') ? -1 : 1));
  const life = lifeOf(ordered, present, day);
  if (!life.ok) {
    const { index, field, code, detail } = life.fault;
    fault(ordered[index]?.row ?? 0, field, code, detail);
    return undefined;
  }
  // 3. What has no date: the latest row that says something of it.
  const latest = <K extends 'gsoCode' | 'successorCode' | 'shortName'>(field: K) =>
    ordered.findLast((line) => line[field] !== undefined);
  const named = latest('successorCode');
  const ends = life.periods.at(-1)?.validTo !== null;
  if (named && !ends) {
    fault(named.row, 'successorCode', 'successor_of_open', 'An agency that has a successor also ends; say when.');
    return undefined;
  }
  return {
    ...(present && { id: present.id }),
    code: (ordered[0] as AgencyLine).code,
    shortName: present?.shortName ?? latest('shortName')?.shortName,
    gsoCode: latest('gsoCode')?.gsoCode ?? present?.gsoCode ?? null,
    successorCode: ends ? (named?.successorCode ?? present?.successorCode ?? null) : null,
    periods: life.periods,
  } as WantedAgency;
}

function lifeOf(ordered: readonly AgencyLine[], present: AgencyRecord | undefined, day: string): Life {
  const periods = present?.periods ?? [];
  const statements = ordered.map(({ facts, validFrom, validTo }): Statement => {
    const headCount = facts.headCount ?? (present ? undefined : null);
    return { facts: { ...facts, headCount }, from: validFrom, to: validTo };
  });
  const [only] = statements;
  if (statements.length === 1 && only) return state(periods, only, day);
  return stateHistory(
    periods,
    statements.map((statement) => ({ ...statement, from: statement.from ?? null })),
  );
}

/** A short name may be chosen for a new agency, if it is free. */
function checkShortNames(
  lines: readonly AgencyLine[],
  wanted: Map<string, WantedAgency>,
  record: ReadonlyMap<string, AgencyRecord>,
  fault: NoteFault,
): void {
  const holders = new Map([...record.values()].map(({ shortName, code }) => [shortName, code]));
  for (const { row, code, shortName } of lines) {
    if (shortName === undefined || !wanted.has(code)) continue;
    const present = record.get(code)?.shortName;
    const holder = holders.get(shortName) ?? code;
    if (present !== undefined && present !== shortName) {
      const detail = `The short name of ${code} is ${present} and stays so, because addresses are made of it.`;
      fault(row, 'shortName', 'short_name_stays', detail);
    } else if (holder !== code) {
      fault(row, 'shortName', 'short_name_taken', `The short name ${shortName} is that of ${holder}.`);
    } else holders.set(shortName, code);
  }
}

function isSame(wanted: WantedAgency, present: AgencyRecord | undefined): boolean {
  if (!present) return false;
  const { gsoCode, successorCode, periods } = present;
  return (
    gsoCode === wanted.gsoCode && successorCode === wanted.successorCode && isDeepStrictEqual(periods, wanted.periods)
  );
}

/** An agency may end while accounts and agencies still hang on it; whoever ends it should know. */
async function remarkEnds(
  transaction: Transaction,
  changed: readonly WantedAgency[],
  record: ReadonlyMap<string, AgencyRecord>,
  read: AgencyFile,
  day: string,
): Promise<ImportFinding[]> {
  const endOf = (agency: WantedAgency | undefined) => agency?.periods.at(-1)?.validTo ?? null;
  const ending = new Map(
    changed
      .filter((agency) => endOf(agency) !== null && endOf(agency) !== endOf(record.get(agency.code)))
      .map((agency) => [agency.code, agency]),
  );
  if (ending.size === 0) return [];
  const accounts = await countAccounts(transaction, [...ending.keys()]);
  const next = new Map([...record.values(), ...changed].map((agency) => [agency.code, agency]));
  const children = new Map<string, number>();
  for (const agency of next.values()) {
    const parentCode = periodAt(agency.periods, day)?.parentCode ?? '';
    if (!ending.has(parentCode) || endOf(agency) !== null || statusAt(agency.periods, day) === 'closed') continue;
    children.set(parentCode, (children.get(parentCode) ?? 0) + 1);
  }
  return read.lines.flatMap(({ row, code }) => {
    const agency = ending.get(code);
    if (!agency || row !== read.lines.findLast((line) => line.code === code)?.row) return [];
    const remark = (kind: string, count: number, what: string): ImportFinding[] =>
      count === 0
        ? []
        : [
            {
              row,
              cell: read.cellOf(row, 'validTo'),
              code: kind,
              detail: `${code} ends on ${endOf(agency)}; ${what} remain: ${count}. Move or close them.`,
            },
          ];
    return [
      ...remark('accounts_remain', accounts.get(code) ?? 0, 'accounts that are not retired'),
      ...remark('agencies_remain', children.get(code) ?? 0, 'agencies below it that do not end'),
    ];
  });
}

const mostRemarks = 1_000;

/** `row/14/D14`; an answer that lists them must not be many times the size of the file. */
function toFaults(refused: readonly ImportFinding[]): Fault[] {
  const listed = refused
    .slice(0, mostRemarks)
    .map(({ row, cell, code, detail }) => ({ pointer: `row/${row}/${cell}`, code, detail }));
  if (refused.length <= mostRemarks) return listed;
  const detail = `${refused.length - mostRemarks} more faults were found and are not listed.`;
  return [...listed, { pointer: '', code: 'more_faults', detail }];
}
