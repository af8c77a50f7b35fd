/**
 * A file of agencies, CSV or XLSX, as statements about agencies: the header found by its headings, English or Vietnamese, and every
 * row checked by itself. Every fault is named by row and cell; nothing is guessed.
 */
import { Agency, type ImportFinding } from '@congvu/contracts';
import { invalid } from '@congvu/errors';
import { type Cell, cellName, readRows } from '@congvu/spreadsheet';
import { isLocalPart, maximumShortNameLength, parseAgencyCode, parseDate, searchKey } from '@congvu/vietnamese';
import { z } from 'zod';
import type { Facts } from './agency-periods.ts';

export type Column = keyof typeof headings;

/** What one row says of an agency. What is undefined it does not say. */
export interface AgencyLine extends Omit<z.output<typeof Line>, keyof Facts> {
  row: number;
  facts: Omit<Facts, 'headCount'> & { headCount: number | undefined };
}

export interface AgencyFile {
  lines: AgencyLine[];
  /** Every fault of every row that is not among the lines. */
  refused: ImportFinding[];
  /** Codes of rows that are refused for another of their columns. */
  refusedCodes: Set<string>;
  corrections: ImportFinding[];
  warnings: ImportFinding[];
  /** Where a column of a row stands; that of the code when the file has no such column. */
  cellOf: (row: number, column: Column) => string;
}

const maxRows = 20_000;
const maxColumns = 50;
/** The header need not be in the first row: a title may stand above it. */
const lastHeaderRow = 20;

/** As `headingKey` writes them. */
const headings = {
  code: ['code', 'ma', 'madinhdanh', 'madinhdanhdientu', 'macoquan', 'madonvi'],
  name: ['name', 'ten', 'tencoquan', 'tendonvi'],
  level: ['level', 'cap'],
  parentCode: ['parentcode', 'macaptren', 'macoquancaptren', 'madonvicaptren'],
  mailDomain: ['maildomain', 'tenmienthu', 'tenmien'],
  headCount: ['headcount', 'bienche', 'songuoi', 'bienchesonguoi'],
  validFrom: ['validfrom', 'ngayhieuluc', 'ngaycohieuluc'],
  validTo: ['validto', 'ngayhethieuluc'],
  successorCode: ['successorcode', 'donvikethua', 'madonvikethua', 'coquankethua', 'macoquankethua'],
  gsoCode: ['gsocode', 'magso', 'mathongke'],
  shortName: ['shortname', 'tenngan', 'tenviettat'],
} as const;
const required = ['code', 'name', 'level', 'parentCode', 'mailDomain'] as const satisfies readonly Column[];
/** Columns of our own export that say nothing of their own. */
const derived = new Set(['legacycode', 'status', 'version']);
const headingKey = (text: string): string => searchKey(text).replaceAll(/[^a-z0-9]/g, '');

const levels: Readonly<Record<string, Agency['level']>> = {
  tinh: 'province',
  so: 'department',
  'so, ban, nganh': 'department',
  huyen: 'district',
  xa: 'commune',
  phuong: 'commune',
  'thi tran': 'commune',
  truong: 'school',
  'truong hoc': 'school',
  'don vi su nghiep': 'public_unit',
};

/** An empty cell says nothing. */
const optional = <T>(schema: z.ZodType<T, string>) =>
  z
    .string()
    .transform((text) => text || undefined)
    .pipe(schema.optional());
/** A value as a parser of `packages/vietnamese` reads it, or all faults that it finds. */
const parsed =
  <T>(
    parse: (
      text: string,
    ) => { ok: true; value: T } | { ok: false; faults: readonly { code: string; detail: string }[] },
  ) =>
  (text: string, context: z.RefinementCtx): T => {
    const result = parse(text);
    if (result.ok) return result.value;
    for (const { code, detail } of result.faults)
      context.addIssue({ code: 'custom', message: detail, params: { code } });
    return z.NEVER;
  };
const date = optional(
  z.string().transform(
    parsed((text) => {
      const result = parseDate(text);
      return result.ok ? { ok: true, value: result.date } : result;
    }),
  ),
);
const code = z.string().transform(
  parsed((text) => {
    const result = parseAgencyCode(text);
    return result.ok ? { ok: true, value: result.code } : result;
  }),
);

const Line = z.object({
  code,
  name: z
    .string()
    .min(1, 'The name is empty.')
    .max(300, 'A name has at most 300 characters.')
    .regex(
      /^[^\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]*$/u,
      'The name holds line breaks, tabs, or control or invisible characters.',
    ),
  level: z
    .string()
    .transform((text) => levels[searchKey(text)] ?? text)
    .pipe(
      z.enum(Agency.shape.level.options, {
        error: 'The level must be province, department, district, commune, school or public_unit.',
      }),
    ),
  parentCode: z
    .string()
    .transform((text) => text || null)
    .pipe(code.nullable()),
  mailDomain: z
    .string()
    .max(253)
    .regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'The mail domain is not a domain name in lower case.'),
  headCount: optional(
    z
      .string()
      .regex(/^\d{1,6}$/, 'The number of people must be a whole number.')
      .transform(Number),
  ),
  validFrom: date,
  validTo: date,
  successorCode: optional(code),
  gsoCode: optional(z.string().regex(/^\d{1,10}$/, 'The statistics code holds digits alone.')),
  shortName: optional(
    z
      .string()
      .max(maximumShortNameLength)
      .refine(isLocalPart, {
        error: 'A short name holds small letters, digits, dots and hyphens, and is not a reserved word.',
        params: { code: 'short_name_form' },
      }),
  ),
});

interface Header {
  row: number;
  columns: ReadonlyMap<Column, number>;
  width: number;
  warnings: ImportFinding[];
}

export async function readAgencyRows(file: Buffer, mediaType: string): Promise<AgencyFile> {
  const read: Omit<AgencyFile, 'warnings' | 'cellOf'> = {
    lines: [],
    refused: [],
    refusedCodes: new Set(),
    corrections: [],
  };
  let header: Header | undefined;
  let rows = 0;
  for await (const { rowNumber, cells } of readRows(file, mediaType, { maxRows, maxColumns })) {
    if (cells.every((cell) => textOf(cell) === '')) continue;
    if (header) {
      rows += 1;
      readLine(header, rowNumber, cells, read);
    } else if (rowNumber > lastHeaderRow) break;
    else header = readHeader(rowNumber, cells);
  }
  if (!header) throw headerFault(1, `No row among the first ${lastHeaderRow} holds the headings ${namesOf(required)}.`);
  if (rows === 0) throw headerFault(header.row, 'The file holds no row below its header.');
  const { columns, warnings } = header;
  return {
    ...read,
    warnings,
    cellOf: (row, column) => cellName(row, columns.get(column) ?? columns.get('code') ?? 0),
  };
}

/** The header is the first row with a heading of the code and one more; a title above it has neither. */
function readHeader(row: number, cells: readonly Cell[]): Header | undefined {
  const keys = cells.map((cell) => headingKey(textOf(cell)));
  const columns = new Map<Column, number>();
  const warnings: ImportFinding[] = [];
  const repeated: string[] = [];
  keys.forEach((key, index) => {
    const found = Object.entries(headings).find(([, names]) => (names as readonly string[]).includes(key));
    const column = found?.[0] as Column | undefined;
    if (column && columns.has(column)) repeated.push(cellName(row, index));
    else if (column) columns.set(column, index);
    else if (key !== '' && !derived.has(key)) {
      const detail = `The column "${textOf(cells[index]).slice(0, 60)}" is not known and is not read.`;
      warnings.push({ row, cell: cellName(row, index), code: 'unknown_column', detail });
    }
  });
  if (!columns.has('code') || columns.size < 2) return undefined;
  const missing = required.filter((column) => !columns.has(column));
  if (missing.length > 0) throw headerFault(row, `The header lacks: ${namesOf(missing)}.`);
  if (repeated.length > 0) throw headerFault(row, `A heading stands twice in the header: ${repeated.join(', ')}.`);
  return { row, columns, width: cells.length, warnings };
}

const headerFault = (row: number, detail: string): Error =>
  invalid('agencies_invalid', [{ pointer: `row/${row}`, code: 'header', detail }]);
const namesOf = (columns: readonly Column[]): string =>
  columns.map((column) => column.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)).join(', ');

function readLine(
  { columns, width }: Header,
  row: number,
  cells: readonly Cell[],
  read: Pick<AgencyFile, 'lines' | 'refused' | 'refusedCodes' | 'corrections'>,
): void {
  const faults: ImportFinding[] = [];
  const textIn = (column: Column): string => textOf(cells[columns.get(column) ?? -1]);
  const note = (list: ImportFinding[], index: number, found: { code: string; detail: string }): void => {
    list.push({ row, cell: cellName(row, index), code: found.code, detail: found.detail });
  };
  // 1. What no value of a column can be.
  const known = new Set(columns.values());
  for (const [index, cell] of cells.entries()) {
    if (index >= width && textOf(cell) !== '') {
      const detail = 'The cell stands in a column without a heading; is a comma in the row not within quotation marks?';
      note(faults, index, { code: 'no_heading', detail });
    } else if (known.has(index) && (cell.formula || cell.error)) {
      const what = cell.error ? 'an error of the spreadsheet' : 'a formula';
      note(faults, index, { code: 'not_a_value', detail: `The cell holds ${what}; put a plain value in its place.` });
    }
  }
  // 2. The values.
  const result = Line.safeParse(
    Object.fromEntries((Object.keys(headings) as Column[]).map((column) => [column, textIn(column)])),
  );
  for (const issue of result.error?.issues ?? []) {
    const index = columns.get(issue.path[0] as Column) ?? 0;
    const kind = issue.code === 'custom' ? String(issue.params?.code) : issue.code;
    note(faults, index, { code: kind, detail: issue.message });
  }
  // 3. A row is whole or it is refused; its agency stands in the file all the same.
  const code = parseAgencyCode(textIn('code'));
  if (!result.success || faults.length > 0) {
    read.refused.push(...faults);
    if (code.ok) read.refusedCodes.add(code.code);
    return;
  }
  for (const column of ['code', 'parentCode', 'successorCode'] as const) {
    const parsed = parseAgencyCode(textIn(column));
    if (!parsed.ok) continue;
    for (const correction of parsed.corrections) note(read.corrections, columns.get(column) ?? 0, correction);
  }
  const { name, level, parentCode, mailDomain, headCount, ...rest } = result.data;
  read.lines.push({ ...rest, row, facts: { name, level, parentCode, mailDomain, headCount } });
}

/** What a cell says, in one spelling: composed letters (NFC) and single spaces. */
function textOf(cell: Cell | undefined): string {
  const value = cell?.value ?? '';
  if (value instanceof Date) return value.toISOString().slice(0, 10);
  return String(value)
    .normalize('NFC')
    .replace(/[ \u00a0]+/g, ' ')
    .trim();
}
