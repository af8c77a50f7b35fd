/** Who may decide on a request, when, and once; what is kept of the decision; and when a request is fulfilled. */
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { settleRequests } from './settle-requests.ts';

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

const submit = async (names: readonly string[] = ['Nguyễn Văn An']) =>
  (
    await directory.submit(
      district,
      'H41.32',
      names.map((name) => personLine(name)),
    )
  ).id;
const decide = (id: string, verb: string, by: TestClient, body: object = {}, ifMatch?: string) => {
  const request = supertest(directory.app).post(`/v1/requests/${id}/${verb}`).set('Authorization', by.bearer);
  if (ifMatch !== undefined) request.set('If-Match', ifMatch);
  return request.send(body);
};

/** Everything that a decision can write. */
const record = async (id: string) => ({
  request: await directory.owner('directory.requests').where({ id }).first(),
  lines: await directory.owner('directory.request_lines').where({ request_id: id }).orderBy('line_number'),
  events: await directory.owner('directory.audit_events').where({ request_id: id }).orderBy('id'),
  accounts: await directory.owner('directory.accounts').orderBy('id'),
  people: await directory.owner('directory.people').orderBy('id'),
  usernames: await directory.owner('directory.usernames').orderBy('username'),
  jobs: await directory.owner('directory_jobs._private_jobs').orderBy('id').select('id', 'key'),
});
const noticeJobs = (id: string) =>
  directory.owner('mailbox_jobs._private_jobs').where({ key: `notice:decision:${id}` });

async function refuses(id: string, answer: supertest.Test, status: number, code: string): Promise<void> {
  const before = await record(id);
  const { status: answered, body } = await answer;
  expect([answered, body.code]).toEqual([status, code]);
  expect(await record(id)).toEqual(before);
  expect(await noticeJobs(id)).toEqual([]);
}

describe('an approval', () => {
  it('is kept with who, when and the remark, and the agency is told', async () => {
    const id = await submit();
    const answer = await decide(id, 'approve', admin, { remark: 'Đồng ý' }, '"1"');
    expect([answer.status, answer.headers.etag]).toEqual([200, '"2"']);
    expect(answer.body).toMatchObject({
      state: 'approved',
      decidedBy: { id: admin.id, name: admin.name },
      remark: 'Đồng ý',
      version: 2,
      lines: [
        {
          state: 'approved',
          account: { state: 'active', parts: { entry: 'waiting', mailbox: 'waiting', certificate: 'waiting' } },
        },
      ],
    });
    const { request, events } = await record(id);
    expect(request).toMatchObject({ state: 'approved', decided_by: admin.id, remark: 'Đồng ý', version: 2 });
    expect(request.decided_at.getTime()).toBeGreaterThanOrEqual(request.submitted_at.getTime());
    expect(events.map((event) => event.action)).toEqual(['request.submitted', 'request.approved', 'account.opened']);
    expect(events[1]).toMatchObject({
      actor_id: admin.id,
      actor_name: admin.name,
      agency_id: request.agency_id,
      before: { state: 'submitted' },
      after: { state: 'approved', remark: 'Đồng ý' },
    });
    expect(await noticeJobs(id)).toHaveLength(1);
  });

  it('is made once of two at once, and the other is told', async () => {
    const id = await submit(['Nguyễn Văn An', 'Trần Thị Bình']);
    const other = await directory.client('H41', ['requests:approve']);
    const answers = await Promise.all([decide(id, 'approve', admin), decide(id, 'approve', other)]);
    const byStatus = answers.sort((a, b) => a.status - b.status);
    expect(byStatus.map(({ status, body }) => [status, body.code])).toEqual([
      [200, undefined],
      [409, 'request_decided'],
    ]);
    const { lines, events } = await record(id);
    expect(new Set(lines.map((line) => line.account_id)).size).toBe(2);
    expect(events.filter((event) => event.action === 'request.approved')).toHaveLength(1);
    expect(events.filter((event) => event.action === 'account.opened')).toHaveLength(2);
  });

  it('and a rejection at once leave one decision', async () => {
    const id = await submit();
    const answers = await Promise.all([decide(id, 'approve', admin), decide(id, 'reject', admin, { remark: 'Không' })]);
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409]);
    const { request, lines } = await record(id);
    const winner = answers.find((answer) => answer.status === 200)?.body;
    expect(request.state).toBe(winner.state);
    expect(lines[0].account_id === null).toBe(winner.state === 'rejected');
  });

  it('of a version that was read before another change is refused', async () => {
    const id = await submit();
    await refuses(id, decide(id, 'approve', admin, {}, '"7"'), 412, 'stale_version');
    await refuses(id, decide(id, 'approve', admin, {}, 'W/"1"'), 422, 'request_invalid');
    await decide(id, 'approve', admin, {}, '*').expect(200);
  });

  it('is not for another agency, nor for a request that is not there', async () => {
    const id = await submit();
    const neighbour = await directory.client('H41.33', ['requests:approve']);
    await refuses(id, decide(id, 'approve', neighbour), 404, 'request_not_found');
    await refuses(id, decide(id, 'reject', neighbour, { remark: 'x' }), 404, 'request_not_found');
    await refuses(id, decide('00000000-0000-4000-8000-000000000000', 'approve', admin), 404, 'request_not_found');
    expect((await decide('1', 'approve', admin)).body.errors).toMatchObject([{ pointer: 'path/id' }]);
  });

  it('of one’s own request is refused, even to a client that holds both permissions', async () => {
    const both = await directory.client('H41.32', ['requests:submit', 'requests:approve']);
    const { id } = await directory.submit(both, 'H41.32', [personLine('Nguyễn Văn An')]);
    await refuses(id, decide(id, 'approve', both), 403, 'own_request');
    await refuses(id, decide(id, 'reject', both, { remark: 'x' }), 403, 'own_request');
    // The database would not take it either.
    const own = directory
      .database('directory.requests')
      .where({ id })
      .update({ state: 'approved', decided_by: both.id });
    await expect(own).rejects.toMatchObject({ constraint: 'requests_decided_by_another' });
    await decide(id, 'cancel', both).expect(200);
  });

  it('takes no unknown field and no empty remark', async () => {
    const id = await submit();
    await refuses(id, decide(id, 'approve', admin, { remark: ' ' }), 422, 'request_invalid');
    await refuses(id, decide(id, 'approve', admin, { comment: 'x' }), 422, 'request_invalid');
  });
});

describe('a rejection', () => {
  it('needs a remark, opens nothing, and frees the people for another request', async () => {
    const line = personLine('Nguyễn Văn An');
    const { id } = await directory.submit(district, 'H41.32', [line]);
    await refuses(id, decide(id, 'reject', admin), 422, 'request_invalid');
    const before = await record(id);
    const answer = await decide(id, 'reject', admin, { remark: 'Thiếu quyết định' });
    expect([answer.status, answer.body.state, answer.body.remark]).toEqual([200, 'rejected', 'Thiếu quyết định']);
    const after = await record(id);
    expect(after.lines).toMatchObject([{ state: 'rejected', account_id: null }]);
    expect(after.events.at(-1)).toMatchObject({
      actor_id: admin.id,
      action: 'request.rejected',
      before: { state: 'submitted' },
      after: { state: 'rejected', remark: 'Thiếu quyết định' },
    });
    expect({ ...after, request: 0, lines: 0, events: 0 }).toEqual({ ...before, request: 0, lines: 0, events: 0 });
    expect(await noticeJobs(id)).toHaveLength(1);
    await directory.submit(district, 'H41.32', [line]);
  });

  it('is the end of it', async () => {
    const id = await submit();
    await decide(id, 'reject', admin, { remark: 'Không' }).expect(200);
    for (const [verb, by] of [
      ['approve', admin],
      ['reject', admin],
      ['cancel', district],
    ] as const) {
      const { status, body } = await decide(id, verb, by, { remark: 'x' });
      expect([verb, status, body.code]).toEqual([verb, 409, 'request_decided']);
    }
  });
});

describe('cancelling', () => {
  it('is for the submitter alone, and tells nobody', async () => {
    const id = await submit();
    const colleague = await directory.client('H41.32', ['requests:submit']);
    const above = await directory.client('H41', ['requests:submit']);
    await refuses(id, decide(id, 'cancel', colleague), 403, 'not_submitter');
    await refuses(id, decide(id, 'cancel', above), 403, 'not_submitter');
    const answer = await decide(id, 'cancel', district, { remark: 'Nhầm' }, '"1"');
    expect([answer.status, answer.body.state]).toEqual([200, 'cancelled']);
    const { request, lines, events } = await record(id);
    expect([request.state, request.decided_by, lines[0].state]).toEqual(['cancelled', district.id, 'cancelled']);
    expect(events.at(-1)).toMatchObject({ action: 'request.cancelled', actor_id: district.id });
    expect(await noticeJobs(id)).toEqual([]);
  });

  it('is too late once it is decided', async () => {
    const id = await submit();
    await directory.approve(admin, id);
    const { status, body } = await decide(id, 'cancel', district);
    expect([status, body.code]).toEqual([409, 'request_decided']);
  });
});

describe('fulfilment', () => {
  const accountsOf = (id: string): Promise<string[]> =>
    directory.owner('directory.request_lines').where({ request_id: id }).orderBy('line_number').pluck('account_id');
  const standing = (accountId: string, parts: readonly string[]) =>
    directory
      .owner('directory.provisioning')
      .where({ account_id: accountId })
      .whereIn('part', [...parts])
      .update({ state: 'done' });
  const parts = ['entry', 'mailbox', 'certificate'];
  const settle = (accountId: string) =>
    directory.database.transaction((transaction) => settleRequests(transaction, [accountId]));

  it('comes line by line, when every part of an account stands', async () => {
    const id = await submit(['Nguyễn Văn An', 'Trần Thị Bình']);
    await directory.approve(admin, id);
    const [first = '', second = ''] = await accountsOf(id);
    const states = async () => {
      const { request, lines } = await record(id);
      return [request.state, ...lines.map((line) => line.state)];
    };
    await standing(first, ['entry', 'mailbox']);
    await settle(first);
    expect(await states()).toEqual(['approved', 'approved', 'approved']);
    await standing(first, parts);
    await settle(first);
    expect(await states()).toEqual(['approved', 'fulfilled', 'approved']);
    await standing(second, parts);
    await settle(second);
    expect(await states()).toEqual(['fulfilled', 'fulfilled', 'fulfilled']);
    await settle(second); // harmless to repeat
    const { request, events } = await record(id);
    expect(request.fulfilled_at).not.toBeNull();
    const fulfilled = events.filter((event) => event.action === 'request.fulfilled');
    expect(fulfilled).toMatchObject([
      { actor_kind: 'system', before: { state: 'approved' }, after: { state: 'fulfilled' } },
    ]);
  });

  it('is not missed when the last lines stand at the same moment', async () => {
    for (let round = 0; round < 5; round += 1) {
      const id = await submit(['Nguyễn Văn An', 'Trần Thị Bình', 'Lê Văn Cường', 'Phạm Thị Dung']);
      await directory.approve(admin, id);
      const accounts = await accountsOf(id);
      await Promise.all(accounts.map((accountId) => standing(accountId, parts)));
      await Promise.all(accounts.map((accountId) => settle(accountId)));
      const { request, events } = await record(id);
      expect(request.state).toBe('fulfilled');
      expect(events.filter((event) => event.action === 'request.fulfilled')).toHaveLength(1);
    }
  });
});
