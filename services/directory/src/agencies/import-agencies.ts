/**
 * Imports the province's agencies from CSV. All or nothing: one fault anywhere refuses the file, with every fault listed
 * by row and column. Importing the same file again changes nothing.
 */
import type { AgencyImportReport } from '@congvu/contracts';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import { agencyShortNameCandidates, parseAgencyCode } from '@congvu/vietnamese';
import { CsvError, parse } from 'csv-parse/sync';
import { z } from 'zod';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import {
  type AgencyFields,
  type AgencyRow,
  allAgencies,
  findAgenciesByCode,
  lockAgencies,
  saveAgencies,
} from './agency-store.ts';

const required = ['code', 'name', 'level', 'parent_code', 'mail_domain'] as const;
const maxRows = 5_000;

const Row = z.object({
  code: z.string(),
  name: z
    .string()
    .trim()
    .min(1, 'The name is empty.')
    .max(300, 'A name has at most 300 characters.')
    .regex(/^\P{Cc}*$/u, 'The name holds line breaks, tabs or control characters.'),
  level: z.enum(['province', 'department', 'district', 'commune', 'school', 'public_unit'], {
    error: 'The level must be province, department, district, commune, school or public_unit.',
  }),
  parent_code: z.string().transform((code) => code || null),
  mail_domain: z.string().regex(/^[a-z0-9-]+(\.[a-z0-9-]+)+$/, 'The mail domain is not a domain name in lower case.'),
  gso_code: z
    .string()
    .regex(/^\d*$/, 'The statistics code holds digits alone.')
    .default('')
    .transform((code) => code || null),
  valid_to: z
    .union([z.literal(''), z.iso.date()], { error: 'The date must be YYYY-MM-DD.' })
    .default('')
    .transform((date) => date || null),
});

interface NumberedRow extends z.infer<typeof Row> {
  rowNumber: number;
}

export async function importAgencies(
  database: Database,
  csv: string,
  actor: Actor & { agencyCode: string },
): Promise<AgencyImportReport> {
  // 1. Read and check every row by itself.
  const faults: Fault[] = [];
  const { rows, faultyCodes } = readRows(csv, faults);

  return database.transaction(async (transaction) => {
    // 2. Check the rows against each other and against the record.
    await lockAgencies(transaction);
    const existing = new Map((await allAgencies(transaction)).map((agency) => [agency.code, agency]));
    checkTree(rows, faultyCodes, existing, faults);
    await checkScope(transaction, rows, existing, actor.agencyCode, faults);
    if (faults.length > 0) throw invalid('agencies_invalid', faults);

    // 3. Write what differs.
    const wanted = withShortNames(rows, existing);
    const changed = wanted.filter((row) => !isSame(row, existing.get(row.code)));
    await saveAgencies(transaction, changed);

    // 4. Audit, and bring LDAP to the same state.
    const saved = new Map(
      (
        await findAgenciesByCode(
          transaction,
          changed.map((row) => row.code),
          actor.agencyCode,
        )
      ).map((row) => [row.code, row.id]),
    );
    await insertEvents(
      transaction,
      changed.map((row) => ({
        actor,
        action: existing.has(row.code) ? 'agency.changed' : 'agency.added',
        subjectType: 'agency',
        subjectId: row.code,
        agencyId: saved.get(row.code) ?? null,
        before: existing.has(row.code) ? toFields(existing.get(row.code) as AgencyRow) : null,
        after: row,
      })),
    );
    if (changed.length > 0)
      await addJobs(transaction, 'directory', [{ task: 'converge-agencies', payload: {}, key: 'agencies' }]);
    const added = changed.filter((row) => !existing.has(row.code)).length;
    return { added, changed: changed.length - added, unchanged: wanted.length - changed.length };
  });
}

/** The sound rows, and the codes of the others: an agency stands in the file even when another of its columns is faulty. */
function readRows(csv: string, faults: Fault[]): { rows: NumberedRow[]; faultyCodes: Set<string> } {
  requireUtf8(csv);
  let records: { record: Record<string, string>; info: { lines: number } }[];
  try {
    records = parse(csv, {
      columns: true,
      bom: true,
      info: true,
      skip_empty_lines: true,
      trim: true,
      max_record_size: 20_000,
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    const line = typeof error.lines === 'number' ? ` (line ${error.lines})` : '';
    throw new ServiceError({
      kind: 'malformed',
      code: 'malformed_csv',
      detail: `The file is not well-formed CSV${line}.`,
      cause: error,
    });
  }
  const missing = required.filter((column) => records[0] && !(column in records[0].record));
  if (records.length === 0 || missing.length > 0) {
    const detail =
      records.length === 0 ? 'The file holds no row below its header.' : `The header lacks: ${missing.join(', ')}.`;
    throw invalid('agencies_invalid', [{ pointer: 'row/1', code: 'header', detail }]);
  }
  if (records.length > maxRows) {
    const detail = `The file holds ${records.length} rows; at most ${maxRows} are taken at a time.`;
    throw invalid('agencies_invalid', [{ pointer: `row/${maxRows + 2}`, code: 'too_many_rows', detail }]);
  }
  const faultyCodes = new Set<string>();
  const rows = records.flatMap(({ record, info }) => {
    const row = Row.safeParse(record);
    const code = parseAgencyCode(record.code ?? '');
    const fault = (column: string, kind: string, detail: string) =>
      faults.push({ pointer: `row/${info.lines}/${column}`, code: kind, detail });
    for (const issue of row.success ? [] : row.error.issues) fault(String(issue.path[0]), issue.code, issue.message);
    if (!code.ok) for (const { code: kind, detail } of code.faults) fault('code', kind, detail);
    const parent = record.parent_code ? parseAgencyCode(record.parent_code) : undefined;
    if (parent && !parent.ok) for (const { code: kind, detail } of parent.faults) fault('parent_code', kind, detail);
    if (!row.success || !code.ok || parent?.ok === false) {
      if (code.ok) faultyCodes.add(code.code);
      return [];
    }
    return [{ ...row.data, code: code.code, parent_code: parent?.code ?? null, rowNumber: info.lines }];
  });
  return { rows, faultyCodes };
}

/** What is not UTF-8 was decoded to U+FFFD, and would be stored as names that nobody can read any more. */
function requireUtf8(csv: string): void {
  const at = csv.indexOf('\uFFFD');
  if (at === -1) return;
  const line = csv.slice(0, at).split('\n').length;
  const detail = `The file is not UTF-8 (line ${line}); save it as "CSV UTF-8".`;
  throw new ServiceError({ kind: 'malformed', code: 'not_utf8', detail });
}

function checkTree(
  rows: readonly NumberedRow[],
  faultyCodes: ReadonlySet<string>,
  existing: ReadonlyMap<string, AgencyRow>,
  faults: Fault[],
): void {
  const byCode = new Map<string, NumberedRow>();
  for (const row of rows) {
    const first = byCode.get(row.code);
    if (first) {
      const detail = `The code ${row.code} stands already in row ${first.rowNumber}.`;
      faults.push({ pointer: `row/${row.rowNumber}/code`, code: 'duplicate_code', detail });
    } else byCode.set(row.code, row);
  }
  const parentOf = (code: string): string | null =>
    (byCode.has(code) ? byCode.get(code)?.parent_code : existing.get(code)?.parent_code) ?? null;
  for (const row of rows) {
    const pointer = `row/${row.rowNumber}/parent_code`;
    if ((row.level === 'province') !== (row.parent_code === null)) {
      const detail = 'A province has no parent, and every other agency has one.';
      faults.push({ pointer, code: 'parent_level', detail });
    } else if (row.parent_code !== null && faultyCodes.has(row.parent_code)) {
      // Said of the parent's own row.
    } else if (row.parent_code !== null && !byCode.has(row.parent_code) && !existing.has(row.parent_code)) {
      const detail = `There is no agency ${row.parent_code}, neither in the file nor in the record.`;
      faults.push({ pointer, code: 'parent_not_found', detail });
    } else if (reachesItself(row.code, parentOf)) {
      faults.push({ pointer, code: 'cycle', detail: `${row.code} would be an agency below itself.` });
    }
  }
}

function reachesItself(code: string, parentOf: (code: string) => string | null): boolean {
  const seen = new Set<string>();
  for (let at = parentOf(code); at !== null && !seen.has(at); at = parentOf(at)) {
    if (at === code) return true;
    seen.add(at);
  }
  return false;
}

/**
 * Nobody writes an agency outside the own subtree, draws one into it, or moves one (or the own agency) out of it. Only the
 * agency at the top makes itself, by the first import of all.
 */
async function checkScope(
  transaction: Transaction,
  rows: readonly NumberedRow[],
  existing: ReadonlyMap<string, AgencyRow>,
  scope: string,
  faults: Fault[],
): Promise<void> {
  const known = await findAgenciesByCode(
    transaction,
    rows.flatMap((row) => [row.code, row.parent_code ?? row.code]),
    scope,
  );
  const inside = new Set([scope, ...known.map((agency) => agency.code)]);
  const parents = new Map(rows.map((row) => [row.code, row.parent_code]));
  /** Undefined where the way up ends in what is no agency, which is a fault of the tree and said there. */
  const liesInside = (code: string | null): boolean | undefined => {
    let at = code;
    for (let step = 0; step <= rows.length; step += 1) {
      if (at === null || existing.has(at) || inside.has(at)) return at !== null && inside.has(at);
      if (!parents.has(at)) return undefined;
      at = parents.get(at) ?? null;
    }
    return undefined;
  };
  for (const row of rows) {
    const present = existing.get(row.code);
    const fault = (column: string) => {
      const detail = `${row.code} does not lie below ${scope}, the agency you act for, or would not any more.`;
      faults.push({ pointer: `row/${row.rowNumber}/${column}`, code: 'outside_scope', detail });
    };
    if (present && !inside.has(row.code)) fault('code');
    else if (row.code === scope) {
      if (row.parent_code !== (present?.parent_code ?? null)) fault('parent_code');
    } else if ((row.level === 'province' || row.parent_code !== null) && liesInside(row.parent_code) === false) {
      fault(present ? 'parent_code' : 'code');
    }
  }
}

/** A short name, once given, stays, because addresses are made of it. Parents are named before their children. */
function withShortNames(rows: readonly NumberedRow[], existing: ReadonlyMap<string, AgencyRow>): AgencyFields[] {
  const byCode = new Map(rows.map((row) => [row.code, row]));
  const named = new Map([...existing.values()].map((agency) => [agency.code, agency.short_name]));
  const taken = new Set(named.values());
  const shortNameOf = (code: string): string => {
    const known = named.get(code);
    if (known) return known;
    const row = byCode.get(code);
    if (!row) throw new Error(`agency ${code} is neither in the file nor in the record`);
    const parentLevel = row.parent_code && (byCode.get(row.parent_code) ?? existing.get(row.parent_code))?.level;
    const parent =
      row.parent_code && parentLevel ? { shortName: shortNameOf(row.parent_code), level: parentLevel } : undefined;
    for (const candidate of agencyShortNameCandidates(row.name, row.level, parent)) {
      if (taken.has(candidate)) continue;
      taken.add(candidate);
      named.set(code, candidate);
      return candidate;
    }
    throw new Error('the candidates for a short name never end');
  };
  return rows.map((row) => ({
    code: row.code,
    name: row.name,
    level: row.level,
    parentCode: row.parent_code,
    shortName: shortNameOf(row.code),
    mailDomain: row.mail_domain,
    gsoCode: row.gso_code,
    validTo: row.valid_to,
  }));
}

const toFields = (row: AgencyRow): AgencyFields => ({
  code: row.code,
  name: row.name,
  level: row.level,
  parentCode: row.parent_code,
  shortName: row.short_name,
  mailDomain: row.mail_domain,
  gsoCode: row.gso_code,
  validTo: row.valid_to,
});

const isSame = (row: AgencyFields, existing: AgencyRow | undefined): boolean =>
  existing !== undefined && JSON.stringify(row) === JSON.stringify(toFields(existing));
