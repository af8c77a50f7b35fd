import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { changeAccount, insertClient, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { newCertificate, openChallenge, putOnDuty, type TestOfficer } from './testing-officers.ts';

let service: TestCertificates;
let first: TestOfficer;
let second: TestOfficer;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

type Claims = Parameters<TestCertificates['tokens']['bearer']>[0];
const post = async (path: string, body: object, claims: Claims | TestOfficer) =>
  supertest(service.app)
    .post(path)
    .set(
      'Authorization',
      'bearer' in claims ? await claims.bearer() : await service.tokens.bearer({ id: randomUUID(), ...claims }),
    )
    .send(body);
const approver = { permissions: ['certificates:approve'] };
const ask = (account: TestAccount, body: object = {}, claims: Claims = { permissions: ['certificates:enrol'] }) =>
  post('/v1/enrolments', { accountId: account.id, profile: 'person-encryption', path: 'server_key', ...body }, claims);

test('without two officers on duty no key is made that should be escrowed', async () => {
  const account = await service.account();
  expect((await ask(account)).body).toMatchObject({ status: 409, code: 'escrow_not_ready' });
  first = await putOnDuty(service, 'first');
  expect((await ask(account)).body).toMatchObject({ status: 409, code: 'escrow_not_ready' });
  expect(await service.enrolments(account)).toEqual([]);
  expect((await ask(account, { path: 'csr' })).status).toBe(201); // the holder's own key is nobody else's
});

describe('an officer', () => {
  const candidate = (claims: Claims = {}) => ({ id: randomUUID(), permissions: ['keys:recover'], ...claims });
  const register = async (name: string, certificate: string, claims: Claims) =>
    post('/v1/recovery-officers', { name, certificate }, claims);

  test('must open what is encrypted to the certificate, and be approved by somebody else', async () => {
    const claims = candidate();
    const certificate = await newCertificate(service, 'tried');
    const { body, status } = await register('tried', certificate, claims);
    expect(status).toBe(201);
    const { id } = body.officer;
    expect((await post(`/v1/recovery-officers/${id}/approve`, {}, approver)).body.code).toBe('officer_state');
    const wrong = await post(`/v1/recovery-officers/${id}/proof`, { proof: '00'.repeat(32) }, claims);
    expect(wrong.body).toMatchObject({ status: 422, errors: [{ pointer: '/proof', code: 'proof_wrong' }] });
    const proof = openChallenge(service, 'tried', body.challenge);
    expect((await post(`/v1/recovery-officers/${id}/proof`, { proof }, candidate())).body.code).toBe(
      'not_your_registration',
    );
    expect((await post(`/v1/recovery-officers/${id}/proof`, { proof }, claims)).body.state).toBe('awaiting_approval');
    const own = { id: claims.id, permissions: ['certificates:approve'] };
    expect((await post(`/v1/recovery-officers/${id}/approve`, {}, own)).body).toMatchObject({
      status: 403,
      code: 'own_officer',
    });
    expect((await post(`/v1/recovery-officers/${id}/approve`, {}, { ...approver, agency: 'H41.12' })).body.code).toBe(
      'top_agency_only',
    );
    expect((await post(`/v1/recovery-officers/${id}/retire`, {}, approver)).body.state).toBe('retired');
  });

  test('is no client whose secret the other officer was shown', async () => {
    const boss = await insertClient(service.owner);
    const made = await insertClient(service.owner, { createdBy: boss });
    const claims = candidate({ id: made });
    const { body } = await register('made', await newCertificate(service, 'made'), claims);
    const { id } = body.officer;
    await post(`/v1/recovery-officers/${id}/proof`, { proof: openChallenge(service, 'made', body.challenge) }, claims);
    expect((await post(`/v1/recovery-officers/${id}/approve`, {}, { ...approver, id: boss })).body.code).toBe(
      'own_officer',
    );
    await service.owner('certificate.recovery_officers').where({ id: first.officerId }).update({ client_id: boss });
    expect((await post(`/v1/recovery-officers/${id}/approve`, {}, approver)).body).toMatchObject({
      status: 409,
      code: 'one_hand',
    });
    await service
      .owner('certificate.recovery_officers')
      .where({ id: first.officerId })
      .update({ client_id: first.clientId });
    await post(`/v1/recovery-officers/${id}/retire`, {}, approver);
  });

  test.each([
    ['a key that is too short', ['-newkey', 'rsa:1024'], 'key_weak'],
    ['a key of a curve', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'], 'key_kind'],
    ['a key that may only sign', ['-newkey', 'rsa:2048', '-addext', 'keyUsage=digitalSignature'], 'key_usage'],
  ])('brings no certificate of %s', async (what, options, code) => {
    const certificate = await newCertificate(service, what.replaceAll(' ', '-'), ...options);
    expect((await register('x', certificate, candidate())).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/certificate', code }],
    });
  });

  test('brings a certificate that nobody brought, and text that is one; of the top agency', async () => {
    const used = readFileSync(join(service.judge.directory, 'first.pem'), 'utf8');
    expect((await register('x', used, candidate())).body.errors).toMatchObject([{ code: 'certificate_used' }]);
    expect((await register('x', 'nothing', candidate())).body.errors).toMatchObject([{ pointer: '/certificate' }]);
    const fresh = await newCertificate(service, 'fresh');
    expect((await register('x', fresh, candidate({ agency: 'H41.12' }))).body.code).toBe('top_agency_only');
    expect((await register('x', fresh, { id: first.clientId, permissions: ['keys:recover'] })).body.code).toBe(
      'officer_registered',
    );
  });

  test('there are two of, and no third', async () => {
    second = await putOnDuty(service, 'second');
    await expect(putOnDuty(service, 'third')).rejects.toThrow('officers_complete');
    const seats = await service.owner('certificate.recovery_officers').where({ state: 'active' }).pluck('seat');
    expect(seats.sort()).toEqual([1, 2]);
  });
});

describe('recovery', () => {
  let account: TestAccount;
  let keys: string[];
  const recover = (...args: string[]) =>
    execFileSync(process.execPath, [join(import.meta.dirname, '../recover.ts'), ...args], {
      cwd: service.judge.directory,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  const publicKeys = async () =>
    (await service.enrolments(account))
      .filter((one) => one.profile === 'person-encryption')
      .map((one) => one.subject_public_key_info!.toString('hex'));

  beforeAll(async () => {
    // Two encryption keys, one after the other: the first was revoked and taken the place of.
    account = await service.account({ displayName: 'Phan Bội Châu' });
    for (const round of [1, 2]) {
      expect((await ask(account)).status).toBe(201);
      await service.converge(account);
      if (round === 2) break;
      await service
        .owner('certificate.certificates')
        .where({ account_id: account.id, profile: 'person-encryption' })
        .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' });
    }
    keys = await publicKeys();
  });

  test('every encryption key is escrowed with its making, and the service alone cannot open it', async () => {
    expect(keys).toHaveLength(2);
    const rows = await service.owner('certificate.escrowed_keys').where({ account_id: account.id });
    expect(rows).toHaveLength(2);
    for (const row of rows) {
      expect([row.first_officer_id, row.second_officer_id]).toEqual([first.officerId, second.officerId]);
      service.judge.write('share.cms', row.first_share);
      const open = (name: string) =>
        service.judge.run(
          ...['cms', '-decrypt', '-inform', 'DER', '-in', 'share.cms', '-binary', '-out', 'share.bin'],
          ...['-inkey', `${name}.key`, '-recip', `${name}.pem`],
        );
      open('first');
      expect(() => open('second')).toThrow();
    }
    expect(await service.actions(account)).toContain('enrolment.key_escrowed');
    await expect(
      service.database('certificate.escrowed_keys').where({ account_id: account.id }).delete(),
    ).rejects.toThrow('permission denied');
    await expect(service.database('certificate.escrowed_keys').update({ sealed_key: Buffer.alloc(1) })).rejects.toThrow(
      'permission denied',
    );
  });

  test('a key whose escrow cannot be written is not on record either', async () => {
    const other = await service.account();
    await ask(other);
    const allow = await service.forbid('insert', 'certificate.escrowed_keys');
    await expect(service.converge(other)).rejects.toThrow('forbidden by the test');
    const encryption = async () => (await service.enrolments(other)).find((one) => one.profile === 'person-encryption');
    expect(await encryption()).toMatchObject({ wrapped_private_key: null, subject_public_key_info: null });
    await allow();
    await service.converge(other);
    expect((await encryption())!.subject_public_key_info).not.toBeNull();
    expect(await service.owner('certificate.escrowed_keys').where({ account_id: other.id })).toHaveLength(1);
  });

  test('one officer asks with a reason, the other confirms, each opens the own shares, both together the keys', async () => {
    // 1. Asked for, and not to be had by the one who asked alone.
    const reason = 'Thư cũ của người đã nghỉ việc';
    const asked = await post('/v1/recoveries', { accountId: account.id, reason }, first);
    expect(asked.body).toMatchObject({ state: 'awaiting_confirmation', askedBy: 'first', keyCount: 2, reason });
    const { id } = asked.body;
    expect((await post('/v1/recoveries', { accountId: account.id, reason }, second)).body.code).toBe('recovery_open');
    expect((await post(`/v1/recoveries/${id}/shares`, {}, first)).body.code).toBe('recovery_state');
    expect((await post(`/v1/recoveries/${id}/confirm`, {}, first)).body).toMatchObject({
      status: 403,
      code: 'own_recovery',
    });
    const stranger = { permissions: ['keys:recover'] };
    expect((await post(`/v1/recoveries/${id}/confirm`, {}, stranger)).body.code).toBe('not_an_officer');

    // 2. Confirmed by the other.
    expect((await post(`/v1/recoveries/${id}/confirm`, {}, second)).body).toMatchObject({
      state: 'confirmed',
      confirmedBy: 'second',
    });
    expect((await post(`/v1/recoveries/${id}/shares`, {}, stranger)).body.code).toBe('not_an_officer');
    for (const officer of [first, second]) {
      const shares = await post(`/v1/recoveries/${id}/shares`, {}, officer);
      expect(shares.body.keys).toHaveLength(2);
      service.judge.write(`${officer.name}.shares.json`, shares.text);
    }

    // 3. Away from the service, by the command.
    for (const { name } of [first, second])
      recover('open', '--shares', `${name}.shares.json`, '--key', `${name}.key`, '--out', `${name}.opened.json`);
    expect(() =>
      recover('open', '--shares', 'second.shares.json', '--key', 'first.key', '--out', 'never.json'),
    ).toThrow('does not open the share');
    const combine = ['--opened', 'first.opened.json', '--opened', 'second.opened.json'];
    const said = recover('combine', ...combine, '--out', 'bundle.p12', '--passphrase-out', 'slip.txt');
    expect(said.match(/^recovered/gm)).toHaveLength(2);
    expect(statSync(join(service.judge.directory, 'bundle.p12')).mode & 0o777).toBe(0o600);
    expect(() => recover('combine', ...combine, '--out', 'bundle.p12', '--passphrase-out', 'slip.txt')).toThrow(
      'EEXIST',
    );
    expect(() =>
      recover(
        ...['combine', '--opened', 'first.opened.json', '--opened', 'first.opened.json'],
        ...['--out', 'b.p12', '--passphrase-out', 's.txt'],
      ),
    ).toThrow('not the shares of the two officers');

    // 4. OpenSSL finds both keys, and they are the account's.
    const open = ['pkcs12', '-in', 'bundle.p12', '-passin', 'file:slip.txt'];
    const pem = service.judge
      .run(...open, '-nodes', '-nocerts')
      .split('-----BEGIN PRIVATE KEY')
      .slice(1);
    const recovered = pem.map((part) => {
      service.judge.write('recovered.key', `-----BEGIN PRIVATE KEY${part}`);
      service.judge.run('pkey', '-in', 'recovered.key', '-pubout', '-outform', 'DER', '-out', 'recovered.der');
      return readFileSync(join(service.judge.directory, 'recovered.der')).toString('hex');
    });
    expect(recovered.sort()).toEqual([...keys].sort());

    // 5. All of it on record, with the reason.
    const events = await service
      .owner('directory.audit_events')
      .where({ subject_id: account.id })
      .where('action', 'like', 'recovery.%')
      .orderBy('id');
    expect(events.map((event) => [event.action, event.actor_id])).toEqual([
      ['recovery.asked', first.clientId],
      ['recovery.confirmed', second.clientId],
      ['recovery.share_given', first.clientId],
      ['recovery.share_given', second.clientId],
    ]);
    expect(events.every((event) => event.after.reason === reason && event.after.recoveryId === id)).toBe(true);
  });

  test('mail that was encrypted to an old certificate opens with what was recovered', () => {
    const [old] = service.judge
      .run('pkcs12', '-in', 'bundle.p12', '-passin', 'file:slip.txt', '-clcerts', '-nokeys')
      .split(/(?=Bag Attributes)/);
    service.judge.write('old.pem', old!);
    service.judge.write('letter.txt', 'Thư mật của năm ngoái\n');
    service.judge.run('cms', '-encrypt', '-in', 'letter.txt', '-aes-256-cbc', '-out', 'letter.eml', 'old.pem');
    const bundle = service.judge.run('pkcs12', '-in', 'bundle.p12', '-passin', 'file:slip.txt', '-nodes');
    service.judge.write('bundle.pem', bundle);
    expect(service.judge.run('cms', '-decrypt', '-in', 'letter.eml', '-inkey', 'bundle.pem')).toContain('năm ngoái');
  });

  test('ends after its time, and when it is called off', async () => {
    const reason = 'Một lý do đủ dài';
    const { body } = await post('/v1/recoveries', { accountId: account.id, reason }, second);
    await service
      .owner('certificate.recoveries')
      .where({ id: body.id })
      .update({ open_until: new Date(Date.now() - 1) });
    expect((await post(`/v1/recoveries/${body.id}/confirm`, {}, first)).body.code).toBe('recovery_expired');
    const again = await post('/v1/recoveries', { accountId: account.id, reason }, second);
    await post(`/v1/recoveries/${again.body.id}/confirm`, {}, first);
    expect((await post(`/v1/recoveries/${again.body.id}/cancel`, {}, first)).body.state).toBe('cancelled');
    expect((await post(`/v1/recoveries/${again.body.id}/shares`, {}, second)).body.code).toBe('recovery_state');
    const list = await supertest(service.app)
      .get('/v1/recoveries')
      .set('Authorization', await first.bearer());
    expect(list.body.items.map((one: { state: string }) => one.state)).toEqual(['cancelled', 'cancelled', 'confirmed']);
  });

  test('of an account without such keys, below another agency, without a reason: refused', async () => {
    const empty = await service.account();
    const reason = 'Một lý do đủ dài';
    expect((await post('/v1/recoveries', { accountId: empty.id, reason }, first)).body.code).toBe('nothing_escrowed');
    expect((await post('/v1/recoveries', { accountId: randomUUID(), reason }, first)).status).toBe(404);
    expect((await post('/v1/recoveries', { accountId: account.id, reason: 'x' }, first)).body.errors).toMatchObject([
      { pointer: '/reason' },
    ]);
  });

  test('of a retired account, by an officer who is off duty: what is encrypted to the officer stays so', async () => {
    await changeAccount(service.owner, account.id, { state: 'retired', credential_epoch: 2 });
    await post(`/v1/recovery-officers/${second.officerId}/retire`, {}, approver);
    const fourth = await putOnDuty(service, 'fourth');
    const reason = 'Thư của người đã nghỉ';
    const { body } = await post('/v1/recoveries', { accountId: account.id, reason }, first);
    expect((await post(`/v1/recoveries/${body.id}/confirm`, {}, fourth)).body.state).toBe('confirmed');
    expect((await post(`/v1/recoveries/${body.id}/shares`, {}, fourth)).body.code).toBe('not_an_officer');
    const shares = await post(`/v1/recoveries/${body.id}/shares`, {}, second);
    expect(shares.body.keys.map((key: { share: string | null }) => typeof key.share)).toEqual(['string', 'string']);
  });
});
