/**
 * What a row below the header is: a person's line, or one of the few things that are surely none. In doubt it is a line, so that
 * it is refused aloud rather than passed over.
 */
import type { Cell, SheetRow } from '@congvu/spreadsheet';
import { isHeaderAgain, type SheetColumns, wordsOf } from './sheet-columns.ts';

export type RowKind = 'line' | 'group' | 'heading' | 'closing' | 'empty';

const signatures = new Set(
  (
    'nguoi lap bieu,nguoi lap,nguoi lap danh sach,nguoi tong hop,chu tich,pho chu tich,giam doc,pho giam doc,hieu truong,' +
    'thu truong,thu truong don vi,thu truong co quan,lanh dao don vi,truong phong,ke toan truong,xac nhan cua don vi,tm uy ban nhan dan,' +
    'kt chu tich,kt giam doc,noi nhan'
  ).split(','),
);
const totals = /^(tong so|tong cong|cong|danh sach (nay )?(gom|co)|an dinh danh sach)\b/;
const placeAndDate = /\bngay \d{0,2} ?thang \d{0,2} ?nam\b/;

export function createRowClassifier(columns: SheetColumns): (row: SheetRow, isFirst: boolean) => RowKind {
  let closing = false;
  return (row, isFirst) => {
    const kind = classify(row, isFirst, columns, closing);
    closing = kind === 'closing';
    return kind;
  };
}

function classify(row: SheetRow, isFirst: boolean, columns: SheetColumns, closing: boolean): RowKind {
  const filled = row.cells.flatMap((cell, index) =>
    index !== columns.remarks && isFilled(cell) ? [{ cell, index }] : [],
  );
  const number = row.cells[columns.number ?? -1];
  const others = filled.filter(({ index }) => index !== columns.number);
  if (others.length === 0 && (filled.length === 0 || isCount(number))) return 'empty';
  if (isHeaderAgain(row, columns)) return 'heading';
  if (isFirst && countsColumns(filled.map(({ cell }) => cell))) return 'heading';
  if (isCount(number)) return 'line';

  const saysPerson = (['birthDate', 'nationalId', 'mobile', 'sex'] as const).some(
    (field) => columns[field] !== undefined && holdsDatum(row.cells[columns[field]]),
  );
  if (saysPerson) return 'line';
  if (isOrdinal(number) || (others.length === 0 && typeof number?.value === 'string')) return 'group';
  if (isFilled(number)) return 'line';
  // Below the signatures stand the names of those who sign, each alone in its cell.
  if (closing) return filled.length <= 3 ? 'closing' : 'line';
  const name = wordsOf(row.cells[columns.fullName ?? -1]);
  const closes = (words: string): boolean => signatures.has(words) || totals.test(words) || placeAndDate.test(words);
  // "Giám đốc" beside a name is the office of a person of whom everything else is missing.
  return (name === '' || closes(name)) && filled.some(({ cell }) => closes(wordsOf(cell))) ? 'closing' : 'line';
}

const isFilled = (cell: Cell | undefined): boolean =>
  cell !== undefined &&
  (cell.formula === true || (typeof cell.value === 'string' ? cell.value.trim() !== '' : cell.value !== null));

/** A running number, "1." included; also one that a formula counts. */
const isCount = (cell: Cell | undefined): boolean =>
  cell !== undefined &&
  (typeof cell.value === 'number' || (typeof cell.value === 'string' && /^\s*\d+\s*\.?\s*$/.test(cell.value)));

/** I, II, IV. or A: what groups are numbered with. */
const isOrdinal = (cell: Cell | undefined): boolean =>
  typeof cell?.value === 'string' && /^\s*([IVXLC]{1,8}|[A-Z])\s*[.)]?\s*$/.test(cell.value);

/** Something that is known of a person, and not a word (as of a signature). */
const holdsDatum = (cell: Cell | undefined): boolean =>
  cell !== undefined &&
  isFilled(cell) &&
  (typeof cell.value !== 'string' ||
    cell.formula === true ||
    /\d|^\s*(nam|nữ|nu)\s*$/iu.test(cell.value.normalize('NFC')));

/** The row "(1) (2) (3) …" below a header. */
function countsColumns(cells: readonly Cell[]): boolean {
  const numbers = cells.map(({ value }) => Number(String(value).replace(/[()\s]/g, '')));
  return numbers.length >= 3 && numbers.every((number, index) => number === (numbers[0] as number) + index);
}
