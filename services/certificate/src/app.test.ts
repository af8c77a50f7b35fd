import { createHash } from 'node:crypto';
import { Certificate, Enrolment, type Permission, permissions } from '@congvu/contracts';
import { insertRequest, type TestAccount } from '@congvu/database/testing';
import { openApiFaults } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { fromPem, toPem } from './authority/certificate.ts';
import { publishCrl } from './revocation/publish-crl.ts';
import { startTestCertificates, type TestCertificates } from './testing.ts';

let service: TestCertificates;
let requestId: string;
let [byRequest, inCommune, inDepartment]: TestAccount[] = [];
const serials = new Map<string, string>();
beforeAll(async () => {
  service = await startTestCertificates();
  requestId = await insertRequest(service.owner, { agencyCode: 'H41.12' });
  byRequest = await service.account({ requestId });
  inCommune = await service.account({ agencyCode: 'H41.12.05', displayName: '=1+1 Điền' });
  inDepartment = await service.account({ agencyCode: 'H41.02' });
  for (const account of [byRequest, inCommune, inDepartment]) {
    await service.converge(account);
    serials.set(account.id, (await service.certificates(account))[0]!.serial_number.toString('hex'));
  }
});
afterAll(() => service.stop());

const serialOf = (account: TestAccount | undefined) => serials.get(account!.id)!;
type Claims = Parameters<TestCertificates['tokens']['bearer']>[0];
const get = async (path: string, claims: Claims = {}, accept = 'application/json') =>
  supertest(service.app)
    .get(path)
    .set('Authorization', await service.tokens.bearer({ permissions: ['certificates:read'], ...claims }))
    .set('Accept', accept);
const holder = (account: TestAccount | undefined): Claims => ({ kind: 'holder', id: account!.id, permissions: [] });
const revoke = async (serialNumber: string, body: object, claims: Claims = {}) =>
  supertest(service.app)
    .post(`/v1/certificates/${serialNumber}/revoke`)
    .set('Authorization', await service.tokens.bearer({ permissions: ['certificates:revoke'], ...claims }))
    .send(body);

describe('who may', () => {
  type Needs = readonly (Permission | 'holder')[] | 'public';
  /** Every route there is; one that is added needs its row. */
  const table: readonly [method: 'get' | 'post', path: string, needs: Needs][] = [
    ['get', '/v1/enrolments', ['holder', 'certificates:read', 'certificates:enrol']],
    ['get', '/v1/enrolments/{id}', ['holder', 'certificates:read', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/csr', ['holder', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/pickup', ['holder']],
    ['get', '/v1/certificates', ['holder', 'certificates:read']],
    ['get', '/v1/certificates/{serialNumber}', ['holder', 'certificates:read']],
    ['post', '/v1/certificates/{serialNumber}/revoke', ['certificates:revoke']],
    ['get', '/crl/{file}', 'public'],
    ['get', '/ca/{file}', 'public'],
  ];
  const guarded = table.flatMap(([method, path, needs]) =>
    needs === 'public' ? [] : [[method, path, needs] as const],
  );

  test('the table names every route, and the document says the same of who may', async () => {
    const { paths } = (await supertest(service.app).get('/openapi.json')).body;
    const routes = Object.entries(paths as Record<string, Record<string, { security: Record<string, string[]>[] }>>)
      .flatMap(([path, methods]) =>
        Object.entries(methods).map(([method, { security }]) => [
          `${method} ${path}`,
          security.map((one) => ('holder' in one ? 'holder' : one.oauth2![0])),
        ]),
      )
      .sort();
    expect(routes).toEqual(
      table.map(([method, path, needs]) => [`${method} ${path}`, needs === 'public' ? [] : needs]).sort(),
    );
  });

  test('the document is sound', async () => {
    expect(openApiFaults((await supertest(service.app).get('/openapi.json')).body)).toEqual([]);
  });

  describe.each(guarded)('%s %s', (method, path, needs) => {
    const call = (authorization?: string) => {
      const url = path.replace('{id}', crypto.randomUUID()).replace('{serialNumber}', '01ff');
      const request = supertest(service.app)[method](url);
      return authorization ? request.set('Authorization', authorization) : request;
    };
    const { bearer } = { bearer: (claims: Claims) => service.tokens.bearer(claims) };
    const expectPassed = async (claims: Claims) =>
      // What comes next is the input, or the enrolment that is not there: never 401 or 403.
      expect([200, 400, 404]).toContain((await call(await bearer(claims))).status);

    test('nobody without a token, or with a wrong one', async () => {
      expect((await call()).body).toMatchObject({ status: 401, code: 'token_missing' });
      expect((await call('Bearer x.y.z')).body).toMatchObject({ status: 401, code: 'token_invalid' });
      const all = { permissions };
      expect((await call(await bearer({ ...all, expiresIn: '-1 minute' }))).body).toMatchObject({
        status: 401,
        code: 'token_expired',
      });
      expect((await call(await bearer({ ...all, issuer: 'https://elsewhere' }))).body.status).toBe(401);
    });

    test('nobody with every other permission; somebody with each of its own alone', async () => {
      const others = permissions.filter((one) => !needs.includes(one));
      expect((await call(await bearer({ permissions: others }))).body).toMatchObject({
        status: 403,
        code: 'permission_missing',
      });
      for (const one of needs) {
        if (one === 'holder') await expectPassed({ kind: 'holder', id: byRequest!.id });
        else await expectPassed({ permissions: [one] });
      }
      if (!needs.includes('holder'))
        expect((await call(await bearer({ kind: 'holder', id: byRequest!.id }))).status).toBe(403);
    });
  });
});

describe('the department beside, with every permission, on what belongs to the district', () => {
  const serialNumber = () => serialOf(byRequest);
  /** Every guarded route there is; one that is added needs its row: what is asked, and 404 or 403, or 200 with nothing of the district. */
  const attempts: Record<string, [path: () => string, status: 200 | 403 | 404, body?: object][]> = {
    'get /v1/enrolments': [
      [() => '/v1/enrolments?limit=500', 200],
      [() => `/v1/enrolments?accountId=${byRequest!.id}`, 200],
    ],
    'get /v1/enrolments/{id}': [[() => `/v1/enrolments/${enrolmentId}`, 404]],
    'post /v1/enrolments/{id}/csr': [[() => `/v1/enrolments/${enrolmentId}/csr`, 404, { csr: 'x' }]],
    // For holders alone.
    'post /v1/enrolments/{id}/pickup': [[() => `/v1/enrolments/${enrolmentId}/pickup`, 403, {}]],
    'get /v1/certificates': [
      [() => '/v1/certificates?limit=500', 200],
      [() => `/v1/certificates?accountId=${byRequest!.id}`, 200],
      [() => `/v1/certificates?requestId=${requestId}`, 200],
      [() => `/v1/certificates?address=${byRequest!.address}`, 200],
    ],
    'get /v1/certificates/{serialNumber}': [[() => `/v1/certificates/${serialNumber()}`, 404]],
    'post /v1/certificates/{serialNumber}/revoke': [
      [() => `/v1/certificates/${serialNumber()}/revoke`, 404, { reason: 'superseded' }],
    ],
  };
  let enrolmentId: string;
  beforeAll(async () => {
    enrolmentId = (await service.owner('certificate.enrolments').where({ account_id: byRequest!.id }).first('id')).id;
  });

  test('there is a row for every guarded route', async () => {
    const { paths } = (await supertest(service.app).get('/openapi.json')).body;
    const routes = Object.entries(paths as Record<string, Record<string, { security: object[] }>>).flatMap(
      ([path, methods]) =>
        Object.entries(methods).flatMap(([method, { security }]) => (security.length > 0 ? [`${method} ${path}`] : [])),
    );
    expect(Object.keys(attempts).sort()).toEqual(routes.sort());
  });

  test.each(Object.entries(attempts))('%s', async (name, tried) => {
    const record = async () => [
      await service.owner('certificate.enrolments').orderBy('id'),
      await service.owner('certificate.certificates').orderBy('id'),
      await service.owner('directory.audit_events').orderBy('id'),
    ];
    const before = await record();
    for (const [path, status, body] of tried) {
      const bearer = await service.tokens.bearer({ agency: 'H41.02', permissions });
      const request = supertest(service.app)[name.split(' ')[0] as 'get' | 'post'](path()).set('Authorization', bearer);
      const answer = await (body ? request.send(body) : request);
      expect([path(), answer.status]).toEqual([path(), status]);
      const items: object[] = status === 200 ? answer.body.items : [];
      for (const account of [byRequest, inCommune])
        expect(items.filter((item) => JSON.stringify(item).includes(account!.id))).toEqual([]);
    }
    expect(await record()).toEqual(before);
  });
});

describe('the register', () => {
  const ids = (answer: supertest.Response) => answer.body.items.map((one: Certificate) => one.accountId).sort();
  const of = (...accounts: (TestAccount | undefined)[]) => accounts.map((one) => one!.id).sort();

  test('says of every certificate where it came from', async () => {
    const { body } = await get('/v1/certificates');
    expect(body.items.map((one: unknown) => Certificate.parse(one))).toEqual(body.items);
    const one = body.items.find((item: Certificate) => item.accountId === byRequest!.id);
    const [row] = await service.certificates(byRequest!);
    expect(one).toMatchObject({
      serialNumber: serialOf(byRequest),
      issuer: service.authority.name,
      state: 'valid',
      path: 'server_key',
      requestId,
      submittedBy: expect.stringContaining('Người gửi'),
      approvedBy: expect.stringContaining('Người duyệt'),
      decisionNumber: '15/QĐ-UBND',
      fingerprintSha256: createHash('sha256').update(row!.certificate!).digest('hex'),
      pickedUpAt: null,
    });
  });

  test('an agency sees itself and what lies below, a holder the own, whatever is filtered', async () => {
    expect(ids(await get('/v1/certificates', { agency: 'H41' }))).toEqual(of(byRequest, inCommune, inDepartment));
    expect(ids(await get('/v1/certificates', { agency: 'H41.12' }))).toEqual(of(byRequest, inCommune));
    expect(ids(await get('/v1/certificates', { agency: 'H41.02' }))).toEqual(of(inDepartment));
    expect(ids(await get('/v1/certificates', holder(inCommune)))).toEqual(of(inCommune));
    expect(ids(await get(`/v1/certificates?accountId=${byRequest!.id}`, holder(inCommune)))).toEqual([]);
    expect(ids(await get(`/v1/certificates?accountId=${inCommune!.id}`))).toEqual(of(inCommune));
    expect(ids(await get(`/v1/certificates?requestId=${requestId}`))).toEqual(of(byRequest));
    expect(ids(await get(`/v1/certificates?address=${inCommune!.address}`))).toEqual(of(inCommune));
    expect(ids(await get('/v1/certificates?state=revoked', { agency: 'H41.12' }))).toEqual([]);
  });

  test('page by page every row comes once; a made-up cursor is a fault', async () => {
    const seen: string[] = [];
    let next = '/v1/certificates?limit=1';
    for (let pages = 0; next !== ''; pages++) {
      if (pages > 5) throw new Error('the list does not end');
      const answer = await get(next);
      seen.push(...ids(answer));
      next = /^<(.*)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1] ?? '';
    }
    expect(seen.sort()).toEqual(of(byRequest, inCommune, inDepartment));
    const cursor = Buffer.from('["a","b"]').toString('base64url');
    for (const list of ['certificates', 'enrolments'])
      expect((await get(`/v1/${list}?cursor=${cursor}`)).body).toMatchObject({ status: 422, code: 'cursor_invalid' });
  });

  test('as CSV', async () => {
    const answer = await get('/v1/certificates?limit=1', {}, 'text/csv');
    expect(answer.text.split('\r\n')).toHaveLength(5);
    expect(answer.text.split('\r\n')[0]).toBe(`\uFEFF${Object.keys(Certificate.shape).join(',')}`);
    expect(answer.text).toContain(",'=1+1 Điền,");
  });

  test('one, in either spelling of its serial number, as JSON or as PEM with its chain', async () => {
    const serialNumber = serialOf(inCommune);
    for (const spelling of [serialNumber, serialNumber.toUpperCase()])
      expect((await get(`/v1/certificates/${spelling}`)).body.accountId).toBe(inCommune!.id);
    const pem = await get(`/v1/certificates/${serialNumber}`, {}, 'application/pem-certificate-chain');
    expect(pem.headers['content-type']).toBe('application/pem-certificate-chain');
    const text = pem.text ?? pem.body.toString();
    expect(text.match(/BEGIN CERTIFICATE/g)).toHaveLength(3);
    expect(service.verify(fromPem('CERTIFICATE', text))).toContain('OK');
    expect((await get(`/v1/certificates/${serialNumber}`, { agency: 'H41.02' })).body).toMatchObject({
      status: 404,
      code: 'certificate_not_found',
    });
    expect((await get(`/v1/certificates/${serialNumber}`, holder(byRequest))).status).toBe(404);
    for (const wrong of ['1', 'xyz', '0x01', '01:02', 'a'.repeat(42)])
      expect((await get(`/v1/certificates/${wrong}`)).body).toMatchObject({
        status: 422,
        errors: [{ pointer: 'path/serialNumber' }],
      });
  });

  test('enrolments: the same scope, and nothing of a key', async () => {
    const { body } = await get('/v1/enrolments', { agency: 'H41.12' });
    expect(body.items.map((one: unknown) => Enrolment.parse(one))).toEqual(body.items);
    expect(ids({ body } as supertest.Response)).toEqual(of(byRequest, inCommune));
    expect(ids(await get('/v1/enrolments', holder(inCommune)))).toEqual(of(inCommune));
    expect(ids(await get('/v1/enrolments?state=issued'))).toEqual([]);
    const { id } = body.items[0];
    const one = await get(`/v1/enrolments/${id}`);
    expect(one.body).toEqual(body.items[0]);
    expect(one.text).not.toMatch(/privateKey|publicKey|wrapped/i);
    expect((await get(`/v1/enrolments/${id}`, { agency: 'H41.02' })).status).toBe(404);
  });
});

describe('revoking', () => {
  const made = async () => {
    const account = await service.account();
    await service.converge(account);
    return { account, serialNumber: (await service.certificates(account))[0]!.serial_number.toString('hex') };
  };

  test('by an administrator, with a reason, on record with who did it', async () => {
    const { account, serialNumber } = await made();
    const answer = await revoke(serialNumber, { reason: 'keyCompromise' }, { id: crypto.randomUUID() });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ serialNumber, state: 'revoked', revocationReason: 'keyCompromise' });
    expect(Date.parse(answer.body.revokedAt)).toBeGreaterThan(Date.now() - 60_000);
    expect(await service.queued()).toEqual(
      expect.arrayContaining([`crl:${service.authority.id}`, `certificates:${account.id}`]),
    );
    const event = await service
      .owner('directory.audit_events')
      .where({ subject_id: account.id })
      .orderBy('id', 'desc')
      .first();
    expect(event).toMatchObject({
      actor_kind: 'client',
      action: 'certificate.revoked',
      source_ip: expect.stringMatching(/127\.0\.0\.1/),
      before: { state: 'valid' },
      after: { serialNumber, reason: 'keyCompromise' },
    });
    expect((await revoke(serialNumber, { reason: 'superseded' })).body).toMatchObject({
      status: 409,
      code: 'certificate_state',
      detail: 'The certificate is revoked already.',
    });
    expect((await get(`/v1/certificates/${serialNumber}`)).body.revocationReason).toBe('keyCompromise');
  });

  test('twice at once: one of the two', async () => {
    const { account, serialNumber } = await made();
    const answers = await Promise.all([1, 2, 3].map(() => revoke(serialNumber, { reason: 'superseded' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
    expect((await service.actions(account)).filter((action) => action === 'certificate.revoked')).toHaveLength(1);
  });

  test.each(['certificateHold', 'cACompromise', 'removeFromCRL', 'none', 4, undefined])(
    'the reason %s is not for this',
    async (reason) => {
      const { serialNumber } = await made();
      expect((await revoke(serialNumber, { reason })).body).toMatchObject({
        status: 422,
        errors: [{ pointer: '/reason' }],
      });
    },
  );

  test('nobody beyond the own agency, nothing that is not there', async () => {
    const { serialNumber } = await made();
    expect((await revoke(serialNumber, { reason: 'superseded' }, { agency: 'H41.02' })).status).toBe(404);
    expect((await revoke('01ff', { reason: 'superseded' })).status).toBe(404);
    expect((await get(`/v1/certificates/${serialNumber}`)).body.state).toBe('valid');
  });

  test('while it is being made: later', async () => {
    const account = await service.account();
    const allow = await service.forbid('update', 'certificate.certificates');
    await service.converge(account).catch(() => undefined);
    await allow();
    const [row] = await service.certificates(account);
    expect((await revoke(row!.serial_number.toString('hex'), { reason: 'superseded' })).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('just being made'),
    });
  });
});

describe('what everybody may read', () => {
  const fetch = (path: string) =>
    supertest(service.app)
      .get(path)
      .buffer(true)
      .parse((response, done) => {
        const parts: Buffer[] = [];
        response.on('data', (part: Buffer) => parts.push(part));
        response.on('end', () => done(null, Buffer.concat(parts)));
      });

  test('CRLs, with the headers that caches need', async () => {
    const path = `/crl/${service.authority.name}.crl`;
    await service.owner('certificate.crls').delete();
    expect((await fetch(path)).status).toBe(404); // none was made yet
    await publishCrl(service, service.authority.id, true);
    const answer = await fetch(path);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/pkix-crl',
      'cache-control': 'public, max-age=60',
      'last-modified': expect.stringMatching(/GMT$/),
    });
    service.judge.write('issuing.crl', toPem('X509 CRL', answer.body));
    service.judge.run('crl', '-in', 'issuing.crl', '-CAfile', 'authorities/issuing.crt.pem', '-noout');
    service.judge.write('root.crl', toPem('X509 CRL', (await fetch('/crl/root.crl')).body));
    service.judge.run('crl', '-in', 'root.crl', '-CAfile', 'authorities/root.crt.pem', '-noout');
  });

  test('CA certificates: the whole chain as its URLs say', async () => {
    const issuing = await fetch(`/ca/${service.authority.name}.crt`);
    expect(issuing.headers).toMatchObject({
      'content-type': 'application/pkix-cert',
      'cache-control': 'public, max-age=86400',
    });
    expect(issuing.body).toEqual(service.authority.chain[0]);
    expect((await fetch('/ca/root.crt')).body).toEqual(service.authorities.root.certificate);
  });

  test.each(['/crl/root.crt', '/crl/other.crl', '/ca/root.crl', '/ca/other.crt'])('%s: there is none', async (path) => {
    expect(JSON.parse((await fetch(path)).body)).toMatchObject({ status: 404, code: 'no_such_authority' });
  });

  test.each(['/crl/constructor', '/ca/__proto__.crt', '/crl/..%2Froot.crl', '/ca/ROOT.crt', '/crl/a%00.crl'])(
    '%s: no such name',
    async (path) => {
      expect(JSON.parse((await fetch(path)).body)).toMatchObject({ status: 422, code: 'request_invalid' });
    },
  );

  test('ready with database and LDAP', async () => {
    expect((await supertest(service.app).get('/readyz')).body).toEqual({
      status: 'ok',
      checks: { database: 'ok', ldap: 'ok' },
    });
  });
});
