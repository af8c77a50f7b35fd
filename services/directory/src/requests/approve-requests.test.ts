/** Many approved in one call, each by itself; and who is late, for both sides. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory, usernamePatterns } from '../testing.ts';
import { carryOutNextPart } from './carry-out-lines.ts';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  admin = await directory.client('H41', ['requests:read', 'requests:approve']);
});
afterAll(() => directory.stop());

const submit = async (agencyCode = 'H41.32') =>
  (await directory.submit(district, agencyCode, [personLine('Nguyễn Văn An')])).id;
const approve = (body: object, by = admin) =>
  supertest(directory.app).post('/v1/requests/approve').set('Authorization', by.bearer).send(body);
const get = async (path: string, by = admin) =>
  (await supertest(directory.app).get(path).set('Authorization', by.bearer).expect(200)).body;

const opened = async (ids: readonly string[]): Promise<number> =>
  (
    await directory
      .owner('directory.request_lines')
      .whereIn('request_id', [...ids])
      .whereNotNull('account_id')
  ).length;

it('approves each that can be, and says of each other why not', async () => {
  const [first, stale, decided, last] = [await submit(), await submit(), await submit(), await submit()];
  await directory.approve(admin, decided);
  const both = await directory.client('H41.32', ['requests:submit', 'requests:approve']);
  const own = (await directory.submit(both, 'H41.32', [personLine('Nguyễn Văn An')])).id;
  const nowhere = randomUUID();
  const requests = [
    { id: first, version: 1 },
    { id: stale, version: 2 },
    { id: decided },
    { id: nowhere },
    { id: last },
  ];
  const { body, status } = await approve({ requests, remark: 'Đồng ý' });
  expect(status).toBe(200);
  const why = (code: string) => ({ approved: false, code, detail: expect.any(String) });
  expect(body.results).toEqual([
    { id: first, approved: true },
    { id: stale, ...why('stale_version') },
    { id: decided, ...why('request_decided') },
    { id: nowhere, ...why('request_not_found') },
    { id: last, approved: true },
  ]);
  const rows = await directory
    .owner('directory.requests')
    .whereIn('id', [first, stale, last])
    .select('id', 'state', 'remark');
  expect(new Map(rows.map((row) => [row.id, [row.state, row.remark]]))).toEqual(
    new Map([
      [first, ['approved', 'Đồng ý']],
      [stale, ['submitted', null]],
      [last, ['approved', 'Đồng ý']],
    ]),
  );
  // Their lines follow, by jobs.
  expect(await opened([first, last])).toBe(0);
  const jobs = await directory.owner('directory_jobs._private_jobs').whereLike('key', 'open:%').pluck('key');
  expect(jobs.sort()).toEqual([`open:${first}`, `open:${last}`].sort());
  for (const id of [first, last])
    await carryOutNextPart(directory.database, id, { usernamePatterns: usernamePatterns });
  expect(await opened([first, last])).toBe(2);
  expect((await approve({ requests: [{ id: own }] }, both)).body.results).toMatchObject([{ code: 'own_request' }]);
});

it('takes no more than 200, and none that is no id', async () => {
  const many = Array.from({ length: 201 }, () => ({ id: randomUUID() }));
  expect((await approve({ requests: many })).body.errors).toMatchObject([{ pointer: '/requests', code: 'too_big' }]);
  expect((await approve({ requests: [{ id: '1' }] })).body.errors).toMatchObject([{ pointer: '/requests/0/id' }]);
  expect((await approve({ requests: [] })).status).toBe(422);
});

it('two at once approve each request once', async () => {
  const ids = [await submit(), await submit(), await submit()];
  const requests = ids.map((id) => ({ id }));
  const answers = await Promise.all([approve({ requests }), approve({ requests: [...requests].reverse() })]);
  const approved = answers.flatMap((answer) => answer.body.results).filter((result) => result.approved);
  expect(approved.map((result) => result.id).sort()).toEqual([...ids].sort());
  for (const id of ids) await carryOutNextPart(directory.database, id, { usernamePatterns: usernamePatterns });
  expect(await opened(ids)).toBe(3);
});

it('who is late, and since when, for approver and agency; in the list, its filters and the summary', async () => {
  const [waiting, late, later, returned] = [
    await submit('H41.32.05'),
    await submit('H41.32.05'),
    await submit('H41.32.05'),
    await submit('H41.32.05'),
  ];
  const due = (id: string, at: string) => directory.owner('directory.requests').where({ id }).update({ due_at: at });
  await due(late, '2026-01-05T16:59:59.999Z');
  await due(later, '2026-01-06T16:59:59.999Z');
  await supertest(directory.app)
    .post(`/v1/requests/${returned}/return`)
    .set('Authorization', admin.bearer)
    .send({ remark: 'x' })
    .expect(200);
  await due(returned, '2026-01-07T16:59:59.999Z');

  const ids = async (query: string) =>
    (await get(`/v1/requests?agencyCode=H41.32.05&${query}`)).items.map((item: { id: string }) => item.id).sort();
  expect(await ids('late=true')).toEqual([late, later, returned].sort());
  expect(await ids('late=true&waitsFor=approver')).toEqual([late, later].sort());
  expect(await ids('waitsFor=requester')).toEqual([returned]);
  expect(await ids('late=false&waitsFor=approver')).toEqual([waiting]);
  expect(await get(`/v1/requests/${late}`)).toMatchObject({ late: true, waitsFor: 'approver' });

  const items = (await get('/v1/requests/late-summary')).items as { agencyCode: string }[];
  expect(items.find((item) => item.agencyCode === 'H41.32.05')).toEqual({
    agencyCode: 'H41.32.05',
    agencyName: expect.any(String),
    approver: { waiting: 3, late: 2, lateSince: '2026-01-05T16:59:59.999Z' },
    requester: { waiting: 1, late: 1, lateSince: '2026-01-07T16:59:59.999Z' },
  });
  const neighbour = await directory.client('H41.33', ['requests:read']);
  expect((await get('/v1/requests/late-summary', neighbour)).items).toEqual([]);

  // What is decided is late no more.
  await directory.approve(admin, late);
  expect(await get(`/v1/requests/${late}`)).toMatchObject({ late: false, dueAt: null, waitsFor: 'platform' });
});
