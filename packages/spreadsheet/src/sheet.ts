/**
 * What a sheet is here: rows of cells with their values as stored, whatever kind of file they came from; how cells are named;
 * and how much of a file is ever looked at.
 */
import { ServiceError } from '@congvu/errors';

export interface Cell {
  /** As stored in the file; a Date (UTC) only where the cell's number format is a date. */
  value: string | number | boolean | Date | null;
  /** The value was worked out by a formula when the file was last saved, and may be anything by now. */
  formula?: boolean;
  /** The cell holds an error (#N/A, #REF! …), which is its value as text. */
  error?: boolean;
}

export interface SheetRow {
  /** 1-based, as in the file. */
  rowNumber: number;
  /** Index 0 is column A; up to the last cell that holds something. */
  cells: Cell[];
}

export interface Sheet {
  /** Name of the sheet in its workbook; a CSV has none. */
  name: string | null;
  /** Sheets of the workbook that hold something and were not chosen because they are hidden. */
  hidden: readonly string[];
  /** Rows that hold something, in order; can be gone through again. A row that is left out is empty. */
  rows: () => AsyncIterable<SheetRow>;
}

export interface Limits {
  /** Largest number of a row that holds something. */
  maxRows: number;
  /** Largest number of a column that holds something. */
  maxColumns: number;
  /** Octets of everything in a workbook, inflated. */
  maxInflatedBytes: number;
  /** Octets of the texts that the cells of a workbook share. */
  maxSharedTextBytes: number;
}

export const defaultLimits: Limits = {
  maxRows: 200_000,
  maxColumns: 200,
  maxInflatedBytes: 256 * 1024 * 1024,
  maxSharedTextBytes: 64 * 1024 * 1024,
};

export const spreadsheetMediaType = 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet';
export const csvMediaType = 'text/csv';

/** "C14" */
export const cellName = (rowNumber: number, columnIndex: number): string => `${columnName(columnIndex)}${rowNumber}`;

/** "A", "Z", "AA": the column at a 0-based index. */
export function columnName(columnIndex: number): string {
  let name = '';
  for (let rest = columnIndex + 1; rest > 0; rest = Math.floor((rest - 1) / 26)) {
    name = String.fromCharCode(65 + ((rest - 1) % 26)) + name;
  }
  return name;
}

/** Row number and 0-based column index of a reference like "C14"; undefined for anything else. */
export function parseCellName(name: string): { rowNumber: number; columnIndex: number } | undefined {
  const parts = /^([A-Z]{1,3})([1-9]\d{0,7})$/.exec(name);
  if (!parts) return undefined;
  let column = 0;
  for (const letter of parts[1] as string) column = column * 26 + letter.charCodeAt(0) - 64;
  return { rowNumber: Number(parts[2]), columnIndex: column - 1 };
}

/** The file is not what its media type says, or holds what is not read. */
export const malformed = (code: string, detail: string, cause?: unknown): ServiceError =>
  new ServiceError({ kind: 'malformed', code, detail, cause });

export const tooLarge = (code: string, detail: string): ServiceError =>
  new ServiceError({ kind: 'too_large', code, detail });

export const tooManyRows = (limits: Limits): ServiceError =>
  tooLarge(
    'sheet_rows',
    `The sheet has more than ${limits.maxRows.toLocaleString('en')} rows; send it in several parts.`,
  );

export const tooManyColumns = (limits: Limits, cell: string): ServiceError =>
  tooLarge('sheet_columns', `The sheet has more than ${limits.maxColumns} columns: there is something in ${cell}.`);
