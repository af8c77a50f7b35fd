/**
 * The sheets and the people of the sample province with identity and telephone numbers put in. The repository holds neither: where a
 * sheet had one it says `{id 9}` or `{mobile 9}` (in a number cell 40000000009 or 900000009), and what is put there at run time
 * belongs to nobody, fits the date of birth and sex of its row, and keeps the faults of the sheet as they were.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readRows, type SheetRow, spreadsheetMediaType } from '@congvu/spreadsheet';
import { type MadeCell, makeWorkbook, rewriteWorkbook } from '@congvu/spreadsheet/testing';
import { parse } from 'csv-parse/sync';

const sample = join(import.meta.dirname, 'sample/nghe-an');

export const sampleSheets = {
  /** 158 lines of Sở Nội vụ (H41.03) */
  'danh-sach-so-noi-vu.xlsx': { agencyCode: 'H41.03', firstNumber: 0 },
  /** 119 lines of UBND huyện Quỳnh Lưu (H41.32) */
  'danh-sach-ubnd-quynh-luu.xlsx': { agencyCode: 'H41.32', firstNumber: 1_000 },
} as const;
export type SampleSheet = keyof typeof sampleSheets;

/** An identity number of the right form that belongs to nobody: province, century and sex, year of birth, then `number`. */
export function nationalIdOf(birthYear: number, sex: 'male' | 'female', number: number): string {
  const century = Math.floor(birthYear / 100) - 19;
  const digit = century * 2 + (sex === 'female' ? 1 : 0);
  return `040${digit}${String(birthYear % 100).padStart(2, '0')}${String(number).padStart(6, '0')}`;
}

export async function sampleSheet(name: SampleSheet): Promise<Buffer> {
  const file = await readFile(join(sample, name));
  const { firstNumber } = sampleSheets[name];
  const rows = new Map<number, SheetRow>();
  for await (const row of readRows(file, spreadsheetMediaType)) rows.set(row.rowNumber, row);
  const id = (row: string): string => {
    const [, , birth, sex] = rows.get(Number(row))?.cells ?? [];
    const year = birth?.value instanceof Date ? birth.value.getUTCFullYear() : Number(String(birth?.value).slice(-4));
    return nationalIdOf(year, sex?.value === 'Nữ' ? 'female' : 'male', firstNumber + Number(row));
  };
  const mobile = (row: string): string => `09${30_000_000 + firstNumber + Number(row)}`;
  return rewriteWorkbook(file, (_part, xml) =>
    xml
      .replaceAll(/\{id (\d+)\}/g, (_, row) => id(row))
      .replaceAll(/\{mobile (\d+)\}/g, (_, row) => mobile(row))
      .replaceAll(/\{mobile\.dotted (\d+)\}/g, (_, row) => mobile(row).replace(/^(\d{4})(\d{3})/, '$1.$2.'))
      .replaceAll(/<v>400000(\d{5})<\/v>/g, (_, row) => `<v>${Number(id(row))}</v>`)
      .replaceAll(/<v>9000(\d{5})<\/v>/g, (_, row) => `<v>${Number(mobile(row))}</v>`),
  );
}

type Person = Record<'full_name' | 'birth_date' | 'sex' | 'title' | 'agency_code', string>;

/** So many people of the sample after the `first`, again with other dates of birth when it has no more. */
async function* people(count: number, first = 0): AsyncGenerator<Person & { mobile: string; national_id: string }> {
  const known: Person[] = parse(await readFile(join(sample, 'people.csv')), { columns: true, bom: true });
  for (let index = first; index < first + count; index += 1) {
    const person = known[index % known.length] as Person;
    const [day = '', month = '', year = ''] = person.birth_date.split('/');
    const born = Number(year) - Math.floor(index / known.length);
    yield {
      ...person,
      // 29 February is not in every year.
      birth_date: `${month === '02' && day === '29' ? '28' : day}/${month}/${born}`,
      mobile: `09${10_000_000 + index}`,
      national_id: nationalIdOf(born, person.sex === 'Nữ' ? 'female' : 'male', index % 1_000_000),
    };
  }
}

const columns = ['full_name', 'birth_date', 'sex', 'title', 'agency_code', 'mobile', 'national_id'] as const;

/** `certificate`: what the sheet says of it in every line; without, it has no such column. */
export async function samplePeopleCsv(count: number, certificate?: string, first?: number): Promise<Buffer> {
  const more = (value: string): string => (certificate === undefined ? '' : `,${value}`);
  const lines = [`\uFEFF${columns.join(',')}${more('certificate')}`];
  for await (const person of people(count, first))
    lines.push(columns.map((column) => person[column]).join(',') + more(certificate ?? ''));
  return Buffer.from(`${lines.join('\r\n')}\r\n`);
}

export async function samplePeopleWorkbook(count: number): Promise<Buffer> {
  const rows: MadeCell[][] = [[...columns]];
  for await (const person of people(count)) rows.push(columns.map((column) => person[column]));
  return makeWorkbook([{ name: 'DS cán bộ', rows }]);
}
