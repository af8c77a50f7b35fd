/** The register: each filter finds what it says and nothing else, both kinds in one order, counts that agree with the list. */
import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { type Certificate, CertificateCount } from '@congvu/contracts';
import { insertClient, insertRequest, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { pickUp } from '../enrolments/pick-up.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';

let service: TestCertificates;
let requestId: string;
let approverId: string;
let [person, commune, department]: TestAccount[] = [];
const at = (text: string): Date => new Date(`${text}T12:00:00+07:00`);

beforeAll(async () => {
  service = await startTestCertificates();
  requestId = await insertRequest(service.owner, { agencyCode: 'H41.12' });
  approverId = (await service.owner('directory.requests').where({ id: requestId }).first('decided_by')).decided_by;
  person = await service.account({ requestId });
  commune = await service.account({ agencyCode: 'H41.12.05', certificatePath: 'csr' });
  department = await service.account({ agencyCode: 'H41.02' });
  for (const account of [person, department]) await service.converge(account);
  // What the past left: own ones of two months, one of them revoked, one that ran out; and one of the Government's CA.
  await past(person!, { issued: at('2026-03-01'), ends: at('2028-02-15') });
  await past(person!, { issued: at('2026-03-31'), ends: at('2028-03-15'), revoked: at('2026-05-02') });
  await past(commune!, { issued: at('2024-01-10'), ends: at('2026-01-05'), path: 'csr', keyKind: 'rsa-3072' });
  await external(department!, { registered: at('2026-03-10'), ends: new Date(Date.now() + 20 * 86_400_000) });
});
afterAll(() => service.stop());

async function past(
  account: TestAccount,
  {
    issued,
    ends,
    revoked,
    path = 'server_key',
    keyKind = 'ec-p256',
  }: { issued: Date; ends: Date; revoked?: Date; path?: string; keyKind?: string },
): Promise<void> {
  const enrolment = randomUUID();
  const base = { account_id: account.id, profile: 'person-signature' };
  await service.owner('certificate.enrolments').insert({ ...base, id: enrolment, path, state: 'revoked' });
  await service.owner('certificate.certificates').insert({
    ...base,
    authority_id: service.authority.id,
    serial_number: randomBytes(16),
    enrolment_id: enrolment,
    agency_id: account.agencyId,
    address: account.address,
    key_kind: keyKind,
    certificate: randomBytes(4),
    fingerprint_sha256: randomBytes(32),
    not_before: issued,
    not_after: ends,
    created_at: issued,
    issued_at: issued,
    state: revoked ? 'revoked' : 'valid',
    ...(revoked && { revoked_at: revoked, revocation_reason: 'superseded' }),
  });
}

const external = (account: TestAccount, { registered, ends }: { registered: Date; ends: Date }): Promise<unknown> =>
  service.owner('certificate.external_credentials').insert({
    id: randomUUID(),
    kind: 'individual',
    state: 'issued',
    account_id: account.id,
    agency_id: account.agencyId,
    form: {},
    letter_number: '15/STTTT',
    certificate: randomBytes(4),
    fingerprint_sha256: randomBytes(32),
    key_sha256: randomBytes(32),
    serial_number: randomBytes(8),
    issuer: 'CN=probe',
    subject: 'CN=probe',
    key_kind: 'rsa-2048',
    not_before: registered,
    not_after: ends,
    registered_at: registered,
    created_at: registered,
    created_by: randomUUID(),
  });

const get = async (path: string, agency = 'H41', accept = 'application/json') =>
  supertest(service.app)
    .get(`/v1/certificates${path}`)
    .set('Authorization', await service.tokens.bearer({ agency, permissions: ['certificates:read'] }))
    .set('Accept', accept);
const all = async (query = '', agency = 'H41'): Promise<Certificate[]> =>
  (await get(`?limit=500${query}`, agency)).body.items;

describe('filters', () => {
  const days = (count: number) => new Date(Date.now() + count * 86_400_000).toISOString();
  test.each<[string, () => string, (one: Certificate) => boolean]>([
    ['source', () => 'source=external', ({ source }) => source === 'external'],
    ['source', () => 'source=own', ({ source }) => source === 'own'],
    ['agency and below', () => 'agencyCode=H41.12', ({ agencyCode }) => agencyCode.startsWith('H41.12')],
    ['agency in the older form', () => 'agencyCode=000.00.02.H41', ({ agencyCode }) => agencyCode === 'H41.02'],
    ['profile', () => 'profile=external-individual', ({ profile }) => profile === 'external-individual'],
    ['path', () => 'path=csr', ({ path }) => path === 'csr'],
    ['path', () => 'path=external', ({ path }) => path === 'external'],
    ['key kind', () => 'keyKind=rsa-3072', ({ keyKind }) => keyKind === 'rsa-3072'],
    ['valid', () => 'state=valid', ({ state }) => state === 'valid'],
    ['revoked', () => 'state=revoked', ({ state }) => state === 'revoked'],
    ['expired', () => 'state=expired', ({ state }) => state === 'expired'],
    ['account', () => `accountId=${person!.id}`, ({ accountId }) => accountId === person!.id],
    ['address', () => `address=${person!.address.toUpperCase()}`, ({ address }) => address === person!.address],
    ['request', () => `requestId=${requestId}`, (one) => one.requestId === requestId],
    ['approver', () => `approverId=${approverId}`, (one) => one.approverId === approverId],
    [
      'issued in March',
      () => 'issuedFrom=2026-03-01T00:00:00%2B07:00&issuedBefore=2026-04-01T00:00:00%2B07:00',
      ({ issuedAt }) => issuedAt!.startsWith('2026-03'),
    ],
    ['ends before', () => 'expiresBefore=2028-03-01T00:00:00Z', ({ notAfter }) => notAfter < '2028-03-01'],
    [
      'runs out within 30 days',
      () => 'expiresWithinDays=30',
      ({ notAfter, state }) => state === 'valid' && notAfter < days(30),
    ],
    [
      'two at once',
      () => 'state=valid&agencyCode=H41.02',
      ({ agencyCode, state }) => agencyCode === 'H41.02' && state === 'valid',
    ],
  ])('%s: %#', async (_what, query, chosen) => {
    const everything = await all();
    const wanted = everything.filter(chosen);
    expect(wanted.length).toBeGreaterThan(0);
    expect(wanted.length).toBeLessThan(everything.length);
    expect(await all(`&${query()}`)).toEqual(wanted);
  });

  test('serial number and fingerprint, in any spelling', async () => {
    for (const one of await all()) {
      const [serial, print] = [one.serialNumber.toUpperCase(), one.fingerprintSha256!];
      expect(await all(`&serialNumber=${serial}`)).toEqual([one]);
      expect(await all(`&fingerprintSha256=${print}`)).toEqual([one]);
      const spelt = print.toUpperCase().replace(/..(?=.)/g, '$&:');
      expect((await get(`/by-fingerprint/${spelt}`)).body).toEqual(one);
    }
    expect((await get(`/by-fingerprint/${'0f'.repeat(32)}`)).body).toMatchObject({ status: 404 });
    for (const wrong of ['12', 'zz'.repeat(32), '0f'.repeat(33)])
      expect((await get(`/by-fingerprint/${wrong}`)).body).toMatchObject({
        status: 422,
        errors: [{ pointer: 'path/sha256' }],
      });
  });

  test('out of form are told of all at once', async () => {
    const { body } = await get('?state=lost&expiresWithinDays=0&issuedFrom=yesterday&approverId=x&sort=name&color=red');
    expect(body.status).toBe(422);
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer).sort()).toEqual(
      ['approverId', 'color', 'expiresWithinDays', 'issuedFrom', 'sort', 'state'].map((name) => `query/${name}`),
    );
    expect((await get('?agencyCode=XYZ')).body).toMatchObject({
      status: 422,
      errors: [{ pointer: 'query/agencyCode' }],
    });
  });
});

test.each([
  ['newest', (one: Certificate) => one.issuedAt!, -1],
  ['expiry', (one: Certificate) => one.notAfter, 1],
] as const)('by %s, page by page: every row once, both kinds in one order', async (sort, key, direction) => {
  const seen: Certificate[] = [];
  let next: string | undefined = `?limit=2&sort=${sort}`;
  while (next !== undefined) {
    const answer: supertest.Response = await get(next);
    seen.push(...answer.body.items);
    next = /<\/v1\/certificates([^>]*)>/.exec(answer.headers.link ?? '')?.[1];
    if (seen.length > 100) throw new Error('the list does not end');
  }
  expect(seen.map(({ serialNumber }) => serialNumber).sort()).toEqual(
    (await all()).map(({ serialNumber }) => serialNumber).sort(),
  );
  const sorted = seen.toSorted((a, b) => direction * (key(a) < key(b) ? -1 : 1));
  expect(seen.map(({ serialNumber }) => serialNumber)).toEqual(sorted.map(({ serialNumber }) => serialNumber));
  // A cursor of one order is none of the other.
  const cursor = Buffer.from(JSON.stringify([sort, seen[0]!.notAfter, randomUUID()])).toString('base64url');
  const other = sort === 'newest' ? 'expiry' : 'newest';
  expect((await get(`?sort=${other}&cursor=${cursor}`)).body).toMatchObject({ status: 422, code: 'cursor_invalid' });
});

test('says who picked up, when and which form; the first time counts', async () => {
  const [enrolment] = await service.enrolments(person!);
  const holder = { accountId: person!.id, credentialEpoch: 1 };
  const actor = { kind: 'holder', id: person!.id, ip: null } as const;
  for (const form of ['legacy', 'modern'] as const)
    await pickUp(service, enrolment!.id, holder, { passphrase: 'a passphrase of the holder', form }, actor);
  const [newest] = await all(`&accountId=${person!.id}`);
  expect(newest).toMatchObject({ pickedUpBy: person!.displayName, pickedUpForm: 'legacy' });
  expect(Date.parse(newest!.pickedUpAt!)).toBeGreaterThan(Date.now() - 60_000);
});

test('says who asked and who decided, of what was asked for here', async () => {
  const asker = await insertClient(service.owner, { name: 'Văn thư huyện' });
  const second = await insertClient(service.owner, { name: 'Người thứ hai' });
  const account = await service.account({ requestId });
  const decided = at('2026-06-02');
  await past(account, { issued: at('2026-06-03'), ends: at('2028-06-01') });
  const [enrolment] = await service.enrolments(account);
  const set = (change: object) => service.owner('certificate.enrolments').where({ id: enrolment!.id }).update(change);
  const shown = async () => (await all(`&accountId=${account.id}`))[0];
  await set({ asked_by_kind: 'client', asked_by: asker, decided_by: second, decided_at: decided });
  expect(await shown()).toMatchObject({
    submittedBy: 'Văn thư huyện',
    submittedAt: enrolment!.created_at.toISOString(),
    approverId: second,
    approvedBy: 'Người thứ hai',
    approvedAt: decided.toISOString(),
  });
  expect((await all(`&approverId=${second}`)).map(({ accountId }) => accountId)).toEqual([account.id]);
  await set({ asked_by_kind: 'holder', asked_by: account.id });
  expect(await shown()).toMatchObject({ submittedBy: account.displayName, approvedBy: 'Người thứ hai' });
});

test('rests on the request that ordered the certificate, not on the one that opened the account', async () => {
  const ordering = await insertRequest(service.owner, { agencyCode: 'H41.12' });
  const account = await service.account({ requestId });
  await service.converge(account);
  await service.owner('directory.request_lines').insert({
    request_id: ordering,
    line_number: 1,
    agency_id: account.agencyId,
    operation: 'issue_certificate',
    target_account_id: account.id,
    state: 'fulfilled',
    carried_out_at: new Date(),
    certificate_path: 'server_key',
  });
  await service.owner('directory.accounts').where({ id: account.id }).update({ certificate_number: 2, version: 2 });
  await service.converge(account);
  const [second, first] = await all(`&accountId=${account.id}`);
  expect(first).toMatchObject({ requestId, state: 'revoked', approverId });
  expect(second).toMatchObject({ requestId: ordering, state: 'valid' });
  const { decided_by } = await service.owner('directory.requests').where({ id: ordering }).first();
  expect(second?.approverId).toBe(decided_by);
});

describe('counts', () => {
  const counts = async (query = '', agency = 'H41'): Promise<CertificateCount[]> =>
    (await get(`/counts?limit=500${query}`, agency)).body.items;
  const monthOf = (time: string | null) => time && new Date(Date.parse(time) + 7 * 3_600_000).toISOString().slice(0, 7);

  test('agree with the list, agency by agency and month by month', async () => {
    const list = await all();
    const expected = new Map<string, CertificateCount>();
    const add = (one: Certificate, month: string | null, what: 'issued' | 'revoked' | 'expired') => {
      if (!month) return;
      const key = `${one.agencyCode} ${month}`;
      const { agencyCode, agencyName } = one;
      const count = expected.get(key) ?? { agencyCode, agencyName, month, issued: 0, revoked: 0, expired: 0 };
      expected.set(key, { ...count, [what]: count[what] + 1 });
    };
    for (const one of list) {
      add(one, monthOf(one.issuedAt), 'issued');
      add(one, monthOf(one.revokedAt), 'revoked');
      if (one.state === 'expired') add(one, monthOf(one.notAfter), 'expired');
    }
    const counted = await counts();
    expect(counted.map((one) => CertificateCount.parse(one))).toEqual(counted);
    expect(counted).toEqual([...expected.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, count]) => count));
    expect(counted).toContainEqual(
      expect.objectContaining({ agencyCode: 'H41.12', month: '2026-03', issued: 2, revoked: 0 }),
    );
    expect(counted).toContainEqual(
      expect.objectContaining({ agencyCode: 'H41.12.05', month: '2026-01', issued: 0, expired: 1 }),
    );
  });

  test('within one’s agency, between months, of a profile or source, page by page and as CSV', async () => {
    const everything = await counts();
    expect(await counts('', 'H41.12')).toEqual(everything.filter(({ agencyCode }) => agencyCode.startsWith('H41.12')));
    expect(await counts('&agencyCode=H41.02', 'H41.12')).toEqual([]);
    expect(await counts('&from=2026-03&to=2026-03')).toEqual(everything.filter(({ month }) => month === '2026-03'));
    expect(await counts('&source=external')).toMatchObject([{ agencyCode: 'H41.02', month: '2026-03', issued: 1 }]);
    expect(await counts('&profile=external-individual')).toEqual(await counts('&source=external'));
    const seen: CertificateCount[] = [];
    let next: string | undefined = '/counts?limit=1';
    while (next !== undefined) {
      const answer: supertest.Response = await get(next);
      seen.push(...answer.body.items);
      next = /<\/v1\/certificates([^>]*)>/.exec(answer.headers.link ?? '')?.[1];
    }
    expect(seen).toEqual(everything);
    const csv = await get('/counts', 'H41', 'text/csv');
    expect(csv.text.split('\r\n')).toHaveLength(everything.length + 2);
    expect((await get('/counts?from=2026-13')).body).toMatchObject({
      status: 422,
      errors: [{ pointer: 'query/from' }],
    });
  });
});

test('as PEM by its fingerprint', async () => {
  const [row] = await service.certificates(person!).then((rows) => rows.toReversed());
  const print = createHash('sha256').update(row!.certificate!).digest('hex');
  const pem = await get(`/by-fingerprint/${print}`, 'H41', 'application/pem-certificate-chain');
  expect(pem.text ?? pem.body.toString()).toContain(row!.certificate!.toString('base64').slice(0, 60));
});
