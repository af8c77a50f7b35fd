import { type ErrorKind, httpStatus, invalid, ServiceError } from '@congvu/errors';
import { beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { z } from 'zod';
import { createApp, createLog, type Route, route } from './index.ts';
import { createTestAuthority, type TestAuthority } from './testing.ts';

const Body = z.strictObject({
  name: z.string().trim().min(1, 'A name is needed.').max(20),
  lines: z.array(z.strictObject({ kind: z.enum(['a', 'b']), 'odd/na~me': z.number().optional() })).max(3),
});
const postgresError = () =>
  Object.assign(new Error('duplicate key value violates unique constraint "people_national_id_unique"'), {
    severity: 'ERROR',
    code: '23505',
    detail: 'Key (national_id)=(040190123456) already exists.',
    constraint: 'people_national_id_unique',
  });

const kinds = Object.keys(httpStatus) as ErrorKind[];
const routes: Route[] = [
  route({
    method: 'post',
    path: '/v1/things/{id}',
    summary: 'Makes a thing',
    permission: 'things:write',
    params: z.object({ id: z.uuid() }),
    query: z.strictObject({ limit: z.coerce.number().int().max(5).optional(), word: z.string().optional() }),
    body: Body,
    maxBodyBytes: 500,
    status: 201,
    response: Body,
    handle: async ({ body, ifMatchVersion, idempotencyKey }) => ({ body: { ...body, ifMatchVersion, idempotencyKey } }),
  }),
  route({
    method: 'post',
    path: '/v1/table',
    summary: 'Takes CSV',
    permission: 'things:write',
    consumes: 'text/csv',
    body: z.string(),
    handle: async ({ body }) => ({ body: { body } }),
  }),
  route({
    method: 'post',
    path: '/v1/wishes',
    summary: 'Takes a wish, or none',
    permission: 'things:write',
    body: z.strictObject({ wish: z.string().optional() }),
    handle: async ({ body }) => ({ body: { body } }),
  }),
  route({
    method: 'get',
    path: '/v1/mine',
    summary: 'Either',
    permission: ['holder', 'things:read'],
    handle: async ({ principal }) => ({ body: { kind: principal?.kind, id: principal?.id } }),
  }),
  ...kinds.map((kind) =>
    route({
      method: 'get',
      path: `/fail/${kind}`,
      summary: 'Fails',
      permission: 'public',
      handle: async () => {
        throw new ServiceError({
          kind,
          code: `test_${kind}`,
          detail: 'What is to be done.',
          cause: new Error('inner secret of the machine'),
          ...(kind === 'rate_limited' ? { retryAfterSeconds: 6.2 } : {}),
        });
      },
    }),
  ),
  route({
    method: 'get',
    path: '/fail/faults',
    summary: 'Fails',
    permission: 'public',
    handle: async () => {
      throw invalid('many', [
        { pointer: '/a', code: 'one', detail: 'First.' },
        { pointer: '/b', code: 'two', detail: 'Second.' },
      ]);
    },
  }),
  route({
    method: 'get',
    path: '/fail/unexpected',
    summary: 'Fails',
    permission: 'public',
    handle: async () => {
      throw postgresError();
    },
  }),
  route({
    method: 'get',
    path: '/fail/caused',
    summary: 'Fails',
    permission: 'public',
    handle: async () => {
      throw new ServiceError({ kind: 'unavailable', code: 'down', detail: 'Down.', cause: postgresError() });
    },
  }),
  route({
    method: 'get',
    path: '/fail/string',
    summary: 'Fails',
    permission: 'public',
    handle: async () => {
      throw 'not even an error';
    },
  }),
  route({
    method: 'get',
    path: '/stream',
    summary: 'Breaks half-way',
    permission: 'public',
    handle: async () => ({
      headers: { 'Content-Type': 'text/csv; charset=utf-8' },
      body: (async function* () {
        yield 'a,b\r\n';
        throw postgresError();
      })(),
    }),
  }),
  route({
    method: 'get',
    path: '/file',
    summary: 'A file',
    permission: 'public',
    produces: ['application/octet-stream'],
    handle: async () => ({
      headers: {
        'Content-Type': 'application/octet-stream',
        ETag: '"7"',
        'Last-Modified': 'Sun, 22 Nov 2026 03:00:00 GMT',
        'Cache-Control': 'public, max-age=60',
      },
      body: Buffer.from('file'),
    }),
  }),
];

let authority: TestAuthority;
let app: Express;
let lines: string[] = [];
beforeAll(async () => {
  authority = await createTestAuthority();
});
beforeEach(() => {
  lines = [];
  app = createApp({
    name: 'test',
    title: 'Test',
    description: 'Test',
    version: '1.0.0',
    tokenUrl: 'https://directory.test/oauth/token',
    log: createLog('test', 'debug', { write: (line) => void lines.push(line) }),
    authenticate: authority.authenticate,
    routes,
    readiness: { database: async () => undefined },
  });
});

const uuid = '6f1e5f0c-8f57-4c3e-9a10-4a3c6de0a001';
const bearer = (permissions: string[] = ['things:write']) => authority.bearer({ permissions });
const post = async (body: string | object, type = 'application/json', path = `/v1/things/${uuid}`) =>
  supertest(app)
    .post(path)
    .set('Authorization', await bearer())
    .set('Content-Type', type)
    .send(body);

function expectProblem(answer: supertest.Response, status: number, code: string) {
  expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
  expect(answer.status).toBe(status);
  expect(answer.body).toMatchObject({
    type: expect.stringMatching(/^urn:congvu:problem:/),
    title: expect.any(String),
    status,
    code,
    detail: expect.any(String),
    requestId: answer.headers['x-request-id'],
  });
}

describe('problem documents (RFC 9457)', () => {
  test.each(kinds)('%s', async (kind) => {
    const answer = await supertest(app).get(`/fail/${kind}`);
    expectProblem(answer, httpStatus[kind], `test_${kind}`);
    expect(answer.body).toMatchObject({ type: `urn:congvu:problem:test_${kind}`, detail: 'What is to be done.' });
    expect(answer.body.errors).toBeUndefined();
    expect(answer.text).not.toContain('inner secret');
    expect(lines.join('')).toContain('inner secret'); // the cause is for the log
    expect(answer.headers['retry-after']).toBe(kind === 'rate_limited' ? '7' : undefined);
    expect(answer.headers['www-authenticate']).toBe(
      kind === 'unauthenticated' ? 'Bearer error="invalid_token"' : undefined,
    );
  });

  test('every fault at once', async () => {
    const answer = await supertest(app).get('/fail/faults');
    expectProblem(answer, 422, 'many');
    expect(answer.body.errors).toEqual([
      { pointer: '/a', code: 'one', detail: 'First.' },
      { pointer: '/b', code: 'two', detail: 'Second.' },
    ]);
    expect(answer.body.detail).toMatch(/^2 faults.*First\./);
  });

  test.each(['/fail/unexpected', '/fail/string'])('%s shows the request id and nothing else', async (path) => {
    const answer = await supertest(app).get(path);
    expectProblem(answer, 500, 'internal');
    expect(answer.text).not.toMatch(/duplicate|040190123456|people|not even|\.ts/);
    expect(answer.body.detail).toContain(answer.headers['x-request-id']);
    expect(lines.join('')).toContain(answer.headers['x-request-id']);
  });

  test('the log of a database error names the constraint and shows no row', async () => {
    await supertest(app).get('/fail/unexpected');
    await supertest(app).get('/fail/caused');
    expect(lines.join('')).toContain('people_national_id_unique');
    expect(lines.join('')).not.toContain('040190123456');
  });

  test('a stream that breaks half-way is cut, not ended as if it were whole', async () => {
    await expect(supertest(app).get('/stream')).rejects.toThrow(/aborted|hang up/);
    expect(lines.join('')).not.toContain('040190123456');
  });

  test.each([
    ['get', '/nowhere'],
    ['post', '/nowhere'],
    ['delete', `/v1/things/${uuid}`],
    ['get', '/V1/MINE'],
  ] as const)('%s %s: there is nothing', async (method, path) => {
    expectProblem(await supertest(app)[method](path), 404, 'no_such_url');
  });

  test('a URL that cannot be decoded', async () => {
    const answer = await supertest(app)
      .post('/v1/things/%E0%A4%A')
      .set('Authorization', await bearer())
      .send({});
    expectProblem(answer, 400, 'malformed_request');
  });
});

describe('bodies', () => {
  const good = { name: ' Điền ', lines: [{ kind: 'a' }] };

  test('parsed once, and what the schema makes of it is what the handler gets', async () => {
    expect((await post(good)).body).toEqual({ name: 'Điền', lines: [{ kind: 'a' }] });
  });

  test('every fault of path, query, headers and body at once, each with its pointer', async () => {
    const answer = await supertest(app)
      .post('/v1/things/no-uuid?limit=9&wrod=x')
      .set('Authorization', await bearer())
      .set('If-Match', '5')
      .set('Idempotency-Key', 'has spaces')
      .send({ name: '  ', nmae: 'x', lines: [{ kind: 'a' }, { kind: 'c', 'odd/na~me': 'x', extra: 1 }] });
    expectProblem(answer, 422, 'request_invalid');
    expect(
      answer.body.errors.map((fault: { pointer: string; code: string }) => [fault.pointer, fault.code]).sort(),
    ).toEqual(
      [
        ['/lines/1/extra', 'unknown_field'],
        ['/lines/1/kind', 'invalid_value'],
        ['/lines/1/odd~1na~0me', 'invalid_type'],
        ['/name', 'too_small'],
        ['/nmae', 'unknown_field'],
        ['header/Idempotency-Key', 'format'],
        ['header/If-Match', 'format'],
        ['path/id', 'invalid_format'],
        ['query/limit', 'too_big'],
        ['query/wrod', 'unknown_field'],
      ].sort(),
    );
    expect(answer.body.errors).toContainEqual({ pointer: '/name', code: 'too_small', detail: 'A name is needed.' });
  });

  test.each<[string, string, string, number, string]>([
    ['no JSON', '{"name": ', 'application/json', 400, 'malformed_json'],
    ['a bare word', '"word"', 'application/json', 400, 'malformed_json'],
    ['another type', '<a/>', 'application/xml', 400, 'content_type'],
    ['a form', 'name=x', 'application/x-www-form-urlencoded', 400, 'content_type'],
    ['another character set', '{}', 'application/json; charset=iso-8859-1', 400, 'encoding_unsupported'],
    ['too large', JSON.stringify({ name: 'x'.repeat(600) }), 'application/json', 413, 'body_too_large'],
    ['an array', '[]', 'application/json', 422, 'request_invalid'],
  ])('%s', async (_what, body, type, status, code) => {
    expectProblem(await post(body, type), status, code);
  });

  test('none at all', async () => {
    const answer = await supertest(app)
      .post(`/v1/things/${uuid}`)
      .set('Authorization', await bearer());
    expectProblem(answer, 400, 'content_type');
  });

  test('none at all where every field may be left out', async () => {
    const answer = await supertest(app)
      .post('/v1/wishes')
      .set('Authorization', await bearer());
    expect([answer.status, answer.body]).toEqual([200, { body: {} }]);
    expectProblem(await post('<a/>', 'application/xml', '/v1/wishes'), 400, 'content_type');
    const document = await supertest(app).get('/openapi.json');
    expect(document.body.paths['/v1/wishes'].post.requestBody.required).toBe(false);
    expect(document.body.paths['/v1/things/{id}'].post.requestBody.required).toBe(true);
  });

  test('a body that says it is compressed in an unknown way', async () => {
    const answer = await supertest(app)
      .post(`/v1/things/${uuid}`)
      .set('Authorization', await bearer())
      .set('Content-Encoding', 'zip')
      .set('Content-Type', 'application/json')
      .send('{}');
    expectProblem(answer, 400, 'encoding_unsupported');
  });

  test('text goes where text is asked for', async () => {
    expect((await post('a,b\r\nĐ,2', 'text/csv; charset=utf-8', '/v1/table')).body).toEqual({ body: 'a,b\r\nĐ,2' });
    expectProblem(await post('{}', 'application/json', '/v1/table'), 400, 'content_type');
  });

  test('the NUL character, which PostgreSQL cannot store, is a fault wherever it stands', async () => {
    const answer = await supertest(app)
      .post(`/v1/things/${uuid}?word=a%00b`)
      .set('Authorization', await bearer())
      .send({ name: 'a\0b', lines: [] });
    expectProblem(answer, 422, 'request_invalid');
    expect(answer.body.errors).toMatchObject([
      { pointer: 'query/word', code: 'character' },
      { pointer: '/name', code: 'character' },
    ]);
    const table = await post('a\0b', 'text/csv', '/v1/table');
    expectProblem(table, 422, 'request_invalid');
    expect(table.body.errors).toMatchObject([{ pointer: '', code: 'character' }]);
  });

  test('keys that mean something to JavaScript are just unknown fields', async () => {
    const answer = await post('{"__proto__": {"polluted": true}, "constructor": 1, "name": "x", "lines": []}');
    expectProblem(answer, 422, 'request_invalid');
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  test.each([
    ['If-None-Match', '"7"', 304],
    ['If-None-Match', '"6", W/"7"', 304],
    ['If-None-Match', '"6"', 200],
    ['If-Modified-Since', 'Sun, 22 Nov 2026 03:00:00 GMT', 304],
    ['If-Modified-Since', 'Sun, 22 Nov 2026 02:59:59 GMT', 200],
    ['X-Other', '1', 200],
  ] as const)('a file is not sent again to whoever has it: %s: %s', async (name, value, status) => {
    const answer = await supertest(app).get('/file').set(name, value);
    expect([answer.status, answer.headers['content-length']]).toEqual([status, status === 200 ? '4' : undefined]);
    expect(answer.headers).toMatchObject({ etag: '"7"', 'cache-control': 'public, max-age=60' });
  });

  test('a version is named by its ETag', async () => {
    const put = async (tag: string) =>
      supertest(app)
        .post(`/v1/things/${uuid}`)
        .set('Authorization', await bearer())
        .set('If-Match', tag)
        .set('Idempotency-Key', uuid)
        .send(good);
    expect((await put('"7"')).body).toMatchObject({ ifMatchVersion: 7, idempotencyKey: uuid });
    expect((await put('*')).body.ifMatchVersion).toBeUndefined();
    expect((await put('W/"7"')).status).toBe(422);
  });
});

describe('who may', () => {
  test('a stranger is sent away before the body is read', async () => {
    const answer = await supertest(app)
      .post(`/v1/things/${uuid}`)
      .set('Content-Type', 'application/json')
      .send('x'.repeat(10_000));
    expectProblem(answer, 401, 'token_missing');
    expect(answer.headers['www-authenticate']).toBe('Bearer error="invalid_request"');
  });

  test.each<[string, () => Promise<string>, number, string]>([
    ['not a token', async () => 'Bearer abc', 401, 'token_invalid'],
    ['another scheme', async () => 'Basic YTpi', 401, 'token_invalid'],
    [
      'expired',
      () => authority.bearer({ permissions: ['things:write'], expiresIn: '-1 minute' }),
      401,
      'token_expired',
    ],
    [
      'another issuer',
      () => authority.bearer({ permissions: ['things:write'], issuer: 'https://x' }),
      401,
      'token_invalid',
    ],
    [
      'another key',
      async () => (await createTestAuthority()).bearer({ permissions: ['things:write'] }),
      401,
      'token_invalid',
    ],
    [
      'altered',
      async () => (await bearer()).replace(/\.([^.]+)\./, (_all, payload) => `.${payload.slice(0, -2)}AA.`),
      401,
      'token_invalid',
    ],
    ['another permission', () => bearer(['things:read']), 403, 'permission_missing'],
    ['a permission that only begins so', () => bearer(['things:write:all']), 403, 'permission_missing'],
    ['a holder', () => authority.bearer({ kind: 'holder' }), 403, 'permission_missing'],
  ])('%s', async (_what, token, status, code) => {
    const answer = await supertest(app)
      .post(`/v1/things/${uuid}`)
      .set('Authorization', await token())
      .send({});
    expectProblem(answer, status, code);
  });

  test('either of two: a holder, or a client with the permission, and no other', async () => {
    const get = (token: string) => supertest(app).get('/v1/mine').set('Authorization', token);
    expect((await get(await authority.bearer({ kind: 'holder', id: uuid }))).body).toEqual({
      kind: 'holder',
      id: uuid,
    });
    expect((await get(await bearer(['things:read']))).body.kind).toBe('client');
    expectProblem(await get(await bearer(['holder'])), 403, 'permission_missing');
    expectProblem(await get(await bearer()), 403, 'permission_missing');
  });
});

describe('what is logged', () => {
  test('no query, no header, no body', async () => {
    const token = await bearer();
    await supertest(app)
      .post(`/v1/things/${uuid}?word=QUERYSECRET`)
      .set('Authorization', token)
      .set('X-Api-Key', 'HEADERSECRET')
      .send({ name: 'BODYSECRET', lines: [] });
    const logged = lines.join('');
    expect(logged).toContain(`/v1/things/${uuid}`);
    expect(logged).not.toMatch(/QUERYSECRET|HEADERSECRET|BODYSECRET/);
    expect(logged).not.toContain(token.slice(20));
  });
});

describe('health', () => {
  const withChecks = (readiness: Record<string, () => Promise<unknown>>) =>
    createApp({
      name: 'test',
      title: 'Test',
      description: 'Test',
      version: '1.0.0',
      tokenUrl: 'https://directory.test/oauth/token',
      log: pino({ level: 'silent' }),
      authenticate: authority.authenticate,
      routes: [],
      readiness,
    });
  const fine = async () => undefined;

  test('ready when every part answers', async () => {
    const answer = await supertest(withChecks({ database: fine, ldap: fine })).get('/readyz');
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({ status: 'ok', checks: { database: 'ok', ldap: 'ok' } });
  });

  test('not ready when one fails or hangs, and it is named, without why', async () => {
    const checks = {
      database: fine,
      ldap: async () => {
        throw new Error('cn=secret');
      },
      mail: () => new Promise(() => undefined),
    };
    const answer = await supertest(withChecks(checks)).get('/readyz');
    expect(answer.status).toBe(503);
    expect(answer.body).toEqual({
      status: 'unavailable',
      checks: { database: 'ok', ldap: 'unavailable', mail: 'unavailable' },
    });
    expect((await supertest(withChecks(checks)).get('/healthz')).body).toEqual({ status: 'ok' });
  });

  test('metrics count by route, not by URL', async () => {
    await post({ name: 'x', lines: [] });
    await supertest(app).get(`/${uuid}`);
    const { text } = await supertest(app).get('/metrics');
    expect(text).toMatch(
      /http_request_duration_seconds_count\{method="POST",route="\/v1\/things\/:id",status="201"\} 1/,
    );
    expect(text).toContain('route="none",status="404"');
    expect(text).not.toContain(uuid);
  });

  test('the documentation page and its security headers', async () => {
    const page = await supertest(app).get('/docs/');
    expect(page.status).toBe(200);
    expect(page.headers['content-security-policy']).toContain("default-src 'self'");
    expect(page.headers['x-powered-by']).toBeUndefined();
    expect((await supertest(app).get('/docs/swagger-initializer.js')).text).toContain('/openapi.json');
  });
});
