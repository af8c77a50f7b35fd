/** Every query on directory.requests and directory.request_lines. */
import type { CertificatePath, RequestLine, RequestSummary } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { maskNationalId } from '@congvu/vietnamese';
import { inSubtree } from '../agencies/agency-store.ts';

export interface NewLine {
  agencyId: string;
  kind: 'person' | 'agency';
  fullName: string | null;
  birthDate: string | null;
  sex: 'male' | 'female' | null;
  title: string | null;
  mobile: string | null;
  nationalIdSealed: Buffer | null;
  nationalIdHash: Buffer | null;
  certificatePath: CertificatePath;
}

export interface NewRequest {
  agencyId: string;
  submittedBy: string;
  contactAddress: string | null;
  decision: { number: string; date: string } | null;
  idempotencyKey: string | null;
  bodyHash: Buffer;
  lines: readonly NewLine[];
}

export async function insertRequest(transaction: Transaction, request: NewRequest): Promise<string> {
  const [row] = await transaction('directory.requests')
    .insert({
      agency_id: request.agencyId,
      submitted_by: request.submittedBy,
      contact_address: request.contactAddress,
      decision_number: request.decision?.number ?? null,
      decision_date: request.decision?.date ?? null,
      idempotency_key: request.idempotencyKey,
      body_hash: request.bodyHash,
    })
    .returning<{ id: string }[]>('id');
  const id = row?.id as string;
  await transaction.batchInsert(
    'directory.request_lines',
    request.lines.map((line, index) => ({
      request_id: id,
      line_number: index + 1,
      agency_id: line.agencyId,
      kind: line.kind,
      full_name: line.fullName,
      birth_date: line.birthDate,
      sex: line.sex,
      title: line.title,
      mobile: line.mobile,
      national_id_sealed: line.nationalIdSealed,
      national_id_hash: line.nationalIdHash,
      certificate_path: line.certificatePath,
    })),
    500,
  );
  return id;
}

/** The request that this key made before, with the fingerprint of its body. */
export async function findByIdempotencyKey(
  connection: Connection,
  clientId: string,
  key: string,
): Promise<{ id: string; body_hash: Buffer } | undefined> {
  return connection('directory.requests')
    .where({ submitted_by: clientId, idempotency_key: key })
    .first('id', 'body_hash');
}

/** Identity numbers among `hashes` that an account which is not retired, or another waiting request, holds already. */
export async function findTakenNationalIds(
  connection: Connection,
  hashes: readonly Buffer[],
): Promise<Map<string, 'account' | 'request'>> {
  if (hashes.length === 0) return new Map();
  const rows = await connection
    .select<{ hash: Buffer; holder: 'account' | 'request' }[]>(
      'p.national_id_hash as hash',
      connection.raw("'account' as holder"),
    )
    .from('directory.people as p')
    .join('directory.accounts as c', 'c.person_id', 'p.id')
    .whereNot('c.state', 'retired')
    .whereIn('p.national_id_hash', hashes)
    .unionAll((union) => {
      union
        .select('l.national_id_hash', connection.raw("'request'"))
        .from('directory.request_lines as l')
        .where('l.state', 'submitted')
        .whereIn('l.national_id_hash', hashes);
    });
  return new Map(rows.map((row) => [row.hash.toString('hex'), row.holder]));
}

export interface RequestRow {
  id: string;
  agency_id: string;
  agency_code: string;
  state: RequestSummary['state'];
  submitted_by: string;
  /** Who made the client that submitted it. */
  submitter_made_by: string | null;
  version: number;
}

/** Locks the request until the transaction ends, so that two who decide at once are one after the other. */
export async function requireRequestForUpdate(
  transaction: Transaction,
  id: string,
  scope: string,
): Promise<RequestRow> {
  const row: RequestRow | undefined = await transaction('directory.requests as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .join('directory.clients as s', 's.id', 'r.submitted_by')
    .where('r.id', id)
    .whereRaw(inSubtree('r.agency_id'), [scope])
    .forUpdate('r')
    .first(
      'r.id',
      'r.agency_id',
      'a.code as agency_code',
      'r.state',
      'r.submitted_by',
      's.created_by as submitter_made_by',
      'r.version',
    );
  if (!row) throw notFound();
  return row;
}

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'request_not_found',
    detail: 'There is no request of that id at or below your agency.',
  });

export async function decideRequest(
  transaction: Transaction,
  id: string,
  decision: { state: 'approved' | 'rejected' | 'cancelled'; by: string; remark: string | null },
): Promise<void> {
  await transaction('directory.requests')
    .where({ id })
    .update({
      state: decision.state,
      decided_by: decision.by,
      decided_at: transaction.fn.now(),
      remark: decision.remark,
      version: transaction.raw('version + 1'),
    });
  if (decision.state !== 'approved') {
    await transaction('directory.request_lines').where({ request_id: id }).update({ state: decision.state });
  }
}

export interface LineRow {
  id: string;
  line_number: number;
  agency_id: string;
  agency_name: string;
  mail_domain: string;
  short_name: string;
  kind: 'person' | 'agency';
  full_name: string | null;
  birth_date: string | null;
  sex: 'male' | 'female' | null;
  title: string | null;
  mobile: string | null;
  national_id_sealed: Buffer | null;
  national_id_hash: Buffer | null;
  certificate_path: CertificatePath;
}

export const listLinesToOpen = (transaction: Transaction, requestId: string): Promise<LineRow[]> =>
  transaction('directory.request_lines as l')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .where('l.request_id', requestId)
    .orderBy('l.line_number')
    .select<LineRow[]>(
      'l.id',
      'l.line_number',
      'l.agency_id',
      'a.name as agency_name',
      'a.mail_domain',
      'a.short_name',
      'l.kind',
      'l.full_name',
      transaction.raw("to_char(l.birth_date, 'YYYY-MM-DD') as birth_date"),
      'l.sex',
      'l.title',
      'l.mobile',
      'l.national_id_sealed',
      'l.national_id_hash',
      'l.certificate_path',
    );

export async function attachAccounts(
  transaction: Transaction,
  pairs: readonly { lineId: string; accountId: string }[],
): Promise<void> {
  await transaction.raw(
    `update directory.request_lines l set account_id = pair."accountId", state = 'approved'
     from jsonb_to_recordset(?::jsonb) as pair("lineId" uuid, "accountId" uuid) where l.id = pair."lineId"`,
    [JSON.stringify(pairs)],
  );
}

/**
 * Marks the lines of accounts fulfilled when every part of the account stands, and their requests when every line does.
 * Returns the requests that this completed.
 */
export async function settleLines(
  transaction: Transaction,
  accountIds: readonly string[],
): Promise<{ id: string; agency_id: string }[]> {
  const { rows: whole } = await transaction.raw<{ rows: { id: string }[] }>(
    `select id from unnest(?::uuid[]) as account(id)
     where not exists (select 1 from directory.provisioning p where p.account_id = account.id and p.state = 'waiting')`,
    [[...accountIds]],
  );
  if (whole.length === 0) return [];
  const wholeIds = whole.map(({ id }) => id);
  // One after the other: two that end at once would each find the other unfinished, and the request would stay open.
  const { rows: requests } = await transaction.raw<{ rows: { id: string }[] }>(
    `select id from directory.requests
     where id in (select l.request_id from unnest(?::uuid[]) as account(id)
       join directory.request_lines l on l.account_id = account.id) order by id for update`,
    [wholeIds],
  );
  await transaction.raw(
    `update directory.request_lines l set state = 'fulfilled' from unnest(?::uuid[]) as account(id)
     where l.account_id = account.id and l.state = 'approved'`,
    [wholeIds],
  );
  const { rows } = await transaction.raw<{ rows: { id: string; agency_id: string }[] }>(
    `update directory.requests r set state = 'fulfilled', fulfilled_at = now(), version = version + 1
     where r.id = any(?::uuid[]) and r.state = 'approved'
       and not exists (select 1 from directory.request_lines l where l.request_id = r.id and l.state <> 'fulfilled')
     returning r.id, r.agency_id`,
    [requests.map((request) => request.id)],
  );
  return rows;
}

interface SummaryRow {
  id: string;
  agency_code: string;
  agency_name: string;
  state: RequestSummary['state'];
  submitted_by: string;
  submitted_by_name: string;
  submitted_at: Date;
  decided_by: string | null;
  decided_by_name: string | null;
  decided_at: Date | null;
  fulfilled_at: Date | null;
  remark: string | null;
  decision_number: string | null;
  decision_date: string | null;
  line_count: number;
  fulfilled_count: number;
  version: number;
}

const summaries = (connection: Connection, scope: string) =>
  connection('directory.requests as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .join('directory.clients as s', 's.id', 'r.submitted_by')
    .leftJoin('directory.clients as d', 'd.id', 'r.decided_by')
    .whereRaw(inSubtree('r.agency_id'), [scope])
    .select<SummaryRow[]>(
      'r.id',
      'a.code as agency_code',
      'a.name as agency_name',
      'r.state',
      'r.submitted_by',
      's.name as submitted_by_name',
      'r.submitted_at',
      'r.decided_by',
      'd.name as decided_by_name',
      'r.decided_at',
      'r.fulfilled_at',
      'r.remark',
      'r.decision_number',
      'r.version',
      connection.raw("to_char(r.decision_date, 'YYYY-MM-DD') as decision_date"),
      connection.raw('(select count(*)::int from directory.request_lines l where l.request_id = r.id) as line_count'),
      connection.raw(
        "(select count(*)::int from directory.request_lines l where l.request_id = r.id and l.state = 'fulfilled') as fulfilled_count",
      ),
    );

const toSummary = (row: SummaryRow): RequestSummary => ({
  id: row.id,
  agencyCode: row.agency_code,
  agencyName: row.agency_name,
  state: row.state,
  submittedBy: { id: row.submitted_by, name: row.submitted_by_name },
  submittedAt: row.submitted_at.toISOString(),
  decidedBy: row.decided_by && row.decided_by_name ? { id: row.decided_by, name: row.decided_by_name } : null,
  decidedAt: row.decided_at?.toISOString() ?? null,
  fulfilledAt: row.fulfilled_at?.toISOString() ?? null,
  remark: row.remark,
  decision: row.decision_number && row.decision_date ? { number: row.decision_number, date: row.decision_date } : null,
  lineCount: row.line_count,
  fulfilledCount: row.fulfilled_count,
  version: row.version,
});

export async function requireSummary(connection: Connection, id: string, scope: string): Promise<RequestSummary> {
  const [row] = await summaries(connection, scope).where('r.id', id);
  if (!row) throw notFound();
  return toSummary(row);
}

export async function listSummaries(
  connection: Connection,
  filter: { scope: string; state?: string | undefined; agencyCode?: string | undefined },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<RequestSummary[]> {
  const rows = await summaries(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('r.state', filter.state);
      if (filter.agencyCode) query.whereRaw(inSubtree('r.agency_id'), [filter.agencyCode]);
      if (after) query.whereRaw('(r.submitted_at, r.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'r.submitted_at', order: 'desc' },
      { column: 'r.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toSummary);
}

export async function listLines(
  connection: Connection,
  requestId: string,
  openSealed: (sealed: Buffer) => string,
): Promise<RequestLine[]> {
  const rows = await connection('directory.request_lines as l')
    .join('directory.agencies as a', 'a.id', 'l.agency_id')
    .leftJoin('directory.accounts as c', 'c.id', 'l.account_id')
    .where('l.request_id', requestId)
    .orderBy('l.line_number')
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
    kind: row.kind,
    agencyCode: row.agency_code,
    state: row.state,
    fullName: row.full_name,
    birthDate: row.born,
    title: row.title,
    nationalId: row.national_id_sealed ? maskNationalId(openSealed(row.national_id_sealed)) : null,
    certificate: row.certificate_path,
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
