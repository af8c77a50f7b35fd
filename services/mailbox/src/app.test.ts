import { Mailbox, Notice, type Permission, permissions } from '@congvu/contracts';
import { insertRequest, type TestAccount } from '@congvu/database/testing';
import { createTestAuthority, openApiFaults, type TestAuthority } from '@congvu/http/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from './app.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
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

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** Three mailboxes of the district (one of them below it, one by request), one of the department, two notices. */
let requestId: string;
/** Of the one by request. */
let furtherAddress: string;
let [byRequest, inCommune, inDepartment, suspended]: TestAccount[] = [];
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
  furtherAddress = `ten.cu.${byRequest.username}@nghean.gov.vn`;
  const further = { address: furtherAddress, mailbox_id: byRequest.id, reason: 'by_hand', created_by: 'test' };
  await mailbox.database('mailbox.aliases').insert(further);
  const district = {
    name: 'quynhluu.nghean.gov.vn',
    kind: 'agency',
    agency_id: byRequest.agencyId,
    created_by: 'test',
  };
  await mailbox.database('mailbox.domains').insert(district);
  await mailbox.database('mailbox.notices').insert({
    kind: 'decision',
    subject_id: requestId,
    recipient: null,
    message_id: '<nobody@x>',
    state: 'no_recipient',
  });
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
    method: Method,
    path: string,
    needs: Permission,
    body?: object | undefined,
    status?: number,
  ][] = [
    ['get', '/v1/mailboxes', 'mailboxes:read'],
    ['get', '/v1/mailboxes/{accountId}', 'mailboxes:read'],
    ['get', '/v1/notices', 'mailboxes:read'],
    ['get', '/v1/domains', 'mailboxes:read'],
    ['get', '/v1/domains/{name}', 'mailboxes:read', undefined, 404],
    ['post', '/v1/domains', 'domains:write', {}, 422],
    ['patch', '/v1/domains/{name}', 'domains:write', {}, 404],
    ['delete', '/v1/domains/{name}', 'domains:write', undefined, 404],
    ['get', '/v1/aliases', 'mailboxes:read'],
    ['get', '/v1/aliases/{address}', 'mailboxes:read'],
    ['patch', '/v1/aliases/{address}', 'mailboxes:write', { validUntil: null }],
    ['delete', '/v1/aliases/{address}', 'mailboxes:write', undefined, 204],
    ['get', '/v1/mailboxes/{accountId}/aliases', 'mailboxes:read'],
    ['post', '/v1/mailboxes/{accountId}/aliases', 'mailboxes:write', {}, 422],
    ['get', '/v1/mailboxes/{accountId}/forwarding', 'mailboxes:read'],
    ['put', '/v1/mailboxes/{accountId}/forwarding', 'mailboxes:write', { addresses: [] }],
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
      const there = path
        .replace('{accountId}', byRequest!.id)
        .replace('{address}', furtherAddress)
        .replace('{name}', 'khac.vn');
      const request = supertest(app)[method](there).send(body);
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
  const attempts: Record<string, [path: () => string, status: 200 | 403 | 404, body?: object][]> = {
    'get /v1/mailboxes': [
      [() => '/v1/mailboxes?limit=500', 200],
      [() => `/v1/mailboxes?address=${byRequest!.address}`, 200],
      [() => `/v1/mailboxes?requestId=${requestId}`, 200],
    ],
    'get /v1/mailboxes/{accountId}': [[() => `/v1/mailboxes/${byRequest!.id}`, 404]],
    'get /v1/notices': [[() => '/v1/notices?limit=500', 200]],
    'get /v1/domains': [[() => '/v1/domains', 200]],
    'get /v1/domains/{name}': [[() => `/v1/domains/quynhluu.nghean.gov.vn`, 404]],
    'post /v1/domains': [
      [() => '/v1/domains', 403, { kind: 'alias', name: 'cu.gov.vn', target: 'nghean.gov.vn' }],
      [() => '/v1/domains', 403, { kind: 'agency', name: 'cu.nghean.gov.vn' }],
    ],
    'patch /v1/domains/{name}': [[() => `/v1/domains/quynhluu.nghean.gov.vn`, 403, { until: null }]],
    'delete /v1/domains/{name}': [[() => `/v1/domains/quynhluu.nghean.gov.vn`, 403]],
    'get /v1/aliases': [
      [() => '/v1/aliases?limit=500', 200],
      [() => '/v1/aliases?agency=H41.12', 200],
    ],
    'get /v1/aliases/{address}': [[() => `/v1/aliases/${furtherAddress}`, 404]],
    'patch /v1/aliases/{address}': [[() => `/v1/aliases/${furtherAddress}`, 404, { validUntil: null }]],
    'delete /v1/aliases/{address}': [[() => `/v1/aliases/${furtherAddress}`, 404]],
    'get /v1/mailboxes/{accountId}/aliases': [[() => `/v1/mailboxes/${byRequest!.id}/aliases`, 404]],
    'post /v1/mailboxes/{accountId}/aliases': [
      [() => `/v1/mailboxes/${byRequest!.id}/aliases`, 404, { address: 'ten.moi@nghean.gov.vn' }],
    ],
    'get /v1/mailboxes/{accountId}/forwarding': [[() => `/v1/mailboxes/${byRequest!.id}/forwarding`, 404]],
    'put /v1/mailboxes/{accountId}/forwarding': [
      [() => `/v1/mailboxes/${byRequest!.id}/forwarding`, 404, { addresses: [] }],
    ],
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
    const method = route.split(' ')[0] as Method;
    for (const [path, status, body] of tried) {
      const bearer = await authority.bearer({ agency: 'H41.02', permissions });
      const answer = await supertest(app)[method](path()).send(body).set('Authorization', bearer);
      expect([path(), answer.status]).toEqual([path(), status]);
      const items: object[] = status === 200 ? answer.body.items : [];
      for (const account of [byRequest, inCommune, suspended])
        expect(items.filter((item) => JSON.stringify(item).includes(account!.id))).toEqual([]);
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
