/** Every query on directory.reconciliations. A worker's writes carry its attempt, so that one that was given up for dead changes nothing. */
import type { Reconciliation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';

export interface RunRow {
  id: string;
  mode: 'report' | 'repair';
  remove_extra: boolean;
  agency_id: string;
  agency_code: string;
  /** Whether that is the whole province. */
  whole: boolean;
  state: Reconciliation['state'];
  started_by: string | null;
  approved_by: string | null;
  attempt: number;
}

/** Runs begin one after the other, so that of two that overlap the second is told. */
export const lockReconciliations = (transaction: Transaction): Promise<unknown> =>
  transaction.raw('lock table directory.reconciliations in share row exclusive mode');

/** A run at work whose agency lies above or below this one. One whose worker was silent for ten minutes does not count. */
export const findOverlapping = (
  transaction: Transaction,
  agencyCode: string,
  except: string,
): Promise<{ id: string } | undefined> =>
  transaction('directory.reconciliations as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .whereIn('r.state', ['queued', 'comparing', 'repairing'])
    .whereNot('r.id', except)
    .whereRaw("r.seen_at > now() - interval '10 minutes'")
    .where((where) => {
      where.whereRaw(inSubtree('a.id'), [agencyCode]);
      where.orWhereRaw(
        '(select id from directory.agencies where code = ?) in (select directory.agency_subtree(a.code))',
        [agencyCode],
      );
    })
    .first('r.id');

export const findByIdempotencyKey = (
  connection: Connection,
  clientId: string,
  key: string,
): Promise<{ id: string; body_hash: Buffer } | undefined> =>
  connection('directory.reconciliations')
    .where({ started_by: clientId, idempotency_key: key })
    .first('id', 'body_hash');

/** Runs of the schedule that still wait for somebody's approval. */
export const listWaitingOfSchedule = (transaction: Transaction): Promise<{ id: string; agency_id: string }[]> =>
  transaction('directory.reconciliations')
    .where({ state: 'awaiting_approval' })
    .whereNull('started_by')
    .select('id', 'agency_id');

/** Deletes the oldest runs that ended more than a year ago, with what they found; a few, since each may have found a hundred thousand. */
export async function deleteOldRuns(transaction: Transaction): Promise<void> {
  const old = await transaction('directory.reconciliations')
    .whereRaw("finished_at < now() - interval '365 days'")
    .orderBy('created_at')
    .limit(5)
    .pluck('id');
  await transaction('directory.reconciliation_findings').whereIn('reconciliation_id', old).delete();
  await transaction('directory.reconciliations').whereIn('id', old).delete();
}

export async function insertRun(
  transaction: Transaction,
  run: {
    mode: 'report' | 'repair';
    removeExtra: boolean;
    agencyId: string;
    startedBy: string | null;
    idempotencyKey: string | null;
    bodyHash: Buffer | null;
  },
): Promise<string> {
  const [row] = await transaction('directory.reconciliations')
    .insert({
      mode: run.mode,
      remove_extra: run.removeExtra,
      agency_id: run.agencyId,
      started_by: run.startedBy,
      idempotency_key: run.idempotencyKey,
      body_hash: run.bodyHash,
    })
    .returning('id');
  return row.id as string;
}

/** The run for the worker that takes it up now; undefined when there is nothing to do for it any more. */
export async function takeRun(connection: Connection, id: string): Promise<RunRow | undefined> {
  const { rows } = await connection.raw<{ rows: RunRow[] }>(
    `update directory.reconciliations r set attempt = r.attempt + 1, seen_at = now(), version = r.version + (r.state = 'queued')::int,
       state = case r.state when 'queued' then 'comparing' else r.state end
     from directory.agencies a
     where r.id = ? and r.state in ('queued', 'comparing', 'repairing') and a.id = r.agency_id
     returning r.id, r.mode, r.remove_extra, r.agency_id, a.code as agency_code, a.parent_id is null as whole, r.state, r.started_by, r.approved_by, r.attempt`,
    [id],
  );
  return rows[0];
}

/** False when the run was cancelled, or belongs to another worker by now. */
export async function touchRun(
  connection: Connection,
  run: Pick<RunRow, 'id' | 'attempt'>,
  changes: { done_count?: number; total_count?: number; pending_count?: number } = {},
): Promise<boolean> {
  const touched = await connection('directory.reconciliations')
    .where({ id: run.id, attempt: run.attempt })
    .whereIn('state', ['comparing', 'repairing'])
    .update({ ...changes, seen_at: connection.fn.now() });
  return touched === 1;
}

/** Ends a worker's part of the run. False when it is not that worker's any more. */
export async function moveRun(
  connection: Connection,
  run: Pick<RunRow, 'id' | 'attempt'>,
  state: 'repairing' | 'awaiting_approval' | 'completed' | 'failed',
  reason: Reconciliation['reason'] = null,
): Promise<boolean> {
  const moved = await connection('directory.reconciliations')
    .where({ id: run.id, attempt: run.attempt })
    .whereIn('state', ['comparing', 'repairing'])
    .update({
      state,
      reason: reason && JSON.stringify(reason),
      seen_at: connection.fn.now(),
      version: connection.raw('version + 1'),
      ...(state === 'completed' || state === 'failed' ? { finished_at: connection.fn.now() } : {}),
    });
  return moved === 1;
}

export interface DecidableRun {
  id: string;
  state: Reconciliation['state'];
  agency_id: string;
  agency_code: string;
  started_by: string | null;
  starter_made_by: string | null;
  attempt: number;
  version: number;
}

/** Locks the run until the transaction ends. */
export async function requireRunForUpdate(transaction: Transaction, id: string, scope: string): Promise<DecidableRun> {
  const row = await transaction('directory.reconciliations as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .leftJoin('directory.clients as s', 's.id', 'r.started_by')
    .where('r.id', id)
    .whereRaw(inSubtree('r.agency_id'), [scope])
    .forUpdate('r')
    .first(
      'r.id',
      'r.state',
      'r.agency_id',
      'a.code as agency_code',
      'r.started_by',
      's.created_by as starter_made_by',
      'r.attempt',
      'r.version',
    );
  if (!row) throw runNotFound();
  return row;
}

export const wasMadeBy = async (transaction: Transaction, clientId: string, maker: string | null): Promise<boolean> =>
  maker !== null &&
  (await transaction('directory.clients').where({ id: clientId, created_by: maker }).first('id')) !== undefined;

export const approveRun = (
  transaction: Transaction,
  id: string,
  approval: { by: string; remark: string | null },
): Promise<unknown> =>
  transaction('directory.reconciliations')
    .where({ id })
    .update({
      state: 'repairing',
      reason: null,
      approved_by: approval.by,
      approved_at: transaction.fn.now(),
      approval_remark: approval.remark,
      seen_at: transaction.fn.now(),
      version: transaction.raw('version + 1'),
    });

export const cancelRun = (transaction: Transaction, id: string): Promise<unknown> =>
  transaction('directory.reconciliations')
    .where({ id })
    .update({
      state: 'cancelled',
      finished_at: transaction.fn.now(),
      version: transaction.raw('version + 1'),
    });

interface ListRow {
  id: string;
  mode: 'report' | 'repair';
  remove_extra: boolean;
  agency_code: string;
  state: Reconciliation['state'];
  started_by: string | null;
  started_by_name: string | null;
  created_at: Date;
  finished_at: Date | null;
  approved_by: string | null;
  approved_by_name: string | null;
  approved_at: Date | null;
  done_count: number;
  total_count: number;
  pending_count: number;
  reason: Reconciliation['reason'];
  version: number;
  findings: Reconciliation['findings'];
}

const runs = (connection: Connection, scope: string) =>
  connection('directory.reconciliations as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .leftJoin('directory.clients as s', 's.id', 'r.started_by')
    .leftJoin('directory.clients as p', 'p.id', 'r.approved_by')
    .whereRaw(inSubtree('r.agency_id'), [scope])
    .select<ListRow[]>(
      'r.*',
      'a.code as agency_code',
      's.name as started_by_name',
      'p.name as approved_by_name',
      connection.raw(`(select json_build_object(
          'missing', count(distinct f.subject) filter (where f.kind = 'missing'),
          'extra', count(distinct f.subject) filter (where f.kind = 'extra'),
          'changed', count(distinct f.subject) filter (where f.kind = 'changed'),
          'repaired', count(distinct f.subject) filter (where f.state = 'repaired'),
          'failed', count(distinct f.subject) filter (where f.state = 'failed'))
        from directory.reconciliation_findings f where f.reconciliation_id = r.id) as findings`),
    );

const toWire = (row: ListRow): Reconciliation => ({
  id: row.id,
  mode: row.mode,
  removeExtra: row.remove_extra,
  agencyCode: row.agency_code,
  state: row.state,
  startedBy: row.started_by === null ? null : { id: row.started_by, name: row.started_by_name ?? '' },
  createdAt: row.created_at.toISOString(),
  finishedAt: row.finished_at?.toISOString() ?? null,
  approvedBy: row.approved_by === null ? null : { id: row.approved_by, name: row.approved_by_name ?? '' },
  approvedAt: row.approved_at?.toISOString() ?? null,
  progress: { done: row.done_count, total: row.total_count },
  pendingCount: row.pending_count,
  findings: row.findings,
  reason: row.reason,
  version: row.version,
});

export async function requireReconciliation(
  connection: Connection,
  id: string,
  scope: string,
): Promise<Reconciliation> {
  const [row] = await runs(connection, scope).where('r.id', id);
  if (!row) throw runNotFound();
  return toWire(row);
}

export async function listReconciliations(
  connection: Connection,
  filter: { scope: string; state?: string | undefined; mode?: string | undefined },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Reconciliation[]> {
  const rows = await runs(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('r.state', filter.state);
      if (filter.mode) query.where('r.mode', filter.mode);
      if (after) query.whereRaw('(r.created_at, r.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'r.created_at', order: 'desc' },
      { column: 'r.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toWire);
}

const runNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'reconciliation_not_found',
    detail: 'There is no reconciliation of that id at or below your agency.',
  });
