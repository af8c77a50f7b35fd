import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { afterAll, afterEach, beforeAll, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { addJobs, inTurn, type JobWorker, startWorker, type WorkerOptions } from './jobs.ts';
import type { Database } from './open.ts';
import { createTestDatabase, type TestDatabase } from './testing.ts';

let testDatabase: TestDatabase;
let database: Database;
const workers: JobWorker[] = [];
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = testDatabase.as('mailbox');
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  await testDatabase.as('owner').raw('delete from mailbox_jobs._private_jobs');
});
afterAll(() => testDatabase.drop());

const answers = async () => undefined;
async function work(options: Partial<WorkerOptions> & Pick<WorkerOptions, 'tasks'>): Promise<JobWorker> {
  const log = pino({ level: 'silent' });
  const url = testDatabase.urlAs('mailbox');
  const worker = await startWorker({ url, schema: 'mailbox', log, concurrency: 4, probe: answers, ...options });
  workers.push(worker);
  return worker;
}

const queued = async (): Promise<{ key: string | null; attempts: number; locked: boolean }[]> =>
  (
    await database.raw(
      'select key, attempts, locked_at is not null as locked from mailbox_jobs._private_jobs order by id',
    )
  ).rows;

async function eventually(condition: () => boolean | Promise<boolean>, milliseconds = 10_000): Promise<number> {
  const began = Date.now();
  while (!(await condition())) {
    if (Date.now() - began > milliseconds) throw new Error(`not within ${milliseconds} ms`);
    await sleep(20);
  }
  return Date.now() - began;
}

const job = (task: string, key: string = task, payload: object = {}) => ({ task, payload, key });

test('a transaction that rolls back queues nothing', async () => {
  await expect(
    database.transaction(async (transaction) => {
      await addJobs(transaction, 'mailbox', [job('rolled-back')]);
      throw new Error('no');
    }),
  ).rejects.toThrow('no');
  expect(await queued()).toEqual([]);
  await database.transaction((transaction) => addJobs(transaction, 'mailbox', [job('committed')]));
  expect(await queued()).toMatchObject([{ key: 'committed' }]);
});

test('asking a hundred times under one key makes one job, with the newest payload; no jobs at all is fine', async () => {
  await addJobs(database, 'mailbox', []);
  for (let n = 0; n < 5; n++) {
    await addJobs(
      database,
      'mailbox',
      Array.from({ length: 20 }, (_, index) => job('count', `count:${index % 2}`, { n: n * 20 + index })),
    );
  }
  expect(await queued()).toHaveLength(2);
  const seen: number[] = [];
  await work({
    tasks: {
      count: async ({ n }: { n: number }) => {
        seen.push(n);
      },
    },
  });
  await eventually(async () => seen.length === 2 && (await queued()).length === 0);
  expect(seen.sort((a, b) => a - b)).toEqual([98, 99]);
});

test('a payload arrives as it was sent, whatever is in it', async () => {
  const payload = { text: 'Huỳnh "Thanh" Điền \\ $1 ? :x', list: [1, null, { a: '' }] };
  let arrived: unknown;
  await work({
    tasks: {
      echo: async (given) => {
        arrived = given;
      },
    },
  });
  await addJobs(database, 'mailbox', [job('echo', 'echo', payload)]);
  expect(await eventually(() => arrived !== undefined)).toBeLessThan(1_500); // by NOTIFY, not by polling
  expect(arrived).toEqual(payload);
});

test('a job waits for its time', async () => {
  let ran = 0;
  await work({
    tasks: {
      later: async () => {
        ran = Date.now();
      },
    },
  });
  const runAt = new Date(Date.now() + 1_500);
  await addJobs(database, 'mailbox', [{ ...job('later'), runAt }]);
  await eventually(() => ran > 0);
  expect(ran).toBeGreaterThanOrEqual(runAt.getTime() - 50);
});

test('a task that fails is tried again', async () => {
  let tries = 0;
  await work({
    tasks: {
      flaky: async () => {
        if (++tries < 2) throw new Error('once');
      },
    },
  });
  await addJobs(database, 'mailbox', [job('flaky')]);
  await eventually(async () => tries === 2 && (await queued()).length === 0);
});

test('asking again while a job runs runs it once more afterwards: no change is missed', async () => {
  const seen: number[] = [];
  const gate = Promise.withResolvers<void>();
  await work({
    tasks: {
      slow: async ({ n }: { n: number }) => {
        seen.push(n);
        if (n === 1) await gate.promise;
      },
    },
  });
  await addJobs(database, 'mailbox', [job('slow', 'slow', { n: 1 })]);
  await eventually(() => seen.length === 1);
  await addJobs(database, 'mailbox', [job('slow', 'slow', { n: 2 })]);
  await sleep(100);
  gate.resolve();
  await eventually(async () => seen.includes(2) && (await queued()).length === 0);
});

test('what failed because something was down is retried as soon as it answers, however long the pause would be', async () => {
  let down = true;
  let done = false;
  await work({
    probe: async () => {
      if (down) throw new Error('down');
    },
    tasks: {
      outside: async () => {
        if (down) throw new ServiceError({ kind: 'unavailable', code: 'x', detail: 'x' });
        done = true;
      },
    },
  });
  await addJobs(database, 'mailbox', [job('outside')]);
  await eventually(async () => (await queued())[0]?.attempts === 1 && !(await queued())[0]?.locked);
  // As after a night of failures: the next try would be hours away.
  await database.raw("update mailbox_jobs._private_jobs set attempts = 12, run_at = now() + interval '6 hours'");
  await sleep(1_200);
  expect(done).toBe(false);
  down = false;
  expect(await eventually(() => done)).toBeLessThan(4_000);
});

test('a job that fails though everything answers waits longer each time, and does not drag others along each second', async () => {
  const tries: number[] = [];
  await work({
    tasks: {
      refused: async () => {
        tries.push(Date.now());
        throw new ServiceError({ kind: 'unavailable', code: 'x', detail: 'x' });
      },
    },
  });
  await addJobs(database, 'mailbox', [job('refused')]);
  await sleep(7_000);
  expect(tries.length).toBeGreaterThanOrEqual(2);
  expect((await queued())[0]?.attempts).toBe(tries.length);
  // An outage of a moment is retried at once; one that is none climbs the usual ladder (1, 2.7, 7.4, 20 s …).
  expect(tries.length).toBeLessThanOrEqual(5);
});

test('stopping lets a running job finish, and leaves what waits', async () => {
  const gate = Promise.withResolvers<void>();
  let finished = false;
  let signalled = false;
  const worker = await work({
    concurrency: 1,
    tasks: {
      slow: async (_payload, signal) => {
        signal.addEventListener('abort', () => {
          signalled = true;
        });
        await gate.promise;
        finished = true;
      },
    },
  });
  await addJobs(database, 'mailbox', [job('slow', 'one'), job('slow', 'two')]);
  await eventually(async () => (await queued()).some((one) => one.locked));
  const stopped = worker.stop();
  workers.length = 0;
  await sleep(300);
  expect(signalled).toBe(true);
  gate.resolve();
  await stopped;
  expect(finished).toBe(true);
  expect(await queued()).toMatchObject([{ key: 'two', locked: false }]);
});

test('a task of `atStart` runs when a process starts, and a schedule is taken', async () => {
  let ran = 0;
  await work({
    cron: { tick: '*/15 * * * *' },
    atStart: ['tick'],
    tasks: {
      tick: async () => {
        ran++;
      },
    },
  });
  await eventually(() => ran === 1);
  expect((await database.raw('select identifier from mailbox_jobs._private_known_crontabs')).rows).toEqual([
    { identifier: 'tick' },
  ]);
});

/** A worker as a process of its own, so that it can be killed. Says "started" when it has the job. */
function spawnWorker(): ChildProcess {
  const source = `
    import { pino } from 'pino';
    import { startWorker } from './src/jobs.ts';
    await startWorker({
      url: ${JSON.stringify(testDatabase.urlAs('mailbox'))}, schema: 'mailbox', log: pino({ level: 'silent' }), concurrency: 1,
      probe: async () => undefined,
      tasks: { hold: () => { process.stdout.write('started'); return new Promise(() => setInterval(() => undefined, 1_000)); } },
    });`;
  return spawn(process.execPath, ['--disable-warning=ExperimentalWarning', '--input-type=module', '--eval', source], {
    cwd: join(import.meta.dirname, '..'),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

test('a job whose worker is killed goes to another within seconds; one whose worker lives stays where it is', async () => {
  const child = spawnWorker();
  try {
    await addJobs(database, 'mailbox', [job('hold')]);
    await once(child.stdout!, 'data');
    let taken = false;
    await work({
      tasks: {
        hold: async () => {
          taken = true;
        },
      },
    });
    // Longer than the other workers wait before they look at a lock.
    await sleep(4_000);
    expect(taken).toBe(false);
    expect(await queued()).toMatchObject([{ locked: true }]);
    child.kill('SIGKILL');
    expect(await eventually(() => taken)).toBeLessThan(6_000);
    await eventually(async () => (await queued()).length === 0);
  } finally {
    child.kill('SIGKILL');
  }
});

test('a job that was locked for a worker without its hearing of it is given back, and with it the queue in which others wait', async () => {
  const ran: string[] = [];
  let pool = '';
  await work({
    tasks: {
      learn: async () => {
        const { rows } = await database.raw(
          'select locked_by from mailbox_jobs._private_jobs where locked_by is not null',
        );
        pool = rows[0].locked_by;
      },
      unheard: async ({ name }: { name: string }) => void ran.push(name),
    },
  });
  await addJobs(database, 'mailbox', [job('learn')]);
  await eventually(async () => pool !== '' && (await queued()).length === 0);
  const later = new Date(Date.now() + 3_600_000);
  await addJobs(
    database,
    'mailbox',
    ['first', 'second'].map((name) => ({ task: 'unheard', payload: { name }, queue: 'one-line', runAt: later })),
  );
  // As the statement leaves it that takes a job and loses its connection.
  await testDatabase.as('owner').transaction(async (owner) => {
    const lock = "locked_by = ?, locked_at = now() - interval '10 seconds'";
    await owner.raw(`update mailbox_jobs._private_job_queues set ${lock} where queue_name = 'one-line'`, [pool]);
    await owner.raw('update mailbox_jobs._private_jobs set run_at = now()');
    await owner.raw(
      `update mailbox_jobs._private_jobs set ${lock} where id = (select min(id) from mailbox_jobs._private_jobs)`,
      [pool],
    );
  });
  await eventually(() => ran.length === 2);
  expect(ran.sort()).toEqual(['first', 'second']);
});

test('what is asked for while the same is under way is done once more, after it, also when that one failed', async () => {
  const ends: ((error?: Error) => void)[] = [];
  const task = inTurn(
    () => new Promise((resolve, reject) => ends.push((error) => (error ? reject(error) : resolve()))),
  );
  const first = task();
  await sleep(10);
  const rest = [task(), task(), task()];
  await sleep(10);
  expect(ends).toHaveLength(1);
  ends[0]!(new Error('failed'));
  await expect(first).rejects.toThrow('failed');
  await sleep(10);
  expect(ends).toHaveLength(2);
  const later = task();
  ends[1]!();
  await Promise.all(rest);
  await sleep(10);
  expect(ends).toHaveLength(3);
  ends[2]!();
  await later;
});
