/** Every query on directory.request_lines. A request may have 100,000: nothing here returns all of them. */
import type { CertificatePath, LineRemark, RequestLine, RequestLineState, RequestOperation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { maskNationalId } from '@congvu/vietnamese';

/** A line as it was read, canonical. */
export interface NewLine {
  operation: RequestOperation;
  /** Where the account is to be: of a line that opens one, and of a transfer; else where the account that it is about is. */
  agencyId: string;
  /** Of a line that opens an account. */
  kind: 'person' | 'agency' | 'position' | null;
  /** The account that any other line is about. */
  targetAccountId: string | null;
  reason: string | null;
  fullName: string | null;
  birthDate: string | null;
  sex: 'male' | 'female' | null;
  title: string | null;
  mobile: string | null;
  nationalIdSealed: Buffer | null;
  nationalIdHash: Buffer | null;
  certificatePath: CertificatePath;
  /** Of a rename: whether the address is to change too. */
  newAddress: boolean;
}

/** What the reading found; `cell` as in the sheet. */
export interface LineFinding {
  cell?: string;
  code: string;
  detail: string;
  severity: 'fault' | 'correction' | 'warning';
}

export interface StoredLine extends NewLine {
  lineNumber: number;
  state: 'draft' | 'refused' | 'submitted';
  sheetRow: number | null;
  findings: readonly LineFinding[];
}

/** A line of which nothing is known yet; the fields that an operation has are spread over it. */
export const emptyLine = {
  kind: null,
  targetAccountId: null,
  reason: null,
  fullName: null,
  birthDate: null,
  sex: null,
  title: null,
  mobile: null,
  nationalIdSealed: null,
  nationalIdHash: null,
  certificatePath: 'none',
  newAddress: false,
} as const;

export async function insertLines(
  transaction: Transaction,
  requestId: string,
  lines: readonly StoredLine[],
): Promise<void> {
  if (lines.length === 0) return;
  const rows = lines.map(({ nationalIdSealed, nationalIdHash, ...line }) => ({
    ...line,
    sealed: nationalIdSealed?.toString('hex') ?? null,
    hash: nationalIdHash?.toString('hex') ?? null,
  }));
  await transaction.raw(
    `insert into directory.request_lines (request_id, line_number, sheet_row, state, operation, agency_id, kind,
       target_account_id, reason, full_name, birth_date, sex, title, mobile, national_id_sealed, national_id_hash,
       certificate_path, new_address, findings)
     select ?, "lineNumber", "sheetRow", state, operation, "agencyId", kind, "targetAccountId", reason, "fullName", "birthDate",
       sex, title, mobile, decode(sealed, 'hex'), decode(hash, 'hex'), "certificatePath", "newAddress", findings
     from json_to_recordset(?::json) as row("lineNumber" int, "sheetRow" int, state text, operation text, "agencyId" uuid,
       kind text, "targetAccountId" uuid, reason text, "fullName" text, "birthDate" date, sex text, title text, mobile text,
       sealed text, hash text, "certificatePath" text, "newAddress" boolean, findings jsonb)`,
    [requestId, JSON.stringify(rows)],
  );
}

export async function deleteLines(transaction: Transaction, requestId: string): Promise<void> {
  await transaction('directory.request_lines').where({ request_id: requestId }).delete();
}

/** Lines of one state go to another together. */
export async function moveLines(
  transaction: Transaction,
  requestId: string,
  from: RequestLineState,
  to: RequestLineState,
): Promise<number> {
  return transaction('directory.request_lines').where({ request_id: requestId, state: from }).update({ state: to });
}

/** Of `numbers`, those that no submitted line has. */
export async function findUnknownLines(
  transaction: Transaction,
  requestId: string,
  numbers: readonly number[],
): Promise<number[]> {
  if (numbers.length === 0) return [];
  const known: number[] = await transaction('directory.request_lines')
    .where({ request_id: requestId, state: 'submitted' })
    .whereRaw('line_number = any(?::int[])', [[...numbers]])
    .pluck('line_number');
  const there = new Set(known);
  return [...new Set(numbers)].filter((number) => !there.has(number));
}

/** Which submitted lines of a request are meant: these alone, or all but those, or all. */
export interface LineChoice {
  lines?: readonly number[] | undefined;
  exceptLines?: readonly number[] | undefined;
}

const chosen = ({ lines, exceptLines }: LineChoice): { sql: string; values: readonly number[][] } => {
  if (lines) return { sql: 'line_number = any(?::int[])', values: [[...lines]] };
  if (exceptLines) return { sql: 'not line_number = any(?::int[])', values: [[...exceptLines]] };
  return { sql: 'true', values: [] };
};

/** The first of the chosen lines that touches an agency outside the subtree of `scope`. */
export async function findForeignLine(
  transaction: Transaction,
  requestId: string,
  choice: LineChoice,
  scope: string,
): Promise<number | undefined> {
  const { sql, values } = chosen(choice);
  const row = await transaction('directory.request_lines as l')
    .leftJoin('directory.accounts as t', 't.id', 'l.target_account_id')
    .where({ 'l.request_id': requestId, 'l.state': 'submitted' })
    .whereRaw(sql, values)
    .whereRaw(
      `(not l.agency_id = any(array(select directory.agency_subtree(:scope)))
        or not t.agency_id = any(array(select directory.agency_subtree(:scope))))`,
      { scope },
    )
    .orderBy('l.line_number')
    .first('l.line_number');
  return row?.line_number;
}

/** All that are not chosen. */
export async function rejectLines(transaction: Transaction, requestId: string, choice: LineChoice): Promise<void> {
  if (!choice.lines && !choice.exceptLines) return;
  const { sql, values } = chosen(choice);
  await transaction('directory.request_lines')
    .where({ request_id: requestId, state: 'submitted' })
    .whereRaw(`not (${sql})`, values)
    .update({ state: 'rejected' });
}

export async function remarkLines(
  transaction: Transaction,
  requestId: string,
  remarks: readonly LineRemark[],
): Promise<void> {
  if (remarks.length === 0) return;
  await transaction.raw(
    `update directory.request_lines l set remark = row.remark
     from json_to_recordset(?::json) as row("lineNumber" int, remark text)
     where l.request_id = ? and l.line_number = row."lineNumber"`,
    [JSON.stringify(remarks), requestId],
  );
}

/** What the record is asked about a line that is to be submitted. */
export type LineToCheck = Pick<
  NewLine,
  'operation' | 'kind' | 'agencyId' | 'targetAccountId' | 'title' | 'nationalIdHash'
> & { lineNumber: number };

/** Lines that ask for what a line before them asks for. */
export async function findRepeatedLines(
  connection: Connection,
  requestId: string,
  limit: number,
): Promise<{ lineNumber: number; first: number }[]> {
  const { rows } = await connection.raw<{ rows: { lineNumber: number; first: number }[] }>(
    `select line_number as "lineNumber", first from (
       select line_number, min(line_number) over (partition by operation, kind, target_account_id, national_id_hash,
         case when kind in ('agency', 'position') then agency_id end, case when kind = 'position' then lower(title) end) as first
       from directory.request_lines where request_id = ? and state = 'draft') line
     where line_number > first order by line_number limit ?`,
    [requestId, limit],
  );
  return rows;
}

export const listRefusals = (
  connection: Connection,
  requestId: string,
  limit: number,
): Promise<{ lineNumber: number; sheetRow: number | null; findings: LineFinding[] }[]> =>
  connection('directory.request_lines')
    .where({ request_id: requestId, state: 'refused', unusual: true })
    .orderBy('line_number')
    .limit(limit)
    .select('line_number as lineNumber', 'sheet_row as sheetRow', 'findings');

interface LineRow {
  line_number: number;
  sheet_row: number | null;
  operation: RequestOperation;
  kind: RequestLine['kind'];
  agency_code: string;
  state: RequestLineState;
  full_name: string | null;
  born: string | null;
  title: string | null;
  national_id_sealed: Buffer | null;
  certificate_path: CertificatePath;
  reason: string | null;
  new_address: boolean;
  findings: LineFinding[];
  remark: string | null;
  failure: { code: string; detail: string } | null;
  target: RequestLine['target'];
  account: RequestLine['account'];
}

/** Few among many, and found by an index of their own; as the column of that name says. */
const unusual: readonly RequestLineState[] = ['refused', 'rejected', 'cancelled', 'failed'];

/** Approved is a line with its request; of its own it is written only when it is carried out. */
const shownState = "case when l.state = 'submitted' and r.state = 'approved' then 'approved' else l.state end";

/** By number, from behind `after`; one more than `limit` when there are more. */
export async function listLines(
  connection: Connection,
  filter: { requestId: string; state?: RequestLineState | undefined },
  limit: number,
  after: number,
  openSealed: (sealed: Buffer) => string,
): Promise<RequestLine[]> {
  const rows: LineRow[] = await connection('directory.request_lines as l')
    .join('directory.requests as r', 'r.id', 'l.request_id')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .leftJoin('directory.accounts as c', 'c.id', 'l.account_id')
    .leftJoin('directory.accounts as t', 't.id', 'l.target_account_id')
    .where('l.request_id', filter.requestId)
    .where('l.line_number', '>', after)
    .modify((query) => {
      if (filter.state)
        query.where('l.unusual', unusual.includes(filter.state)).whereRaw(`${shownState} = ?`, [filter.state]);
    })
    .orderBy('l.line_number')
    .limit(limit + 1)
    .select(
      'l.line_number',
      'l.sheet_row',
      'l.operation',
      'l.kind',
      'a.code as agency_code',
      connection.raw(`${shownState} as state`),
      'l.full_name',
      'l.title',
      'l.national_id_sealed',
      'l.certificate_path',
      'l.reason',
      'l.new_address',
      'l.findings',
      'l.remark',
      'l.failure',
      connection.raw("to_char(l.birth_date, 'YYYY-MM-DD') as born"),
      connection.raw(
        `case when t.id is not null then json_build_object('id', t.id, 'username', t.username, 'address', t.address,
           'displayName', t.display_name) end as target`,
      ),
      connection.raw(
        `case when c.id is not null then json_build_object('id', c.id, 'username', c.username, 'address', c.address,
           'state', c.state, 'parts', coalesce((select json_object_agg(p.part, p.state) from directory.provisioning p
             where p.account_id = c.id), '{}')) end as account`,
      ),
    );
  return rows.map((row) => ({
    lineNumber: row.line_number,
    sheetRow: row.sheet_row,
    operation: row.operation,
    kind: row.kind,
    agencyCode: row.agency_code,
    state: row.state,
    fullName: row.full_name,
    birthDate: row.born,
    title: row.title,
    nationalId: row.national_id_sealed ? maskNationalId(openSealed(row.national_id_sealed)) : null,
    certificate: row.certificate_path,
    reason: row.reason,
    ...(row.new_address && { newAddress: true }),
    target: row.target,
    findings: row.findings,
    remark: row.remark,
    failure: row.failure,
    account: row.account,
  }));
}
