import { type GroupInput, Mailbox, Notice, type Permission, permissions } from '@congvu/contracts';
import { insertRequest, type TestAccount } from '@congvu/database/testing';
import { createTestAuthority, openApiFaults, type TestAuthority } from '@congvu/http/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from './app.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { createGroup } from './groups/create-group.ts';
import { startTestMailbox, type TestMailbox } from './testing.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
const issuerUrl = 'https://directory.test';
const appWith = (parts: Partial<TestMailbox> = {}) =>
  createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl,
    log: pino({ level: 'silent' }),
    ...parts,
  });

/** Three mailboxes of the district (one of them below it, one by request), one of the department, two notices. */
let requestId: string;
let [byRequest, inCommune, inDepartment, suspended]: TestAccount[] = [];
/** A list of the district. */
let groupId: string;
beforeAll(async () => {
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  app = appWith();
  requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12' });
  byRequest = await mailbox.account({ requestId, displayName: '=HYPERLINK("x") Điền' });
  inCommune = await mailbox.account({ agencyCode: 'H41.12.05' });
  inDepartment = await mailbox.account({ agencyCode: 'H41.02' });
  suspended = await mailbox.account({ state: 'suspended' });
  for (const account of [byRequest, inCommune, inDepartment, suspended]) {
    await mailbox.database('mailbox.mailboxes').insert({
      account_id: account.id,
      address: account.address,
      state: account === suspended ? 'suspended' : 'active',
      quota_bytes: 5,
    });
    await mailbox.database('mailbox.notices').insert({
      kind: 'welcome',
      subject_id: account.id,
      recipient: account.address,
      message_id: `<${account.id}@x>`,
      state: account === suspended ? 'waiting' : 'sent',
    });
  }
  await mailbox.database('mailbox.notices').insert({
    kind: 'decision',
    subject_id: requestId,
    recipient: null,
    message_id: '<nobody@x>',
    state: 'no_recipient',
  });
  const actor = { id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
  groupId = (await createGroup(mailbox.database, groupInput('bang'), actor, undefined)).id;
});
const groupInput = (localPart: string): GroupInput => ({
  localPart,
  name: 'Tổ công tác',
  agencyCode: 'H41.12',
  posting: 'members',
  ownerIds: [suspended!.id],
});
afterAll(() => mailbox.stop());

const get = async (path: string, agency = 'H41', accept = 'application/json') =>
  supertest(app)
    .get(path)
    .set('Authorization', await authority.bearer({ agency, permissions: ['mailboxes:read'] }))
    .set('Accept', accept);
const idsOf = (answer: supertest.Response) => answer.body.items.map((one: Mailbox) => one.accountId).sort();
const ids = (...accounts: (TestAccount | undefined)[]) => accounts.map((one) => one!.id).sort();

describe('who may', () => {
  /** Every route there is; one that is added needs its row. */
  const table: readonly [
    method: 'get' | 'post' | 'put' | 'patch' | 'delete',
    path: string,
    needs: Permission,
    body?: () => object,
    status?: number,
  ][] = [
    ['get', '/v1/mailboxes', 'mailboxes:read'],
    ['get', '/v1/mailboxes/{accountId}', 'mailboxes:read'],
    ['get', '/v1/notices', 'mailboxes:read'],
    ['get', '/v1/groups', 'mailboxes:read'],
    ['post', '/v1/groups', 'mailboxes:write', () => groupInput('bang-moi'), 201],
    ['get', '/v1/groups/{id}', 'mailboxes:read'],
    ['get', '/v1/groups/{id}/members', 'mailboxes:read'],
    ['patch', '/v1/groups/{id}', 'mailboxes:write', () => ({ name: 'Tổ khác' })],
    ['put', '/v1/groups/{id}/members/{memberId}', 'mailboxes:write'],
    ['delete', '/v1/groups/{id}/members/{memberId}', 'mailboxes:write'],
    ['put', '/v1/groups/{id}/owners/{accountId}', 'mailboxes:write'],
    ['delete', '/v1/groups/{id}/owners/{accountId}', 'mailboxes:write'],
    ['put', '/v1/groups/{id}/moderators/{accountId}', 'mailboxes:write'],
    ['delete', '/v1/groups/{id}/moderators/{accountId}', 'mailboxes:write'],
    ['delete', '/v1/groups/{id}', 'mailboxes:write'],
  ];

  test('the table names every route', async () => {
    const document = (await supertest(app).get('/openapi.json')).body;
    const routes = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => `${method} ${path}`),
    );
    expect(routes.sort()).toEqual(table.map(([method, path]) => `${method} ${path}`).sort());
  });

  test('the document is sound', async () => {
    expect(openApiFaults((await supertest(app).get('/openapi.json')).body)).toEqual([]);
  });

  describe.each(table)('%s %s', (method, path, needs, body, status = 200) => {
    const call = (authorization?: string) => {
      const filled = path.replace('{id}', groupId).replace(/\{(accountId|memberId)\}/, byRequest!.id);
      const request = supertest(app)[method](filled);
      if (body) request.send(body());
      return authorization ? request.set('Authorization', authorization) : request;
    };
    test('nobody without a token, or with a wrong one', async () => {
      expect((await call()).body).toMatchObject({ status: 401, code: 'token_missing' });
      expect((await call('Bearer x.y.z')).body).toMatchObject({ status: 401, code: 'token_invalid' });
      const expired = await authority.bearer({ permissions: [needs], expiresIn: '-1 minute' });
      expect((await call(expired)).body).toMatchObject({ status: 401, code: 'token_expired' });
    });
    test('nobody with every other permission, no holder; somebody with this one alone', async () => {
      const others = permissions.filter((permission) => permission !== needs);
      expect((await call(await authority.bearer({ permissions: others }))).body).toMatchObject({
        status: 403,
        code: 'permission_missing',
      });
      expect((await call(await authority.bearer({ kind: 'holder', id: byRequest!.id }))).status).toBe(403);
      expect((await call(await authority.bearer({ permissions: [needs] }))).status).toBe(status);
    });
  });
});

describe('the department beside, with every permission, on what belongs to the district', () => {
  /** Every guarded route there is; one that is added needs its row: what is asked, and 404, or 200 with nothing of the district. */
  const attempts: Record<string, [path: () => string, status: 200 | 404 | 422][]> = {
    'get /v1/mailboxes': [
      [() => '/v1/mailboxes?limit=500', 200],
      [() => `/v1/mailboxes?address=${byRequest!.address}`, 200],
      [() => `/v1/mailboxes?requestId=${requestId}`, 200],
    ],
    'get /v1/mailboxes/{accountId}': [[() => `/v1/mailboxes/${byRequest!.id}`, 404]],
    'get /v1/notices': [[() => '/v1/notices?limit=500', 200]],
    'get /v1/groups': [
      [() => '/v1/groups?limit=500', 200],
      [() => '/v1/groups?agency=H41.12', 200],
      [() => '/v1/groups?q=cong tac', 200],
    ],
    'post /v1/groups': [[() => '/v1/groups', 422]],
    'get /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404]],
    'get /v1/groups/{id}/members': [[() => `/v1/groups/${groupId}/members`, 404]],
    'patch /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404]],
    'delete /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404]],
    ...Object.fromEntries(
      ['members/{memberId}', 'owners/{accountId}', 'moderators/{accountId}'].flatMap((path) => {
        const filled = () => `/v1/groups/${groupId}/${path.replace(/\{.*/, byRequest!.id)}`;
        return ['put', 'delete'].map((method) => [`${method} /v1/groups/{id}/${path}`, [[filled, 404]]]);
      }),
    ),
  };
  const bodies: Record<string, () => object> = {
    'post /v1/groups': () => groupInput('bang-la'),
    'patch /v1/groups/{id}': () => ({ name: 'Tổ lạ' }),
  };

  test('there is a row for every guarded route', async () => {
    const { paths } = (await supertest(app).get('/openapi.json')).body;
    const routes = Object.entries(paths as Record<string, Record<string, { security: object[] }>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).flatMap(([method, { security }]) => (security.length > 0 ? [`${method} ${path}`] : [])),
    );
    expect(Object.keys(attempts).sort()).toEqual(routes.sort());
  });

  test.each(Object.entries(attempts))('%s', async (route, tried) => {
    for (const [path, status] of tried) {
      const bearer = await authority.bearer({ agency: 'H41.02', permissions });
      const method = route.split(' ')[0] as 'get';
      const answer = await supertest(app)[method](path()).set('Authorization', bearer).send(bodies[route]?.());
      expect([path(), answer.status]).toEqual([path(), status]);
      const items: object[] = status === 200 ? answer.body.items : [];
      for (const id of [byRequest!.id, inCommune!.id, suspended!.id, groupId])
        expect(items.filter((item) => JSON.stringify(item).includes(id))).toEqual([]);
    }
  });
});

describe('the list of mailboxes', () => {
  test('says where each came from, newest first', async () => {
    const { body } = await get('/v1/mailboxes');
    expect(body.items.map((one: unknown) => Mailbox.parse(one))).toEqual(body.items);
    const times = body.items.map((one: Mailbox) => one.createdAt);
    expect(times).toEqual([...times].sort().reverse());
    expect(body.items.find((one: Mailbox) => one.accountId === byRequest!.id)).toMatchObject({
      requestId,
      submittedBy: expect.stringContaining('Người gửi'),
      approvedBy: expect.stringContaining('Người duyệt'),
      approvedAt: expect.any(String),
      decisionNumber: '15/QĐ-UBND',
      agencyCode: 'H41.12',
    });
    expect(body.items.find((one: Mailbox) => one.accountId === inCommune!.id).requestId).toBeNull();
  });

  test('a client sees its agency and what lies below it, and nothing else', async () => {
    expect(idsOf(await get('/v1/mailboxes', 'H41.12'))).toEqual(ids(byRequest, inCommune, suspended));
    expect(idsOf(await get('/v1/mailboxes', 'H41.12.05'))).toEqual(ids(inCommune));
    expect(idsOf(await get('/v1/mailboxes', 'H41.02'))).toEqual(ids(inDepartment));
    expect(idsOf(await get('/v1/mailboxes', 'H40'))).toEqual([]);
    expect((await get(`/v1/mailboxes/${inDepartment!.id}`, 'H41.12')).body).toMatchObject({
      status: 404,
      code: 'mailbox_not_found',
    });
    expect((await get(`/v1/mailboxes/${inCommune!.id}`, 'H41.12')).body.address).toBe(inCommune!.address);
  });

  test('filters, alone and within the scope', async () => {
    expect(idsOf(await get('/v1/mailboxes?state=suspended'))).toEqual(ids(suspended));
    expect(idsOf(await get(`/v1/mailboxes?address=${inCommune!.address}`))).toEqual(ids(inCommune));
    expect(idsOf(await get(`/v1/mailboxes?requestId=${requestId}`))).toEqual(ids(byRequest));
    expect(idsOf(await get('/v1/mailboxes?state=suspended', 'H41.02'))).toEqual([]);
    expect((await get('/v1/mailboxes?state=asleep&requestId=x&word=y')).body.errors).toMatchObject([
      { pointer: 'query/state' },
      { pointer: 'query/requestId' },
      { pointer: 'query/word' },
    ]);
  });

  test('page by page every row comes once', async () => {
    const seen: string[] = [];
    let next = '/v1/mailboxes?limit=1&state=active';
    for (let pages = 0; next !== ''; pages++) {
      if (pages > 5) throw new Error('the list does not end');
      const answer = await get(next);
      seen.push(...idsOf(answer));
      next = /^<(.*)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1] ?? '';
      expect(answer.body.nextCursor === null).toBe(next === '');
    }
    expect(seen.sort()).toEqual(ids(byRequest, inCommune, inDepartment));
  });

  test('a cursor that somebody made up is a fault of theirs', async () => {
    for (const key of [
      ['a', 'b'],
      ['infinity', requestId],
      [new Date(), 'x'],
      [1, 2],
    ]) {
      const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
      for (const list of ['mailboxes', 'notices'])
        expect((await get(`/v1/${list}?cursor=${cursor}`)).body).toMatchObject({ status: 422, code: 'cursor_invalid' });
    }
    expect((await get('/v1/mailboxes?address=%00')).status).toBe(422);
  });

  test('as CSV: all of them, and no cell is a formula', async () => {
    const answer = await get('/v1/mailboxes?limit=1', 'H41.12', 'text/csv');
    expect(answer.headers['content-type']).toBe('text/csv; charset=utf-8');
    const lines = answer.text.split('\r\n');
    expect(lines[0]).toBe(`\uFEFF${Object.keys(Mailbox.shape).join(',')}`);
    expect(lines).toHaveLength(5);
    expect(answer.text).toContain(`"'=HYPERLINK(""x"") Điền"`);
    expect((await get('/v1/mailboxes', 'H41', 'text/html, */*;q=0.1')).headers['content-type']).toMatch(/json/);
  });
});

describe('the list of notices', () => {
  const kinds = (answer: supertest.Response) => answer.body.items.map((one: Notice) => one.subjectId).sort();

  test('the province sees all, an agency those to its own people', async () => {
    const all = await get('/v1/notices');
    expect(all.body.items.map((one: unknown) => Notice.parse(one))).toEqual(all.body.items);
    expect(kinds(all)).toEqual([...ids(byRequest, inCommune, inDepartment, suspended), requestId].sort());
    expect(kinds(await get('/v1/notices', 'H41.12.05'))).toEqual(ids(inCommune));
    expect(kinds(await get('/v1/notices', 'H40'))).toEqual([]);
  });

  test.each(['H41', 'H41.12'])('filters hold for %s', async (agency) => {
    expect(kinds(await get('/v1/notices?state=waiting', agency))).toEqual(ids(suspended));
    expect(kinds(await get(`/v1/notices?recipient=${inCommune!.address}`, agency))).toEqual(ids(inCommune));
    expect(kinds(await get('/v1/notices?recipient=nobody@x.vn', agency))).toEqual([]);
  });

  test.each([
    ['H41', 5],
    ['H41.12', 3],
  ])('page by page for %s', async (agency, count) => {
    const seen: string[] = [];
    let next = '/v1/notices?limit=2';
    for (let pages = 0; next !== ''; pages++) {
      if (pages > 5) throw new Error('the list does not end');
      const answer = await get(next, agency);
      seen.push(...kinds(answer));
      next = /^<(.*)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1] ?? '';
    }
    expect(seen).toHaveLength(count);
    expect(new Set(seen).size).toBe(count);
  });
});

describe('readiness', () => {
  test('with every part there', async () => {
    expect((await supertest(app).get('/readyz')).body).toEqual({
      status: 'ok',
      checks: { database: 'ok', ldap: 'ok', dovecot: 'ok', mail: 'ok' },
    });
  });

  test('each part that is down is named', async () => {
    const mail = mailbox.openTransport({ port: 1 });
    const parts = {
      ldap: openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' }),
      doveadm: connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: 'x' }),
      mail,
    };
    const answer = await supertest(appWith(parts)).get('/readyz');
    mail.close();
    expect(answer.status).toBe(503);
    expect(answer.body.checks).toEqual({
      database: 'ok',
      ldap: 'unavailable',
      dovecot: 'unavailable',
      mail: 'unavailable',
    });
  });

  test('a wrong key of the mail store is noticed', async () => {
    const doveadm = connectDoveadm({ url: mailbox.doveadmUrl, apiKey: 'a key that is none' });
    expect((await supertest(appWith({ doveadm })).get('/readyz')).body.checks.dovecot).toBe('unavailable');
  });
});
