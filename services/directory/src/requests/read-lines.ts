/**
 * The lines of a request as they were sent, made canonical. Every fault of every line is found at once; what was read
 * differently from how it was written is said as a correction; nothing is guessed.
 */
import type { RequestInput, RequestLineInput } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import type { Fault } from '@congvu/errors';
import {
  type Finding,
  parseAgencyCode,
  parseDate,
  parseFullName,
  parseMobile,
  parseNationalId,
} from '@congvu/vietnamese';
import { findAccountsByName, type NamedAccount } from '../accounts/account-store.ts';
import { type AgencyRow, findAgenciesByCode } from '../agencies/agency-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import { emptyLine, type NewLine } from './line-store.ts';

export interface ReadLines {
  agency: AgencyRow | undefined;
  /** In the order of the input; undefined where it has faults. */
  lines: (NewLine | undefined)[];
  faults: Fault[];
  corrections: Fault[];
}

type PersonLine = Extract<RequestLineInput, { kind: 'person' }>;
type OpeningLine = Extract<RequestLineInput, { kind: string }>;
type AccountLine = Exclude<RequestLineInput, { kind: string }>;

/** Faults and corrections as they are found, each where it stands. */
interface Notes {
  fault: (pointer: string, findings: readonly Finding[]) => void;
  correct: (pointer: string, findings: readonly Finding[]) => void;
}

export async function readLines(
  connection: Connection,
  input: RequestInput,
  scope: string,
  seal: NationalIdSeal,
): Promise<ReadLines> {
  const faults: Fault[] = [];
  const corrections: Fault[] = [];
  const notes: Notes = {
    fault: (pointer, findings) => void faults.push(...findings.map((finding) => ({ pointer, ...finding }))),
    correct: (pointer, findings) => void corrections.push(...findings.map((finding) => ({ pointer, ...finding }))),
  };

  // 1. The documents, and all agencies and accounts that are named, in one query each.
  checkDocuments(input, notes);
  const findAgency = await readAgencies(connection, input, scope, notes);
  const agency = findAgency(input.agencyCode, '/agencyCode');
  const findAccount = await readAccounts(connection, input.lines, scope, notes);

  // 2. Each line by itself.
  const lines = input.lines.map((line, index): NewLine | undefined => {
    const pointer = `/lines/${index}`;
    if (!('kind' in line)) return readAccountLine(line, pointer, findAccount, findAgency, notes);
    const at = line.agencyCode === undefined ? agency : findAgency(line.agencyCode, `${pointer}/agencyCode`);
    if (line.kind === 'person') return readPerson(line, pointer, at, seal, notes);
    return at && { ...emptyLine, ...opening(line), agencyId: at.id, kind: line.kind };
  });

  // 3. The lines against each other.
  findRepeats(input.lines, lines, notes);
  return { agency, lines, faults, corrections };
}

const opening = (line: OpeningLine) => ({
  operation: 'open' as const,
  title: 'title' in line ? (line.title ?? null) : null,
  certificatePath: line.certificate,
});

function checkDocuments(input: RequestInput, notes: Notes): void {
  const check = (date: string, pointer: string): void => {
    const result = parseDate(date);
    if (!result.ok) notes.fault(pointer, result.faults);
  };
  if (input.decision) check(input.decision.date, '/decision/date');
  input.attachments?.forEach((one, index) => {
    check(one.date, `/attachments/${index}/date`);
  });
}

type FindAgency = (code: string, pointer: string, where?: 'below_request' | 'in_scope') => AgencyRow | undefined;

/** A line's agency lies below the request's, because who approves the request answers for all its lines. */
async function readAgencies(
  connection: Connection,
  input: RequestInput,
  scope: string,
  notes: Notes,
): Promise<FindAgency> {
  const written = [
    input.agencyCode,
    ...input.lines.flatMap(
      (line) => ('kind' in line ? line.agencyCode : 'toAgencyCode' in line && line.toAgencyCode) || [],
    ),
  ];
  const codeOf = (text: string): string | undefined => {
    const result = parseAgencyCode(text);
    return result.ok ? result.code : undefined;
  };
  const codes = [...new Set(written.map(codeOf))].filter((code) => code !== undefined);
  const agencies = new Map((await findAgenciesByCode(connection, codes, scope)).map((agency) => [agency.code, agency]));
  const requestCode = codeOf(input.agencyCode);
  const below =
    requestCode && agencies.has(requestCode)
      ? new Set((await findAgenciesByCode(connection, codes, requestCode)).map((agency) => agency.code))
      : undefined;
  return (text, pointer, where = 'below_request') => {
    const result = parseAgencyCode(text);
    if (!result.ok) {
      notes.fault(pointer, result.faults);
      return undefined;
    }
    const { code } = result;
    const agency = agencies.get(code);
    if (!agency) {
      notes.fault(pointer, [{ code: 'agency_not_found', detail: `There is no agency ${code} at or below yours.` }]);
    } else if (where === 'below_request' && below && !below.has(code)) {
      const detail = `The agency ${code} does not lie below ${requestCode}, for which this request is made.`;
      notes.fault(pointer, [{ code: 'agency_outside_request', detail }]);
    }
    return agency;
  };
}

type FindAccount = (name: string, pointer: string) => NamedAccount | undefined;

async function readAccounts(
  connection: Connection,
  lines: readonly RequestLineInput[],
  scope: string,
  notes: Notes,
): Promise<FindAccount> {
  const names = lines.flatMap((line) => ('kind' in line ? [] : line.account.toLowerCase()));
  const accounts = await findAccountsByName(connection, names, scope);
  return (name, pointer) => {
    const found = accounts.get(name.toLowerCase());
    const detail = 'There is no account of that id, username or address at or below your agency.';
    if (!found) notes.fault(pointer, [{ code: 'account_not_found', detail }]);
    return found;
  };
}

function readAccountLine(
  line: AccountLine,
  pointer: string,
  findAccount: FindAccount,
  findAgency: FindAgency,
  notes: Notes,
): NewLine | undefined {
  const account = findAccount(line.account, `${pointer}/account`);
  const fields = { ...emptyLine, operation: line.operation, reason: line.reason ?? null };
  const about = account && { ...fields, targetAccountId: account.id, agencyId: account.agency_id };
  switch (line.operation) {
    case 'close':
    case 'revoke_certificate':
      return about;
    case 'transfer': {
      const to = findAgency(line.toAgencyCode, `${pointer}/toAgencyCode`, 'in_scope');
      return about && to && { ...about, agencyId: to.id, title: line.title ?? null };
    }
    case 'rename': {
      const name = parseFullName(line.fullName);
      if (name.ok) notes.correct(`${pointer}/fullName`, name.corrections);
      else notes.fault(`${pointer}/fullName`, name.faults);
      return about && name.ok ? { ...about, fullName: name.fullName, newAddress: line.newAddress ?? false } : undefined;
    }
    case 'change_position':
      return about && { ...about, title: line.title };
    case 'issue_certificate':
      return about && { ...about, certificatePath: line.certificate };
  }
}

function readPerson(
  line: PersonLine,
  pointer: string,
  agency: AgencyRow | undefined,
  seal: NationalIdSeal,
  notes: Notes,
): NewLine | undefined {
  const at = (field: string): string => `${pointer}/${field}`;
  const name = parseFullName(line.fullName, { sex: line.sex });
  if (name.ok) notes.correct(at('fullName'), name.corrections);
  else notes.fault(at('fullName'), name.faults);
  const birth = parseDate(line.birthDate);
  if (!birth.ok) notes.fault(at('birthDate'), birth.faults);
  const ageFault = birth.ok ? checkAge(birth.date) : undefined;
  if (ageFault) notes.fault(at('birthDate'), [ageFault]);
  const id = parseNationalId(line.nationalId, { birthDate: birth.ok ? birth.date : undefined, sex: line.sex });
  if (id.ok) notes.correct(at('nationalId'), [...id.corrections, ...id.warnings]);
  else notes.fault(at('nationalId'), id.faults);
  const mobile = line.mobile === undefined ? undefined : parseMobile(line.mobile);
  if (mobile?.ok) notes.correct(at('mobile'), mobile.corrections);
  else if (mobile) notes.fault(at('mobile'), mobile.faults);
  if (!agency || !name.ok || !birth.ok || !id.ok || (mobile && !mobile.ok)) return undefined;
  return {
    ...emptyLine,
    ...opening(line),
    agencyId: agency.id,
    kind: 'person',
    fullName: name.fullName,
    birthDate: birth.date,
    sex: line.sex ?? null,
    mobile: mobile?.mobile ?? null,
    nationalIdSealed: seal.seal(id.nationalId),
    nationalIdHash: seal.index(id.nationalId),
  };
}

export function checkAge(birthDate: string): Finding | undefined {
  const age = (Date.now() - Date.parse(birthDate)) / (365.25 * 86_400_000);
  if (age >= 15 && age <= 100) return undefined;
  return {
    code: 'birth_date_implausible',
    detail: 'By this date of birth the person is not between 15 and 100 years old.',
  };
}

/** The same person, agency mailbox, office, or operation on an account, twice in one request. */
function findRepeats(input: readonly RequestLineInput[], lines: readonly (NewLine | undefined)[], notes: Notes): void {
  const seen = new Map<string, number>();
  lines.forEach((line, index) => {
    if (!line) return;
    for (const [key, field, what] of keysOf(line)) {
      const first = seen.get(key);
      if (first === undefined) seen.set(key, index);
      else {
        const known = field in (input[index] ?? {});
        notes.fault(known ? `/lines/${index}/${field}` : `/lines/${index}`, [
          {
            code: 'repeated_in_request',
            detail: `Line ${first + 1} of this request ${what}; each may stand in it once.`,
          },
        ]);
        return;
      }
    }
  });
}

function keysOf(line: NewLine): [key: string, field: string, what: string][] {
  if (line.operation !== 'open') {
    return [[`${line.operation} ${line.targetAccountId}`, 'account', 'asks for the same of the same account']];
  }
  switch (line.kind) {
    case 'agency':
      return [[`agency ${line.agencyId}`, 'agencyCode', 'asks for the mailbox of the same agency']];
    case 'position':
      return [
        [`office ${line.agencyId} ${line.title?.toLowerCase()}`, 'title', 'names the same office of the same agency'],
      ];
    default:
      return [
        [`id ${line.nationalIdHash?.toString('hex')}`, 'nationalId', 'has the same identity number'],
        [`name ${line.fullName?.toLowerCase()} ${line.birthDate}`, 'fullName', 'has the same name and date of birth'],
      ];
  }
}
