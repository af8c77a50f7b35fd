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
  const table: readonly [method: 'get' | 'post' | 'put' | 'delete', path: string, needs: Needs][] = [
    ['get', '/v1/authorities', ['holder', 'certificates:read', 'certificates:enrol']],
    ['get', '/v1/profiles', ['holder', 'certificates:read', 'certificates:enrol']],
    ['get', '/v1/enrolments', ['holder', 'certificates:read', 'certificates:enrol']],
    ['get', '/v1/enrolments/{id}', ['holder', 'certificates:read', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/csr', ['holder', 'certificates:enrol']],
    ['post', '/v1/enrolments', ['holder', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/approve', ['certificates:approve']],
    ['post', '/v1/enrolments/{id}/reject', ['certificates:approve']],
    ['post', '/v1/enrolments/{id}/withdraw', ['holder', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/pickup', ['holder', 'certificates:enrol']],
    ['post', '/v1/enrolments/{id}/passphrase', ['holder']],
    ['post', '/v1/enrolments/bulk-csr', ['certificates:enrol']],
    ['post', '/v1/requests/{id}/enrolments', ['certificates:enrol']],
    ['post', '/v1/requests/{id}/pickup', ['certificates:enrol']],
    ['post', '/v1/certificates/{serialNumber}/renew', ['holder', 'certificates:enrol']],
    ['post', '/v1/compromised-keys', ['certificates:revoke']],
    ['get', '/v1/recovery-officers', ['keys:recover', 'certificates:approve', 'certificates:read']],
    ['post', '/v1/recovery-officers', ['keys:recover']],
    ['post', '/v1/recovery-officers/{id}/proof', ['keys:recover']],
    ['post', '/v1/recovery-officers/{id}/approve', ['certificates:approve']],
    ['post', '/v1/recovery-officers/{id}/retire', ['certificates:approve']],
    ['get', '/v1/recoveries', ['keys:recover', 'audit:read']],
    ['get', '/v1/recoveries/{id}', ['keys:recover', 'audit:read']],
    ['post', '/v1/recoveries', ['keys:recover']],
    ['post', '/v1/recoveries/{id}/confirm', ['keys:recover']],
    ['post', '/v1/recoveries/{id}/cancel', ['keys:recover']],
    ['post', '/v1/recoveries/{id}/shares', ['keys:recover']],
    ['get', '/v1/certificates', ['holder', 'certificates:read']],
    ['get', '/v1/certificates/counts', ['certificates:read']],
    ['get', '/v1/certificates/by-fingerprint/{sha256}', ['holder', 'certificates:read']],
    ['get', '/v1/certificates/{serialNumber}', ['holder', 'certificates:read']],
    ['post', '/v1/certificates/{serialNumber}/revoke', ['holder', 'certificates:enrol', 'certificates:revoke']],
    ['post', '/v1/certificates/{serialNumber}/release-hold', ['certificates:revoke']],
    ['delete', '/v1/certificates/{serialNumber}/scheduled-revocation', ['certificates:enrol', 'certificates:revoke']],
    ['get', '/v1/external-credentials', ['certificates:read']],
    ['post', '/v1/external-credentials', ['external-credentials:write']],
    ['get', '/v1/external-credentials/{id}', ['certificates:read']],
    ['put', '/v1/external-credentials/{id}', ['external-credentials:write']],
    ['post', '/v1/external-credentials/{id}/send', ['external-credentials:write']],
    ['post', '/v1/external-credentials/{id}/return', ['external-credentials:write']],
    ['post', '/v1/external-credentials/{id}/cancel', ['external-credentials:write']],
    ['post', '/v1/external-credentials/{id}/certificate', ['external-credentials:write']],
    ['post', '/v1/external-credentials/{id}/revoke', ['external-credentials:write']],
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
      const url = path
        .replace('{id}', crypto.randomUUID())
        .replace('{serialNumber}', '01ff')
        .replace('{sha256}', '0f'.repeat(32));
      const request = supertest(service.app)[method](url);
      return authorization ? request.set('Authorization', authorization) : request;
    };
    const { bearer } = { bearer: (claims: Claims) => service.tokens.bearer(claims) };
    const expectPassed = async (claims: Claims) =>
      // What comes next is the input, or the enrolment that is not there: never 401 or 403.
      expect([200, 400, 404, 409, 422]).toContain((await call(await bearer(claims))).status);

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
  const externalId = crypto.randomUUID();
  const ofTheProvince = { certificate: '' };
  const ofTheDistrict = { accountId: '', form: { kind: 'individual' } };
  /** Every guarded route there is; one that is added needs its row: what is asked, and 404 or 403, or 200 with nothing of the district. */
  const attempts: Record<
    string,
    [path: () => string, status: 200 | 403 | 404 | 422, body?: object | (() => object)][]
  > = {
    // The same for everybody: nothing of an account.
    'get /v1/authorities': [[() => '/v1/authorities', 200]],
    'get /v1/profiles': [[() => '/v1/profiles', 200]],
    'get /v1/enrolments': [
      [() => '/v1/enrolments?limit=500', 200],
      [() => `/v1/enrolments?accountId=${byRequest!.id}`, 200],
    ],
    'get /v1/enrolments/{id}': [[() => `/v1/enrolments/${enrolmentId}`, 404]],
    'post /v1/enrolments/{id}/csr': [[() => `/v1/enrolments/${enrolmentId}/csr`, 404, { csr: 'x' }]],
    'post /v1/enrolments': [
      [() => '/v1/enrolments', 404, () => ({ accountId: byRequest!.id, profile: 'person-encryption', path: 'csr' })],
    ],
    'post /v1/enrolments/{id}/approve': [[() => `/v1/enrolments/${enrolmentId}/approve`, 404, {}]],
    'post /v1/enrolments/{id}/reject': [[() => `/v1/enrolments/${enrolmentId}/reject`, 404, { remark: 'x' }]],
    'post /v1/enrolments/{id}/withdraw': [[() => `/v1/enrolments/${enrolmentId}/withdraw`, 404, {}]],
    'post /v1/enrolments/{id}/pickup': [[() => `/v1/enrolments/${enrolmentId}/pickup`, 404, {}]],
    // For holders alone.
    'post /v1/enrolments/{id}/passphrase': [[() => `/v1/enrolments/${enrolmentId}/passphrase`, 403, {}]],
    // Says so line by line; submit-csrs.test.ts tries it.
    'post /v1/enrolments/bulk-csr': [],
    'post /v1/requests/{id}/enrolments': [
      [() => `/v1/requests/${requestId}/enrolments`, 404, { profile: 'person-encryption', path: 'csr' }],
    ],
    'post /v1/requests/{id}/pickup': [[() => `/v1/requests/${requestId}/pickup`, 404, {}]],
    'post /v1/certificates/{serialNumber}/renew': [
      [() => `/v1/certificates/${serialNumber()}/renew`, 404, { newKey: true }],
    ],
    // Keys are nobody's until they have a certificate; whose it is the answer does not tell (compromised-keys.test.ts).
    'post /v1/compromised-keys': [],
    'get /v1/recovery-officers': [[() => '/v1/recovery-officers', 200]],
    // Of the agency above all others alone (recovery.test.ts).
    'post /v1/recovery-officers': [],
    'post /v1/recovery-officers/{id}/proof': [
      [() => `/v1/recovery-officers/${enrolmentId}/proof`, 404, { proof: '00'.repeat(32) }],
    ],
    'post /v1/recovery-officers/{id}/approve': [[() => `/v1/recovery-officers/${enrolmentId}/approve`, 403, {}]],
    'post /v1/recovery-officers/{id}/retire': [[() => `/v1/recovery-officers/${enrolmentId}/retire`, 403, {}]],
    'get /v1/recoveries': [[() => '/v1/recoveries', 200]],
    'get /v1/recoveries/{id}': [[() => `/v1/recoveries/${enrolmentId}`, 404]],
    'post /v1/recoveries': [
      [() => '/v1/recoveries', 403, () => ({ accountId: byRequest!.id, reason: 'a reason to recover it' })],
    ],
    'post /v1/recoveries/{id}/confirm': [[() => `/v1/recoveries/${enrolmentId}/confirm`, 404, {}]],
    'post /v1/recoveries/{id}/cancel': [[() => `/v1/recoveries/${enrolmentId}/cancel`, 404, {}]],
    'post /v1/recoveries/{id}/shares': [[() => `/v1/recoveries/${enrolmentId}/shares`, 404, {}]],
    'get /v1/certificates': [
      [() => '/v1/certificates?limit=500', 200],
      [() => `/v1/certificates?accountId=${byRequest!.id}`, 200],
      [() => `/v1/certificates?requestId=${requestId}`, 200],
      [() => `/v1/certificates?address=${byRequest!.address}`, 200],
      [() => `/v1/certificates?serialNumber=${serialNumber()}`, 200],
      [() => '/v1/certificates?agencyCode=H41.12', 200],
    ],
    'get /v1/certificates/counts': [
      [() => '/v1/certificates/counts', 200],
      [() => '/v1/certificates/counts?agencyCode=H41.12', 200],
    ],
    'get /v1/certificates/by-fingerprint/{sha256}': [[() => `/v1/certificates/by-fingerprint/${fingerprint}`, 404]],
    'get /v1/external-credentials': [
      [() => '/v1/external-credentials', 200],
      [() => `/v1/external-credentials?accountId=${byRequest!.id}`, 200],
    ],
    'post /v1/external-credentials': [[() => '/v1/external-credentials', 422, ofTheDistrict]],
    'get /v1/external-credentials/{id}': [[() => `/v1/external-credentials/${externalId}`, 404]],
    'put /v1/external-credentials/{id}': [
      [() => `/v1/external-credentials/${externalId}`, 404, { form: { kind: 'individual' } }],
    ],
    'post /v1/external-credentials/{id}/send': [
      [() => `/v1/external-credentials/${externalId}/send`, 404, { letterNumber: '1' }],
    ],
    'post /v1/external-credentials/{id}/return': [
      [() => `/v1/external-credentials/${externalId}/return`, 404, { remark: 'x' }],
    ],
    'post /v1/external-credentials/{id}/cancel': [[() => `/v1/external-credentials/${externalId}/cancel`, 404, {}]],
    'post /v1/external-credentials/{id}/certificate': [
      [() => `/v1/external-credentials/${externalId}/certificate`, 404, ofTheProvince],
    ],
    'post /v1/external-credentials/{id}/revoke': [
      [() => `/v1/external-credentials/${externalId}/revoke`, 404, { reason: 'superseded' }],
    ],
    'get /v1/certificates/{serialNumber}': [[() => `/v1/certificates/${serialNumber()}`, 404]],
    'post /v1/certificates/{serialNumber}/revoke': [
      [() => `/v1/certificates/${serialNumber()}/revoke`, 404, { reason: 'superseded' }],
    ],
    'post /v1/certificates/{serialNumber}/release-hold': [
      [() => `/v1/certificates/${serialNumber()}/release-hold`, 404],
    ],
    'delete /v1/certificates/{serialNumber}/scheduled-revocation': [
      [() => `/v1/certificates/${serialNumber()}/scheduled-revocation`, 404],
    ],
  };
  let enrolmentId: string;
  let fingerprint: string;
  beforeAll(async () => {
    await service.owner('certificate.external_credentials').insert({
      id: externalId,
      kind: 'individual',
      account_id: byRequest!.id,
      agency_id: byRequest!.agencyId,
      form: {},
      created_by: crypto.randomUUID(),
    });
    ofTheDistrict.accountId = byRequest!.id;
    ofTheProvince.certificate = toPem('CERTIFICATE', service.authorities.root.certificate);
    fingerprint = (await service.certificates(byRequest!))[0]!.fingerprint_sha256!.toString('hex');
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
      await service.owner('certificate.external_credentials').orderBy('id'),
      await service.owner('directory.audit_events').orderBy('id'),
    ];
    const before = await record();
    for (const [path, status, body] of tried) {
      const bearer = await service.tokens.bearer({ agency: 'H41.02', permissions });
      const request = supertest(service.app)
        [name.split(' ')[0] as 'get' | 'post' | 'put' | 'delete'](path())
        .set('Authorization', bearer);
      const answer = await (body ? request.send(typeof body === 'function' ? body() : body) : request);
      expect([path(), answer.status]).toEqual([path(), status]);
      const items: object[] = status === 200 ? answer.body.items : [];
      for (const account of [byRequest, inCommune])
        expect(items.filter((item) => JSON.stringify(item).includes(account!.id))).toEqual([]);
      expect(items.filter((item) => JSON.stringify(item).includes('"H41.12'))).toEqual([]);
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
      expect.arrayContaining([`crl:${service.authority.id}:0`, `certificates:${account.id}`]),
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
      detail: expect.stringMatching(/^The certificate is revoked already, since .* \(keyCompromise\)\.$/),
    });
    expect((await get(`/v1/certificates/${serialNumber}`)).body.revocationReason).toBe('keyCompromise');
  });

  test('twice at once: one of the two', async () => {
    const { account, serialNumber } = await made();
    const answers = await Promise.all([1, 2, 3].map(() => revoke(serialNumber, { reason: 'superseded' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409]);
    expect((await service.actions(account)).filter((action) => action === 'certificate.revoked')).toHaveLength(1);
  });

  test.each(['cACompromise', 'removeFromCRL', 'none', 4, undefined])(
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
    const allow = await service.forbid('insert', 'certificate.certificates');
    await service.converge(account).catch(() => undefined);
    await allow();
    const [intent] = await service.intents(account);
    const serialNumber = intent!.serial_number.toString('hex');
    expect((await revoke(serialNumber, { reason: 'superseded' })).body).toMatchObject({
      status: 409,
      detail: expect.stringContaining('just being made'),
    });
    const entry = { serialNumber, state: 'signing', fingerprintSha256: null, issuedAt: null };
    expect((await get(`/v1/certificates/${serialNumber}`)).body).toMatchObject(entry);
    expect((await get('/v1/certificates?state=signing')).body.items).toMatchObject([entry]);
    const { items } = (await get(`/v1/certificates?accountId=${account.id}`)).body;
    expect(items).toMatchObject([entry]);
    await service.converge(account);
    expect((await get('/v1/certificates?state=signing')).body.items).toEqual([]);
    const [issued] = (await get(`/v1/certificates?accountId=${account.id}`)).body.items;
    expect({ ...issued, ...entry }).toEqual(items[0]);
    expect(issued.state).toBe('valid');
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
    expect((await fetch(path)).status).toBe(404); // none was made yet
    await publishCrl(service, service.authority.id, 0);
    const answer = await fetch(path);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/pkix-crl',
      'cache-control': 'public, max-age=60',
      'last-modified': expect.stringMatching(/GMT$/),
      etag: expect.stringMatching(/^"[0-9a-f-]{36}"$/),
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
