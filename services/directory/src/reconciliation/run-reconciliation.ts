/**
 * One run of a reconciliation, as a job. A worker that died is followed by another: a comparison begins anew, a repair goes on. What
 * cannot be done ends the run with its reason; only a database that does not answer leaves it to be taken up again.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Database, translateDatabaseError } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Ldap } from '@congvu/ldap';
import { type Actor, systemActor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { compareDirectory } from './compare-directory.ts';
import { type DriftDependencies, describeDrift } from './describe-drift.ts';
import { listScope } from './expected-store.ts';
import { everyKind, repairedKinds } from './finding.ts';
import {
  abandonFindings,
  countSubjects,
  type Drift,
  deleteFindings,
  listDrift,
  listSubjects,
  replaceFindings,
} from './finding-store.ts';
import { moveRun, type RunRow, requireReconciliation, takeRun, touchRun } from './reconciliation-store.ts';
import { repairDrift } from './repair-drift.ts';

export interface ReconcileDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  limits: RepairLimits;
  /** What seems wrong must still seem so after this while, in which jobs under way come to their end. */
  confirmAfterMs?: number;
  patienceMs?: number;
}

/** A repair of more than this share of an agency's entries, or of all, and of at least so many, waits for a second person. */
export interface RepairLimits {
  percent: number;
  atLeast: number;
}

export async function runReconciliation(
  dependencies: ReconcileDependencies,
  id: string,
  signal: AbortSignal,
): Promise<void> {
  const { database } = dependencies;
  const run = await takeRun(database, id);
  if (!run) return;
  try {
    const scope = await listScope(database, run.agency_id);
    const drift: DriftDependencies = { ...dependencies, scope, scopeCode: run.agency_code, whole: run.whole };
    if (run.state === 'comparing') {
      const proceed = await compare(dependencies, drift, run, signal);
      if (!proceed) return;
    }
    await repair(dependencies, drift, run, signal);
    await end(database, run, 'completed', null);
  } catch (error) {
    if (error instanceof Superseded || signal.aborted) return ifAborted(signal);
    const fault = translateDatabaseError(error);
    if (fault instanceof ServiceError && fault.code === 'database_unavailable') throw fault;
    await fail(database, run, fault);
    if (!(fault instanceof ServiceError)) throw fault; // for the log; the run is over
  }
}

/** The run was cancelled, or another worker has it. */
class Superseded extends Error {}

/** Interrupted by the stop of the process: the queue runs the job again. */
function ifAborted(signal: AbortSignal): void {
  signal.throwIfAborted();
}

/** Whether a repair follows at once. */
async function compare(
  { database, limits, confirmAfterMs = 2_000 }: ReconcileDependencies,
  drift: DriftDependencies,
  run: RunRow,
  signal: AbortSignal,
): Promise<boolean> {
  // 1. A worker before us may have left half a comparison.
  await deleteFindings(database, run.id);

  // 2. All of LDAP beside all of the record.
  const touch = pacedTouch(database, run, signal);
  const { done, pending } = await compareDirectory({
    ...drift,
    progress: (done, total, pending) => touch({ done_count: done, total_count: total, pending_count: pending }),
    keep: (subjects, findings) =>
      database.transaction((transaction) => replaceFindings(transaction, run.id, subjects, findings)),
  });

  await touch({ done_count: done, total_count: done, pending_count: pending }, true);

  // 3. What was found is looked at again a moment later: a change that was just on its way is no drift.
  if ((await countSubjects(database, run.id, { state: 'found', kinds: everyKind })) > 0) {
    await sleep(confirmAfterMs, undefined, { signal });
    await confirm(database, drift, run, () => touch({}, true));
  }

  // 4. A report is done, a large repair waits, a small one goes on.
  if (run.mode === 'report') {
    await end(database, run, 'completed', null);
    return false;
  }
  const large = largest(
    await listDrift(database, { id: run.id, agencyCode: run.agency_code, kinds: repairedKinds(run.remove_extra) }),
    limits,
  );
  if (!large) return moveRun(database, run, 'repairing');
  await end(database, run, 'awaiting_approval', { code: 'large_repair', detail: describeLarge(large) });
  return false;
}

/** Progress is written once a second; every writing also asks whether the run is still ours. */
function pacedTouch(database: Database, run: RunRow, signal: AbortSignal) {
  let last = 0;
  return async (changes: Parameters<typeof touchRun>[2], now = false): Promise<void> => {
    signal.throwIfAborted();
    if (!now && Date.now() - last < 1_000) return;
    last = Date.now();
    if (!(await touchRun(database, run, changes))) throw new Superseded();
  };
}

async function confirm(database: Database, drift: DriftDependencies, run: RunRow, touch: () => Promise<void>) {
  for (let after = ''; ; ) {
    const page = [...(await listSubjects(database, run.id, { state: 'found', kinds: everyKind }, after, 200)).keys()];
    const last = page.at(-1);
    if (last === undefined) return;
    const findings = await describeDrift(drift, page);
    await database.transaction((transaction) => replaceFindings(transaction, run.id, page, findings));
    await touch();
    after = last;
  }
}

const largest = (all: readonly Drift[], limits: RepairLimits): Drift | undefined =>
  all
    .filter(({ drifted, entries }) => drifted >= limits.atLeast && drifted * 100 > entries * limits.percent)
    .sort(
      (one, other) =>
        Number(one.agencyCode !== null) - Number(other.agencyCode !== null) || other.drifted - one.drifted,
    )[0];

const describeLarge = ({ agencyCode, drifted, entries }: Drift): string =>
  `The repair would touch ${drifted} of ${entries} entries ${agencyCode ? `of ${agencyCode}` : 'in all'}; another client has to approve it.`;

async function repair(
  { patienceMs = 60_000 }: ReconcileDependencies,
  drift: DriftDependencies,
  run: RunRow,
  signal: AbortSignal,
): Promise<void> {
  const touch = pacedTouch(drift.database, run, signal);
  await repairDrift({
    ...drift,
    runId: run.id,
    removeExtra: run.remove_extra,
    actor: actorOf(run),
    patienceMs,
    progress: (done, total) => touch({ done_count: done, total_count: total }, true),
  });
}

/** Whoever answers for it: the approver, else the starter, else the schedule. */
const actorOf = (run: RunRow): Actor => {
  const id = run.approved_by ?? run.started_by;
  return id === null ? systemActor : { kind: 'client', id, ip: null, agencyCode: run.agency_code };
};

async function end(
  database: Database,
  run: RunRow,
  state: 'awaiting_approval' | 'completed' | 'failed',
  reason: { code: string; detail: string } | null,
): Promise<void> {
  await database.transaction(async (transaction) => {
    if (!(await moveRun(transaction, run, state, reason))) throw new Superseded();
    const { findings } = await requireReconciliation(transaction, run.id, run.agency_code);
    await insertEvents(transaction, [
      {
        actor: systemActor,
        action: `reconciliation.${state}`,
        subjectType: 'reconciliation',
        subjectId: run.id,
        agencyId: run.agency_id,
        after: { mode: run.mode, ...findings, reason },
      },
    ]);
  });
}

async function fail(database: Database, run: RunRow, fault: unknown): Promise<void> {
  const known = fault instanceof ServiceError;
  const reason = known
    ? { code: fault.code, detail: fault.detail }
    : { code: 'internal', detail: 'The run met a fault of the platform; its log says which.' };
  await abandonFindings(database, run, reason.detail);
  await end(database, run, 'failed', reason).catch((error: unknown) => {
    if (!(error instanceof Superseded)) throw error;
  });
}
