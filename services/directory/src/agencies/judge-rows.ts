/**
 * The rows of a file against each other and against the record: what each agency would become, and which rows are refused. Where
 * rows may be left out, refusing one pulls down what hangs on it; where not, only the faults themselves are said.
 */
import type { ImportFinding } from '@congvu/contracts';
import { invalid } from '@congvu/errors';
import { type Life, type Statement, state, stateHistory } from './agency-periods.ts';
import type { AgencyRecord } from './agency-store.ts';
import { checkTree } from './check-tree.ts';
import type { AgencyFile, AgencyLine, Column } from './read-agency-rows.ts';
import type { WantedAgency } from './record-agencies.ts';

export interface JudgedRows {
  /** By code; also those that would stay as they are. */
  wanted: Map<string, WantedAgency>;
  refused: ImportFinding[];
}

export interface JudgeContext {
  record: ReadonlyMap<string, AgencyRecord>;
  /** The agency whose subtree may be written, and the codes in it. */
  scope: string;
  inside: ReadonlySet<string>;
  today: string;
  skipRefused: boolean;
}

type NoteFault = (row: number, column: Column, code: string, detail: string) => void;

/** An agency that stays as it was because its row is refused can make another row faulty, and so on; honest files need two or three. */
const mostRounds = 20;

export function judgeRows(read: AgencyFile, context: JudgeContext): JudgedRows {
  const { record, skipRefused } = context;
  const refused = [...read.refused];
  const refusedCodes = new Set(read.refusedCodes);
  let lines: readonly AgencyLine[] = read.lines;
  for (let round = 1; round <= mostRounds; round += 1) {
    const faults: ImportFinding[] = [];
    const consequences: ImportFinding[] = [];
    const noteIn =
      (list: ImportFinding[]): NoteFault =>
      (row, column, code, detail) => {
        list.push({ row, cell: read.cellOf(row, column), code, detail });
      };
    const fault = noteIn(faults);
    // 1. Each agency by itself: one row, or several that are its history.
    const wanted = new Map<string, WantedAgency>();
    for (const [code, rows] of Map.groupBy(lines, (line) => line.code)) {
      const agency = refusedCodes.has(code) ? undefined : wantedAgency(rows, record.get(code), context.today, fault);
      if (agency) wanted.set(code, agency);
    }
    checkShortNames(lines, wanted, record, fault);
    // 2. What hangs on a refused one.
    takeDown(lines, wanted, refusedCodes, record, noteIn(consequences));
    // 3. All of them as one tree.
    const next = new Map([...record, ...(wanted as Map<string, AgencyRecord>)]);
    const standing = lines.filter(({ code }) => wanted.has(code));
    const treeLines = standing.map(({ row, code, facts }) => ({ row, code, ...facts }));
    for (const found of checkTree(treeLines, { ...context, next })) {
      fault(found.row, found.field, found.code, found.detail);
    }
    // 4. Those that fell are left out, and the rest is looked at again.
    refused.push(...faults, ...(skipRefused ? consequences : []));
    refused.sort((one, other) => one.row - other.row);
    if (!skipRefused || faults.length + consequences.length === 0) return { wanted, refused };
    const fallen = new Set([...faults, ...consequences].map(({ row }) => row));
    for (const { row, code } of lines) if (fallen.has(row)) refusedCodes.add(code);
    lines = lines.filter(({ row }) => !fallen.has(row));
  }
  const detail =
    'The rows hang on each other so that ever more must be refused. Correct the first of them and try again.';
  const [first] = refused;
  throw invalid('agencies_invalid', [{ pointer: `row/${first?.row}/${first?.cell}`, code: 'entangled', detail }]);
}

/** New agencies below a refused new one, those that would be taken over by it, and the other rows of a refused agency. */
function takeDown(
  lines: readonly AgencyLine[],
  wanted: Map<string, WantedAgency>,
  refusedCodes: ReadonlySet<string>,
  record: ReadonlyMap<string, AgencyRecord>,
  note: NoteFault,
): void {
  for (const { row, code } of lines) {
    if (refusedCodes.has(code)) {
      note(row, 'code', 'agency_refused', `Another row of ${code} is refused, and so is this one.`);
    }
  }
  const children = Map.groupBy(lines, ({ facts }) => facts.parentCode);
  const takenOver = Map.groupBy(lines, ({ successorCode }) => successorCode);
  const queue = [...refusedCodes, ...lines.flatMap(({ code }) => (wanted.has(code) ? [] : [code]))];
  const seen = new Set(queue);
  for (const fallen of queue) {
    if (record.has(fallen)) continue;
    const fell = (line: AgencyLine, column: Column, kind: string, what: string): void => {
      if (!wanted.has(line.code)) return;
      note(line.row, column, kind, `The row of ${fallen}, ${what}, is refused.`);
      if (!seen.has(line.code)) queue.push(line.code);
      seen.add(line.code);
    };
    const [below, before] = [children.get(fallen) ?? [], takenOver.get(fallen) ?? []];
    for (const line of below) fell(line, 'parentCode', 'parent_refused', 'the agency above');
    for (const line of before) fell(line, 'successorCode', 'successor_refused', 'the successor');
    for (const line of [...below, ...before]) wanted.delete(line.code);
  }
}

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
