/** Requests to the Government's CA, and the certificates that came back: made here by OpenSSL as that authority makes them. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ExternalCredential } from '@congvu/contracts';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import supertest from 'supertest';
import { createCertificateApp } from '../app.ts';
import { fromPem } from '../authority/certificate.ts';
import { readBundle } from '../authority/foreign-certificate.ts';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { sealedFor } from './external-request.ts';

let service: TestCertificates;
let trusting: TestCertificates['app'];
let [person, office]: TestAccount[] = [];
const clientId = randomUUID();
// Of nobody: a province that there is, a year and six digits that were thrown.
const identityNumber = `040190${String(Math.floor(Math.random() * 1e6)).padStart(6, '0')}`;

beforeAll(async () => {
  service = await startTestCertificates();
  person = await service.account({ displayName: 'Nguyễn Thị Ánh' });
  office = await service.account({ kind: 'agency', displayName: 'Ủy ban nhân dân huyện Quỳnh Lưu' });
  await service.owner('directory.clients').insert({
    id: clientId,
    name: 'UBND huyện Quỳnh Lưu',
    agency_code: 'H41.12',
    permissions: [],
    secret_hash: Buffer.alloc(32),
  });
  makeAuthorities();
  const bundle = read('government-root.pem') + read('government-sub.pem');
  trusting = createCertificateApp({
    ...service,
    externalAuthorities: readBundle(bundle),
    issuerUrl: 'https://directory.test',
    authenticate: service.tokens.authenticate,
    log: pino({ level: 'silent' }),
  });
});
afterAll(() => service.stop());

const read = (name: string): string => readFileSync(join(service.judge.directory, name), 'utf8');

function makeAuthorities(): void {
  const { judge } = service;
  const root = [
    '-subj',
    '/C=VN/O=Ban Co yeu Chinh phu/CN=RootCA',
    '-days',
    '3650',
    '-addext',
    'basicConstraints=critical,CA:TRUE',
  ];
  for (const name of ['government-root', 'stranger-root'])
    judge.run(
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-keyout',
      `${name}.key`,
      '-out',
      `${name}.pem`,
      ...root,
    );
  const sub = ['-subj', '/C=VN/O=Ban Co yeu Chinh phu/CN=CA cua cac tinh'];
  judge.run('req', '-new', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'government-sub.key', '-out', 'sub.csr', ...sub);
  judge.write('index.txt', '');
  judge.write(
    'ca.cnf',
    `[ca]\ndefault_ca=x\n[x]\ndatabase=index.txt\nnew_certs_dir=.\nrand_serial=yes\nunique_subject=no\ndefault_md=sha256\npolicy=any\n[any]\ncommonName=optional\n`,
  );
  judge.write('ca.ext', 'basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n');
  judge.run(
    ...['x509', '-req', '-in', 'sub.csr', '-CA', 'government-root.pem', '-CAkey', 'government-root.key'],
    ...['-out', 'government-sub.pem', '-days', '3000', '-extfile', 'ca.ext'],
  );
}

interface Made {
  subject?: string;
  email?: string | null;
  dns?: string;
  ca?: string;
  days?: [string, string];
  key?: string;
  authority?: boolean;
}

/** As the Government's CA would issue it; PEM. */
function issued({
  subject,
  email = person!.address,
  dns,
  ca = 'government-sub',
  days,
  key,
  authority,
}: Made = {}): string {
  const { judge } = service;
  const name = `x${randomUUID()}`;
  if (key === undefined)
    judge.run('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', `${name}.key`);
  const names = [...(email ? [`email:${email}`] : []), ...(dns ? [`DNS:${dns}`] : [])];
  judge.write(
    `${name}.ext`,
    `${authority ? 'basicConstraints=critical,CA:TRUE' : 'keyUsage=critical,digitalSignature'}\n${names.length > 0 ? `subjectAltName=${names.join(',')}\n` : ''}`,
  );
  judge.run(
    ...['req', '-new', '-utf8', '-key', key ?? `${name}.key`, '-out', `${name}.csr`],
    ...['-subj', subject ?? '/C=VN/O=Huyện Quỳnh Lưu/CN=Nguyễn Thị Ánh'],
  );
  const [from, to] = days ?? ['20260101000000Z', '20360101000000Z'];
  judge.run(
    ...[
      'ca',
      '-batch',
      '-preserveDN',
      '-config',
      'ca.cnf',
      '-cert',
      `${ca}.pem`,
      '-keyfile',
      `${ca}.key`,
      '-in',
      `${name}.csr`,
    ],
    ...['-startdate', from, '-enddate', to, '-extfile', `${name}.ext`, '-notext', '-out', `${name}.pem`],
  );
  return read(`${name}.pem`);
}

const call = async (
  method: 'get' | 'post' | 'put',
  path: string,
  body?: object,
  options: { app?: TestCertificates['app'] | undefined; agency?: string; key?: string; version?: number } = {},
) => {
  const permissions = ['certificates:read', 'external-credentials:write'];
  const request = supertest(options.app ?? service.app)
    [method](`/v1/${path}`)
    .set(
      'Authorization',
      await service.tokens.bearer({ id: clientId, agency: options.agency ?? 'H41.12', permissions }),
    );
  if (options.key) request.set('Idempotency-Key', options.key);
  if (options.version !== undefined) request.set('If-Match', `"${options.version}"`);
  return body ? request.send(body) : request;
};
const draft = async (form: object = { kind: 'individual' }, account = person!) =>
  call('post', 'external-credentials', { accountId: account.id, form });
const sent = async (form?: object, account?: TestAccount): Promise<string> => {
  const { id } = (await draft(form, account)).body;
  expect((await call('post', `external-credentials/${id}/send`, { letterNumber: '15/STTTT' })).status).toBe(200);
  return id;
};
const upload = (id: string, certificate: string, app?: TestCertificates['app']) =>
  call('post', `external-credentials/${id}/certificate`, { certificate }, { app });
const actions = async (account: TestAccount) =>
  (await service.actions(account)).filter((action) => action.startsWith('external_credential.'));

describe('a request', () => {
  test('takes from the account what it is not told; the identity number is sealed and never shown', async () => {
    const answer = await draft({
      kind: 'individual',
      birthDate: '1990-01-02',
      identityNumber,
      mobile: '+84 912 345 678',
      keyStore: 'usb_token',
    });
    expect(answer.status).toBe(201);
    expect(ExternalCredential.parse(answer.body)).toEqual(answer.body);
    expect(answer.headers).toMatchObject({ location: `/v1/external-credentials/${answer.body.id}`, etag: '"1"' });
    expect(answer.body).toMatchObject({
      state: 'drafted',
      kind: 'individual',
      agencyCode: 'H41.12',
      form: {
        fullName: 'Nguyễn Thị Ánh',
        birthDate: '1990-01-02',
        mobile: '0912345678',
        keyStore: 'usb_token',
        identityNumber: `*********${identityNumber.slice(-3)}`,
      },
    });
    const row = await service.owner('certificate.external_credentials').where({ id: answer.body.id }).first();
    expect(JSON.stringify({ ...row, identity_sealed: row.identity_sealed.toString('latin1') })).not.toContain(
      identityNumber,
    );
    expect(unwrapPrivateKey(row.identity_sealed, [service.wrappingKey], sealedFor(row.id)).toString()).toBe(
      identityNumber,
    );
    const events = await service.owner('directory.audit_events').where({ subject_id: person!.id });
    expect(JSON.stringify(events)).not.toContain(identityNumber);

    const changed = await call(
      'put',
      `external-credentials/${row.id}`,
      { form: { kind: 'individual', title: 'Phó phòng' } },
      { version: 1 },
    );
    expect(changed.body).toMatchObject({
      version: 2,
      form: { fullName: 'Nguyễn Thị Ánh', title: 'Phó phòng', identityNumber: `*********${identityNumber.slice(-3)}` },
    });
    expect(
      (await service.owner('certificate.external_credentials').where({ id: row.id }).first()).identity_sealed,
    ).toEqual(row.identity_sealed);
    expect(
      (await call('put', `external-credentials/${row.id}`, { form: { kind: 'individual' } }, { version: 1 })).body,
    ).toMatchObject({ status: 412 });
  });

  test('for an agency and for a device', async () => {
    const agency = await draft(
      {
        kind: 'organisation',
        establishmentDecision: '12/QĐ',
        keeper: { fullName: 'Lê Văn Giữ', mobile: '0912345678' },
      },
      office,
    );
    expect(agency.body).toMatchObject({
      kind: 'organisation',
      form: { name: 'Ủy ban nhân dân huyện Quỳnh Lưu', keeper: { fullName: 'Lê Văn Giữ' } },
    });
    const device = await draft(
      { kind: 'device', name: 'Cổng dịch vụ công', purpose: 'web_server', dnsNames: ['dichvucong.example.vn'] },
      office,
    );
    expect(device.body).toMatchObject({ kind: 'device', state: 'drafted' });
  });

  test('with faults is refused with each of them, and nothing is kept', async () => {
    const count = async () => Number((await service.owner('certificate.external_credentials').count())[0]?.count);
    const before = await count();
    const answer = await draft({
      kind: 'organisation',
      identityNumber: '123',
      keeper: { fullName: 'A', mobile: '12' },
    });
    expect(answer.body).toMatchObject({
      status: 422,
      code: 'external_form_invalid',
      errors: [
        { pointer: '/form/kind' },
        { pointer: '/form/identityNumber', code: 'national_id_length' },
        { pointer: '/form/keeper/mobile' },
      ],
    });
    expect((await draft({ kind: 'individual', dnsNames: ['x.vn'] })).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/form/dnsNames' }],
    });
    const elsewhere = await call(
      'post',
      'external-credentials',
      { accountId: person!.id, form: { kind: 'individual' } },
      { agency: 'H41.02' },
    );
    expect(elsewhere.body).toMatchObject({ status: 422, errors: [{ pointer: '/accountId' }] });
    const retired = await service.account({ state: 'retired' });
    expect((await draft({ kind: 'individual' }, retired)).body).toMatchObject({ status: 409, code: 'account_state' });
    expect(await count()).toBe(before);
  });

  test('of one Idempotency-Key is one, also at the same time; something else under it is refused', async () => {
    const key = randomUUID();
    const body = { accountId: person!.id, form: { kind: 'individual', title: 'Chuyên viên' } };
    const answers = await Promise.all([1, 2, 3].map(() => call('post', 'external-credentials', body, { key })));
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201]);
    expect(new Set(answers.map(({ body: { id } }) => id)).size).toBe(1);
    const other = await call('post', 'external-credentials', { ...body, form: { kind: 'individual' } }, { key });
    expect(other.body).toMatchObject({ status: 409, code: 'idempotency_key_reused' });
  });

  test('goes its way: sent, come back, sent again, called off; no other', async () => {
    const account = await service.account();
    const { id } = (await draft({ kind: 'individual', identityNumber }, account)).body;
    const step = (name: string, body: object = {}) => call('post', `external-credentials/${id}/${name}`, body);
    expect((await step('return', { remark: 'x' })).body).toMatchObject({ status: 409, code: 'external_state' });
    expect((await step('revoke', { reason: 'superseded' })).status).toBe(409);
    expect((await step('send', { letterNumber: '15/STTTT' })).body).toMatchObject({
      state: 'sent',
      letterNumber: '15/STTTT',
    });
    expect((await call('put', `external-credentials/${id}`, { form: { kind: 'individual' } })).status).toBe(409);
    expect((await step('return', { remark: 'Thiếu chữ ký' })).body).toMatchObject({
      state: 'returned',
      remark: 'Thiếu chữ ký',
    });
    expect((await step('send', { letterNumber: '16/STTTT' })).body).toMatchObject({ state: 'sent', remark: null });
    expect((await step('cancel')).body).toMatchObject({ state: 'cancelled' });
    expect((await step('cancel')).status).toBe(409);
    expect(await actions(account)).toEqual(
      ['drafted', 'sent', 'returned', 'sent', 'cancelled'].map((what) => `external_credential.${what}`),
    );
    const row = await service.owner('certificate.external_credentials').where({ id }).first();
    expect(row).toMatchObject({ identity_sealed: null, sent_by: clientId });
  });
});

describe('a certificate that came back', () => {
  test('is read and stands in the register beside ours', async () => {
    const id = await sent();
    const pem = issued({ subject: `/C=VN/O=Quỳnh Lưu/UID=CCCD:${identityNumber}/CN=NGUYỄN THỊ ÁNH` });
    const answer = await upload(id, pem, trusting);
    expect(answer.body).toMatchObject({
      state: 'issued',
      chainVerified: true,
      issuer: 'CN=CA cua cac tinh, O=Ban Co yeu Chinh phu, C=VN',
      notAfter: '2036-01-01T00:00:00.000Z',
    });
    expect(answer.text).not.toContain(identityNumber);
    const { fingerprintSha256, serialNumber } = answer.body;
    service.judge.write('came-back.pem', pem);
    const judged = service.judge.run('x509', '-in', 'came-back.pem', '-noout', '-fingerprint', '-sha256', '-serial');
    expect(judged.replaceAll(':', '').toLowerCase()).toContain(fingerprintSha256);
    expect(judged.toLowerCase()).toContain(serialNumber.replace(/^00/, ''));

    // Again, as DER, and by whoever repeats: the same, and one event.
    const again = await upload(id, fromPem('CERTIFICATE', pem).toString('base64'), trusting);
    expect(again.body).toEqual(answer.body);
    expect((await actions(person!)).filter((action) => action.endsWith('.issued'))).toHaveLength(1);

    const entry = {
      source: 'external',
      path: 'external',
      profile: 'external-individual',
      state: 'valid',
      keyKind: 'rsa-2048',
    };
    const provenance = {
      submittedBy: 'UBND huyện Quỳnh Lưu',
      approvedBy: 'UBND huyện Quỳnh Lưu',
      approverId: clientId,
      decisionNumber: '15/STTTT',
    };
    for (const query of [
      `accountId=${person!.id}`,
      `address=${person!.address}`,
      `serialNumber=${serialNumber}`,
      `fingerprintSha256=${fingerprintSha256}`,
      `approverId=${clientId}`,
    ]) {
      const { body } = await call('get', `certificates?source=external&${query}`);
      expect(body.items).toHaveLength(1);
      expect(body.items[0]).toMatchObject({
        ...entry,
        ...provenance,
        serialNumber,
        externalCredentialId: id,
        enrolmentId: null,
      });
    }
    expect(
      (await call('get', `certificates/by-fingerprint/${fingerprintSha256.toUpperCase().replace(/..(?=.)/g, '$&:')}`))
        .body,
    ).toMatchObject(entry);
    expect(
      (await call('get', `certificates?fingerprintSha256=${fingerprintSha256}`, undefined, { agency: 'H41.02' })).body
        .items,
    ).toEqual([]);
    const file = await supertest(service.app)
      .get(`/v1/external-credentials/${id}`)
      .set('Accept', 'application/x-pem-file')
      .set('Authorization', await service.tokens.bearer({ agency: 'H41', permissions: ['certificates:read'] }))
      .buffer(true)
      .parse((response, done) => response.on('data', (part) => done(null, part)));
    expect(fromPem('CERTIFICATE', String(file.body))).toEqual(fromPem('CERTIFICATE', pem));
  });

  test('of another, of nobody, of the past, of an authority, or without a chain: every fault at once', async () => {
    const id = await sent({ kind: 'individual', identityNumber });
    const codes = async (made: Made) => {
      const { body } = await upload(id, issued(made), trusting);
      expect(body.status).toBe(422);
      return body.errors.map(({ code, pointer }: { code: string; pointer: string }) => `${pointer} ${code}`);
    };
    expect(
      await codes({
        subject: '/C=VN/UID=CCCD:012345678901/CN=Nguyễn Văn Khác',
        email: 'khac@nghean.gov.vn',
        days: ['20200101000000Z', '20240101000000Z'],
        ca: 'stranger-root',
        authority: true,
      }),
    ).toEqual(
      ['of_authority', 'expired', 'name', 'address', 'identity', 'chain'].map(
        (what) => `/certificate certificate_${what}`,
      ),
    );
    expect(await codes({ email: null })).toEqual(['/certificate certificate_address']);
    expect(await codes({ days: ['20350101000000Z', '20360101000000Z'] })).toEqual([
      '/certificate certificate_not_yet_valid',
    ]);
    expect(await codes({ subject: '/C=VN/CN=Nguyễn Thị Anh' })).toEqual(['/certificate certificate_name']);
    expect((await service.owner('certificate.external_credentials').where({ id }).first()).state).toBe('sent');
    // Written without any marks, as older authorities do.
    expect((await upload(id, issued({ subject: '/C=VN/CN=Nguyen Thi Anh' }), trusting)).body).toMatchObject({
      state: 'issued',
    });
  });

  test.each([
    ['nothing', ''],
    ['a word', 'certificate'],
    ['something else in PEM', '-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n'],
    ['base64 of no certificate', Buffer.from('30030201ff', 'hex').toString('base64')],
    ['half a certificate', 'half'],
    ['two certificates', 'two'],
  ])('%s is told for what it is', async (_what, text) => {
    const id = await sent();
    const pem = issued();
    const der = fromPem('CERTIFICATE', pem);
    const body = text === 'two' ? pem + pem : text === 'half' ? der.subarray(0, 400).toString('base64') : text;
    expect((await upload(id, body)).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/certificate', code: 'certificate_malformed' }],
    });
  });

  test('with the key of another account, or in the register already, is refused', async () => {
    const other = await service.account({ displayName: 'Nguyễn Thị Ánh' });
    const csr = service.csr('shared', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048');
    expect(csr).toContain('BEGIN');
    const first = await sent();
    const pem = issued({ key: 'shared.key' });
    expect((await upload(first, pem)).body).toMatchObject({ state: 'issued', chainVerified: null });
    const second = await sent({ kind: 'individual' }, other);
    expect((await upload(second, issued({ key: 'shared.key', email: other.address }))).body).toMatchObject({
      status: 422,
      errors: [{ code: 'certificate_key_of_another' }],
    });
    expect((await upload(await sent(), pem)).body).toMatchObject({ status: 409, code: 'certificate_registered' });
    expect((await upload(first, issued())).body).toMatchObject({ status: 409, code: 'external_state' });
  });

  test('of an agency or a device goes by their names; its revocation is registered once', async () => {
    const seal = await sent({ kind: 'organisation' }, office);
    const sealed = await upload(
      seal,
      issued({ subject: '/C=VN/L=Nghệ An/CN=ỦY BAN NHÂN DÂN HUYỆN QUỲNH LƯU', email: null }),
    );
    expect(sealed.body).toMatchObject({ state: 'issued' });
    const form = {
      kind: 'device',
      name: 'Cổng dịch vụ công',
      purpose: 'web_server',
      dnsNames: ['dichvucong.example.vn'],
    };
    const device = await sent(form, office);
    expect(
      (await upload(device, issued({ subject: '/CN=khac.example.vn', email: null, dns: 'khac.example.vn' }))).status,
    ).toBe(422);
    expect(
      (await upload(device, issued({ subject: '/CN=web', email: null, dns: 'dichvucong.example.vn' }))).body,
    ).toMatchObject({ state: 'issued' });

    const path = `external-credentials/${seal}/revoke`;
    expect((await call('post', path, { reason: 'superseded', revokedAt: '2099-01-01T00:00:00Z' })).status).toBe(422);
    expect((await call('post', path, { reason: 'certificateHold' })).status).toBe(422);
    expect(
      (await call('post', path, { reason: 'keyCompromise', revokedAt: '2026-03-01T00:00:00Z' })).body,
    ).toMatchObject({
      state: 'revoked',
      revokedAt: '2026-03-01T00:00:00.000Z',
      revocationReason: 'keyCompromise',
    });
    expect((await call('post', path, { reason: 'superseded' })).status).toBe(409);
    const { items } = (await call('get', `certificates?accountId=${office!.id}`)).body;
    expect(items.map(({ profile, state }: { profile: string; state: string }) => `${profile} ${state}`)).toEqual([
      'external-device valid',
      'external-organisation revoked',
    ]);
  });

  test('of an account that went to another agency is seen by both and touched by the new one', async () => {
    const account = await service.account({ displayName: 'Nguyễn Thị Ánh' });
    const id = await sent({ kind: 'individual' }, account);
    const [department] = await service.owner('directory.agencies').where({ code: 'H41.02' });
    await service
      .owner('directory.accounts')
      .where({ id: account.id })
      .update({ agency_id: department.id, version: 2 });
    const pem = issued({ email: account.address });
    expect((await upload(id, pem)).body).toMatchObject({ status: 409, code: 'account_state' });
    const there = { agency: 'H41.02' };
    expect(
      (await call('post', `external-credentials/${id}/certificate`, { certificate: pem }, there)).body,
    ).toMatchObject({ state: 'issued' });
    for (const agency of ['H41.02', 'H41.12'])
      expect(
        (await call('get', `certificates?accountId=${account.id}`, undefined, { agency })).body.items,
      ).toHaveLength(1);
    expect(
      (await call('get', `certificates?accountId=${account.id}`, undefined, { agency: 'H41.12.05' })).body.items,
    ).toEqual([]);
  });
});

test('the list: by state, kind and account, as CSV too', async () => {
  const { body } = await call('get', 'external-credentials?limit=500');
  expect(body.items.map((item: unknown) => ExternalCredential.parse(item))).toEqual(body.items);
  const states = new Set(body.items.map(({ state }: ExternalCredential) => state));
  expect([...states].sort()).toEqual(['cancelled', 'drafted', 'issued', 'revoked', 'sent']);
  for (const state of states) {
    const { items } = (await call('get', `external-credentials?limit=500&state=${state}`)).body;
    expect(items).toEqual(body.items.filter((item: ExternalCredential) => item.state === state));
  }
  const csv = await supertest(service.app)
    .get('/v1/external-credentials?kind=device')
    .set('Accept', 'text/csv')
    .set('Authorization', await service.tokens.bearer({ agency: 'H41', permissions: ['certificates:read'] }));
  expect(csv.text.split('\r\n')).toHaveLength(
    2 + body.items.filter(({ kind }: ExternalCredential) => kind === 'device').length,
  );
});

test('of a position it is its holder’s: the form and the certificate name the person', async () => {
  const holder = await service.account({ displayName: 'Trần Thị Bình' });
  const chair = await service.account({ kind: 'position', displayName: 'Chủ tịch UBND huyện', holder });
  expect((await draft({ kind: 'individual' }, chair)).body.form).toMatchObject({ fullName: 'Trần Thị Bình' });
  const id = await sent({ kind: 'individual' }, chair);
  const named = (name: string) => issued({ subject: `/C=VN/CN=${name}`, email: chair.address });
  expect((await upload(id, named('Lê Văn Khác'))).body.errors).toMatchObject([{ code: 'certificate_name' }]);
  expect((await upload(id, named('Trần Thị Bình'))).status).toBe(200);
});
