/**
 * Jobs that survive everything: they are rows, committed together with the change that asks for them, and keyed, so that
 * a hundred changes of one thing make one job. A job whose worker died runs again within seconds, and jobs that failed
 * because something was down run again as soon as it answers.
 */
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { Logger, parseCronItems, run, type TaskList, type WorkerEvents } from 'graphile-worker';
import pg from 'pg';
import type { Logger as Log } from 'pino';
import { jobsSchema } from './migrate.ts';
import type { Connection } from './open.ts';

export interface JobSpec {
  task: string;
  payload: object;
  /** One waiting job per key; asking again brings it forward to now and clears its failures. */
  key: string;
  /** At the earliest. */
  runAt?: Date;
}

/** Queues jobs of the calling service, inside the caller's transaction. */
export async function addJobs(connection: Connection, schema: string, jobs: readonly JobSpec[]): Promise<void> {
  if (jobs.length === 0) return;
  const queue = jobsSchema(schema);
  const specs = jobs.map(({ task, payload, key, runAt }) => ({
    identifier: task,
    payload,
    job_key: key,
    run_at: runAt?.toISOString() ?? null,
  }));
  await connection.raw(
    `select count(*) from ${queue}.add_jobs(array(
       select row(identifier, payload, null, run_at, null, job_key, null, null)::${queue}.job_spec
       from jsonb_to_recordset(?::jsonb) as spec(identifier text, payload json, run_at timestamptz, job_key text)))`,
    [JSON.stringify(specs)],
  );
}

/** A task gets its payload and a signal that fires when the process has to stop. */
export type Task = (payload: never, signal: AbortSignal) => Promise<void>;

export interface WorkerOptions {
  url: string;
  schema: 'directory' | 'mailbox' | 'certificate';
  log: Log;
  tasks: Readonly<Record<string, Task>>;
  concurrency: number;
  /** Schedules by task: cron expressions, run once however many processes there are. */
  cron?: Readonly<Record<string, string>>;
  /** Tasks that also run once whenever a process starts. */
  atStart?: readonly string[];
  /** Resolves when the outside systems that tasks need are reachable. */
  probe: () => Promise<unknown>;
}

export interface JobWorker {
  /** Lets running jobs finish, at most 5 s, and gives the rest back. */
  stop: () => Promise<void>;
  /** Rejects when the worker cannot go on; the process should then exit and be started anew. */
  failed: Promise<never>;
}

export async function startWorker(options: WorkerOptions): Promise<JobWorker> {
  const { log, schema } = options;
  const queue = jobsSchema(schema);
  const pool = new pg.Pool({
    connectionString: options.url,
    max: options.concurrency + 3,
    application_name: `${schema} jobs`,
  });
  pool.on('error', (error) => log.warn({ err: error }, 'a database connection of the worker was lost'));
  pool.on('connect', (client) => client.on('error', () => undefined)); // the failed query, or the pool, reports it
  const stopping = new AbortController();
  const outage = watchOutage(pool, queue, options.probe, log, stopping.signal);
  await retryWaiting(pool, queue);
  const liveness = proveLiveness(log);
  const runner = await run({
    pgPool: pool,
    events: liveness.events,
    schema: queue,
    concurrency: options.concurrency,
    noHandleSignals: true,
    logger: quietLogger(log),
    parsedCronItems: parseCronItems(
      Object.entries(options.cron ?? {}).map(([task, match]) => ({
        task,
        match,
        options: { jobKey: `cron:${task}`, jobKeyMode: 'replace' as const, backfillPeriod: 0 },
      })),
    ),
    taskList: toTaskList(options, stopping.signal, outage.began),
  });
  const reaper = giveBackJobsOfTheDead(pool, queue, liveness.poolId, log, stopping.signal);
  for (const task of options.atStart ?? []) await runner.addJob(task, {}, { jobKey: `cron:${task}` });
  let stopped = false;
  return {
    stop: async () => {
      stopped = true;
      stopping.abort();
      await runner.stop().catch(() => undefined); // "already stopped" is what was wanted
      await reaper;
      await pool.end();
    },
    failed: runner.promise.then(
      () => (stopped ? new Promise<never>(() => {}) : Promise.reject(new Error('the job worker stopped by itself'))),
      (error: unknown) => (stopped ? new Promise<never>(() => {}) : Promise.reject(error)),
    ),
  };
}

function toTaskList(options: WorkerOptions, signal: AbortSignal, outageBegan: () => void): TaskList {
  return Object.fromEntries(
    Object.entries(options.tasks).map(([name, task]) => [
      name,
      async (payload: unknown, { job }) => {
        try {
          await task(payload as never, signal);
        } catch (error) {
          if (error instanceof ServiceError && error.kind === 'unavailable') outageBegan();
          const details = { err: error, task: name, job: job.id, attempt: job.attempts };
          if (signal.aborted) options.log.info(details, 'a job was interrupted by the stop; it will be run again');
          else options.log.warn(details, 'a job failed; it will be tried again');
          throw error;
        }
      },
    ]),
  ) satisfies TaskList;
}

/** Failed jobs wait with growing pauses; this ends the pause of all that wait. */
const retryWaiting = (pool: pg.Pool, queue: string): Promise<unknown> =>
  pool.query(
    `update ${queue}._private_jobs set run_at = now(), attempts = least(attempts, 1)
     where attempts > 0 and attempts < max_attempts and locked_at is null and run_at > now()`,
  );

/** After a job failed because something was down, asks every second whether it is back, and then ends all pauses. */
function watchOutage(pool: pg.Pool, queue: string, probe: () => Promise<unknown>, log: Log, signal: AbortSignal) {
  let watching = false;
  const watch = async (): Promise<void> => {
    while (!signal.aborted) {
      await sleep(1_000, undefined, { signal });
      try {
        await probe();
        await retryWaiting(pool, queue);
        log.info('what was down answers again; waiting jobs are retried');
        return;
      } catch {
        // still down
      }
    }
  };
  return {
    began: () => {
      if (watching) return;
      watching = true;
      void watch().then(
        () => {
          watching = false;
        },
        () => undefined, // stopped
      );
    },
  };
}

/**
 * A killed process leaves its jobs locked, and the queue would give them back only after four hours. So the connection
 * on which a worker pool listens also holds an advisory lock named like the pool, which PostgreSQL lets go when the
 * connection ends; a pool that has jobs locked but holds no such lock is dead, and its jobs are given back.
 */
function proveLiveness(log: Log): { events: WorkerEvents; poolId: () => string } {
  const events: WorkerEvents = new EventEmitter();
  let id = '';
  events.on('pool:listen:success', ({ workerPool, client }) => {
    id = workerPool.id;
    // Not at once: the queue is just sending its LISTEN on this connection.
    void sleep(200)
      .then(() => client.query('select pg_advisory_lock(hashtextextended($1, 0))', [id]))
      .catch((error: unknown) => {
        log.warn({ err: error }, 'the worker could not say that it is alive; it will when it listens again');
      });
  });
  return { events, poolId: () => id };
}

async function giveBackJobsOfTheDead(pool: pg.Pool, queue: string, ownId: () => string, log: Log, signal: AbortSignal) {
  while (!signal.aborted) {
    try {
      const { rows } = await pool.query<{ locked_by: string }>(
        `with holder as (
           select locked_by from ${queue}._private_jobs
           where locked_by is not null and locked_by <> $1
           group by locked_by having max(locked_at) < now() - interval '2 seconds'),
         dead as (
           select locked_by from holder where pg_try_advisory_xact_lock(hashtextextended(locked_by, 0)))
         select locked_by, ${queue}.force_unlock_workers(array[locked_by]) from dead`,
        [ownId()],
      );
      if (rows.length > 0)
        log.warn({ pools: rows.map((row) => row.locked_by) }, 'jobs of a dead worker were given back');
    } catch (error) {
      log.debug({ err: error }, 'looking for dead workers failed; it is done again shortly');
    }
    await sleep(1_500, undefined, { signal }).catch(() => undefined);
  }
}

function quietLogger(log: Log): Logger {
  return new Logger(() => (level, message) => {
    // Failed tasks are logged where they fail, with their errors' causes.
    if (level === 'error' && !message.startsWith('Failed task')) log.error({ worker: true }, message);
    else if (level === 'warning') log.warn({ worker: true }, message);
    else log.debug({ worker: true }, message);
  });
}
