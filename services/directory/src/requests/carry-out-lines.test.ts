/** Requests of thousands of lines: approved at once, carried out a part at a time, whatever is killed; memory does not grow. */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { RequestLine } from '@congvu/contracts';
import { startWorker } from '@congvu/database';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Knex } from 'knex';
import { pino } from 'pino';
import supertest from 'supertest';
import { searchRequest } from '../search/search-store.ts';
import { personLine, startTestDirectory, type TestClient, type TestDirectory, usernamePatterns } from '../testing.ts';
import { carryOutNextPart, carryOutRest, linesPerPart } from './carry-out-lines.ts';
import { type DraftLine, saveDraft } from './draft-request.ts';
import { emptyLine } from './line-store.ts';
import { settleRequests } from './settle-requests.ts';
import { listUnfinishedRequests } from './work-store.ts';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;
let agencyId: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
  agencyId = (await directory.owner('directory.agencies').where({ code: 'H41.32' }).first()).id;
});
afterAll(() => directory.stop());

const givenNames = ['An', 'Bình', 'Cường', 'Dũng', 'Giang', 'Hà', 'Hùng', 'Khánh', 'Lan', 'Minh'];
const surnames = ['Bùi', 'Cao', 'Đỗ', 'Hồ', 'Lê', 'Mai', 'Ngô', 'Phan', 'Trần', 'Vũ'];
let people = 0;
function draftLine(sheetRow: number): DraftLine {
  people += 1;
  const nationalId = `04028${String(people).padStart(7, '0')}`;
  const line = {
    ...emptyLine,
    operation: 'open' as const,
    agencyId,
    kind: 'person' as const,
    fullName: `${surnames[Math.floor(people / 10) % 10]} Văn ${givenNames[people % 10]}`,
    birthDate: '1980-03-05',
    nationalIdSealed: directory.seal.seal(nationalId),
    nationalIdHash: directory.seal.index(nationalId),
  };
  return { sheetRow, line, findings: [] };
}
async function* batches(count: number): AsyncGenerator<DraftLine[]> {
  for (let start = 0; start < count; start += 500) {
    yield Array.from({ length: Math.min(500, count - start) }, (_, index) => draftLine(start + index + 2));
  }
}

async function submitted(count: number): Promise<string> {
  const id = await directory.database.transaction((transaction) =>
    saveDraft(
      transaction,
      {
        agencyId,
        submittedBy: district.id,
        decision: null,
        contactAddress: null,
        idempotencyKey: null,
        bodyHash: Buffer.from('x'),
      },
      batches(count),
    ),
  );
  await supertest(directory.app)
    .post(`/v1/requests/${id}/submit`)
    .set('Authorization', district.bearer)
    .send({})
    .expect(200);
  return id;
}
const next = (id: string) => carryOutNextPart(directory.database, id, { usernamePatterns: usernamePatterns });
const opened = async (id: string): Promise<number> =>
  (await directory.owner('directory.request_lines').where({ request_id: id }).whereNotNull('account_id')).length;
const job = (id: string) => directory.owner('directory_jobs._private_jobs').where({ key: `open:${id}` });
/** As the worker does: takes the job, and runs it. */
async function runJob(id: string): Promise<void> {
  expect(await job(id).delete()).toBe(1);
  await carryOutRest(directory.database, id, { usernamePatterns }, new AbortController().signal);
  expect(await job(id)).toEqual([]);
}
const get = (path: string, type = 'application/json') =>
  supertest(directory.app).get(path).set('Authorization', district.bearer).set('Accept', type);

it('5,000 lines: the first part with the approval, ten in all, each account once, and nothing is held in memory', async () => {
  const id = await submitted(5_000);
  const answer = await directory.approve(admin, id);
  expect(answer).toMatchObject({ state: 'approved', lineCount: 5_000 });
  expect(answer.lines).toHaveLength(500);
  expect(answer.linesNextCursor).not.toBeNull();
  expect(await opened(id)).toBe(linesPerPart);
  // The letter, which leaves at once, counts those that are still to come.
  const decisionOf = async (request: string) =>
    (await directory.owner.raw('select * from directory.decisions_v where request_id = ?', [request])).rows[0];
  expect((await decisionOf(id)).opened_count).toBe(5_000);

  setFlagsFromString('--expose-gc');
  const collectGarbage = runInNewContext('gc') as () => void;
  let mostRows = 0;
  directory.database.on('query-response', (_, { response }: { response?: { rows?: unknown[] } }) => {
    mostRows = Math.max(mostRows, response?.rows?.length ?? 0);
  });
  const heap: number[] = [];
  let runs = 0;
  expect(await job(id).delete()).toBe(1);
  for (let isLeft = true; isLeft; runs += 1) {
    isLeft = await next(id);
    collectGarbage();
    heap.push(process.memoryUsage().heapUsed);
  }
  expect(runs).toBe(9);
  expect(await opened(id)).toBe(5_000);
  const { rows } = await directory.owner.raw(
    `select count(distinct c.id)::int as accounts, count(distinct c.username)::int as usernames, count(distinct c.person_id)::int as people
     from directory.request_lines l join directory.accounts c on c.id = l.account_id where l.request_id = ?`,
    [id],
  );
  expect(rows).toEqual([{ accounts: 5_000, usernames: 5_000, people: 5_000 }]);
  // No statement gives all lines, nor more than a part and candidates for its names; and a part is forgotten after it.
  expect(mostRows).toBeGreaterThan(0);
  expect(mostRows).toBeLessThan(4_000);
  expect(heap.at(-1)! - heap[1]!).toBeLessThan(8_000_000);

  // Who approved is who opened every one of them, and from where.
  const actors = await directory
    .owner('directory.audit_events')
    .where({ request_id: id, action: 'account.opened' })
    .distinct('actor_id', 'actor_kind', 'source_ip');
  expect(actors).toHaveLength(1);
  expect(actors[0]).toMatchObject({ actor_id: admin.id, actor_kind: 'client' });

  // The letter names the first of them.
  const decision = await decisionOf(id);
  expect([decision.opened_count, decision.accounts.length]).toEqual([5_000, 50]);

  // Fulfilled when the last part of the last account stands.
  const accounts: string[] = await directory
    .owner('directory.request_lines')
    .where({ request_id: id })
    .pluck('account_id');
  await directory
    .owner('directory.provisioning')
    .whereIn('account_id', accounts.slice(0, 3_000))
    .update({ state: 'done' });
  await directory
    .owner('directory.provisioning')
    .whereIn('account_id', accounts.slice(3_000))
    .update({ state: 'done' });
  for (let start = 0; start < accounts.length; start += 500) {
    await directory.database.transaction((transaction) =>
      settleRequests(transaction, accounts.slice(start, start + 500)),
    );
  }
  const { body } = await get(`/v1/requests/${id}`);
  expect(body).toMatchObject({ state: 'fulfilled', fulfilledCount: 5_000, failedCount: 0 });
}, 120_000);

describe('killed between or within parts', () => {
  it('what was done stays done, what was half done is undone, and the job that is run again does the rest', async () => {
    const id = await submitted(1_200);
    await directory.approve(admin, id);
    // Killed before the commit: nothing of the part is there, and the job still is.
    const forbid = `create function directory.fail() returns trigger language plpgsql as $$ begin raise exception 'killed'; end $$;
      create trigger fail before update on directory.request_lines for each row execute function directory.fail()`;
    await directory.owner.raw(forbid);
    await expect(next(id)).rejects.toThrow('killed');
    await directory.owner.raw('drop function directory.fail() cascade');
    expect([await opened(id), (await job(id)).length]).toEqual([500, 1]);

    // Run twice at the same moment, as when a worker is taken for dead: each line once.
    await Promise.all([next(id), next(id)]);
    await runJob(id);
    expect(await opened(id)).toBe(1_200);
    const events = await directory.owner('directory.audit_events').where({ request_id: id, action: 'account.opened' });
    expect(new Set(events.map((event) => event.subject_id)).size).toBe(1_200);
    expect(events).toHaveLength(1_200);
    await next(id); // and again is harmless
    expect(await opened(id)).toBe(1_200);
  }, 60_000);

  it('a request whose job was lost is found again', async () => {
    const id = await submitted(600);
    await directory.approve(admin, id);
    await job(id).delete();
    expect(await listUnfinishedRequests(directory.database, 10)).not.toContain(id); // its job may just be on its way
    await directory
      .owner('directory.requests')
      .where({ id })
      .update({ decided_at: directory.owner.raw("now() - interval '2 minutes'") });
    expect(await listUnfinishedRequests(directory.database, 10)).toContain(id);
    await next(id);
    expect(await listUnfinishedRequests(directory.database, 10)).not.toContain(id);
  });
});

it('the worker itself goes from part to part, and another goes on where one was stopped', async () => {
  const id = await submitted(1_600);
  const start = (stop: AbortController | undefined) =>
    startWorker({
      url: directory.databaseUrl,
      schema: 'directory',
      log: pino({ level: 'silent' }),
      concurrency: 4,
      probe: async () => undefined,
      tasks: {
        'open-accounts': async ({ requestId }: { requestId: string }, signal) => {
          await carryOutRest(directory.database, requestId, { usernamePatterns }, stop ? AbortSignal.abort() : signal);
          stop?.abort();
        },
        'search-request': ({ requestId }: { requestId: string }, signal) =>
          searchRequest(directory.database, requestId, signal),
        'converge-entries': async () => undefined,
        'converge-agencies': async () => undefined,
      },
    });
  await directory.approve(admin, id);
  const stopped = new AbortController();
  const first = await start(stopped);
  await new Promise((resolve) => stopped.signal.addEventListener('abort', resolve));
  await first.stop();
  const soFar = await opened(id);
  expect(soFar).toBeGreaterThanOrEqual(1_000);
  const second = await start(undefined);
  while ((await opened(id)) < 1_600) await sleep(50);
  // And the search knows them all in the end.
  const searched = async () =>
    directory
      .owner('directory.account_search as s')
      .join('directory.request_lines as l', 'l.account_id', 's.account_id')
      .where('l.request_id', id);
  while ((await searched()).length < 1_600) await sleep(50);
  await second.stop();
  expect(await job(id)).toEqual([]);
}, 60_000);

it('a crowd is in the search two seconds later, as it is by then, whatever changed meanwhile', async () => {
  const id = await submitted(60);
  await directory.approve(admin, id);
  const accounts: string[] = await directory
    .owner('directory.request_lines')
    .where({ request_id: id })
    .orderBy('line_number')
    .pluck('account_id');
  const rows = () =>
    directory.owner('directory.account_search').whereIn('account_id', accounts).orderBy('account_id').select('*');
  expect(await rows()).toEqual([]);
  const [job] = await directory
    .owner('directory_jobs._private_jobs as j')
    .join('directory_jobs._private_tasks as t', 't.id', 'j.task_id')
    .where('t.identifier', 'search-request')
    .orderBy('j.id', 'desc')
    .select('j.payload', 'j.run_at', 'j.created_at');
  expect(job.payload).toEqual({ requestId: id });
  expect(job.run_at - job.created_at).toBeGreaterThanOrEqual(2_000);

  // One changed before, one at this moment: neither is overwritten by what was.
  const retitle = (connection: Knex, account: string, title: string) =>
    connection('directory.accounts').where({ id: account }).update({ title });
  const [before, meanwhile] = accounts as [string, string];
  await retitle(directory.owner, before, 'Trước đó');
  const change = await directory.owner.transaction();
  await retitle(change, meanwhile, 'Đúng lúc này');
  const search = () => searchRequest(directory.database, id, new AbortController().signal);
  const searched = search();
  await sleep(100);
  await change.commit();
  await searched;
  const found = await rows();
  expect(found).toHaveLength(60);
  const documentOf = (account: string) => found.find((row) => row.account_id === account).document;
  expect(documentOf(before)).toContain('| truoc do |');
  expect(documentOf(meanwhile)).toContain('| dung luc nay |');

  await search();
  await directory.owner.raw('select directory.refresh_account_search(?::uuid[])', [accounts]);
  expect(await rows()).toEqual(found);
});

it('each part of a crowd puts the search off, and the last asks for itself', async () => {
  const id = await submitted(1_200);
  const jobs = (): Promise<{ key: string | null; run_at: Date; job_queue_id: number | null }[]> =>
    directory
      .owner('directory_jobs._private_jobs')
      .whereRaw("payload ->> 'requestId' = ?", [id])
      .whereRaw("task_id = (select id from directory_jobs._private_tasks where identifier = 'search-request')")
      .orderBy('id');
  await directory.approve(admin, id);
  const [first, ...none] = await jobs();
  expect([first?.key, none]).toEqual([`search:${id}`, []]);
  await sleep(5);
  expect(await next(id)).toBe(true);
  const [second, ...others] = await jobs();
  expect([second?.key, others]).toEqual([`search:${id}`, []]);
  expect(second!.run_at.getTime()).toBeGreaterThan(first!.run_at.getTime());
  expect(await next(id)).toBe(false);
  const [put, last] = await jobs();
  expect([put?.key, last?.key]).toEqual([`search:${id}`, null]);
  // Not beside each other, or all would be looked for and written twice.
  expect(last!.job_queue_id).not.toBeNull();
  expect(last!.job_queue_id).toBe(put!.job_queue_id);
});

it('a line that waits to be carried out is shown as what its request is', async () => {
  const id = await submitted(700);
  const countIn = async (state: string): Promise<number> =>
    (await get(`/v1/requests/${id}/lines?state=${state}`, 'text/csv').expect(200)).text.trim().split('\n').length - 1;
  expect([await countIn('submitted'), await countIn('approved')]).toEqual([700, 0]);
  await directory.approve(admin, id);
  expect(await opened(id)).toBe(linesPerPart);
  expect([await countIn('submitted'), await countIn('approved')]).toEqual([0, 700]);
});

it('lines that an earlier version wrote as approved are carried out all the same', async () => {
  const id = await submitted(540);
  await directory.approve(admin, id);
  const waiting = directory.owner('directory.request_lines').where({ request_id: id, waiting: true });
  expect(await waiting.clone().update({ state: 'approved' })).toBe(540 - linesPerPart);
  await runJob(id);
  expect(await opened(id)).toBe(540);
  expect(await waiting.select('line_number')).toEqual([]);
});

it('a small request is not held up by a large one', async () => {
  const large = await submitted(700);
  await directory.approve(admin, large);
  const small = await submitted(3);
  const request = await directory.approve(admin, small);
  expect(request.lines.every((line) => line.account !== null)).toBe(true);
  expect(await opened(large)).toBe(500);
  await runJob(large);
  expect(await opened(large)).toBe(700);
});

it('what fails in a later part fails alone', async () => {
  const id = await submitted(550);
  await directory.approve(admin, id);
  // By the time of the second part, one of its people has an account.
  const line = await directory.owner('directory.request_lines').where({ request_id: id, line_number: 540 }).first();
  const other = personLine('Nguyễn Văn Khác');
  await directory
    .owner('directory.request_lines')
    .where({ request_id: id, line_number: line.line_number })
    .update({ state: 'draft' });
  const request = await directory.submit(district, 'H41.32', [other]);
  await directory
    .owner('directory.request_lines')
    .where({ request_id: request.id })
    .update({ national_id_hash: line.national_id_hash });
  await directory.approve(admin, request.id);
  await directory
    .owner('directory.request_lines')
    .where({ request_id: id, line_number: line.line_number })
    .update({ state: 'submitted' });
  await runJob(id);
  expect(await opened(id)).toBe(549);
  const { body } = await get(`/v1/requests/${id}/lines?state=failed`);
  expect(body.items).toMatchObject([{ lineNumber: 540, failure: { code: 'person_has_account' } }]);
});

describe('the lines of a large request', () => {
  it('are read page by page, each once, filtered, and as CSV', async () => {
    const id = await submitted(1_100);
    const seen: number[] = [];
    for (let path: string | undefined = `/v1/requests/${id}/lines?limit=400`; path !== undefined; ) {
      const answer: supertest.Response = await get(path).expect(200);
      seen.push(...answer.body.items.map((line: RequestLine) => line.lineNumber));
      path = /^<(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
    }
    expect(seen).toEqual(Array.from({ length: 1_100 }, (_, index) => index + 1));
    expect((await get(`/v1/requests/${id}/lines?state=failed`)).body).toEqual({ items: [], nextCursor: null });
    const { linesNextCursor } = (await get(`/v1/requests/${id}`)).body;
    const rest = await get(`/v1/requests/${id}/lines?cursor=${linesNextCursor}&limit=1`);
    expect(rest.body.items).toMatchObject([{ lineNumber: 501 }]);
    for (const key of [[1e20], [-1], [1.5], ['x'], [1, 2]]) {
      const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
      for (const list of ['lines', 'usernames']) {
        const { status, body } = await get(`/v1/requests/${id}/${list}?cursor=${cursor}`);
        expect([status, body.code]).toEqual([422, 'cursor_invalid']);
      }
    }
    const csv = await get(`/v1/requests/${id}/lines`, 'text/csv').expect(200);
    expect(csv.text.trim().split('\r\n')).toHaveLength(1_101);
    expect(csv.text).not.toMatch(/0402[0-9]{8}/);
    for (const path of [`/v1/requests/${id}/lines`, `/v1/requests/${id}/usernames`]) {
      const neighbour = await directory.client('H41.33', ['requests:read']);
      const answer = await supertest(directory.app).get(path).set('Authorization', neighbour.bearer);
      expect([answer.status, answer.body.code]).toEqual([404, 'request_not_found']);
    }
  });
});

describe('the preview of usernames', () => {
  const preview = async (id: string, limit: number) => {
    const all: { lineNumber: number; username: string; taken: boolean }[] = [];
    for (let path: string | undefined = `/v1/requests/${id}/usernames?limit=${limit}`; path !== undefined; ) {
      const answer: supertest.Response = await get(path).expect(200);
      all.push(...answer.body.items);
      path = /^<(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
    }
    return all;
  };

  it('says what the approval then gives, namesakes and all, and takes nothing', async () => {
    const id = await submitted(620);
    const before = await directory.owner('directory.usernames');
    const foreseen = await preview(id, 250);
    expect(await directory.owner('directory.usernames')).toEqual(before);
    const csv = await get(`/v1/requests/${id}/usernames`, 'text/csv').expect(200);
    await directory.approve(admin, id);
    await runJob(id);
    const given = await preview(id, 500);
    expect(given.map((one) => one.username)).toEqual(foreseen.map((one) => one.username));
    expect([foreseen.some((one) => one.taken), given.every((one) => one.taken)]).toEqual([false, true]);
    expect(
      csv.text
        .trim()
        .split('\r\n')
        .slice(1)
        .map((line) => line.split(',')[3]),
    ).toEqual(given.map((one) => one.username));
  });
});
