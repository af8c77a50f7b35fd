/**
 * Spreadsheets that people send: .xlsx and CSV, told from what merely bears their name, streamed in bounded memory, and given
 * back with a column of remarks. The container is read by yauzl, XML by saxes, CSV by csv-parse; what a cell is, is here,
 * because readers of whole workbooks keep them in memory and take the value that a formula once had for the value of a cell.
 */
import { readCsvRows } from './csv.ts';
import { openWorkbook } from './open-workbook.ts';
import { csvMediaType, defaultLimits, type Limits, type Sheet, type SheetRow } from './sheet.ts';

export { type Heading, type Remarks, withRemarks } from './remarks.ts';
export {
  type Cell,
  cellName,
  columnName,
  csvMediaType,
  type Limits,
  parseCellName,
  type Sheet,
  type SheetRow,
  spreadsheetMediaType,
} from './sheet.ts';

/**
 * Opens the one sheet of a file. Throws a ServiceError: `malformed` for what is not of its type, damaged, encrypted, or has several
 * sheets that could be meant; `too_large` beyond the limits, some of which show only as the rows are read.
 */
export async function openSheet(file: Buffer, mediaType: string, limits: Partial<Limits> = {}): Promise<Sheet> {
  const all = { ...defaultLimits, ...limits };
  if (mediaType === csvMediaType) return { name: null, hidden: [], rows: () => readCsvRows(file, all) };
  const { sheet, hidden, rows } = await openWorkbook(file, all);
  return { name: sheet.name, hidden, rows };
}

/** The rows of the one sheet of a file. */
export async function* readRows(
  file: Buffer,
  mediaType: string,
  limits: Partial<Limits> = {},
): AsyncGenerator<SheetRow> {
  yield* (await openSheet(file, mediaType, limits)).rows();
}
