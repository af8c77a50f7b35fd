/**
 * The lines of an HR sheet, streamed: every row below the header is a line that is accepted, accepted with a correction, or refused
 * with the cell, or is counted as what else it is. Nothing is guessed, nothing is dropped, and only what repeats are found by
 * is remembered of a row that has passed.
 */
import { hash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import type { SheetNote, SheetReport } from '@congvu/contracts';
import { invalid } from '@congvu/errors';
import { type Cell, cellName, columnName, type Sheet, type SheetRow } from '@congvu/spreadsheet';
import type { DraftLine } from '../requests/draft-request.ts';
import type { Obstacle } from '../requests/line-obstacles.ts';
import { findDecision, type SheetDecision } from './find-decision.ts';
import { type PersonRow, type RowContext, readPersonRow } from './read-person-row.ts';
import { createRowClassifier } from './row-kinds.ts';
import { readHeader, type SheetColumns } from './sheet-columns.ts';

/** What in the record stands against people, by their place in the list that was asked about. */
export type FindTaken = (lines: readonly PersonRow[]) => Promise<Map<PersonRow, Omit<Obstacle, 'lineNumber'>>>;

export interface SheetReading {
  /** That the rows above the header name, if they name one. */
  decision: SheetDecision | undefined;
  /** To be gone through once, to its end. */
  lines: () => AsyncGenerator<DraftLine[]>;
  /** Complete when `lines` is. */
  report: SheetReport;
}

const headerWithin = 100;
const batchSize = 500;
const rowsPerTurn = 50;
const mostNotes = 200;

export async function readSheet(
  sheet: Sheet,
  context: Omit<RowContext, 'columns' | 'namesAgencies'>,
  findTaken: FindTaken,
): Promise<SheetReading> {
  const rows = sheet.rows()[Symbol.asyncIterator]();
  const { header, columns, unknown, above } = await findHeader(rows);
  const decision = findDecision(above);
  const report: SheetReport = {
    sheetName: sheet.name,
    headerRow: header.rowNumber,
    columns: Object.fromEntries(Object.entries(columns).map(([field, index]) => [field, columnName(index)])),
    remarksColumn: columnName(columns.remarks ?? header.cells.length),
    rows: { total: header.rowNumber, heading: header.rowNumber, lines: 0, groups: 0, closing: 0, empty: 0 },
    lines: { accepted: 0, corrected: 0, refused: 0 },
    notes: [],
  };
  const note = (given: SheetNote): void => {
    if (report.notes.length < mostNotes) report.notes.push(given);
  };
  for (const name of sheet.hidden)
    note({ code: 'hidden_sheet', detail: `The hidden sheet "${name.slice(0, 31)}" was not read.` });
  for (const index of unknown) {
    const cell = cellName(header.rowNumber, index);
    note({
      cell,
      code: 'column_not_read',
      detail: `The column ${cell} has a heading that is not known, and was not read.`,
    });
  }
  for (const one of decision.notes) note(one);

  async function* lines(): AsyncGenerator<DraftLine[]> {
    const classify = createRowClassifier(columns);
    const repeats = createRepeats(columns);
    const numbers = createNumbering(columns);
    const rowContext: RowContext = { ...context, columns };
    let batch: PersonRow[] = [];
    let before: Promise<DraftLine[]> | undefined;
    let last = header.rowNumber;
    let read = 0;
    // The remarks stand right of everything, titles included.
    let width = Math.max(...[header, ...above].map((row) => row.cells.length));
    for await (const row of { [Symbol.asyncIterator]: () => rows }) {
      report.rows.empty += row.rowNumber - last - 1;
      const kind = classify(row, last === header.rowNumber);
      last = row.rowNumber;
      report.rows.total = row.rowNumber;
      if (columns.remarks === undefined) width = Math.max(width, row.cells.length);
      // Rows come without leaving the event loop a turn, and lines that are being written would stay unsent till the next batch.
      read += 1;
      if (read % rowsPerTurn === 0) await turn();
      if (kind === 'line') {
        report.rows.lines += 1;
        const person = readPersonRow(row, rowContext);
        person.findings.push(...repeats(person), ...numbers(row));
        if (person.findings.some((finding) => finding.severity === 'fault')) person.line = undefined;
        batch.push(person);
      } else {
        report.rows[kind === 'group' ? 'groups' : kind] += 1;
        const about = notesOnRows[kind];
        if (about) note({ cell: `${row.rowNumber}:${row.rowNumber}`, code: `row_${kind}`, detail: about });
      }
      if (batch.length < batchSize) continue;
      // While the database is asked about one batch the next one is read.
      const asked = finish(batch.splice(0));
      asked.catch(() => undefined); // thrown where it is awaited, or the reading failed before
      if (before) yield await before;
      before = asked;
    }
    if (before) yield await before;
    if (batch.length > 0) yield await finish(batch);
    batch = [];
    report.remarksColumn = columnName(columns.remarks ?? width);
    if (report.rows.lines === 0) {
      const detail = `Below the header in row ${header.rowNumber} there is no line with a person.`;
      throw invalid('sheet_without_lines', [
        { pointer: `row/${header.rowNumber}`, code: 'sheet_without_lines', detail },
      ]);
    }
  }
  const finish = async (batch: readonly PersonRow[]): Promise<DraftLine[]> => {
    const taken = await findTaken(batch.filter((person) => person.line));
    return batch.map((person) => {
      const against = taken.get(person);
      if (against) {
        const { field, code, detail } = against;
        const cell = cellName(person.rowNumber, columnOf(field, columns));
        person.findings.push({ cell, code, detail, severity: 'fault' });
        person.line = undefined;
      }
      const { rowNumber: sheetRow, line, findings, fullName, title } = person;
      const corrected = findings.some((finding) => finding.severity === 'correction');
      report.lines[!line ? 'refused' : corrected ? 'corrected' : 'accepted'] += 1;
      return { sheetRow, line, findings, ...(line ? {} : { shown: { fullName, title } }) };
    });
  };
  return { decision: decision.found, lines, report };
}

/** Where a sheet says what an obstacle is about; what it says nowhere is seen to at the name. */
function columnOf(field: Obstacle['field'], columns: SheetColumns): number {
  const named =
    field === 'nationalId' || field === 'title' ? columns[field] : (columns.agencyCode ?? columns.agencyName);
  return named ?? columns.fullName ?? 0;
}

const notesOnRows: Readonly<Partial<Record<string, string>>> = {
  empty: 'The row holds a number or spaces, and no person.',
  group: 'The row is the heading of a group and no person.',
  heading: 'The row repeats or numbers the header.',
  closing: 'The row belongs to what stands below the list (signatures, totals) and is no person.',
};

async function findHeader(
  rows: AsyncIterator<SheetRow>,
): Promise<{ header: SheetRow; columns: SheetColumns; unknown: number[]; above: SheetRow[] }> {
  const above: SheetRow[] = [];
  for (let next = await rows.next(); !next.done; next = await rows.next()) {
    const header = next.value.rowNumber <= headerWithin ? readHeader(next.value) : undefined;
    if (header) return { header: next.value, ...header, above };
    if (next.value.rowNumber >= headerWithin) break;
    above.push(next.value);
  }
  await rows.return?.();
  const detail = `None of the first ${headerWithin} rows is a header with the columns "Họ và tên", "Ngày sinh" and "Số CCCD".`;
  throw invalid('sheet_header_missing', [{ pointer: 'row/1', code: 'sheet_header_missing', detail }]);
}

/** The same person twice: by identity number a fault; by name and date of birth worth a look, for there are such people. */
function createRepeats(columns: SheetColumns): (person: PersonRow) => PersonRow['findings'] {
  const byNumber = new Map<string, number>();
  const byName = new Map<string, number>();
  const firstWith = (seen: Map<string, number>, key: string, rowNumber: number): number | undefined => {
    const first = seen.get(key);
    if (first === undefined) seen.set(key, rowNumber);
    return first;
  };
  return ({ rowNumber, nationalIdHash, fullName, birthDate }) => {
    // Half of a digest is enough to tell people apart, and a sheet may have 200,000.
    const sameNumber = nationalIdHash && firstWith(byNumber, nationalIdHash.toString('latin1', 0, 16), rowNumber);
    const sameName =
      fullName && birthDate && firstWith(byName, digest(`${fullName.toLowerCase()} ${birthDate}`), rowNumber);
    const cellOf = (row: number, field: 'nationalId' | 'fullName') => cellName(row, columns[field] ?? 0);
    if (sameNumber) {
      const first = cellOf(sameNumber, 'nationalId');
      const detail = `The identity number stands in ${first} already; keep one of the two lines.`;
      return [{ cell: cellOf(rowNumber, 'nationalId'), code: 'repeated_in_sheet', detail, severity: 'fault' }];
    }
    if (!sameName) return [];
    const first = cellOf(sameName, 'fullName');
    const detail = `The same name and date of birth stand in ${first}, with another identity number; if it is the same person, take one line out.`;
    return [{ cell: cellOf(rowNumber, 'fullName'), code: 'same_name_and_birth_date', detail, severity: 'warning' }];
  };
}

const digest = (text: string): string => hash('sha256', text, 'buffer').toString('latin1', 0, 16);

/** Running numbers that leave one out or come twice: a line may have been lost or doubled. A group may begin again at 1. */
function createNumbering(columns: SheetColumns): (row: SheetRow) => PersonRow['findings'] {
  let before: number | undefined;
  return ({ rowNumber, cells }) => {
    const number = countOf(cells[columns.number ?? -1]);
    if (number === undefined) return [];
    const expected = before === undefined ? number : before + 1;
    const previous = before;
    before = number;
    const cell = cellName(rowNumber, columns.number ?? 0);
    if (number === previous) {
      return [{ cell, code: 'number_repeated', detail: `The number ${number} stands twice.`, severity: 'warning' }];
    }
    if (number <= expected) return [];
    const missing = number - 1 === expected ? `${expected} is` : `${expected} to ${number - 1} are`;
    return [
      { cell, code: 'number_gap', detail: `The number ${missing} missing before this line.`, severity: 'warning' },
    ];
  };
}

function countOf(cell: Cell | undefined): number | undefined {
  if (cell?.formula) return undefined;
  const number = typeof cell?.value === 'string' ? Number(cell.value.replace(/\.\s*$/, '')) : cell?.value;
  return typeof number === 'number' && Number.isInteger(number) && number > 0 ? number : undefined;
}
