/** The list of accounts, and what suspending and resuming write. */

import type { Account } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let admin: TestClient;
let district: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  admin = await directory.client('H41', ['requests:approve', 'accounts:read', 'accounts:write']);
  district = await directory.client('H41.32', ['accounts:read', 'accounts:write']);
  const submitter = await directory.client('H41', ['requests:submit']);
  for (const [code, names] of [
    ['H41.32', ['Huỳnh Thanh Điền', 'Trần Thị Bình', 'Nguyễn Văn An']],
    ['H41.32.05', ['Đặng Văn Lượng', 'Lê Thị Ngọc']],
    ['H41.33', ['Phạm Đức Điền', 'Hồ Văn Ước']],
  ] as const) {
    const { id } = await directory.submit(submitter, code, [
      ...names.map((name) => personLine(name)),
      { kind: 'agency', certificate: 'none' },
    ]);
    await directory.approve(admin, id); // all of one request have the same time
  }
});
afterAll(() => directory.stop());

const get = (query: string, by = admin) =>
  supertest(directory.app).get(`/v1/accounts${query}`).set('Authorization', by.bearer);
async function every(query: string, by = admin): Promise<Account[]> {
  const items: Account[] = [];
  for (let path: string | undefined = query; path !== undefined; ) {
    const answer: supertest.Response = await get(path, by).expect(200);
    items.push(...answer.body.items);
    path = /^<\/v1\/accounts(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
  }
  return items;
}
const usernames = (accounts: readonly Account[]) => accounts.map((account) => account.username);
const inRecord = (where = 'true'): Promise<string[]> =>
  directory
    .owner('directory.accounts as c')
    .join('directory.agencies as a', 'a.id', 'c.agency_id')
    .whereRaw(where)
    .orderByRaw('c.created_at desc, c.id desc')
    .pluck('c.username');

describe('the list', () => {
  it.each([1, 3, 50])('gives each account exactly once, newest first, %i at a time', async (limit) => {
    expect(await inRecord()).toHaveLength(10);
    expect(usernames(await every(`?limit=${limit}`))).toEqual(await inRecord());
  });

  it('finds by name with or without marks, by username, address, state and agency', async () => {
    const sorted = async (query: string, by = admin) => usernames(await every(query, by)).sort();
    expect(await sorted(`?q=${encodeURIComponent('Điền')}`)).toEqual(['dienht', 'dienpd']);
    expect(await sorted('?q=dien')).toEqual(['dienht', 'dienpd']);
    expect(await sorted('?q=THANH%20dien')).toEqual(['dienht']);
    expect(await sorted('?q=luongdv')).toEqual(['luongdv']);
    expect(await sorted('?q=%25')).toEqual([]);
    expect(await sorted('?address=binhtt@nghean.gov.vn')).toEqual(['binhtt']);
    expect(await sorted('?state=suspended')).toEqual([]);
    expect(await sorted('?agencyCode=000.05.32.H41')).toEqual((await inRecord("a.code = 'H41.32.05'")).sort());
    expect(await sorted('?q=dien', district)).toEqual(['dienht']);
    expect(await sorted('', district)).toEqual((await inRecord("a.code like 'H41.32%'")).sort());
  });

  it.each([
    'state=lost',
    'limit=0',
    'cursor=x',
    `cursor=${Buffer.from('["2026-01-01T00:00:00Z","x"]').toString('base64url')}`,
  ])('refuses ?%s', async (query) => {
    const { status, body } = await get(`?${query}`);
    expect([status, body.errors?.[0].pointer]).toEqual([422, `query/${query.split('=')[0]}`]);
  });
});

describe('one account', () => {
  it('is shown with its parts and the request that it came from', async () => {
    const [listed] = await every('?address=dienht@nghean.gov.vn');
    const { body, headers } = await get(`/${listed?.id}`).expect(200);
    expect(body).toEqual(listed);
    expect(headers.etag).toBe('"1"');
    expect(body).toMatchObject({
      kind: 'person',
      state: 'active',
      displayName: 'Huỳnh Thanh Điền',
      agencyCode: 'H41.32',
      agencyName: 'UBND huyện Quỳnh Lưu',
      suspensionReason: null,
      parts: { entry: 'waiting', mailbox: 'waiting', certificate: 'waiting' },
    });
    const [request] = await directory.owner('directory.requests').where({ id: body.requestId });
    expect(request.state).toBe('approved');
  });

  it('of another agency is not there', async () => {
    const [other] = await every('?address=dienpd@nghean.gov.vn');
    for (const id of [other?.id, '00000000-0000-4000-8000-000000000000']) {
      expect((await get(`/${id}`, district).expect(404)).body.code).toBe('account_not_found');
    }
  });
});

describe('suspending', () => {
  const change = (
    id: string | undefined,
    verb: string,
    by: TestClient,
    body: object = { reason: 'Nghỉ việc' },
    ifMatch?: string,
  ) => {
    const request = supertest(directory.app).post(`/v1/accounts/${id}/${verb}`).set('Authorization', by.bearer);
    if (ifMatch !== undefined) request.set('If-Match', ifMatch);
    return request.send(body);
  };
  const record = async (id: string | undefined) => ({
    account: await directory.owner('directory.accounts').where({ id }).first(),
    events: await directory
      .owner('directory.audit_events')
      .where({ subject_id: id, subject_type: 'account' })
      .orderBy('id'),
  });
  const jobs = async (id: string | undefined) =>
    Promise.all(
      ['directory', 'mailbox', 'certificate'].map((schema) =>
        directory.owner(`${schema}_jobs._private_jobs`).whereRaw('key like ?', [`%${id}`]),
      ),
    );

  it('is kept with who and why, queued for all three services, and undone by resuming', async () => {
    const [{ id } = { id: '' }] = await every('?address=binhtt@nghean.gov.vn');
    const suspended = await change(id, 'suspend', district, { reason: ' Nghỉ việc ' }, '"1"');
    expect([suspended.status, suspended.headers.etag]).toEqual([200, '"2"']);
    expect(suspended.body).toMatchObject({ state: 'suspended', suspensionReason: 'Nghỉ việc' });
    expect((await jobs(id)).map((rows) => rows.length)).toEqual([1, 1, 1]);
    const resumed = await change(id, 'resume', admin, { reason: 'Trở lại' });
    expect(resumed.body).toMatchObject({ state: 'active', suspensionReason: null, version: 3 });
    const { account, events } = await record(id);
    expect(account).toMatchObject({ state: 'active', suspension_reason: null, version: 3 });
    expect(events.slice(1)).toMatchObject([
      {
        action: 'account.suspended',
        actor_id: district.id,
        before: { state: 'active' },
        after: { state: 'suspended', reason: 'Nghỉ việc' },
      },
      {
        action: 'account.resumed',
        actor_id: admin.id,
        before: { state: 'suspended' },
        after: { state: 'active', reason: 'Trở lại' },
      },
    ]);
  });

  it('is refused without a reason, beyond the own agencies, on an old version, and twice', async () => {
    const [{ id } = { id: '' }] = await every('?address=annv@nghean.gov.vn');
    const [{ id: other } = { id: '' }] = await every('?address=dienpd@nghean.gov.vn');
    const before = [await record(id), await record(other)];
    for (const [answer, status, code] of [
      [await change(id, 'suspend', admin, {}), 422, 'request_invalid'],
      [await change(id, 'suspend', admin, { reason: ' ' }), 422, 'request_invalid'],
      [await change(other, 'suspend', district), 404, 'account_not_found'],
      [await change(id, 'suspend', admin, undefined, '"9"'), 412, 'stale_version'],
      [await change(id, 'resume', admin), 409, 'account_state'],
    ] as const) {
      expect([answer.status, answer.body.code]).toEqual([status, code]);
    }
    expect([await record(id), await record(other)]).toEqual(before);
    const both = await Promise.all([change(id, 'suspend', admin), change(id, 'suspend', district)]);
    expect(both.map((answer) => answer.status).sort()).toEqual([200, 409]);
    expect((await record(id)).events.filter((event) => event.action === 'account.suspended')).toHaveLength(1);
  });
});
