/** Every query on directory.requests and directory.request_returns. */
import type { Attachment, LateSummary, LineRemark, RequestState, RequestSummary } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';
import type { RequestStanding } from './request-states.ts';

export type { NewLine } from './line-store.ts';

/** What a request says beside its lines. */
export interface RequestHead {
  agencyId: string;
  submittedBy: string;
  contactAddress: string | null;
  decision: { number: string; date: string } | null;
  attachments?: readonly Attachment[];
}

const headColumns = (head: RequestHead) => ({
  contact_address: head.contactAddress,
  decision_number: head.decision?.number ?? null,
  decision_date: head.decision?.date ?? null,
  ...(head.attachments === undefined ? {} : { attachments: JSON.stringify(head.attachments) }),
});

export async function insertRequest(
  transaction: Transaction,
  request: RequestHead & { idempotencyKey: string | null; bodyHash: Buffer },
  standing: { state: 'draft' | 'submitted'; dueAt?: Date; correctedCount?: number },
): Promise<string> {
  const [row] = await transaction('directory.requests')
    .insert({
      agency_id: request.agencyId,
      submitted_by: request.submittedBy,
      state: standing.state,
      due_at: standing.dueAt ?? null,
      corrected_count: standing.correctedCount ?? 0,
      idempotency_key: request.idempotencyKey,
      body_hash: request.bodyHash,
      ...headColumns(request),
    })
    .returning<{ id: string }[]>('id');
  return row?.id as string;
}

/** After its lines were replaced; of a new one, before anybody saw it. */
export async function saveHead(
  transaction: Transaction,
  id: string,
  head: RequestHead,
  counts: { correctedCount: number },
  isNew: boolean,
): Promise<void> {
  await transaction('directory.requests')
    .where({ id })
    .update({
      ...headColumns(head),
      corrected_count: counts.correctedCount,
      ...(isNew ? {} : { version: transaction.raw('version + 1') }),
    });
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

export interface RequestRow extends RequestStanding {
  id: string;
  agency_id: string;
  agency_code: string;
  due_at: Date | null;
}

/** Whose requests: all at and below an agency, or those that one client submitted. */
export type RequestScope = { agencyCode: string } | { submittedBy: string };

/** Locks the request until the transaction ends, so that two who act at once are one after the other. */
export async function requireRequestForUpdate(
  transaction: Transaction,
  id: string,
  scope: RequestScope,
): Promise<RequestRow> {
  const row: RequestRow | undefined = await transaction('directory.requests as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .join('directory.clients as s', 's.id', 'r.submitted_by')
    .where('r.id', id)
    .modify((query) => {
      if ('agencyCode' in scope) query.whereRaw(inSubtree('r.agency_id'), [scope.agencyCode]);
      else query.where('r.submitted_by', scope.submittedBy);
    })
    .forUpdate('r')
    .first(
      'r.id',
      'r.agency_id',
      'a.code as agency_code',
      'r.state',
      'r.submitted_by',
      's.created_by as submitter_made_by',
      'r.due_at',
      'r.version',
    );
  if (!row) throw requestNotFound();
  return row;
}

export const requestNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'request_not_found',
    detail: 'There is no request of that id at or below your agency.',
  });

export interface StateChange {
  state: RequestState;
  remark: string | null;
  /** By when the next one should act. */
  dueAt?: Date | null;
  /** Who decided, from where; of a decision alone. */
  decided?: { by: string; from: string | null };
  submitted?: boolean;
}

export async function setState(transaction: Transaction, id: string, change: StateChange): Promise<void> {
  await transaction('directory.requests')
    .where({ id })
    .update({
      state: change.state,
      remark: change.remark,
      due_at: change.dueAt ?? null,
      version: transaction.raw('version + 1'),
      ...(change.submitted ? { submitted_at: transaction.fn.now() } : {}),
      ...(change.decided
        ? {
            decided_by: change.decided.by,
            // The zone of a link-local address means nothing elsewhere.
            decided_from: change.decided.from?.replace(/%.*$/, '') ?? null,
            decided_at: transaction.fn.now(),
          }
        : {}),
    });
}

/** A request may be returned several times; each is a letter of its own. */
export async function insertReturn(
  transaction: Transaction,
  given: { requestId: string; returnedBy: string; remark: string; lines: readonly LineRemark[] },
): Promise<string> {
  const [row] = await transaction('directory.request_returns')
    .insert({
      request_id: given.requestId,
      returned_by: given.returnedBy,
      remark: given.remark,
      lines: JSON.stringify(given.lines),
    })
    .returning<{ id: string }[]>('id');
  return row?.id as string;
}

/**
 * Submissions are one after the other from here to their commit: two with the same people in another order would otherwise wait
 * for each other in the indexes that take one of them. Whoever holds it only writes; what takes long is checked before.
 */
export const lockSubmissions = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('directory.submissions', 0))");

export interface CompletedRequest {
  id: string;
  agency_id: string;
  /** How many lines ended how. */
  counts: { fulfilledCount: number; failedCount: number; rejectedCount: number };
}

/** Marks those requests fulfilled of which every line is at its end, and returns them. */
export async function completeRequests(transaction: Transaction, ids: readonly string[]): Promise<CompletedRequest[]> {
  const { rows } = await transaction.raw<{ rows: CompletedRequest[] }>(
    `with completed as (
       update directory.requests r set state = 'fulfilled', fulfilled_at = now(), version = version + 1
       where r.id = any(?::uuid[]) and r.state = 'approved'
         -- Cheap to see while there is any; whether others are open takes a look at all of them.
         and not exists (select 1 from directory.request_lines l where l.request_id = r.id and l.waiting)
         and not exists (select 1 from directory.request_lines l where l.request_id = r.id and l.state = 'approved')
       returning r.id, r.agency_id)
     select id, agency_id, (
       select json_build_object('fulfilledCount', count(*) filter (where l.state = 'fulfilled'),
         'failedCount', count(*) filter (where l.state = 'failed'), 'rejectedCount', count(*) filter (where l.state = 'rejected'))
       from directory.request_lines l where l.request_id = completed.id) as counts
     from completed`,
    [[...ids]],
  );
  return rows;
}

/** One after the other: two that end at once would each find the other unfinished, and the request would stay open. */
export async function lockRequests(transaction: Transaction, ids: readonly string[]): Promise<void> {
  await transaction.raw('select id from directory.requests where id = any(?::uuid[]) order by id for update', [
    [...ids],
  ]);
}

export interface Approval {
  id: string;
  agency_code: string;
  decided_by: string;
  decided_from: string | null;
  approver_agency: string;
}

/** Who approved a request, and from where; undefined unless it is approved and not fulfilled. */
export const findApproval = (connection: Connection, id: string): Promise<Approval | undefined> =>
  connection('directory.requests as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .join('directory.clients as d', 'd.id', 'r.decided_by')
    .where({ 'r.id': id, 'r.state': 'approved' })
    .first('r.id', 'a.code as agency_code', 'r.decided_by', 'r.decided_from', 'd.agency_code as approver_agency');

interface SummaryRow {
  id: string;
  agency_code: string;
  agency_name: string;
  state: RequestState;
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
  attachments: Attachment[];
  due_at: Date | null;
  late: boolean;
  counts: Partial<Record<string, number>> | null;
  corrected_count: number;
  version: number;
}

/** For whom a request of a state waits. */
export const waitsFor: Readonly<Partial<Record<RequestState, 'approver' | 'requester' | 'platform'>>> = {
  draft: 'requester',
  submitted: 'approver',
  returned: 'requester',
  approved: 'platform',
};

const isLate = "(r.state in ('submitted', 'returned') and r.due_at < now())";

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
      'r.attachments',
      'r.due_at',
      'r.corrected_count',
      'r.version',
      connection.raw("to_char(r.decision_date, 'YYYY-MM-DD') as decision_date"),
      connection.raw(`coalesce(${isLate}, false) as late`),
      connection.raw(
        `(select json_object_agg(state, number) from (
           select l.state, count(*)::int as number from directory.request_lines l where l.request_id = r.id group by l.state) by_state) as counts`,
      ),
    );

function toSummary(row: SummaryRow): RequestSummary {
  const { draft = 0, refused = 0, submitted = 0, approved = 0, ...ended } = row.counts ?? {};
  const { rejected = 0, cancelled = 0, fulfilled = 0, failed = 0 } = ended;
  const lineCount = draft + refused + submitted + approved + rejected + cancelled + fulfilled + failed;
  return {
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
    decision:
      row.decision_number && row.decision_date ? { number: row.decision_number, date: row.decision_date } : null,
    attachments: row.attachments,
    waitsFor: waitsFor[row.state] ?? null,
    dueAt: row.due_at?.toISOString() ?? null,
    late: row.late,
    lineCount,
    acceptedCount: lineCount - refused - row.corrected_count,
    correctedCount: row.corrected_count,
    refusedCount: refused,
    fulfilledCount: fulfilled,
    failedCount: failed,
    rejectedCount: rejected,
    version: row.version,
  };
}

export async function requireSummary(connection: Connection, id: string, scope: string): Promise<RequestSummary> {
  const [row] = await summaries(connection, scope).where('r.id', id);
  if (!row) throw requestNotFound();
  return toSummary(row);
}

export interface RequestFilter {
  scope: string;
  state?: RequestState | undefined;
  agencyCode?: string | undefined;
  late?: boolean | undefined;
  waitsFor?: 'approver' | 'requester' | 'platform' | undefined;
}

export async function listSummaries(
  connection: Connection,
  filter: RequestFilter,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<RequestSummary[]> {
  const rows = await summaries(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('r.state', filter.state);
      if (filter.agencyCode) query.whereRaw(inSubtree('r.agency_id'), [filter.agencyCode]);
      if (filter.late !== undefined) query.whereRaw(`coalesce(${isLate}, false) = ?`, [filter.late]);
      if (filter.waitsFor) {
        const states = Object.entries(waitsFor).flatMap(([state, who]) => (who === filter.waitsFor ? [state] : []));
        query.whereIn('r.state', states);
      }
      if (after) query.whereRaw('(r.submitted_at, r.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'r.submitted_at', order: 'desc' },
      { column: 'r.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toSummary);
}

/** By agency, what waits and what is late, for both sides; of those at and below `scope`, only where something waits. */
export async function listLateness(connection: Connection, scope: string): Promise<LateSummary['items']> {
  const { rows } = await connection.raw<{ rows: LatenessRow[] }>(
    `select a.code, a.name, r.state, count(*)::int as waiting, count(*) filter (where r.due_at < now())::int as late,
       min(r.due_at) filter (where r.due_at < now()) as late_since
     from directory.requests r join directory.agencies a on a.id = r.agency_id
     where r.state in ('submitted', 'returned') and ${inSubtree('r.agency_id')}
     group by a.id, r.state order by a.code collate "C"`,
    [scope],
  );
  const items = new Map<string, LateSummary['items'][number]>();
  for (const { code, name, state, waiting, late, late_since } of rows) {
    const item = items.get(code) ?? { agencyCode: code, agencyName: name, approver: nobody, requester: nobody };
    const lateness = { waiting, late, lateSince: late_since?.toISOString() ?? null };
    items.set(code, { ...item, [state === 'submitted' ? 'approver' : 'requester']: lateness });
  }
  return [...items.values()];
}

const nobody = { waiting: 0, late: 0, lateSince: null };

interface LatenessRow {
  code: string;
  name: string;
  state: 'submitted' | 'returned';
  waiting: number;
  late: number;
  late_since: Date | null;
}
