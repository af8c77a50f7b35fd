/**
 * Which column of a sheet holds what, by the words of its header; marks, case, spacing and what stands in parentheses do not
 * matter. A column that is not known is left alone and named; two for the same thing are a fault, not a choice.
 */
import { type Fault, invalid } from '@congvu/errors';
import { type Cell, cellName, type SheetRow } from '@congvu/spreadsheet';
import { searchKey } from '@congvu/vietnamese';

const headings = {
  number: ['stt', 'tt', 'so tt', 'so thu tu', 'no'],
  fullName: ['ho va ten', 'ho ten', 'ho va ten can bo', 'ho ten can bo', 'ho va ten khai sinh', 'full name'],
  birthDate: ['ngay sinh', 'ngay thang nam sinh', 'sinh ngay', 'nam sinh', 'birth date', 'date of birth'],
  sex: ['gioi tinh', 'nam nu', 'phai', 'sex', 'gender'],
  title: ['chuc vu', 'chuc danh', 'chuc vu chuc danh', 'chuc danh chuc vu', 'title', 'position'],
  agencyName: ['don vi', 'don vi cong tac', 'ten don vi', 'co quan', 'co quan don vi', 'noi cong tac', 'agency'],
  agencyCode: ['ma don vi', 'ma co quan', 'ma dinh danh don vi', 'ma dinh danh co quan', 'agency code'],
  mobile: [
    ...['so dien thoai', 'dien thoai', 'dien thoai di dong', 'so dien thoai di dong', 'di dong', 'so di dong'],
    ...['sdt', 'mobile', 'phone'],
  ],
  nationalId: [
    ...['so cccd', 'cccd', 'so can cuoc', 'so can cuoc cong dan', 'can cuoc cong dan', 'so the can cuoc'],
    ...['so dinh danh', 'so dinh danh ca nhan', 'ma dinh danh ca nhan', 'so cmnd cccd', 'so cccd cmnd', 'cmnd cccd'],
    'national id',
  ],
  certificate: ['chung thu so', 'certificate'],
  note: ['ghi chu', 'note', 'notes'],
  remarks: ['ket qua kiem tra'],
} as const;
export type SheetField = keyof typeof headings;

/** The heading of the column that is ours: in a sheet that comes back it is passed over. */
export const remarksHeading = 'Kết quả kiểm tra';

const names: Readonly<Record<'fullName' | 'birthDate' | 'nationalId', string>> = {
  fullName: 'Họ và tên',
  birthDate: 'Ngày sinh',
  nationalId: 'Số CCCD',
};

const fieldByHeading = new Map<string, SheetField>(
  Object.entries(headings).flatMap(([field, words]) => words.map((word) => [word, field as SheetField] as const)),
);

export type SheetColumns = Readonly<Partial<Record<SheetField, number>>>;

/** The words of a cell, as headings and agencies' names are compared. */
export const wordsOf = (cell: Cell | undefined): string =>
  typeof cell?.value === 'string' ? comparable(cell.value) : '';

export const comparable = (text: string): string =>
  searchKey(text.slice(0, 500).replace(/\([^)]*\)/g, ' '))
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();

/**
 * The columns, if this row is the header: it names the person and at least one thing that is known of the person. Throws with every
 * fault if it is one that cannot be followed.
 */
export function readHeader({ rowNumber, cells }: SheetRow): { columns: SheetColumns; unknown: number[] } | undefined {
  const columns: Partial<Record<SheetField, number>> = {};
  const faults: Fault[] = [];
  const unknown: number[] = [];
  cells.forEach((cell, index) => {
    const words = wordsOf(cell);
    const field = fieldByHeading.get(words);
    if (field === undefined) {
      if (words !== '') unknown.push(index);
    } else if (columns[field] === undefined) columns[field] = index;
    else {
      const [first, second] = [cellName(rowNumber, columns[field]), cellName(rowNumber, index)];
      const detail = `The columns ${first} and ${second} have the same heading; take one out or name it differently.`;
      faults.push({ pointer: `cell/${second}`, code: 'column_repeated', detail });
    }
  });
  const known = [columns.birthDate, columns.nationalId, columns.sex, columns.title].filter((at) => at !== undefined);
  if (columns.fullName === undefined || known.length === 0) return undefined;
  for (const [field, name] of Object.entries(names)) {
    if (columns[field as SheetField] !== undefined) continue;
    const detail = `The header in row ${rowNumber} has no column "${name}"; add it.`;
    faults.push({ pointer: `row/${rowNumber}`, code: 'column_missing', detail });
  }
  if (faults.length > 0) throw invalid('sheet_header_invalid', faults);
  return { columns, unknown };
}

/** A header that is repeated further down, as at the top of a printed page. */
export const isHeaderAgain = ({ cells }: SheetRow, columns: SheetColumns): boolean =>
  fieldByHeading.get(wordsOf(cells[columns.nationalId ?? -1])) === 'nationalId' &&
  fieldByHeading.get(wordsOf(cells[columns.fullName ?? -1])) === 'fullName';
