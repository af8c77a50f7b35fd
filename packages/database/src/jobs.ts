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
  /**
   * One waiting job per key; asking again moves it to now, or to the `runAt` that is given, and clears its failures. What asks at the
   * very moment in which a worker takes the job may find that one alone, so the task has to look for what is new, or another has to ask.
   * Without a key each is a job of its own.
   */
  key?: string;
  /** At the earliest. */
  runAt?: Date;
  /** Jobs of one queue run one after the other, whatever the number of workers. */
  queue?: string;
  /** Among jobs that are due, those of a lower number go first; 0 unless told. */
  priority?: number;
}

/** Queues jobs of the calling service, inside the caller's transaction. */
export async function addJobs(connection: Connection, schema: string, jobs: readonly JobSpec[]): Promise<void> {
  if (jobs.length === 0) return;
  const queue = jobsSchema(schema);
  // By key: of two in one call the later counts, as of two calls; the queue itself refuses a list with a key twice.
  const specs = new Map(
    jobs.map(({ task, payload, key, queue: line, runAt, priority }, index) => [
      key ?? index,
      {
        identifier: task,
        payload,
        queue_name: line ?? null,
        job_key: key ?? null,
        run_at: runAt?.toISOString() ?? null,
        priority: priority ?? 0,
      },
    ]),
  );
  await connection.raw(
    `select count(*) from ${queue}.add_jobs(array(
       select row(identifier, payload, queue_name, run_at, null, job_key, priority, null)::${queue}.job_spec
       from json_to_recordset(?::json) as spec(identifier text, payload json, queue_name text, run_at timestamptz, job_key text, priority int2)))`,
    [JSON.stringify([...specs.values()])],
  );
}

/** A task gets its payload and a signal that fires when the process has to stop. */
export type Task = (payload: never, signal: AbortSignal) => Promise<void>;

/**
 * Of calls that come while one is under way, all but the first wait for one more, that begins after it and so sees what they ask for:
 * for a task that does all that there is to do, which several at once would each do whole.
 */
export function inTurn(task: () => Promise<void>): () => Promise<void> {
  let current: Promise<void> = Promise.resolve();
  let next: Promise<void> | undefined;
  return () => {
    next ??= current
      .catch(() => undefined)
      .then(() => {
        next = undefined;
        current = task();
        return current;
      });
    return next;
  };
}

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
  await retryWaiting(pool, queue, 'all');
  const activeJobs = new Set<string>();
  const liveness = proveLiveness(log);
  const runner = await run({
    pgPool: pool,
    events: liveness.events,
    schema: queue,
    concurrency: options.concurrency,
    noHandleSignals: true,
    // Without a batch the queue's own stop does not wait until the outcome of the last jobs is written.
    preset: { worker: { completeJobBatchDelay: 0, failJobBatchDelay: 0 } },
    logger: quietLogger(log),
    parsedCronItems: parseCronItems(
      Object.entries(options.cron ?? {}).map(([task, match]) => ({
        task,
        match,
        options: { jobKey: `cron:${task}`, jobKeyMode: 'replace' as const, backfillPeriod: 0 },
      })),
    ),
    taskList: toTaskList(options, activeJobs, stopping.signal, outage.began),
  });
  const reaper = giveBackLostJobs(pool, queue, { poolId: liveness.poolId, activeJobs }, log, stopping.signal);
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
    failed: new Promise<never>((_resolve, reject) => {
      const end = (error: unknown) => {
        if (!stopped) reject(error);
      };
      // The queue gives up when it cannot write down how jobs ended, and then its promise need not settle.
      liveness.events.on('pool:fatalError', ({ error }) => end(error));
      runner.promise.then(() => end(new Error('the job worker stopped by itself')), end);
    }),
  };
}

function toTaskList(
  options: WorkerOptions,
  activeJobs: Set<string>,
  signal: AbortSignal,
  outageBegan: () => void,
): TaskList {
  return Object.fromEntries(
    Object.entries(options.tasks).map(([name, task]) => [
      name,
      async (payload: unknown, { job }) => {
        activeJobs.add(job.id);
        try {
          await task(payload as never, signal);
        } catch (error) {
          if (error instanceof ServiceError && error.kind === 'unavailable') outageBegan();
          const details = { err: error, task: name, job: job.id, attempt: job.attempts };
          if (signal.aborted) options.log.info(details, 'a job was interrupted by the stop; it will be run again');
          else options.log.warn(details, 'a job failed; it will be tried again');
          throw error;
        } finally {
          activeJobs.delete(job.id);
        }
      },
    ]),
  ) satisfies TaskList;
}

/** Failed jobs wait with growing pauses; this ends the pause of all that wait, or of those that have only just begun to fail. */
const retryWaiting = (pool: pg.Pool, queue: string, which: 'all' | 'fresh'): Promise<unknown> =>
  pool.query(
    `update ${queue}._private_jobs set run_at = now(), attempts = ${which === 'all' ? 'least(attempts, 1)' : 'attempts'}
     where attempts > 0 and attempts < ${which === 'all' ? 'max_attempts' : 'least(max_attempts, 3)'}
       and locked_at is null and run_at > now()`,
  );

/**
 * After a job failed because something was down, asks every second whether it is back, and then ends all pauses. Where
 * everything answers at the first asking it was the job itself that was refused, or the outage was a moment: only the
 * first tries are hastened then, or a job that can never succeed would run, and drag all others along, every second.
 */
function watchOutage(pool: pg.Pool, queue: string, probe: () => Promise<unknown>, log: Log, signal: AbortSignal) {
  let watching = false;
  const watch = async (): Promise<void> => {
    let which: 'all' | 'fresh' = 'fresh';
    while (!signal.aborted) {
      await sleep(1_000, undefined, { signal });
      try {
        await probe();
        await retryWaiting(pool, queue, which);
        log.info('what was down answers again; waiting jobs are retried');
        return;
      } catch {
        which = 'all'; // still down
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

async function giveBackLostJobs(
  pool: pg.Pool,
  queue: string,
  own: { poolId: () => string; activeJobs: ReadonlySet<string> },
  log: Log,
  signal: AbortSignal,
) {
  while (!signal.aborted) {
    try {
      const dead = await pool.query<{ locked_by: string }>(
        `with holder as (
           select locked_by from ${queue}._private_jobs
           where locked_by is not null and locked_by <> $1
           group by locked_by having max(locked_at) < now() - interval '2 seconds'),
         dead as (
           select locked_by from holder where pg_try_advisory_xact_lock(hashtextextended(locked_by, 0)))
         select locked_by, ${queue}.force_unlock_workers(array[locked_by]) from dead`,
        [own.poolId()],
      );
      if (dead.rows.length > 0) {
        log.warn({ pools: dead.rows.map((row) => row.locked_by) }, 'jobs of a dead worker were given back');
      }
      // A connection that broke just after it had locked a job took the answer with it: ours, and we do not know. So is its queue.
      const unheard = await pool.query(
        `with unheard as (
           update ${queue}._private_jobs set locked_at = null, locked_by = null
           where locked_by = $1 and locked_at < now() - interval '5 seconds' and not id = any($2::bigint[])
           returning id, job_queue_id),
         unlocked as (
           update ${queue}._private_job_queues line set locked_at = null, locked_by = null
           from unheard where line.id = unheard.job_queue_id and line.locked_by = $1)
         select id from unheard`,
        [own.poolId(), [...own.activeJobs]],
      );
      if (unheard.rows.length > 0) {
        log.warn(
          { jobs: unheard.rows.map((row) => row.id) },
          'jobs that were locked for us without our hearing of it were given back',
        );
      }
    } catch (error) {
      log.debug({ err: error }, 'looking for lost jobs failed; it is done again shortly');
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
