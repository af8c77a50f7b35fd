/**
 * One line of a sheet: read, or refused with every fault by its cell. What was read differently from how it is written is said as a
 * correction. No finding holds an identity or telephone number.
 */
import type { CertificatePath } from '@congvu/contracts';
import { type Cell, cellName, type SheetRow } from '@congvu/spreadsheet';
import {
  type Finding,
  parseAgencyCode,
  parseDate,
  parseFullName,
  parseMobile,
  parseNationalId,
  type Sex,
} from '@congvu/vietnamese';
import type { AgencyRow } from '../agencies/agency-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import type { LineFinding, NewLine } from '../requests/draft-request.ts';
import { emptyLine } from '../requests/line-store.ts';
import { checkAge } from '../requests/read-lines.ts';
import { type AgencyNames, closedDetail, hasClosed } from './agency-names.ts';
import { comparable, type SheetColumns, type SheetField } from './sheet-columns.ts';

export interface RowContext {
  columns: SheetColumns;
  agency: AgencyRow;
  agencies: AgencyNames;
  seal: NationalIdSeal;
  /** Set once a line has named its agency. */
  namesAgencies?: boolean;
}

export interface PersonRow {
  rowNumber: number;
  line: NewLine | undefined;
  findings: LineFinding[];
  /** What could be read, whether or not the line was refused. */
  fullName: string | undefined;
  birthDate: string | undefined;
  title: string | undefined;
  nationalIdHash: Buffer | undefined;
}

export function readPersonRow(row: SheetRow, context: RowContext): PersonRow {
  const { columns, agency, agencies, seal } = context;
  const findings: LineFinding[] = [];
  const note = (field: SheetField, list: readonly Finding[], severity: LineFinding['severity']): void => {
    // A column that the sheet does not have is the agency's own in every row; its fault stands at the name.
    const cell = cellName(row.rowNumber, columns[field] ?? columns.fullName ?? 0);
    findings.push(...list.map(({ code, detail }) => ({ cell, code, detail, severity })));
  };
  const fault = (field: SheetField, code: string, detail: string): void => note(field, [{ code, detail }], 'fault');
  const cellOf = (field: SheetField): Cell['value'] | undefined => {
    const cell = columns[field] === undefined ? undefined : row.cells[columns[field]];
    if (cell?.formula) fault(field, 'cell_formula', 'The cell holds a formula; replace the formula by its value.');
    else if (cell?.error) fault(field, 'cell_error', 'The cell holds an error of a formula; replace it by the value.');
    else return cell?.value ?? null;
    return undefined;
  };
  /** Text, or undefined after a fault; an empty cell is empty text. */
  const textOf = (field: SheetField): string | undefined => {
    const value = cellOf(field);
    if (value === null) return '';
    if (typeof value === 'string') return value.normalize('NFC').replace(/\s+/gu, ' ').trim();
    if (value !== undefined)
      fault(field, 'cell_type', 'The cell holds a number, a date or true/false instead of text.');
    return undefined;
  };
  const numberOrTextOf = (field: SheetField): string | number | undefined => {
    const value = cellOf(field);
    if (value === null) return '';
    if (typeof value === 'string' || typeof value === 'number') return value;
    if (value !== undefined)
      fault(field, 'cell_type', 'The cell is formatted as a date or holds true/false; format it as text.');
    return undefined;
  };

  // 1. Sex first, since it decides how "Ông" and "Bà" are read.
  const sex = readSex(textOf('sex'), () => fault('sex', 'sex_form', 'The sex is neither "Nam" nor "Nữ".'));
  const givenName = cellOf('fullName');
  const name =
    givenName === undefined
      ? undefined
      : typeof givenName === 'string' || givenName === null
        ? parseFullName(givenName ?? '', { sex })
        : void fault('fullName', 'cell_type', 'The cell holds a number, a date or true/false instead of text.');
  if (name?.ok) note('fullName', name.corrections, 'correction');
  else if (name) note('fullName', name.faults, 'fault');

  // 2. Date of birth, identity number, telephone.
  const givenDate = cellOf('birthDate');
  const birth = givenDate === undefined ? undefined : readBirthDate(givenDate);
  if (birth && !birth.ok) note('birthDate', birth.faults, 'fault');
  const birthDate = birth?.ok ? birth.date : undefined;
  const givenId = numberOrTextOf('nationalId');
  const id = givenId === undefined ? undefined : parseNationalId(givenId, { birthDate, sex });
  if (id?.ok) {
    note('nationalId', id.corrections, 'correction');
    note('nationalId', id.warnings, 'warning');
  } else if (id) note('nationalId', id.faults, 'fault');
  const givenMobile = numberOrTextOf('mobile');
  const mobile =
    givenMobile === undefined || givenMobile === '' || givenMobile.toString().trim() === ''
      ? undefined
      : parseMobile(givenMobile);
  if (mobile?.ok) note('mobile', mobile.corrections, 'correction');
  else if (mobile) note('mobile', mobile.faults, 'fault');

  // 3. Office, agency, certificate.
  const title = readTitle(textOf('title'), (code, detail) => fault('title', code, detail));
  const [agencyCode, agencyName] = [textOf('agencyCode'), textOf('agencyName')];
  const at = readAgency(agencyCode, agencyName, agency, agencies, fault);
  if (agencyCode || agencyName) context.namesAgencies = true;
  else if (context.namesAgencies && agencyCode === '' && agencyName === '') {
    // Of merged cells only the first holds the value; whether the others are meant by it, the file does not say.
    const detail =
      'Lines above name their agency and this one does not; write it in every line (of merged cells only the first counts).';
    fault(columns.agencyName === undefined ? 'agencyCode' : 'agencyName', 'agency_empty', detail);
  }
  const certificatePath = readCertificate(textOf('certificate'));
  if (certificatePath === undefined)
    fault('certificate', 'certificate_form', 'Write "có", "không" or "token", or leave the cell empty.');

  const nationalIdHash = id?.ok ? seal.index(id.nationalId) : undefined;
  const known = {
    rowNumber: row.rowNumber,
    findings,
    fullName: name?.ok ? name.fullName : undefined,
    birthDate,
    title: title || undefined,
    nationalIdHash,
  };
  if (findings.some((finding) => finding.severity === 'fault')) return { ...known, line: undefined };
  if (!name?.ok || !birthDate || !id?.ok || !nationalIdHash || !at || !certificatePath)
    throw new Error('a line without a fault lacks what it needs');
  return {
    ...known,
    line: {
      ...emptyLine,
      operation: 'open',
      kind: 'person',
      agencyId: at.id,
      fullName: name.fullName,
      birthDate,
      sex: sex ?? null,
      title: title || null,
      mobile: mobile?.ok ? mobile.mobile : null,
      nationalIdSealed: seal.seal(id.nationalId),
      nationalIdHash,
      certificatePath,
    },
  };
}

function readSex(text: string | undefined, refuse: () => void): Sex | undefined {
  const word = text === undefined ? '' : comparable(text);
  if (word === '') return undefined;
  if (word === 'nam' || word === 'male') return 'male';
  if (word === 'nu' || word === 'female') return 'female';
  refuse();
  return undefined;
}

/** A number that is not formatted as a date may be anything; a year is no date. */
function readBirthDate(value: Cell['value']) {
  if (value instanceof Date) return plausible(parseDate(value.toISOString()));
  if (typeof value === 'string' || value === null) return plausible(parseDate(value ?? ''));
  const year = typeof value === 'number' && Number.isInteger(value) && value >= 1900 && value <= 2100;
  if (year) return parseDate(String(value));
  const detail =
    'The cell holds a number that is not formatted as a date. Write day/month/year, for example 05/03/1980.';
  return { ok: false as const, faults: [{ code: 'date_number', detail }] };
}

function plausible(result: ReturnType<typeof parseDate>): ReturnType<typeof parseDate> {
  if (!result.ok) return result;
  const fault = checkAge(result.date);
  return fault ? { ok: false, faults: [fault] } : result;
}

function readTitle(text: string | undefined, refuse: (code: string, detail: string) => void): string | undefined {
  if (text === undefined) return undefined;
  if (text.length > 200) refuse('title_too_long', 'The office has more than 200 characters.');
  else if (/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text))
    refuse('title_character', 'The office holds a control or invisible character; type it again.');
  else return text;
  return undefined;
}

function readAgency(
  code: string | undefined,
  name: string | undefined,
  own: AgencyRow,
  agencies: AgencyNames,
  fault: (field: SheetField, code: string, detail: string) => void,
): AgencyRow | undefined {
  const field = code ? 'agencyCode' : 'agencyName';
  const given = code || name;
  if (code === undefined || name === undefined) return undefined;
  if (!given) return own;
  const parsed = parseAgencyCode(given);
  const found = parsed.ok ? agencies.byCode(parsed.code) : code ? [] : agencies.byName(given);
  const [agency, another] = found;
  if (!agency)
    fault(
      field,
      'agency_not_found',
      `There is no agency of this ${code ? 'code' : 'name'} at or below ${own.name} (${own.code}).`,
    );
  else if (another)
    fault(
      field,
      'agency_ambiguous',
      `Several agencies have this name: ${found
        .map((one) => one.code)
        .slice(0, 10)
        .join(', ')}. Write the code instead of the name.`,
    );
  else if (hasClosed(agency)) fault(field, 'agency_closed', closedDetail(agency));
  else return agency;
  return undefined;
}

const certificateWords: Readonly<Record<string, CertificatePath>> = {
  '': 'server_key',
  x: 'server_key',
  co: 'server_key',
  khong: 'none',
  token: 'csr',
  'usb token': 'csr',
  'server key': 'server_key',
  csr: 'csr',
  none: 'none',
};
const readCertificate = (text: string | undefined): CertificatePath | undefined =>
  text === undefined ? 'server_key' : certificateWords[comparable(text)];
