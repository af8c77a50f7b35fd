/** Every query on directory.request_lines that drafts need. */
import type { CertificatePath, RequestLine } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { maskNationalId } from '@congvu/vietnamese';

/** A line as it was read, canonical. */
export interface NewLine {
  operation: 'open';
  agencyId: string;
  kind: 'person' | 'agency' | null;
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

/** A line of which nothing is known yet. */
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
       certificate_path, findings)
     select ?, "lineNumber", "sheetRow", state, operation, "agencyId", kind, "targetAccountId", reason, "fullName", "birthDate",
       sex, title, mobile, decode(sealed, 'hex'), decode(hash, 'hex'), "certificatePath", findings
     from jsonb_to_recordset(?::jsonb) as row("lineNumber" int, "sheetRow" int, state text, operation text, "agencyId" uuid,
       kind text, "targetAccountId" uuid, reason text, "fullName" text, "birthDate" date, sex text, title text, mobile text,
       sealed text, hash text, "certificatePath" text, findings jsonb)`,
    [requestId, JSON.stringify(rows)],
  );
}

export async function deleteLines(transaction: Transaction, requestId: string): Promise<void> {
  await transaction('directory.request_lines').where({ request_id: requestId }).delete();
}

/** What the record is asked about a line that is to be submitted. */
export type LineToCheck = Pick<
  NewLine,
  'operation' | 'kind' | 'agencyId' | 'targetAccountId' | 'title' | 'nationalIdHash'
> & { lineNumber: number };

/** By number, from behind `after`; one more than `limit` when there are more. */
export async function listLines(
  connection: Connection,
  filter: { requestId: string; state?: string | undefined },
  limit: number,
  after: number,
  openSealed: (sealed: Buffer) => string,
): Promise<RequestLine[]> {
  const rows = await connection('directory.request_lines as l')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .leftJoin('directory.accounts as c', 'c.id', 'l.account_id')
    .where('l.request_id', filter.requestId)
    .where('l.line_number', '>', after)
    .orderBy('l.line_number')
    .limit(limit + 1)
    .select(
      'l.*',
      'a.code as agency_code',
      connection.raw("to_char(l.birth_date, 'YYYY-MM-DD') as born"),
      'c.username',
      'c.address',
      'c.state as account_state',
      connection.raw(
        '(select json_object_agg(p.part, p.state) from directory.provisioning p where p.account_id = c.id) as parts',
      ),
    );
  return rows.map((row) => ({
    lineNumber: row.line_number,
    sheetRow: row.sheet_row,
    kind: row.kind,
    agencyCode: row.agency_code,
    state: row.state,
    fullName: row.full_name,
    birthDate: row.born,
    title: row.title,
    nationalId: row.national_id_sealed ? maskNationalId(openSealed(row.national_id_sealed)) : null,
    certificate: row.certificate_path,
    findings: row.findings,
    account: row.account_id
      ? {
          id: row.account_id,
          username: row.username,
          address: row.address,
          state: row.account_state,
          parts: row.parts ?? {},
        }
      : null,
  }));
}
