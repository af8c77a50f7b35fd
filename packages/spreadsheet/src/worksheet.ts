/**
 * The rows of one worksheet, streamed. A row that holds nothing is left out; hidden rows and columns are rows and columns like
 * all others. Row numbers only rise, so that what is read is what a spreadsheet program shows.
 */
import { type SharedStrings, unescapeText } from './shared-strings.ts';
import {
  type Cell,
  type Limits,
  malformed,
  parseCellName,
  type SheetRow,
  tooManyColumns,
  tooManyRows,
} from './sheet.ts';
import { readXml } from './xml.ts';

export interface CellContext {
  sharedStrings: SharedStrings;
  dateStyles: ReadonlySet<number>;
  from1904: boolean;
  limits: Limits;
}

/** Rows that a spreadsheet program itself can have; more rows than this, even empty ones, are an attack. */
const mostRows = 1_048_576;

export async function* readWorksheet(chunks: AsyncIterable<Buffer>, context: CellContext): AsyncGenerator<SheetRow> {
  const ready: SheetRow[] = [];
  const reader = readXml(
    'The sheet',
    rowHandlers(context, (row) => ready.push(row)),
  );
  for await (const chunk of chunks) {
    reader.write(chunk);
    yield* ready.splice(0);
  }
  reader.end();
  yield* ready.splice(0);
}

function rowHandlers({ sharedStrings, dateStyles, from1904, limits }: CellContext, emit: (row: SheetRow) => void) {
  const arrays: { first: Position; last: Position }[] = [];
  let rowNumber = 0;
  let cells: Cell[] = [];
  let columnIndex = -1;
  let type = 'n';
  let style = -1;
  let formula = false;
  let value: string | undefined;
  let inline: string | undefined;
  let collecting: 'value' | 'inline' | undefined;
  let phonetic = 0;

  const openRow = (r: string | undefined): void => {
    const number = r === undefined ? rowNumber + 1 : Number(r);
    if (!Number.isInteger(number) || number <= rowNumber)
      throw malformed('sheet_damaged', 'The rows of the sheet do not stand in their order.');
    if (number > mostRows) throw tooManyRows(limits);
    rowNumber = number;
    cells = [];
    columnIndex = -1;
  };
  const openCell = (attributes: Readonly<Record<string, string>>): void => {
    if (attributes.r === undefined) columnIndex += 1;
    else {
      const position = parseCellName(attributes.r);
      if (position?.rowNumber !== rowNumber || position.columnIndex <= columnIndex)
        throw malformed('sheet_damaged', `The cells of row ${rowNumber} do not stand in their order.`);
      columnIndex = position.columnIndex;
    }
    type = attributes.t ?? 'n';
    style = Number(attributes.s ?? -1);
    formula = false;
    value = undefined;
    inline = undefined;
  };
  const closeCell = (): void => {
    const cell: Cell = { value: read() };
    if (formula || arrays.some((array) => isWithin(array, { rowNumber, columnIndex }))) cell.formula = true;
    if (type === 'e') cell.error = true;
    if (cell.value === null && !cell.formula) return;
    if (rowNumber > limits.maxRows) throw tooManyRows(limits);
    if (columnIndex >= limits.maxColumns) throw tooManyColumns(limits, `row ${rowNumber}`);
    while (cells.length < columnIndex) cells.push({ value: null });
    cells.push(cell);
  };
  const read = (): Cell['value'] => {
    const text = type === 'inlineStr' ? inline : value;
    if (text === undefined || text === '') return null;
    if (type === 's') return sharedStrings(Number(text)) || null;
    if (type === 'b') return text.trim() === '1';
    if (type === 'd') return isoDate(text.trim()) ?? text;
    if (type !== 'n') return unescapeText(text) || null;
    const number = Number(text);
    if (!Number.isFinite(number)) return text;
    return (dateStyles.has(style) && serialDate(number, from1904)) || number;
  };

  return {
    open: (name: string, attributes: Readonly<Record<string, string>>): void => {
      if (name === 'row') openRow(attributes.r);
      else if (name === 'c') openCell(attributes);
      else if (name === 'f') {
        formula = true;
        if (attributes.ref) noteArray(arrays, attributes.ref);
      } else if (name === 'v') [collecting, value] = ['value', ''];
      else if (name === 'rPh') phonetic += 1;
      else if (name === 't' && phonetic === 0) [collecting, inline] = ['inline', inline ?? ''];
    },
    text: (text: string): void => {
      if (collecting === 'value') value += text;
      else if (collecting === 'inline') inline += text;
    },
    close: (name: string): void => {
      if (name === 'v' || name === 't') collecting = undefined;
      else if (name === 'rPh') phonetic -= 1;
      else if (name === 'c') closeCell();
      else if (name === 'row' && cells.length > 0) emit({ rowNumber, cells });
    },
  };
}

type Position = { rowNumber: number; columnIndex: number };

/** An array formula stands in its first cell alone; the others that it fills look like values. */
function noteArray(arrays: { first: Position; last: Position }[], ref: string): void {
  const [first, last] = ref.split(':').map(parseCellName);
  if (!first || !last) return;
  if (arrays.length === 1_000) throw malformed('sheet_formulas', 'The sheet holds more than 1,000 array formulas.');
  arrays.push({ first, last });
}

const isWithin = ({ first, last }: { first: Position; last: Position }, at: Position): boolean =>
  at.rowNumber >= first.rowNumber &&
  at.rowNumber <= last.rowNumber &&
  at.columnIndex >= first.columnIndex &&
  at.columnIndex <= last.columnIndex;

/** Undefined for what is no date: day 60 of the 1900 system, 29 February 1900, never was. */
function serialDate(serial: number, from1904: boolean): Date | undefined {
  if (from1904) return serial >= 0 ? toDate(serial - 24_107) : undefined;
  if (serial < 1 || Math.floor(serial) === 60) return undefined;
  return toDate(serial - (serial > 60 ? 25_569 : 25_568));
}

function toDate(days: number): Date | undefined {
  const date = new Date(Math.round(days * 86_400_000));
  return Number.isNaN(date.getTime()) ? undefined : date;
}

function isoDate(text: string): Date | undefined {
  if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?Z?)?$/.test(text)) return undefined;
  const date = new Date(/Z$|^.{10}$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(date.getTime()) ? undefined : date;
}
