/** Tokens by client credentials in the form that OAuth libraries expect, and clients that nobody can make beyond the own reach. */
import { createHash } from 'node:crypto';
import { permissions, roles } from '@congvu/contracts';
import { tokenAuthentication } from '@congvu/http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Express } from 'express';
import { createLocalJWKSet, decodeProtectedHeader, jwtVerify } from 'jose';
import supertest from 'supertest';
import { setUpClient } from '../set-up-client.ts';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
/** Takes the tokens of the real issuer. */
let app: Express;
let requester: TestClient;
let admin: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  const keys = createLocalJWKSet(directory.tokens.keySet);
  app = directory.appWith({ authenticate: tokenAuthentication({ issuer: directory.tokens.issuer, keys }) });
  requester = await directory.client('H41.32', roles.requester);
  admin = await directory.client('H41', ['clients:write']);
});
afterAll(() => directory.stop());
beforeEach(() => directory.owner('directory.rate_limits').delete());

const basic = (id: string, secret: string) =>
  `Basic ${Buffer.from(`${encodeURIComponent(id)}:${encodeURIComponent(secret)}`).toString('base64')}`;
const token = (fields: object | string, authorization?: string) => {
  const request = supertest(app).post('/oauth/token').type('form');
  if (authorization !== undefined) request.set('Authorization', authorization);
  return request.send(fields as object);
};
const grant = { grant_type: 'client_credentials' };
const post = (body: object, by = admin) =>
  supertest(directory.app).post('/v1/clients').set('Authorization', by.bearer).send(body);

describe('a token', () => {
  it.each(['Basic', 'body'])('is given for credentials by %s', async (way) => {
    const answer =
      way === 'Basic'
        ? await token(grant, basic(requester.id, requester.secret))
        : await token({ ...grant, client_id: requester.id, client_secret: requester.secret });
    expect([answer.status, answer.headers['cache-control']]).toEqual([200, 'no-store']);
    const { access_token: jwt, ...rest } = answer.body;
    expect(rest).toEqual({ token_type: 'Bearer', expires_in: 600, scope: roles.requester.join(' ') });

    // By the published keys, as every other service does.
    const { body: jwks, headers } = await supertest(app).get('/.well-known/jwks.json').expect(200);
    expect(headers['cache-control']).toMatch(/max-age/);
    expect(jwks.keys.map((key: object) => Object.keys(key).sort())).toEqual([
      ['alg', 'crv', 'kid', 'kty', 'use', 'x', 'y'],
    ]);
    const { payload } = await jwtVerify(jwt, createLocalJWKSet(jwks), {
      issuer: directory.tokens.issuer,
      audience: 'congvu',
      typ: 'at+jwt',
    });
    expect(payload).toMatchObject({
      sub: requester.id,
      client_id: requester.id,
      agency: 'H41.32',
      principal: 'client',
      scope: roles.requester.join(' '),
    });
    expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(600);
    expect(decodeProtectedHeader(jwt)).toEqual({ alg: 'ES256', kid: jwks.keys[0].kid, typ: 'at+jwt' });

    // And it opens what its scope says.
    await supertest(app).get('/v1/agencies').set('Authorization', `Bearer ${jwt}`).expect(200);
    await supertest(app).get('/v1/audit-events').set('Authorization', `Bearer ${jwt}`).expect(403);
  });

  it('carries as much as was asked for, and no more than the client has', async () => {
    const credentials = basic(requester.id, requester.secret);
    const narrow = await token({ ...grant, scope: 'agencies:read requests:read' }, credentials).expect(200);
    expect(narrow.body.scope).toBe('agencies:read requests:read');
    const authorization = `Bearer ${narrow.body.access_token}`;
    await supertest(app).get('/v1/requests').set('Authorization', authorization).expect(200);
    await supertest(app).get('/v1/accounts').set('Authorization', authorization).expect(403);
    for (const scope of ['requests:approve', 'agencies:read requests:approve', 'everything']) {
      const { status, body } = await token({ ...grant, scope }, credentials);
      expect([status, body.error]).toEqual([400, 'invalid_scope']);
    }
  });

  it('is refused in one and the same way, in the form of RFC 6749', async () => {
    const disabled = await directory.client('H41.32', ['agencies:read']);
    await directory.owner('directory.clients').where({ id: disabled.id }).update({ disabled_at: new Date() });
    const unknown = '00000000-0000-4000-8000-000000000000';
    const refused = [
      await token(grant, basic(requester.id, 'wrong')),
      await token(grant, basic(requester.id, admin.secret)),
      await token({ ...grant, client_id: requester.id, client_secret: 'wrong' }),
      await token(grant, basic(unknown, requester.secret)),
      await token(grant, basic("x' or 1=1 --", 'x')),
      await token(grant, basic(disabled.id, disabled.secret)),
      await token({ ...grant, scope: 'everything' }, basic(requester.id, 'wrong')),
    ];
    for (const answer of refused) {
      expect([answer.status, answer.type, answer.headers['cache-control']]).toEqual([
        401,
        'application/json',
        'no-store',
      ]);
      expect(answer.headers['www-authenticate']).toMatch(/^Basic /);
      expect(answer.body).toEqual(refused[0]?.body);
      expect(Object.keys(answer.body)).toEqual(['error', 'error_description']);
      expect(answer.body.error).toBe('invalid_client');
    }
  });

  it.each([
    ['no credentials', undefined],
    ['half of them', basic(':', '')],
    ['another scheme', 'Bearer x'],
    ['no base64', 'Basic %%%'],
    ['a broken escape', `Basic ${Buffer.from('%zz:%zz').toString('base64')}`],
  ])('is refused to %s', async (_, authorization) => {
    const { status, body } = await token(grant, authorization);
    expect([status, body.error]).toEqual([401, 'invalid_client']);
  });

  it('is given by no other grant', async () => {
    const credentials = basic(requester.id, requester.secret);
    for (const grant_type of ['password', 'authorization_code', 'CLIENT_CREDENTIALS']) {
      const { status, body } = await token({ grant_type, username: 'x', password: 'x' }, credentials);
      expect([status, body.error]).toEqual([400, 'unsupported_grant_type']);
    }
  });

  it.each([
    ['no grant', 'scope=agencies:read'],
    ['a parameter twice', 'grant_type=client_credentials&scope=agencies:read&scope=requests:read'],
  ])('is refused as an invalid request to %s', async (_, fields) => {
    const { status, body } = await token(fields, basic(requester.id, requester.secret));
    expect([status, body.error]).toEqual([400, 'invalid_request']);
  });

  it('is not asked for without end', async () => {
    const statuses = await Promise.all(
      Array.from({ length: 65 }, async () => (await token(grant, basic(requester.id, 'wrong'))).status),
    );
    expect(statuses.filter((status) => status === 401)).toHaveLength(60);
    const late = await token(grant, basic(requester.id, requester.secret));
    expect([late.status, Number(late.headers['retry-after']) > 0]).toEqual([429, true]);
    await token(grant, basic(admin.id, admin.secret)).expect(200);
  });

  it('ends with its client: none is given once it is disabled', async () => {
    const doomed = await directory.client('H41.32', ['agencies:read']);
    await token(grant, basic(doomed.id, doomed.secret)).expect(200);
    await supertest(directory.app).delete(`/v1/clients/${doomed.id}`).set('Authorization', admin.bearer).expect(204);
    await token(grant, basic(doomed.id, doomed.secret)).expect(401);
  });
});

it('the server describes itself (RFC 8414)', async () => {
  const { body } = await supertest(app).get('/.well-known/oauth-authorization-server').expect(200);
  expect(body).toMatchObject({
    issuer: 'https://directory.test',
    token_endpoint: 'https://directory.test/oauth/token',
    jwks_uri: 'https://directory.test/.well-known/jwks.json',
    grant_types_supported: ['client_credentials'],
  });
  expect(body.scopes_supported).toEqual(permissions);
});

describe('a client', () => {
  const wanted = {
    name: 'Văn thư huyện',
    agencyCode: '000.00.32.H41',
    permissions: ['requests:submit', 'requests:read'],
  };

  it('is made with a secret that is shown this once and kept as a hash', async () => {
    const answer = await post(wanted).expect(201);
    expect(answer.headers['cache-control']).toBe('no-store');
    const { id, clientSecret } = answer.body;
    expect(answer.body).toMatchObject({ ...wanted, agencyCode: 'H41.32', disabledAt: null });
    expect(clientSecret).toMatch(/^[\w-]{43}$/);
    const [row] = await directory.owner('directory.clients').where({ id });
    expect(row).toMatchObject({
      agency_code: 'H41.32',
      permissions: wanted.permissions,
      secret_hash: createHash('sha256').update(clientSecret).digest(),
    });
    const [event] = await directory.owner('directory.audit_events').where({ subject_id: id });
    expect(event).toMatchObject({
      action: 'client.created',
      actor_id: admin.id,
      actor_name: admin.name,
      after: { name: wanted.name, agencyCode: 'H41.32', role: null, permissions: wanted.permissions, expiresAt: null },
    });

    await token(grant, basic(id, clientSecret)).expect(200);
    const kept = JSON.stringify([
      await directory.owner('directory.clients'),
      await directory.owner('directory.audit_events'),
    ]);
    const list = await supertest(directory.app)
      .get('/v1/clients?limit=500')
      .set('Authorization', admin.bearer)
      .expect(200);
    for (const text of [kept, list.text, directory.logged()]) expect(text.includes(clientSecret)).toBe(false);
    expect(list.text).not.toMatch(/secret/i);
  });

  it('has a name of its own', async () => {
    const before = await directory.owner('directory.clients').orderBy('id');
    const { status, body } = await post(wanted);
    expect([status, body.code]).toEqual([409, 'client_name_taken']);
    expect(await directory.owner('directory.clients').orderBy('id')).toEqual(before);
  });

  it.each([
    ['both duties', { permissions: ['requests:submit', 'requests:approve'] }, 422, '/permissions/1'],
    ['an unknown permission', { permissions: ['root'] }, 422, '/permissions/0'],
    ['no permission', { permissions: [] }, 422, '/permissions'],
    ['a code out of form', { agencyCode: 'quynhluu' }, 422, '/agencyCode'],
    ['an empty name', { name: '  ' }, 422, '/name'],
    ['a permission that its maker lacks', { permissions: ['requests:approve'] }, 422, '/permissions/0'],
    ['a secret of its own', { clientSecret: 'x' }, 422, '/clientSecret'],
    ['an unknown agency', { agencyCode: 'H41.99' }, 404, undefined],
  ])('is not made with %s', async (what, fields, status, pointer) => {
    const before = await directory.owner('directory.clients').orderBy('id');
    const answer = await post({ ...wanted, name: what, ...fields });
    expect([answer.status, answer.body.errors?.[0].pointer]).toEqual([status, pointer]);
    expect(await directory.owner('directory.clients').orderBy('id')).toEqual(before);
  });

  it('is not made, listed or disabled beyond the maker’s agencies', async () => {
    const district = await directory.client('H41.32', ['clients:write']);
    const mine = (await post({ ...wanted, name: 'của xã', agencyCode: 'H41.32.05' }, district).expect(201)).body;
    const theirs = await directory.client('H41.33', ['agencies:read']);
    const above = await directory.client('H41', ['agencies:read']);
    for (const agencyCode of ['H41', 'H41.33']) {
      const { status, body } = await post({ ...wanted, name: 'ngoài', agencyCode }, district);
      expect([status, body.code]).toEqual([404, 'agency_not_found']);
    }
    const { body } = await supertest(directory.app)
      .get('/v1/clients?limit=500')
      .set('Authorization', district.bearer)
      .expect(200);
    const listed = body.items.map((one: { id: string }) => one.id);
    expect(listed).toEqual(expect.arrayContaining([mine.id, district.id, requester.id]));
    expect(body.items.filter((one: { agencyCode: string }) => !one.agencyCode.startsWith('H41.32'))).toEqual([]);
    const remove = (id: string) =>
      supertest(directory.app).delete(`/v1/clients/${id}`).set('Authorization', district.bearer);
    for (const { id } of [theirs, above]) {
      expect((await remove(id).expect(404)).body.code).toBe('client_not_found');
      const [row] = await directory.owner('directory.clients').where({ id });
      expect(row.disabled_at).toBeNull();
    }
    await remove(mine.id).expect(204);
    await remove(mine.id).expect(204);
    const events = await directory
      .owner('directory.audit_events')
      .where({ subject_id: mine.id, action: 'client.disabled' });
    expect(events).toHaveLength(1);
  });

  it('is listed once, page by page, in the order of names', async () => {
    const seen: string[] = [];
    for (let path: string | undefined = '/v1/clients?limit=3'; path; ) {
      const answer: supertest.Response = await supertest(directory.app)
        .get(path)
        .set('Authorization', admin.bearer)
        .expect(200);
      seen.push(...answer.body.items.map((one: { id: string }) => one.id));
      path = /^<(.+)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1];
    }
    expect(seen).toEqual(await directory.owner('directory.clients').orderBy('name').pluck('id'));
  });
});

describe('a role', () => {
  const admin = { bearer: '' } as TestClient;
  beforeAll(async () => Object.assign(admin, await directory.client('H41', roles.administrator)));

  it.each(['requester', 'approver', 'administrator', 'auditor'] as const)(
    '%s is given by the IT admin',
    async (role) => {
      const { body } = await post({ name: `vai trò ${role}`, agencyCode: 'H41.32', role }, admin).expect(201);
      expect(body).toMatchObject({ role, permissions: roles[role], version: 1, lastUsedAt: null, expiresAt: null });
      const one = await supertest(directory.app).get(`/v1/clients/${body.id}`).set('Authorization', admin.bearer);
      const { clientSecret: _, ...shown } = body;
      expect([one.body, one.headers.etag]).toEqual([shown, '"1"']);
      const [row] = await directory.owner('directory.clients').where({ id: body.id });
      expect(row).toMatchObject({ role, permissions: roles[role] });
    },
  );

  it.each([
    ['the whole platform', { role: 'platform_administrator' }, '/role'],
    ['key recovery', { role: 'recovery_officer' }, '/role'],
    ['no role that there is', { role: 'root' }, '/role'],
    ['two ways at once', { role: 'auditor', permissions: ['audit:read'] }, '/permissions'],
    ['neither role nor permissions', {}, '/role'],
    ['an end that has passed', { role: 'auditor', expiresAt: '2020-01-01T00:00:00Z' }, '/expiresAt'],
  ])('for %s is not given', async (name, fields, pointer) => {
    const before = await directory.owner('directory.clients').orderBy('id');
    const { status, body } = await post({ name, agencyCode: 'H41.32', ...fields }, admin);
    expect([status, body.errors?.[0].pointer]).toEqual([422, pointer]);
    expect(await directory.owner('directory.clients').orderBy('id')).toEqual(before);
  });
});

describe('a client that is there', () => {
  let admin: TestClient;
  beforeAll(async () => {
    admin = await directory.client('H41', roles.administrator);
  });
  const patch = (id: string, change: object, by = admin, ifMatch?: string) => {
    const request = supertest(directory.app).patch(`/v1/clients/${id}`).set('Authorization', by.bearer);
    return (ifMatch === undefined ? request : request.set('If-Match', ifMatch)).send(change);
  };
  const renew = (id: string, by = admin) =>
    supertest(directory.app).post(`/v1/clients/${id}/secret`).set('Authorization', by.bearer);
  const make = async (name: string, fields: object = {}) =>
    (await post({ name, agencyCode: 'H41.32', role: 'requester', ...fields }, admin).expect(201)).body;
  const rowOf = (id: string) => directory.owner('directory.clients').where({ id }).first();

  it('gets another name, agency, role and end, each change with its event', async () => {
    const { id } = await make('sẽ đổi');
    const expiresAt = '2099-01-01T00:00:00.000Z';
    const changed = await patch(
      id,
      { name: 'đã đổi', agencyCode: '000.00.33.H41', role: 'auditor', expiresAt },
      admin,
      '"1"',
    );
    expect([changed.status, changed.headers.etag]).toEqual([200, '"2"']);
    expect(changed.body).toMatchObject({ name: 'đã đổi', agencyCode: 'H41.33', role: 'auditor', expiresAt });
    expect(await rowOf(id)).toMatchObject({ agency_code: 'H41.33', permissions: roles.auditor, version: 2 });
    const events = await directory.owner('directory.audit_events').where({ subject_id: id, action: 'client.changed' });
    expect(events).toMatchObject([
      {
        actor_id: admin.id,
        before: { agencyCode: 'H41.32', role: 'requester' },
        after: { role: 'auditor', expiresAt },
      },
    ]);
    const stale = await patch(id, { name: 'x y z' }, admin, '"1"');
    expect([stale.status, stale.body.code]).toEqual([412, 'stale_version']);
    expect((await patch(id, { expiresAt: null })).body).toMatchObject({
      expiresAt: null,
      role: 'auditor',
      name: 'đã đổi',
    });
  });

  it('gets a new secret, and the old one is void', async () => {
    const { id, clientSecret } = await make('đổi khóa');
    const { body, headers } = await renew(id).expect(201);
    expect([headers['cache-control'], body.clientSecret === clientSecret]).toEqual(['no-store', false]);
    await token(grant, basic(id, clientSecret)).expect(401);
    await token(grant, basic(id, body.clientSecret)).expect(200);
    const list = await supertest(directory.app).get(`/v1/clients/${id}`).set('Authorization', admin.bearer);
    expect(Date.parse(list.body.lastUsedAt)).toBeGreaterThan(Date.now() - 60_000);
    expect(JSON.stringify(await directory.owner('directory.audit_events').where({ subject_id: id }))).not.toContain(
      body.clientSecret,
    );
  });

  it('gets no token after its end', async () => {
    const { id, clientSecret } = await make('hết hạn', { expiresAt: new Date(Date.now() + 3_600_000).toISOString() });
    await token(grant, basic(id, clientSecret)).expect(200);
    await directory.owner.raw(
      "update directory.clients set created_at = now() - interval '2 hours', expires_at = now() - interval '1 second' where id = ?",
      [id],
    );
    await token(grant, basic(id, clientSecret)).expect(401);
  });

  it('that may do more than its changer, or lies beyond, or is disabled, is not changed', async () => {
    const officer = await directory.client('H41.32', roles.recovery_officer);
    const beyond = await directory.client('H41.33', ['agencies:read']);
    const district = await directory.client('H41.32', roles.administrator);
    const disabled = await make('đã khóa');
    await supertest(directory.app).delete(`/v1/clients/${disabled.id}`).set('Authorization', admin.bearer).expect(204);
    for (const [id, by, status, code] of [
      [officer.id, admin, 403, 'client_beyond_reach'],
      [beyond.id, district, 404, 'client_not_found'],
      [admin.id, district, 404, 'client_not_found'],
      [disabled.id, admin, 422, 'client_disabled'],
    ] as const) {
      const before = await rowOf(id);
      for (const answer of [await patch(id, { name: 'không được' }, by), await renew(id, by)])
        expect([answer.status, answer.body.code]).toEqual([status, code]);
      expect(await rowOf(id)).toEqual(before);
    }
    const removed = await supertest(directory.app)
      .delete(`/v1/clients/${officer.id}`)
      .set('Authorization', admin.bearer);
    expect([removed.status, removed.body.code]).toEqual([403, 'client_beyond_reach']);
    const mine = await make('không ra ngoài');
    expect((await patch(mine.id, { agencyCode: 'H41.33' }, district)).status).toBe(404);
    expect((await patch(mine.id, { role: 'platform_administrator' })).status).toBe(422);
    expect(await rowOf(mine.id)).toMatchObject({ agency_code: 'H41.32', role: 'requester', version: 1 });
  });

  it('whose secret somebody was shown asks for nothing that they approve', async () => {
    const { id } = await make('người hỏi');
    const other = await directory.client('H41', roles.administrator);
    await renew(id, other).expect(201);
    const asker = {
      id,
      name: '',
      secret: '',
      bearer: await directory.authority.bearer({ id, agency: 'H41.32', permissions: ['requests:submit'] }),
    };
    const request = await directory.submit(asker, 'H41.32', [personLine('Trần Văn An')]);
    const refused = await supertest(directory.app)
      .post(`/v1/requests/${request.id}/approve`)
      .set('Authorization', other.bearer)
      .send({});
    expect([refused.status, refused.body.code]).toEqual([403, 'own_client']);
  });
});

describe('set up from outside', () => {
  it('makes a client once, and brings it to the same form again with another secret', async () => {
    const set = (secret: string) =>
      setUpClient(directory.database, {
        name: 'IT admin',
        agencyCode: 'H41',
        permissions: roles.administrator,
        secret,
      });
    const id = await set('a'.repeat(32));
    await token(grant, basic(id, 'a'.repeat(32))).expect(200);
    expect(await set('b'.repeat(32))).toBe(id);
    await token(grant, basic(id, 'a'.repeat(32))).expect(401);
    await token(grant, basic(id, 'b'.repeat(32))).expect(200);
    const events = await directory.owner('directory.audit_events').where({ subject_id: id });
    expect(events).toMatchObject([{ action: 'client.set_up', actor_kind: 'system' }, { action: 'client.set_up' }]);
    expect(JSON.stringify(events)).not.toContain('bbbb');
  });
});
