/** The rows of a CSV file, as a spreadsheet has them. UTF-8, with or without its mark. */
import { ServiceError } from '@congvu/errors';
import { CsvError, parse } from 'csv-parse/sync';

export interface Cell {
  value: string | number | boolean | Date | null;
  formula?: boolean;
  error?: boolean;
}
export interface SheetRow {
  rowNumber: number;
  cells: Cell[];
}

export const cellName = (rowNumber: number, columnIndex: number): string =>
  `${columnIndex < 26 ? '' : String.fromCharCode(64 + Math.floor(columnIndex / 26))}${String.fromCharCode(65 + (columnIndex % 26))}${rowNumber}`;

export async function* readRows(file: Buffer, _mediaType: string, _limits: object): AsyncGenerator<SheetRow> {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(file);
  } catch (cause) {
    const detail = 'The file is not UTF-8; save it as "CSV UTF-8".';
    throw new ServiceError({ kind: 'malformed', code: 'not_utf8', detail, cause });
  }
  try {
    const records: string[][] = parse(text, {
      relax_column_count: true,
      max_record_size: 20_000,
    });
    for (const [index, record] of records.entries())
      yield { rowNumber: index + 1, cells: record.map((value) => ({ value: value === '' ? null : value })) };
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const line = typeof error.lines === 'number' ? ` (line ${error.lines})` : '';
    const detail = `The file is not well-formed CSV${line}.`;
    throw new ServiceError({ kind: 'malformed', code: 'malformed_csv', detail, cause: error });
  }
}
