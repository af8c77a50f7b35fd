import { randomUUID } from 'node:crypto';
import { inflateRawSync } from 'node:zlib';
import { changeAccount, insertClient, insertRequest, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { certificateSystem } from '../certificates/certificate-event.ts';
import type { Intent } from '../certificates/certificate-store.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { recordIntents } from './issuing-store.ts';

let service: TestCertificates;
let keys = 0;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

type Claims = Parameters<TestCertificates['tokens']['bearer']>[0];
const agency: Claims = { permissions: ['certificates:enrol'] };
const approver: Claims = { id: randomUUID(), permissions: ['certificates:approve'] };
const holder = (account: TestAccount): Claims => ({ kind: 'holder', id: account.id });
const post = async (path: string, body: object, claims: Claims, headers: Record<string, string> = {}) =>
  supertest(service.app)
    .post(path)
    .set('Authorization', await service.tokens.bearer(claims))
    .set(headers)
    .send(body);
const encryption = (account: TestAccount, more: object = {}) => ({
  accountId: account.id,
  profile: 'person-encryption',
  path: 'csr',
  ...more,
});
const newCsr = (...options: string[]) => service.csr(`asked${++keys}`, ...options);
const rsaCsr = () => newCsr('RSA', '-pkeyopt', 'rsa_keygen_bits:2048');
const server = (account: TestAccount, more: object = {}) => ({
  accountId: account.id,
  profile: 'tls-server',
  path: 'csr',
  dnsNames: ['may1.quynhluu.nghean.gov.vn', 'www.quynhluu.nghean.gov.vn'],
  ...more,
});
/** As if some code had forgotten to ask. */
const intentFor = (enrolmentId: string, account: TestAccount): Intent => ({
  id: randomUUID(),
  authorityId: service.authority.id,
  crlPartition: 0,
  serialNumber: Buffer.from('4242', 'hex'),
  enrolmentId,
  accountId: account.id,
  agencyId: account.agencyId,
  requestId: null,
  address: account.address,
  profile: 'tls-server',
  keyKind: 'ec-p256',
  tbs: Buffer.alloc(1),
  notBefore: new Date(),
  notAfter: new Date(Date.now() + 1000),
});
function verify(body: { certificate: string; chain: string[] }, purpose: string, ...options: string[]): string {
  service.judge.write('asked.pem', body.certificate);
  service.judge.write('asked-chain.pem', body.chain.join(''));
  return service.judge.run(
    ...['verify', '-x509_strict', '-purpose', purpose, '-CAfile', 'authorities/root.crt.pem'],
    ...['-untrusted', 'asked-chain.pem', ...options, 'asked.pem'],
  );
}

describe('an encryption certificate', () => {
  test('asked for by the holder, with the holder’s own key: good for encryption, beside the signature certificate in LDAP', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const opened = await post('/v1/enrolments', encryption(account), holder(account));
    expect(opened.body).toMatchObject({ state: 'awaiting_csr', profile: 'person-encryption', askedBy: account.id });
    const answer = await post(`/v1/enrolments/${opened.body.id}/csr`, { csr: rsaCsr() }, holder(account));
    expect(answer.status).toBe(201);
    expect(verify(answer.body, 'smimeencrypt')).toContain('OK');
    expect(() => verify(answer.body, 'smimesign')).toThrow();
    await service.converge(account);
    expect(await service.published(account)).toHaveLength(2);
    expect(await service.actions(account)).toContain('enrolment.asked');
  });

  test('ordering the signature certificate anew leaves it; another holder does not', async () => {
    const account = await service.account();
    const { body } = await post('/v1/enrolments', encryption(account), agency);
    await post(`/v1/enrolments/${body.id}/csr`, { csr: rsaCsr() }, agency);
    const states = async () =>
      Object.fromEntries(
        (await service.owner('certificate.certificates').where({ account_id: account.id }).orderBy('created_at')).map(
          (row) => [row.profile, row.state],
        ),
      );
    await changeAccount(service.owner, account.id, { certificate_number: 2 });
    await service.converge(account);
    expect(await states()).toEqual({ 'person-signature': 'valid', 'person-encryption': 'valid' });
    await changeAccount(service.owner, account.id, { credential_epoch: 2 });
    await service.converge(account);
    expect((await states())['person-encryption']).toBe('revoked');
    const closed = (await service.enrolments(account)).find((one) => one.profile === 'person-encryption');
    expect(closed).toMatchObject({ state: 'revoked', wrapped_private_key: null });
    expect((await post('/v1/enrolments', encryption(account), agency)).status).toBe(201);
  });

  test('the same Idempotency-Key opens one, also at once; with something else it is refused', async () => {
    const account = await service.account();
    const key = { 'Idempotency-Key': randomUUID() };
    const answers = await Promise.all([1, 2, 3].map(() => post('/v1/enrolments', encryption(account), agency, key)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect((await post('/v1/enrolments', encryption(account, { path: 'server_key' }), agency, key)).body.code).toBe(
      'idempotency_key_reused',
    );
    expect((await post('/v1/enrolments', encryption(account), agency)).body).toMatchObject({
      status: 409,
      code: 'enrolment_open',
      detail: expect.stringContaining(answers[0]!.body.id),
    });
  });

  test('one whose certificate was revoked, or has ended, makes way for another', async () => {
    for (const end of [
      { state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' },
      { not_before: new Date(0), not_after: new Date(1) },
    ]) {
      const account = await service.account();
      const { body } = await post('/v1/enrolments', encryption(account), agency);
      await post(`/v1/enrolments/${body.id}/csr`, { csr: rsaCsr() }, agency);
      await service.owner('certificate.certificates').where({ account_id: account.id }).update(end);
      expect((await post('/v1/enrolments', encryption(account), agency)).status).toBe(201);
      expect((await service.enrolments(account)).map((one) => one.state).sort()).toEqual(
        ['awaiting_csr', 'state' in end ? 'revoked' : 'expired'].sort(),
      );
    }
  });
});

describe('a certificate of a device', () => {
  let office: TestAccount;
  beforeAll(async () => {
    office = await service.account({ kind: 'agency', displayName: 'UBND huyện Quỳnh Lưu' });
  });

  test('needs a second person, then takes a CSR and has the names that were asked for and no others', async () => {
    const opened = await post('/v1/enrolments', server(office), agency);
    expect(opened.body).toMatchObject({ state: 'awaiting_approval' });
    const { id } = opened.body;
    const csr = newCsr();
    expect((await post(`/v1/enrolments/${id}/csr`, { csr }, agency)).body.code).toBe('enrolment_state');
    const [{ xmin }] = await service.owner('certificate.enrolments').where({ id }).select('xmin');
    const intent = { ...intentFor(id, office), actor: certificateSystem, subjectPublicKeyInfo: Buffer.of(1) };
    await expect(recordIntents(service.database, [{ ...intent, xmin }])).rejects.toThrow('without the approval');
    const decided = await post(`/v1/enrolments/${id}/approve`, { remark: 'Máy chủ mới' }, approver);
    expect(decided.body).toMatchObject({
      state: 'awaiting_csr',
      decidedBy: approver.id,
      decisionRemark: 'Máy chủ mới',
    });
    const answer = await post(`/v1/enrolments/${id}/csr`, { csr }, agency);
    expect(verify(answer.body, 'sslserver', '-verify_hostname', 'may1.quynhluu.nghean.gov.vn')).toContain('OK');
    expect(() => verify(answer.body, 'sslserver', '-verify_hostname', 'nghean.gov.vn')).toThrow();
    const names = service.judge.run('x509', '-in', 'asked.pem', '-noout', '-ext', 'subjectAltName');
    expect(names.match(/DNS:/g)).toHaveLength(2);
    expect((await service.actions(office)).filter((action) => action.startsWith('enrolment.'))).toEqual([
      'enrolment.asked',
      'enrolment.approved',
    ]);
    expect((await post(`/v1/enrolments/${id}/approve`, {}, approver)).body.code).toBe('enrolment_state');
  });

  test('one beside another, but not twice of the same names in whatever order', async () => {
    const dnsNames = ['b.nghean.gov.vn', 'a.nghean.gov.vn'];
    expect((await post('/v1/enrolments', server(office, { dnsNames }), agency)).status).toBe(201);
    expect((await post('/v1/enrolments', server(office, { dnsNames: dnsNames.toReversed() }), agency)).body.code).toBe(
      'enrolment_open',
    );
  });

  test('with a key that is made here: made and certified by the job, also after it was cut off', async () => {
    const asked = server(office, { profile: 'tls-client', path: 'server_key', dnsNames: ['lien-thong.nghean.gov.vn'] });
    const { body } = await post('/v1/enrolments', asked, agency);
    await service.converge(office);
    expect((await service.enrolments(office)).find(({ id }) => id === body.id)).toMatchObject({
      state: 'awaiting_approval',
      subject_public_key_info: null,
    });
    expect((await post(`/v1/enrolments/${body.id}/approve`, {}, approver)).body.state).toBe('awaiting_pickup');
    const allow = await service.forbid('insert', 'certificate.certificates');
    await expect(service.converge(office)).rejects.toThrow('forbidden by the test');
    await allow();
    const keyOf = async () =>
      (await service.enrolments(office)).find(({ id }) => id === body.id)!.subject_public_key_info!.toString('hex');
    const key = await keyOf();
    expect((await post(`/v1/enrolments/${body.id}/pickup`, {}, agency)).body.code).toBe('certificate_not_ready');
    await service.converge(office);
    expect(await keyOf()).toBe(key);
    expect((await post(`/v1/enrolments/${body.id}/pickup`, {}, agency)).status).toBe(200);
    const certificates = await service.certificates(office);
    expect(certificates.filter(({ profile }) => profile === 'tls-client')).toMatchObject([{ state: 'valid' }]);
  });

  test('is not approved by whoever asked, by one hand with them, nor from another agency', async () => {
    const boss = await insertClient(service.owner);
    const made = await insertClient(service.owner, { createdBy: boss });
    const dnsNames = ['one-hand.nghean.gov.vn'];
    const { body } = await post('/v1/enrolments', server(office, { dnsNames }), { ...agency, id: made });
    for (const id of [made, boss])
      expect((await post(`/v1/enrolments/${body.id}/approve`, {}, { ...approver, id })).body).toMatchObject({
        status: 403,
        code: 'own_enrolment',
      });
    expect((await post(`/v1/enrolments/${body.id}/approve`, {}, { ...approver, agency: 'H41.02' })).status).toBe(404);
    expect((await post(`/v1/enrolments/${body.id}/reject`, {}, approver)).body.errors).toMatchObject([
      { pointer: '/remark' },
    ]);
    const rejected = await post(`/v1/enrolments/${body.id}/reject`, { remark: 'Không có máy này' }, approver);
    expect(rejected.body).toMatchObject({ state: 'rejected', decisionRemark: 'Không có máy này' });
    expect((await post(`/v1/enrolments/${body.id}/csr`, { csr: newCsr() }, agency)).body.code).toBe('enrolment_state');
    expect((await post('/v1/enrolments', server(office, { dnsNames }), agency)).status).toBe(201);
  });

  test.each([
    ['none', [], '/dnsNames', 'dns_names_missing'],
    ['of somebody else', ['www.example.com'], '/dnsNames/0', 'dns_name_foreign'],
    ['that only ends alike', ['evilnghean.gov.vn'], '/dnsNames/0', 'dns_name_foreign'],
    ['twice', ['a.nghean.gov.vn', 'a.nghean.gov.vn'], '/dnsNames/1', 'duplicate'],
    ['of every host', ['*.nghean.gov.vn'], '/dnsNames/0', 'invalid_format'],
    ['in capitals', ['A.nghean.gov.vn'], '/dnsNames/0', 'invalid_format'],
    ['an address', ['10.0.0.1'], '/dnsNames/0', 'invalid_format'],
  ])('names: %s', async (_what, dnsNames, pointer, code) => {
    expect((await post('/v1/enrolments', server(office, { dnsNames }), agency)).body).toMatchObject({
      status: 422,
      errors: [{ pointer, code }],
    });
  });
});

describe('taken back', () => {
  const withdraw = (id: string, claims: Claims) => post(`/v1/enrolments/${id}/withdraw`, {}, claims);

  test('before it has a key, by whoever may ask; then another can be asked for', async () => {
    const account = await service.account();
    const { body } = await post('/v1/enrolments', encryption(account), agency);
    expect((await withdraw(body.id, { ...agency, agency: 'H41.02' })).status).toBe(404);
    expect((await withdraw(body.id, holder(account))).body.state).toBe('rejected');
    expect((await post(`/v1/enrolments/${body.id}/csr`, { csr: rsaCsr() }, agency)).body.code).toBe('enrolment_state');
    expect((await post('/v1/enrolments', encryption(account), agency)).status).toBe(201);
    expect(await service.actions(account)).toEqual(['enrolment.asked', 'enrolment.withdrawn', 'enrolment.asked']);
  });

  test('not what has a certificate, nor what the directory orders', async () => {
    const account = await service.account({ certificatePath: 'csr' });
    await service.converge(account);
    const [ordered] = await service.enrolments(account);
    expect((await withdraw(ordered!.id, agency)).body.code).toBe('enrolment_state');
    const { body } = await post('/v1/enrolments', encryption(account), agency);
    await post(`/v1/enrolments/${body.id}/csr`, { csr: rsaCsr() }, agency);
    expect((await withdraw(body.id, agency)).body.code).toBe('enrolment_state');
    expect((await service.enrolments(account)).map((one) => one.state)).toEqual(['awaiting_csr', 'issued']);
  });
});

describe('refused', () => {
  test('everything that is wrong at once: another kind of account, another path, names that it has not', async () => {
    const office = await service.account({ kind: 'agency', agencyCode: 'H41.02' });
    const { body } = await post('/v1/enrolments', server(office, { profile: 'person-encryption' }), agency);
    expect(body.errors.map((one: { code: string }) => one.code)).toEqual([
      'profile_not_for_account',
      'dns_names_not_for_profile',
    ]);
    const { body: other } = await post('/v1/enrolments', server(office, { path: 'server_key' }), agency);
    expect(other.errors).toMatchObject([{ pointer: '/path', code: 'path_not_for_profile' }]);
  });

  test('a profile that the directory orders, one of the service’s own, and one that there is not', async () => {
    const account = await service.account();
    const ask = async (profile: string) =>
      (await post('/v1/enrolments', encryption(account, { profile }), agency)).body;
    expect((await ask('person-signature')).errors).toMatchObject([{ pointer: '/profile', code: 'profile_by_request' }]);
    expect((await ask('ocsp-responder')).errors).toMatchObject([
      { pointer: '/profile', code: 'profile_not_for_account' },
      { pointer: '/path' },
    ]);
    expect((await ask('nothing')).errors).toMatchObject([{ pointer: '/profile', code: 'profile_unknown' }]);
    expect(await service.enrolments(account)).toEqual([]);
  });

  test("another's account, one that is not there, one that is not active", async () => {
    const [account, stranger] = [await service.account(), await service.account()];
    expect((await post('/v1/enrolments', encryption(account), holder(stranger))).body).toMatchObject({
      status: 404,
      code: 'account_not_found',
    });
    expect((await post('/v1/enrolments', encryption(account), { ...agency, agency: 'H41.02' })).status).toBe(404);
    expect((await post('/v1/enrolments', encryption(account, { accountId: randomUUID() }), agency)).status).toBe(404);
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    expect((await post('/v1/enrolments', encryption(account), agency)).body.code).toBe('account_state');
  });
});

describe('for a whole request', () => {
  test('each account gets its own, those that cannot are named, and repeating changes nothing', async () => {
    const requestId = await insertRequest(service.owner, { agencyCode: 'H41.12' });
    const accounts = [];
    for (let i = 0; i < 3; i++) accounts.push(await service.account({ requestId }));
    await changeAccount(service.owner, accounts[1]!.id, { state: 'suspended' });
    const input = { profile: 'person-encryption', path: 'csr' };
    const { body } = await post(`/v1/requests/${requestId}/enrolments`, input, agency);
    expect(body.openedCount).toBe(2);
    expect(
      body.items.map((one: { accountId: string; code: string | null }) => [one.accountId, one.code]).sort(),
    ).toEqual(accounts.map(({ id }, index) => [id, index === 1 ? 'account_state' : null]).sort());
    const again = await post(`/v1/requests/${requestId}/enrolments`, input, agency);
    expect(again.body).toMatchObject({ openedCount: 0 });
    for (const { id } of [accounts[0]!, accounts[2]!])
      expect(
        await service.owner('certificate.enrolments').where({ account_id: id, state: 'awaiting_csr' }),
      ).toHaveLength(1);
  });

  test('CSRs as lines: each is answered in its place, the sound ones have their certificate', async () => {
    const ids: string[] = [];
    for (let i = 0; i < 3; i++) {
      const account = await service.account();
      ids.push((await post('/v1/enrolments', encryption(account), agency)).body.id);
    }
    const foreign = await service.account({ agencyCode: 'H41.02' });
    const foreignId = (await post('/v1/enrolments', encryption(foreign), agency)).body.id;
    const lines = [
      { enrolmentId: ids[0], csr: rsaCsr() },
      'no JSON',
      { enrolmentId: ids[1], csr: 'garbage' },
      { enrolmentId: foreignId, csr: newCsr() },
      { enrolmentId: ids[2], csr: rsaCsr() },
      { enrolmentId: ids[2], csr: 5 },
    ];
    const text = lines.map((line) => (typeof line === 'string' ? line : JSON.stringify(line))).join('\n');
    const send = async (claims: Claims) =>
      supertest(service.app)
        .post('/v1/enrolments/bulk-csr')
        .set('Authorization', await service.tokens.bearer(claims))
        .set('Content-Type', 'application/x-ndjson')
        .buffer(true)
        .parse((response, done) => {
          let all = '';
          response.on('data', (part: Buffer) => (all += part.toString()));
          response.on('end', () => done(null, all));
        })
        .send(`${text}\n`);
    const answer = await send({ ...agency, agency: 'H41.12' });
    const answers = (answer.body as string)
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(answers.map((one) => [one.line, one.code ?? 'issued'])).toEqual([
      [1, 'issued'],
      [2, 'line_malformed'],
      [3, 'csr_malformed'],
      [4, 'enrolment_not_found'],
      [5, 'issued'],
      [6, 'line_malformed'],
    ]);
    expect(
      await service
        .owner('certificate.enrolments')
        .whereIn('id', [...ids, foreignId])
        .where({ state: 'issued' }),
    ).toHaveLength(2);
    const repeated = ((await send({ ...agency, agency: 'H41.12' })).body as string)
      .split('\n')
      .map((line) => line && JSON.parse(line));
    expect(repeated[0].serialNumber).toBe(answers[0].serialNumber);
  });

  test('the files in one ZIP, each opened by what its holder alone is shown', async () => {
    const requestId = await insertRequest(service.owner, { agencyCode: 'H41.12' });
    const accounts = [];
    for (let i = 0; i < 3; i++) {
      const account = await service.account({ requestId, displayName: `Nguyễn Thị Số ${i}` });
      await service.converge(account);
      accounts.push(account);
    }
    await changeAccount(service.owner, accounts[2]!.id, { state: 'suspended' });
    const zip = async (claims: Claims) =>
      supertest(service.app)
        .post(`/v1/requests/${requestId}/pickup`)
        .set('Authorization', await service.tokens.bearer(claims))
        .buffer(true)
        .parse((response, done) => {
          const parts: Buffer[] = [];
          response.on('data', (part: Buffer) => parts.push(part));
          response.on('end', () => done(null, Buffer.concat(parts)));
        })
        .send({});
    expect((await zip({ ...agency, agency: 'H41.02' })).status).toBe(404);
    const answer = await zip(agency);
    expect(answer.headers).toMatchObject({ 'content-type': 'application/zip', 'cache-control': 'no-store' });
    const entries = entriesOf(answer.body);
    expect([...entries.keys()].sort()).toEqual(
      [
        `${accounts[0]!.username}-person-signature.p12`,
        `${accounts[1]!.username}-person-signature.p12`,
        'not-included.txt',
      ].sort(),
    );
    expect(entries.get('not-included.txt')!.toString()).toContain(accounts[2]!.username);
    for (const account of accounts.slice(0, 2)) {
      const [enrolment] = await service.enrolments(account);
      expect(enrolment).toMatchObject({ state: 'issued', picked_up_at: expect.any(Date) });
      const { body } = await post(`/v1/enrolments/${enrolment!.id}/passphrase`, {}, holder(account));
      service.judge.write('zipped.p12', entries.get(`${account.username}-person-signature.p12`)!);
      service.judge.run('pkcs12', '-in', 'zipped.p12', '-passin', `pass:${body.passphrase}`, '-noout');
    }
  });
});

/** Entries of a ZIP that are stored as they are or deflated, by name, from its central directory. */
function entriesOf(zip: Buffer): Map<string, Buffer> {
  const entries = new Map<string, Buffer>();
  const end = zip.lastIndexOf('PK\x05\x06', undefined, 'latin1');
  let at = zip.readUInt32LE(end + 16);
  for (let count = zip.readUInt16LE(end + 10); count > 0; count--) {
    const [method, size, nameLength, extra, comment] = [
      zip.readUInt16LE(at + 10),
      zip.readUInt32LE(at + 20),
      zip.readUInt16LE(at + 28),
      zip.readUInt16LE(at + 30),
      zip.readUInt16LE(at + 32),
    ];
    const local = zip.readUInt32LE(at + 42);
    const start = local + 30 + zip.readUInt16LE(local + 26) + zip.readUInt16LE(local + 28);
    const packed = zip.subarray(start, start + size);
    const name = zip.toString('utf8', at + 46, at + 46 + nameLength);
    entries.set(name, method === 0 ? packed : inflateRawSync(packed));
    at += 46 + nameLength + extra + comment;
  }
  return entries;
}
