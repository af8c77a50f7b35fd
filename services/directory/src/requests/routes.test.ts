/** The list of requests: newest first, each once however their times fall together, filtered, confined to the client's agencies. */

import type { RequestSummary } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let province: TestClient;
let district: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  province = await directory.client('H41', ['requests:submit', 'requests:read']);
  district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
  const admin = await directory.client('H41', ['requests:approve']);
  const submitted: string[] = [];
  for (let number = 0; number < 12; number += 1) {
    const code = ['H41.32', 'H41.32.05', 'H41.33'][number % 3] as string;
    submitted.push((await directory.submit(province, code, [personLine('Nguyễn Văn An')])).id);
  }
  for (const id of submitted.slice(0, 4)) await directory.approve(admin, id);
  const cancel = (id: string) =>
    supertest(directory.app)
      .post(`/v1/requests/${id}/cancel`)
      .set('Authorization', province.bearer)
      .send({})
      .expect(200);
  await cancel(submitted[11] as string);
  // Many at the same millisecond: the time alone would not tell where a page ended.
  await directory
    .owner('directory.requests')
    .whereIn('id', submitted.slice(2, 10))
    .update({ submitted_at: '2026-01-15T08:00:00.123Z' });
});
afterAll(() => directory.stop());

const get = (query: string, by = province) =>
  supertest(directory.app).get(`/v1/requests${query}`).set('Authorization', by.bearer);
async function every(query: string, by = province): Promise<RequestSummary[]> {
  const items: RequestSummary[] = [];
  for (let path: string | undefined = query; path !== undefined; ) {
    const answer: supertest.Response = await get(path, by).expect(200);
    items.push(...answer.body.items);
    path = /^<\/v1\/requests(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
  }
  return items;
}
const ids = (items: readonly { id: string }[]) => items.map((item) => item.id);
const inRecord = (where = 'true'): Promise<string[]> =>
  directory
    .owner('directory.requests as r')
    .join('directory.agencies as a', 'a.id', 'r.agency_id')
    .whereRaw(where)
    .orderByRaw('r.submitted_at desc, r.id desc')
    .pluck('r.id');

it.each([1, 2, 5, 12, 50])('gives each request exactly once, %i at a time', async (limit) => {
  expect(await inRecord()).toHaveLength(12);
  expect(ids(await every(`?limit=${limit}`))).toEqual(await inRecord());
});

it('gives none twice and none of the old ones less when one is added meanwhile', async () => {
  const before = await inRecord();
  const first = await get('?limit=5').expect(200);
  const { id } = await directory.submit(province, 'H41.34', [personLine('Nguyễn Văn An')]);
  const rest = await every(`?limit=5&cursor=${first.body.nextCursor}`);
  expect([...ids(first.body.items), ...ids(rest)]).toEqual(before);
  expect(ids(await every(''))[0]).toBe(id);
});

describe('filters', () => {
  it('by state', async () => {
    expect(ids(await every('?limit=2&state=approved'))).toEqual(await inRecord("r.state = 'approved'"));
    expect(await every('?state=approved')).toHaveLength(4);
    expect(await every('?state=cancelled')).toHaveLength(1);
    expect(await every('?state=rejected')).toEqual([]);
  });

  it('by agency with all below it, in both forms of its code', async () => {
    const expected = await inRecord("a.code like 'H41.32%'");
    expect(ids(await every('?limit=3&agencyCode=H41.32'))).toEqual(expected);
    expect(ids(await every('?agencyCode=000.00.32.H41'))).toEqual(expected);
    expect(ids(await every('?agencyCode=H41.32.05&state=approved'))).toEqual(
      await inRecord("a.code = 'H41.32.05' and r.state = 'approved'"),
    );
  });

  it('never reach beyond the client’s own agencies', async () => {
    const own = await inRecord("a.code like 'H41.32%'");
    expect(ids(await every('?limit=3', district))).toEqual(own);
    expect(ids(await every('?agencyCode=H41', district))).toEqual(own);
    expect(await every('?agencyCode=H41.33', district)).toEqual([]);
  });

  it.each([
    ['state=lost', 'query/state'],
    ['agencyCode=x1', 'query/agencyCode'],
    ['sort=id', 'query/sort'],
    ['cursor=x', 'query/cursor'],
    [`cursor=${Buffer.from('["yesterday","1"]').toString('base64url')}`, 'query/cursor'],
    [`cursor=${Buffer.from('[1,2]').toString('base64url')}`, 'query/cursor'],
  ])('refuse ?%s', async (query, pointer) => {
    const { status, body } = await get(`?${query}`);
    expect([status, body.errors?.[0].pointer]).toEqual([422, pointer]);
  });
});
