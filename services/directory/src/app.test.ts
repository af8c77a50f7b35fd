/** Who may enter where: every route of the app, named by its own OpenAPI document, against every kind of wrong token. */

import { type Permission, permissions } from '@congvu/contracts';
import { tokenAudience, tokenAuthentication } from '@congvu/http';
import { createTestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type CryptoKey, createLocalJWKSet, exportJWK, exportSPKI, generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import supertest from 'supertest';
import { startTestDirectory, type TestDirectory } from './testing.ts';

const id = '6f1e5f0c-8f57-4c3e-9a10-4a3c6de0a001';

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';
/** Every route there is. A route that is added needs its row here, and a permission that is changed its change. */
const table: readonly [method: Method, path: string, needs: readonly Permission[] | 'public'][] = [
  ['post', '/oauth/token', 'public'],
  ['get', '/.well-known/jwks.json', 'public'],
  ['get', '/.well-known/oauth-authorization-server', 'public'],
  ['post', '/v1/clients', ['clients:write']],
  ['get', '/v1/clients', ['clients:write']],
  ['get', '/v1/clients/{id}', ['clients:write']],
  ['patch', '/v1/clients/{id}', ['clients:write']],
  ['post', '/v1/clients/{id}/secret', ['clients:write']],
  ['delete', '/v1/clients/{id}', ['clients:write']],
  ['post', '/v1/agencies/import', ['agencies:write']],
  ['get', '/v1/agencies', ['agencies:read']],
  ['get', '/v1/agencies/{code}', ['agencies:read']],
  ['patch', '/v1/agencies/{code}', ['agencies:write']],
  ['get', '/v1/agencies/{code}/history', ['agencies:read']],
  ['get', '/v1/agencies/{code}/tree', ['agencies:read']],
  ['post', '/v1/requests', ['requests:submit']],
  ['get', '/v1/requests', ['requests:read', 'requests:approve']],
  ['get', '/v1/requests/{id}', ['requests:read', 'requests:approve']],
  ['post', '/v1/requests/{id}/approve', ['requests:approve']],
  ['post', '/v1/requests/{id}/reject', ['requests:approve']],
  ['post', '/v1/requests/{id}/cancel', ['requests:submit']],
  ['post', '/v1/requests/{id}/submit', ['requests:submit']],
  ['put', '/v1/requests/{id}', ['requests:submit']],
  ['post', '/v1/requests/{id}/return', ['requests:approve']],
  ['post', '/v1/requests/approve', ['requests:approve']],
  ['get', '/v1/requests/late-summary', ['requests:read', 'requests:approve']],
  ['get', '/v1/requests/{id}/lines', ['requests:read', 'requests:approve']],
  ['get', '/v1/requests/{id}/usernames', ['requests:read', 'requests:approve']],
  ['post', '/v1/sheets', ['requests:submit']],
  ['put', '/v1/requests/{id}/sheet', ['requests:submit']],
  ['get', '/v1/requests/{id}/sheet', ['requests:submit']],
  ['get', '/v1/accounts', ['accounts:read']],
  ['get', '/v1/accounts/{id}', ['accounts:read']],
  ['post', '/v1/accounts/{id}/suspend', ['accounts:write']],
  ['post', '/v1/accounts/{id}/resume', ['accounts:write']],
  ['post', '/v1/accounts/{id}/retire', ['accounts:write']],
  ['post', '/v1/accounts/{id}/reactivate', ['accounts:write']],
  ['post', '/v1/accounts/{id}/transfer', ['accounts:write']],
  ['put', '/v1/accounts/{id}/name', ['accounts:write']],
  ['put', '/v1/accounts/{id}/title', ['accounts:write']],
  ['put', '/v1/accounts/{id}/holder', ['accounts:write']],
  ['get', '/v1/accounts/{id}/holders', ['accounts:read']],
  ['post', '/v1/accounts/{id}/activation-code', ['activation-codes:issue', 'passwords:reset']],
  ['post', '/v1/accounts/{id}/unlock', ['passwords:reset']],
  ['post', '/v1/activation-slips', ['activation-codes:issue', 'passwords:reset']],
  ['post', '/v1/requests/{id}/activation-slips', ['activation-codes:issue', 'passwords:reset']],
  ['put', '/v1/password', 'public'],
  ['post', '/v1/activations', 'public'],
  ['post', '/v1/holder-tokens', 'public'],
  ['post', '/v1/service-accounts', ['service-accounts:write']],
  ['get', '/v1/service-accounts', ['service-accounts:write']],
  ['get', '/v1/service-accounts/{id}', ['service-accounts:write']],
  ['put', '/v1/service-accounts/{id}/read-scopes', ['service-accounts:write']],
  ['post', '/v1/service-accounts/{id}/secret', ['service-accounts:write']],
  ['post', '/v1/service-accounts/{id}/retire', ['service-accounts:write']],
  ['get', '/v1/audit-events', ['audit:read']],
  ['post', '/v1/reconciliations', ['reconciliations:write']],
  ['get', '/v1/reconciliations', ['reconciliations:read']],
  ['get', '/v1/reconciliations/{id}', ['reconciliations:read']],
  ['get', '/v1/reconciliations/{id}/findings', ['reconciliations:read']],
  ['post', '/v1/reconciliations/{id}/approve', ['reconciliations:write']],
  ['post', '/v1/reconciliations/{id}/cancel', ['reconciliations:write']],
];
const guarded = table.flatMap(([method, path, needs]) =>
  needs === 'public' ? [] : [{ name: `${method.toUpperCase()} ${path}`, method, path, needs }],
);

let directory: TestDirectory;
/** Authorization headers that are wrong, each in its own way. */
const wrong: { what: string; header: string | undefined; code: string; bearerError: string }[] = [];

const call = (method: Method, path: string, authorization: string | undefined) => {
  const url = path.replace('{id}', id).replace('{code}', 'H41');
  const request = supertest(directory.app)[method](url);
  return authorization === undefined ? request : request.set('Authorization', authorization);
};

beforeAll(async () => {
  directory = await startTestDirectory();
  const { authority } = directory;
  const good = { agency: 'H41', permissions };
  const refused = (what: string, header: string | undefined, code: string) => {
    const bearerError = code === 'token_missing' ? 'invalid_request' : 'invalid_token';
    wrong.push({ what, header, code, bearerError });
  };

  refused('no token', undefined, 'token_missing');
  refused('a word that is no token', 'Bearer garbage', 'token_invalid');
  refused('three parts of nothing', 'Bearer e30.e30.e30', 'token_invalid');
  refused('a password', `Basic ${Buffer.from('a:b').toString('base64')}`, 'token_invalid');
  refused('expired', await authority.bearer({ ...good, expiresIn: '-1 minute' }), 'token_expired');
  refused('another issuer', await authority.bearer({ ...good, issuer: 'https://elsewhere.test' }), 'token_invalid');
  refused('signed by another', await (await createTestAuthority()).bearer(good), 'token_invalid');

  const valid = await authority.bearer(good);
  const [header = '', payload = '', signature = ''] = valid.slice('Bearer '.length).split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString());
  const raised = Buffer.from(JSON.stringify({ ...claims, agency: 'H' })).toString('base64url');
  refused('altered after signing', `Bearer ${header}.${raised}.${signature}`, 'token_invalid');
  refused('without its signature', `Bearer ${header}.${payload}.A`, 'token_invalid');
  refused('alg none', `Bearer ${new UnsecuredJWT(claims).encode()}`, 'token_invalid');
  const none = Buffer.from('{"alg":"none","kid":"test","typ":"at+jwt"}').toString('base64url');
  refused('alg none with a signature', `Bearer ${none}.${payload}.${signature}`, 'token_invalid');
});
afterAll(() => directory.stop());

it('has a row for every route that the app has', async () => {
  const { body } = await supertest(directory.app).get('/openapi.json').expect(200);
  const documented = Object.entries(body.paths as Record<string, Record<string, { security: object[] }>>).flatMap(
    ([path, methods]) =>
      Object.entries(methods).map(([method, { security }]) => [
        method,
        path,
        security.length === 0 ? 'public' : security.flatMap((scheme) => Object.values(scheme).flat()),
      ]),
  );
  const sorted = (rows: readonly unknown[]) => rows.map((row) => JSON.stringify(row)).sort();
  expect(sorted(documented)).toEqual(sorted(table));
});

describe.each(guarded)('$name', ({ method, path, needs }) => {
  it('answers 401 to every token that is not a sound one', async () => {
    for (const { what, header, code, bearerError } of wrong) {
      const answer = await call(method, path, header);
      expect({ what, status: answer.status, code: answer.body.code }).toEqual({ what, status: 401, code });
      expect(answer.headers['www-authenticate']).toBe(`Bearer error="${bearerError}"`);
      expect(answer.type).toBe('application/problem+json');
    }
  });

  it('answers 403 to a client with every permission but its own', async () => {
    const others = permissions.filter((permission) => !needs.includes(permission));
    const answer = await call(method, path, await directory.authority.bearer({ permissions: others }));
    expect([answer.status, answer.body.code]).toEqual([403, 'permission_missing']);
  });

  it('answers 403 to a holder', async () => {
    const answer = await call(method, path, await directory.authority.bearer({ kind: 'holder', id }));
    expect([answer.status, answer.body.code]).toEqual([403, 'permission_missing']);
  });

  it.each(needs)('lets a client with %s alone go on', async (permission) => {
    const answer = await call(method, path, await directory.authority.bearer({ permissions: [permission] }));
    expect([401, 403, 500]).not.toContain(answer.status);
  });
});

it('looks at the token before it looks at the body', async () => {
  const answer = await supertest(directory.app).post('/v1/requests').type('application/json').send('{"broken');
  expect(answer.status).toBe(401);
});

it('refuses a token in which a single thing is wrong', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  const issuer = 'https://directory.test';
  const keys = createLocalJWKSet({ keys: [{ ...(await exportJWK(publicKey)), kid: 'one', alg: 'ES256' }] });
  const app = directory.appWith({ authenticate: tokenAuthentication({ issuer, keys }) });
  const now = Math.floor(Date.now() / 1_000);
  const sound = {
    header: { alg: 'ES256', kid: 'one', typ: 'at+jwt' },
    claims: {
      iss: issuer,
      aud: tokenAudience,
      sub: id,
      jti: 'x',
      iat: now,
      exp: now + 60,
      agency: 'H41',
      principal: 'client',
    },
    key: privateKey as CryptoKey | Uint8Array,
  };
  type Parts = typeof sound;
  const statusOf = async (change: (parts: Parts) => Partial<Parts>) => {
    const { header, claims, key } = { ...sound, ...change(sound) };
    const token = await new SignJWT({ ...claims, scope: 'agencies:read' }).setProtectedHeader(header).sign(key);
    return (await supertest(app).get('/v1/agencies').set('Authorization', `Bearer ${token}`)).status;
  };
  const claims = (changed: object) => (parts: Parts) => ({ claims: { ...parts.claims, ...changed } });
  expect(await statusOf((parts) => parts)).toBe(200);
  expect(await statusOf(claims({ aud: 'elsewhere' }))).toBe(401);
  expect(await statusOf(claims({ iss: 'https://elsewhere.test' }))).toBe(401);
  expect(await statusOf(claims({ exp: now - 60 }))).toBe(401);
  expect(await statusOf(claims({ exp: undefined }))).toBe(401);
  expect(await statusOf(claims({ jti: undefined }))).toBe(401);
  expect(await statusOf(claims({ agency: undefined }))).toBe(401);
  expect(await statusOf(({ header }) => ({ header: { ...header, typ: 'JWT' } }))).toBe(401);
  expect(await statusOf(({ header }) => ({ header: { ...header, kid: 'two' } }))).toBe(401);
  // The public key as an HMAC secret: what a verifier falls for that believes the header's alg.
  const secret = new TextEncoder().encode(await exportSPKI(publicKey));
  expect(await statusOf(({ header }) => ({ header: { ...header, alg: 'HS256' }, key: secret }))).toBe(401);
});

it('leaves nothing in the database after all these refusals', async () => {
  for (const name of ['agencies', 'requests', 'accounts', 'clients', 'audit_events']) {
    expect({ name, rows: await directory.owner(`directory.${name}`) }).toEqual({ name, rows: [] });
  }
});

it('says whether it lives and whether it can work, without a token', async () => {
  await supertest(directory.app).get('/healthz').expect(200, { status: 'ok' });
  const ready = { status: 'ok', checks: { database: 'ok', ldap: 'ok' } };
  await supertest(directory.app).get('/readyz').expect(200, ready);
});
