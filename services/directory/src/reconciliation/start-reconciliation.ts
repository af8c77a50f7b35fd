/**
 * Reconciliations begin, are approved and cancelled here. Of runs whose agencies overlap one is at work at a time; a large repair goes on only
 * when another client than the starter says so, neither made by the other.
 */
import { createHash } from 'node:crypto';
import type { Reconciliation, ReconciliationInput } from '@congvu/contracts';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { keyReused, ServiceError } from '@congvu/errors';
import { findRoot, requireAgency } from '../agencies/agency-store.ts';
import { type Actor, systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { abandonFindings } from './finding-store.ts';
import {
  approveRun,
  cancelRun,
  type DecidableRun,
  deleteOldRuns,
  findByIdempotencyKey,
  findOverlapping,
  insertRun,
  listWaitingOfSchedule,
  lockReconciliations,
  requireReconciliation,
  requireRunForUpdate,
  wasMadeBy,
} from './reconciliation-store.ts';

type ScopedActor = Actor & { agencyCode: string };

export async function startReconciliation(
  database: Database,
  input: ReconciliationInput,
  actor: ScopedActor,
  idempotencyKey: string | undefined,
): Promise<Reconciliation> {
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  const agency = await requireAgency(database, input.agencyCode ?? actor.agencyCode, actor.agencyCode);
  const started = await database.transaction(async (transaction) => {
    await lockReconciliations(transaction);
    const repeated = idempotencyKey && (await findByIdempotencyKey(transaction, actor.id, idempotencyKey));
    if (repeated) {
      if (!repeated.body_hash.equals(bodyHash)) throw keyReused();
      return repeated.id;
    }
    const { mode, removeExtra } = input;
    const key = idempotencyKey ?? null;
    return insertStarted(transaction, agency, { mode, removeExtra, actor, idempotencyKey: key, bodyHash });
  });
  return requireReconciliation(database, started, actor.agencyCode);
}

/**
 * The schedule's, over the whole province; undefined when there is none yet, or a run is at work already. It takes the place of the
 * schedule's earlier run that nobody has approved yet.
 */
export async function startScheduled(database: Database, mode: 'report' | 'repair'): Promise<string | undefined> {
  const root = await findRoot(database);
  if (!root) return undefined;
  const run = { mode, removeExtra: false, actor: systemActor, idempotencyKey: null, bodyHash: null };
  await database.transaction(deleteOldRuns);
  return database
    .transaction(async (transaction) => {
      await lockReconciliations(transaction);
      for (const waiting of await listWaitingOfSchedule(transaction)) {
        await cancelRun(transaction, waiting.id);
        const after = { state: 'cancelled', reason: 'A later run of the schedule took its place.' };
        await recordEvent(transaction, systemActor, 'cancelled', waiting, { state: 'awaiting_approval' }, after);
      }
      return insertStarted(transaction, root, run);
    })
    .catch((error: unknown) => {
      if (error instanceof ServiceError && error.code === 'reconciliation_running') return undefined;
      throw error;
    });
}

async function insertStarted(
  transaction: Transaction,
  agency: { id: string; code: string },
  run: {
    mode: 'report' | 'repair';
    removeExtra: boolean;
    actor: Actor;
    idempotencyKey: string | null;
    bodyHash: Buffer | null;
  },
): Promise<string> {
  await requireNoOther(transaction, agency.code);
  const startedBy = run.actor.kind === 'client' ? run.actor.id : null;
  const id = await insertRun(transaction, { ...run, agencyId: agency.id, startedBy });
  const after = { mode: run.mode, agencyCode: agency.code, removeExtra: run.removeExtra };
  await recordEvent(transaction, run.actor, 'started', { id, agency_id: agency.id }, null, after);
  await addJobs(transaction, 'directory', [job(id)]);
  return id;
}

async function requireNoOther(transaction: Transaction, agencyCode: string, except = noRun): Promise<void> {
  if (!(await findOverlapping(transaction, agencyCode, except))) return;
  throw new ServiceError({
    kind: 'conflict',
    code: 'reconciliation_running',
    detail:
      'Another reconciliation of this agency, or of one above or below it, is at work; wait for its end or cancel it.',
  });
}
const noRun = '00000000-0000-0000-0000-000000000000';

/** One at a time: each reads all of LDAP, and several would take every worker from what cannot wait, such as suspensions. */
const job = (id: string) => ({
  task: 'reconcile',
  payload: { id },
  key: `reconciliation:${id}`,
  queue: 'reconcile',
});

/** The plan is carried out as it was found; what changed meanwhile is looked at again before each repair. */
export async function approveReconciliation(
  database: Database,
  id: string,
  approval: { remark?: string | undefined; version?: number | undefined },
  actor: ScopedActor,
): Promise<Reconciliation> {
  await database.transaction(async (transaction) => {
    await lockReconciliations(transaction);
    const run = await requireRunForUpdate(transaction, id, actor.agencyCode);
    requireVersion(run, approval.version);
    if (run.started_by === actor.id) {
      throw forbidden(
        'own_reconciliation',
        'A large repair is approved by another client than the one that started it.',
      );
    }
    if (run.starter_made_by === actor.id || (await wasMadeBy(transaction, actor.id, run.started_by))) {
      throw forbidden('own_client', 'One of the two clients made the other; somebody else has to approve this repair.');
    }
    if (run.state !== 'awaiting_approval') throw stateConflict(run, 'only one that awaits approval can be approved');
    await requireNoOther(transaction, run.agency_code, run.id);
    await approveRun(transaction, id, { by: actor.id, remark: approval.remark ?? null });
    await recordEvent(transaction, actor, 'approved', run, { state: run.state }, { remark: approval.remark ?? null });
    await addJobs(transaction, 'directory', [job(id)]);
  });
  return requireReconciliation(database, id, actor.agencyCode);
}

/** What was repaired stays repaired; a worker on it stops at its next page. */
export async function cancelReconciliation(
  database: Database,
  id: string,
  version: number | undefined,
  actor: ScopedActor,
): Promise<Reconciliation> {
  await database.transaction(async (transaction) => {
    const run = await requireRunForUpdate(transaction, id, actor.agencyCode);
    requireVersion(run, version);
    if (['completed', 'failed', 'cancelled'].includes(run.state))
      throw stateConflict(run, 'there is nothing to cancel');
    await abandonFindings(transaction, run, 'The run was cancelled while this was being repaired.');
    await cancelRun(transaction, id);
    await recordEvent(transaction, actor, 'cancelled', run, { state: run.state }, { state: 'cancelled' });
  });
  return requireReconciliation(database, id, actor.agencyCode);
}

const recordEvent = (
  transaction: Transaction,
  actor: Actor,
  verb: 'started' | 'approved' | 'cancelled',
  run: { id: string; agency_id: string },
  before: object | null,
  after: object,
): Promise<void> =>
  insertEvents(transaction, [
    {
      actor,
      action: `reconciliation.${verb}`,
      subjectType: 'reconciliation',
      subjectId: run.id,
      agencyId: run.agency_id,
      before,
      after,
    },
  ]);

function requireVersion(run: DecidableRun, version: number | undefined): void {
  if (version === undefined || version === run.version) return;
  throw new ServiceError({
    kind: 'stale',
    code: 'stale_version',
    detail: `The reconciliation is now at version ${run.version}; read it again before deciding.`,
  });
}

const stateConflict = (run: DecidableRun, what: string): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'reconciliation_state',
    detail: `The reconciliation is ${run.state}; ${what}.`,
  });

const forbidden = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'forbidden', code, detail });
