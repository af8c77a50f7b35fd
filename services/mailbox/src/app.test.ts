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
import { connectPostfix } from './postfix/postfix.ts';
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

/** Three mailboxes of the district (one of them below it, one by request), one of the department, notices, one of which failed. */
let requestId: string;
let failed: string;
/** Of the one by request. */
let furtherAddress: string;
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
      agency_id: account.agencyId,
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
    agency_id: byRequest.agencyId,
  });
  failed = (
    await mailbox
      .database('mailbox.notices')
      .insert({
        kind: 'suspension',
        subject_id: suspended.id,
        agency_id: suspended.agencyId,
        recipient: suspended.address,
        facts: {},
        state: 'failed',
        last_error: '550 5.7.1 refused',
      })
      .returning('id')
  )[0].id;
  const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
  groupId = (await createGroup(mailbox, groupInput('bang'), actor, undefined)).id;
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
    method: Method,
    path: string,
    needs: Permission,
    body?: object | (() => object) | undefined,
    status?: number,
  ][] = [
    ['get', '/v1/mailboxes', 'mailboxes:read'],
    ['get', '/v1/mailboxes/{accountId}', 'mailboxes:read'],
    ['post', '/v1/mailboxes', 'mailboxes:write', {}, 422],
    ['patch', '/v1/mailboxes/{accountId}', 'mailboxes:write', {}],
    ['post', '/v1/mailboxes/{accountId}/secret', 'mailboxes:write', undefined, 409],
    ['post', '/v1/mailboxes/{accountId}/suspend', 'mailboxes:write', { reason: 'x' }, 409],
    ['post', '/v1/mailboxes/{accountId}/resume', 'mailboxes:write', { reason: 'x' }, 409],
    ['post', '/v1/mailboxes/{accountId}/close', 'mailboxes:write', { reason: 'x' }, 409],
    ['get', '/v1/mailboxes/{accountId}/rights', 'mailboxes:read'],
    ['put', '/v1/mailboxes/{accountId}/rights/{holderId}', 'mailboxes:write', {}, 422],
    ['delete', '/v1/mailboxes/{accountId}/rights/{holderId}', 'mailboxes:write', undefined, 409],
    ['get', '/v1/mailboxes/{accountId}/vacation', 'mailboxes:read'],
    ['put', '/v1/mailboxes/{accountId}/vacation', 'mailboxes:write', {}, 422],
    ['delete', '/v1/mailboxes/{accountId}/vacation', 'mailboxes:write'],
    ['get', '/v1/quota-classes', 'mailboxes:read'],
    ['post', '/v1/quota-classes', 'mailboxes:write', {}, 422],
    ['patch', '/v1/quota-classes/{code}', 'mailboxes:write', {}, 404],
    ['delete', '/v1/quota-classes/{code}', 'mailboxes:write', undefined, 404],
    ['get', '/v1/quota-assignments', 'mailboxes:read'],
    ['put', '/v1/quota-assignments', 'mailboxes:write', [{}], 422],
    ['get', '/v1/mailboxes/{accountId}/language', 'mailboxes:read'],
    ['put', '/v1/mailboxes/{accountId}/language', 'mailboxes:write', { language: 'en' }],
    ['get', '/v1/notices', 'mailboxes:read'],
    ['post', '/v1/notices/{id}/retry', 'mailboxes:write'],
    ['get', '/v1/notices/dkim', 'mailboxes:read'],
    ['get', '/v1/notice-templates', 'mailboxes:read'],
    ['get', '/v1/notice-templates/{kind}/preview', 'mailboxes:read'],
    ['get', '/v1/mailboxes/{accountId}/usage', 'mailboxes:read'],
    ['get', '/v1/usage/agencies', 'mailboxes:read'],
    ['get', '/v1/usage/agencies/{code}', 'mailboxes:read'],
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
    ['get', '/v1/domains', 'mailboxes:read'],
    ['get', '/v1/domains/{name}', 'mailboxes:read', undefined, 404],
    ['post', '/v1/domains', 'domains:write', {}, 422],
    ['patch', '/v1/domains/{name}', 'domains:write', {}, 404],
    ['delete', '/v1/domains/{name}', 'domains:write', undefined, 404],
    ['get', '/v1/aliases', 'mailboxes:read'],
    ['post', '/v1/aliases', 'mailboxes:write', {}, 422],
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
        .replace('{memberId}', byRequest!.id)
        .replace('{holderId}', inCommune!.id)
        .replace('{id}', path.includes('/groups/') ? groupId : failed)
        .replace('{kind}', 'welcome')
        .replace('{address}', furtherAddress)
        .replace('{name}', 'khac.vn')
        .replace('{code}', path.includes('/usage/') ? 'H41.12' : 'none');
      const request = supertest(app)
        [method](there)
        .send(typeof body === 'function' ? body() : body);
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
  const attempts: Record<
    string,
    [path: () => string, status: 200 | 403 | 404 | 422, body?: object | (() => object)][]
  > = {
    'get /v1/mailboxes': [
      [() => '/v1/mailboxes?limit=500', 200],
      [() => `/v1/mailboxes?address=${byRequest!.address}`, 200],
      [() => `/v1/mailboxes?requestId=${requestId}`, 200],
      [() => '/v1/mailboxes?sort=name&include=usage', 200],
      [() => `/v1/mailboxes?sort=-lastLogin&requestId=${requestId}`, 200],
    ],
    'get /v1/mailboxes/{accountId}': [[() => `/v1/mailboxes/${byRequest!.id}`, 404]],
    'get /v1/mailboxes/{accountId}/language': [[() => `/v1/mailboxes/${byRequest!.id}/language`, 404]],
    'put /v1/mailboxes/{accountId}/language': [
      [() => `/v1/mailboxes/${byRequest!.id}/language`, 404, { language: 'en' }],
    ],
    'get /v1/notices': [
      [() => '/v1/notices?limit=500', 200],
      [() => `/v1/notices?subjectId=${byRequest!.id}`, 200],
    ],
    'post /v1/notices/{id}/retry': [[() => `/v1/notices/${failed}/retry`, 404]],
    'get /v1/notices/dkim': [[() => '/v1/notices/dkim', 200]],
    'get /v1/notice-templates': [[() => '/v1/notice-templates', 200]],
    'get /v1/notice-templates/{kind}/preview': [
      [() => `/v1/notice-templates/welcome/preview?subjectId=${byRequest!.id}`, 404],
      [() => `/v1/notice-templates/decision/preview?subjectId=${requestId}`, 404],
      [() => `/v1/notice-templates/digest/preview?subjectId=${byRequest!.agencyId}`, 404],
    ],
    'get /v1/mailboxes/{accountId}/usage': [[() => `/v1/mailboxes/${byRequest!.id}/usage`, 404]],
    'get /v1/usage/agencies': [[() => '/v1/usage/agencies?of=subtree', 200]],
    'get /v1/usage/agencies/{code}': [[() => '/v1/usage/agencies/H41.12', 404]],
    'post /v1/mailboxes': [
      [
        () => '/v1/mailboxes',
        422,
        { kind: 'shared', localPart: 'chung.huyen', displayName: 'Chung', agencyCode: 'H41.12' },
      ],
    ],
    'patch /v1/mailboxes/{accountId}': [[() => `/v1/mailboxes/${byRequest!.id}`, 404, { quotaBytes: null }]],
    'post /v1/mailboxes/{accountId}/secret': [[() => `/v1/mailboxes/${byRequest!.id}/secret`, 404]],
    'post /v1/mailboxes/{accountId}/suspend': [[() => `/v1/mailboxes/${byRequest!.id}/suspend`, 404, { reason: 'x' }]],
    'post /v1/mailboxes/{accountId}/resume': [[() => `/v1/mailboxes/${byRequest!.id}/resume`, 404, { reason: 'x' }]],
    'post /v1/mailboxes/{accountId}/close': [[() => `/v1/mailboxes/${byRequest!.id}/close`, 404, { reason: 'x' }]],
    'get /v1/mailboxes/{accountId}/rights': [[() => `/v1/mailboxes/${byRequest!.id}/rights`, 404]],
    'put /v1/mailboxes/{accountId}/rights/{holderId}': [
      [() => `/v1/mailboxes/${byRequest!.id}/rights/${inDepartment!.id}`, 404, { rights: ['read'] }],
    ],
    'delete /v1/mailboxes/{accountId}/rights/{holderId}': [
      [() => `/v1/mailboxes/${byRequest!.id}/rights/${inDepartment!.id}`, 404],
    ],
    'get /v1/mailboxes/{accountId}/vacation': [[() => `/v1/mailboxes/${byRequest!.id}/vacation`, 404]],
    'put /v1/mailboxes/{accountId}/vacation': [
      [() => `/v1/mailboxes/${byRequest!.id}/vacation`, 404, { subject: 'x', text: 'y' }],
    ],
    'delete /v1/mailboxes/{accountId}/vacation': [[() => `/v1/mailboxes/${byRequest!.id}/vacation`, 404]],
    'get /v1/quota-classes': [[() => '/v1/quota-classes', 200]],
    'post /v1/quota-classes': [[() => '/v1/quota-classes', 403, { code: 'to', name: 'To', quotaBytes: 1024 ** 3 }]],
    'patch /v1/quota-classes/{code}': [[() => '/v1/quota-classes/to', 403, { quotaBytes: 1024 ** 3 }]],
    'delete /v1/quota-classes/{code}': [[() => '/v1/quota-classes/to', 403]],
    'get /v1/quota-assignments': [[() => '/v1/quota-assignments', 200]],
    'put /v1/quota-assignments': [[() => '/v1/quota-assignments', 403, []]],
    'get /v1/groups': [
      [() => '/v1/groups?limit=500', 200],
      [() => '/v1/groups?agency=H41.12', 200],
      [() => '/v1/groups?q=cong tac', 200],
    ],
    'post /v1/groups': [[() => '/v1/groups', 422, () => groupInput('bang-la')]],
    'get /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404]],
    'get /v1/groups/{id}/members': [[() => `/v1/groups/${groupId}/members`, 404]],
    'patch /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404, { name: 'Tổ lạ' }]],
    'delete /v1/groups/{id}': [[() => `/v1/groups/${groupId}`, 404]],
    ...Object.fromEntries(
      ['members/{memberId}', 'owners/{accountId}', 'moderators/{accountId}'].flatMap((path) => {
        const filled = () => `/v1/groups/${groupId}/${path.replace(/\{.*/, byRequest!.id)}`;
        return ['put', 'delete'].map((method) => [`${method} /v1/groups/{id}/${path}`, [[filled, 404]]]);
      }),
    ),
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
    'post /v1/aliases': [
      [() => '/v1/aliases', 422, { items: [{ mailbox: 'ai@nghean.gov.vn', address: 'ten.moi@nghean.gov.vn' }] }],
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
      const answer = await supertest(app)
        [method](path())
        .send(typeof body === 'function' ? body() : body)
        .set('Authorization', bearer);
      expect([path(), answer.status]).toEqual([path(), status]);
      const items: object[] = answer.body.items ?? [];
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
  const subjects = (answer: supertest.Response) => answer.body.items.map((one: Notice) => one.subjectId).sort();

  test('the province sees all, an agency those to its own people', async () => {
    const all = await get('/v1/notices');
    expect(all.body.items.map((one: unknown) => Notice.parse(one))).toEqual(all.body.items);
    expect(subjects(all)).toEqual([...ids(byRequest, inCommune, inDepartment, suspended, suspended), requestId].sort());
    expect(subjects(await get('/v1/notices', 'H41.12.05'))).toEqual(ids(inCommune));
    expect(subjects(await get('/v1/notices', 'H40'))).toEqual([]);
  });

  test.each(['H41', 'H41.12'])('filters hold for %s', async (agency) => {
    expect(subjects(await get('/v1/notices?state=waiting&kind=welcome', agency))).toEqual(ids(suspended));
    expect(subjects(await get(`/v1/notices?recipient=${inCommune!.address}`, agency))).toEqual(ids(inCommune));
    expect(subjects(await get('/v1/notices?recipient=nobody@x.vn', agency))).toEqual([]);
  });

  test.each([
    ['H41', 6],
    ['H41.12', 5],
  ])('page by page for %s', async (agency, count) => {
    const seen: string[] = [];
    let next = '/v1/notices?limit=2';
    for (let pages = 0; next !== ''; pages++) {
      if (pages > 5) throw new Error('the list does not end');
      const answer = await get(next, agency);
      seen.push(...answer.body.items.map((one: Notice) => one.id));
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
      checks: { database: 'ok', ldap: 'ok', dovecot: 'ok', mail: 'ok', ...(mailbox.postfix ? { postfix: 'ok' } : {}) },
    });
  });

  test('each part that is down is named', async () => {
    const mail = mailbox.openTransport({ port: 1 });
    const parts = {
      ldap: openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' }),
      doveadm: connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: 'x' }),
      mail,
      postfix: connectPostfix('127.0.0.1:1'),
    };
    const answer = await supertest(appWith(parts)).get('/readyz');
    mail.close();
    expect(answer.status).toBe(503);
    expect(answer.body.checks).toEqual({
      database: 'ok',
      ldap: 'unavailable',
      dovecot: 'unavailable',
      mail: 'unavailable',
      postfix: 'unavailable',
    });
  });

  test('a wrong key of the mail store is noticed', async () => {
    const doveadm = connectDoveadm({ url: mailbox.doveadmUrl, apiKey: 'a key that is none' });
    expect((await supertest(appWith({ doveadm })).get('/readyz')).body.checks.dovecot).toBe('unavailable');
  });
});
