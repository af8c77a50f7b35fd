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
import { type AgencyRow, findAgenciesByCode } from '../agencies/agency-store.ts';
import type { NationalIdSeal } from '../people/national-id-seal.ts';
import { findTakenNationalIds, type NewLine } from './request-store.ts';

export interface ReadLines {
  agency: AgencyRow | undefined;
  lines: NewLine[];
  faults: Fault[];
  corrections: Fault[];
}

export async function readLines(
  connection: Connection,
  input: RequestInput,
  scope: string,
  seal: NationalIdSeal,
): Promise<ReadLines> {
  const faults: Fault[] = [];
  const corrections: Fault[] = [];

  // 1. Agencies: the request's and those of single lines, all in one query.
  const readCode = (code: string, pointer: string): string | undefined => {
    const result = parseAgencyCode(code);
    if (result.ok) return result.code;
    faults.push(...result.faults.map((fault) => ({ pointer, ...fault })));
    return undefined;
  };
  const requestCode = readCode(input.agencyCode, '/agencyCode');
  const lineCodes = input.lines.map((line, index) =>
    line.agencyCode === undefined ? requestCode : readCode(line.agencyCode, `/lines/${index}/agencyCode`),
  );
  const codes = [requestCode, ...lineCodes].filter((code) => code !== undefined);
  const agencies = new Map(
    (await findAgenciesByCode(connection, [...new Set(codes)], scope)).map((agency) => [agency.code, agency]),
  );
  // A line's agency lies below the request's, because who approves the request answers for all its lines.
  const below = new Set(
    requestCode && agencies.has(requestCode)
      ? (await findAgenciesByCode(connection, [...agencies.keys()], requestCode)).map((agency) => agency.code)
      : [],
  );
  const findAgency = (code: string | undefined, pointer: string): AgencyRow | undefined => {
    if (code === undefined) return undefined;
    const agency = agencies.get(code);
    if (!agency)
      faults.push({ pointer, code: 'agency_not_found', detail: `There is no agency ${code} at or below yours.` });
    else if (requestCode && agencies.has(requestCode) && !below.has(code)) {
      const detail = `The agency ${code} does not lie below ${requestCode}, for which this request is made.`;
      faults.push({ pointer, code: 'agency_outside_request', detail });
    } else if (agency.valid_to)
      faults.push({ pointer, code: 'agency_closed', detail: `The agency ${code} closed on ${agency.valid_to}.` });
    return agency;
  };
  const agency = findAgency(requestCode, '/agencyCode');
  const decided = input.decision && parseDate(input.decision.date);
  if (decided && !decided.ok) faults.push(...decided.faults.map((fault) => ({ pointer: '/decision/date', ...fault })));

  // 2. Each line by itself.
  const lines = input.lines.map((line, index): NewLine | undefined => {
    const pointer = `/lines/${index}`;
    const at = line.agencyCode === undefined ? agency : findAgency(lineCodes[index], `${pointer}/agencyCode`);
    if (line.kind === 'agency')
      return at && { ...emptyLine, agencyId: at.id, kind: 'agency', certificatePath: line.certificate };
    return readPerson(line, pointer, at, seal, faults, corrections);
  });

  // 3. The lines against each other and against the record.
  findRepeats(input.lines, lines, faults);
  const hashes = lines.flatMap((line) => line?.nationalIdHash ?? []);
  const taken = await findTakenNationalIds(connection, hashes);
  lines.forEach((line, index) => {
    const holder = line?.nationalIdHash && taken.get(line.nationalIdHash.toString('hex'));
    if (!holder) return;
    const detail =
      holder === 'account'
        ? 'The person with this identity number has an account already; ask for its transfer instead.'
        : 'Another request for the person with this identity number waits for its decision.';
    faults.push({ pointer: `/lines/${index}/nationalId`, code: `person_has_${holder}`, detail });
  });
  return { agency, lines: lines.filter((line) => line !== undefined), faults, corrections };
}

const emptyLine = {
  fullName: null,
  birthDate: null,
  sex: null,
  title: null,
  mobile: null,
  nationalIdSealed: null,
  nationalIdHash: null,
} as const;

function readPerson(
  line: Extract<RequestLineInput, { kind: 'person' }>,
  pointer: string,
  agency: AgencyRow | undefined,
  seal: NationalIdSeal,
  faults: Fault[],
  corrections: Fault[],
): NewLine | undefined {
  const note = (field: string, findings: readonly Finding[], list: Fault[]): void => {
    list.push(...findings.map((finding) => ({ pointer: `${pointer}/${field}`, ...finding })));
  };
  const name = parseFullName(line.fullName, { sex: line.sex });
  if (name.ok) note('fullName', name.corrections, corrections);
  else note('fullName', name.faults, faults);
  const birth = parseDate(line.birthDate);
  if (!birth.ok) note('birthDate', birth.faults, faults);
  const ageFault = birth.ok ? checkAge(birth.date) : undefined;
  if (ageFault) note('birthDate', [ageFault], faults);
  const id = parseNationalId(line.nationalId, { birthDate: birth.ok ? birth.date : undefined, sex: line.sex });
  if (id.ok) note('nationalId', [...id.corrections, ...id.warnings], corrections);
  else note('nationalId', id.faults, faults);
  const mobile = line.mobile === undefined ? undefined : parseMobile(line.mobile);
  if (mobile?.ok) note('mobile', mobile.corrections, corrections);
  else if (mobile) note('mobile', mobile.faults, faults);
  if (!agency || !name.ok || !birth.ok || !id.ok || (mobile && !mobile.ok)) return undefined;
  return {
    agencyId: agency.id,
    kind: 'person',
    fullName: name.fullName,
    birthDate: birth.date,
    sex: line.sex ?? null,
    title: line.title ?? null,
    mobile: mobile?.mobile ?? null,
    nationalIdSealed: seal.seal(id.nationalId),
    nationalIdHash: seal.index(id.nationalId),
    certificatePath: line.certificate,
  };
}

function checkAge(birthDate: string): Finding | undefined {
  const age = (Date.now() - Date.parse(birthDate)) / (365.25 * 86_400_000);
  if (age >= 15 && age <= 100) return undefined;
  return {
    code: 'birth_date_implausible',
    detail: 'By this date of birth the person is not between 15 and 100 years old.',
  };
}

/** The same identity number, or the same name and date of birth, or the same agency's mailbox, twice in one request. */
function findRepeats(
  input: readonly RequestLineInput[],
  lines: readonly (NewLine | undefined)[],
  faults: Fault[],
): void {
  const seen = new Map<string, number>();
  lines.forEach((line, index) => {
    if (!line) return;
    const keys: [string, string, string][] =
      line.kind === 'agency'
        ? [[`agency ${line.agencyId}`, 'agencyCode', 'asks for the mailbox of the same agency']]
        : [
            [`id ${line.nationalIdHash?.toString('hex')}`, 'nationalId', 'has the same identity number'],
            [
              `name ${line.fullName?.toLowerCase()} ${line.birthDate}`,
              'fullName',
              'has the same name and date of birth',
            ],
          ];
    for (const [key, field, what] of keys) {
      const first = seen.get(key);
      if (first === undefined) seen.set(key, index);
      else {
        const known = field in (input[index] ?? {});
        faults.push({
          pointer: known ? `/lines/${index}/${field}` : `/lines/${index}`,
          code: 'repeated_in_request',
          detail: `Line ${first + 1} of this request ${what}; each may stand in it once.`,
        });
        return;
      }
    }
  });
}
