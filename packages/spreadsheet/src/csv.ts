/**
 * CSV as spreadsheet programs write it: UTF-8 with or without its mark, separated by commas, semicolons or tabs (one of
 * them throughout the file). Every cell is text. Streamed.
 */
import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import { type CsvError, parse } from 'csv-parse';
import { type Limits, malformed, type SheetRow, tooManyColumns, tooManyRows } from './sheet.ts';

export interface CsvRecord {
  rowNumber: number;
  fields: string[];
  /** As it stands in the file, line break included. */
  raw: string;
}

export type CsvDelimiter = ',' | ';' | '\t';

export async function* readCsvRows(file: Buffer, limits: Limits): AsyncGenerator<SheetRow> {
  for await (const { rowNumber, fields } of readCsv(file, limits)) {
    const last = fields.findLastIndex((field) => field !== '');
    if (last >= limits.maxColumns) throw tooManyColumns(limits, `row ${rowNumber}`);
    if (last >= 0) yield { rowNumber, cells: fields.slice(0, last + 1).map((field) => ({ value: field || null })) };
  }
}

export async function* readCsv(file: Buffer, limits: Limits): AsyncGenerator<CsvRecord> {
  requireText(file);
  const parser = parse({
    bom: true,
    raw: true,
    delimiter: delimiterOf(file),
    relax_column_count: true,
    skip_empty_lines: false,
    max_record_size: 100_000,
  });
  const source = Readable.from(slices(file));
  source.once('error', (error) => parser.destroy(error)).pipe(parser);
  let rowNumber = 0;
  try {
    for await (const { raw, record } of parser as AsyncIterable<{ raw: string; record: string[] }>) {
      rowNumber += 1;
      if (rowNumber > limits.maxRows) throw tooManyRows(limits);
      yield { rowNumber, fields: record, raw };
    }
  } catch (error) {
    const { code } = error as CsvError;
    if (typeof code !== 'string' || !code.startsWith('CSV_')) throw error;
    const where = `below row ${rowNumber}`;
    const detail = /QUOTE|MAX_RECORD_SIZE/.test(code)
      ? `A quotation mark opens and does not close ${where}; a quotation mark within a cell is doubled.`
      : `The CSV cannot be read ${where}.`;
    throw malformed('csv_malformed', detail, error);
  } finally {
    source.destroy();
  }
}

function* slices(file: Buffer): Generator<Buffer> {
  const size = 64 * 1024;
  for (let at = 0; at < file.length; at += size) yield file.subarray(at, at + size);
}

function requireText(file: Buffer): void {
  if (file.length === 0) throw malformed('sheet_empty', 'The file is empty.');
  const advice = 'save it as "CSV UTF-8"';
  if (file[0] === 0x50 && file[1] === 0x4b)
    throw malformed(
      'sheet_type',
      'This is a workbook (.xlsx) or another ZIP archive and no CSV; send it under its own Content-Type.',
    );
  if (file[0] === 0xd0 && file[1] === 0xcf && file[2] === 0x11)
    throw malformed('sheet_legacy', 'This is an old .xls file and no CSV; save it as an Excel workbook (.xlsx).');
  if ((file[0] === 0xff && file[1] === 0xfe) || (file[0] === 0xfe && file[1] === 0xff))
    throw malformed('sheet_encoding', `The file is UTF-16; ${advice}.`);
  if (!isUtf8(file)) {
    const detail = `The file is not UTF-8 (windows-1258, TCVN3 or another older encoding); ${advice}.`;
    throw malformed('sheet_encoding', detail);
  }
  if (file.includes(0)) throw malformed('sheet_type', `The file holds NUL characters and is no CSV; ${advice}.`);
}

/** The one that stands most often outside quotation marks near the beginning. */
export function delimiterOf(file: Buffer): CsvDelimiter {
  const unquoted = file
    .subarray(0, 64 * 1024)
    .toString('utf8')
    .replace(/"[^"]*"/g, '');
  const counts = ([',', ';', '\t'] as const).map((mark) => [mark, unquoted.split(mark).length] as const);
  return counts.reduce((most, next) => (next[1] > most[1] ? next : most))[0];
}
