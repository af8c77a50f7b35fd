import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { forgetDeliveredKeys } from './enrolment-store.ts';
import { pickUp } from './pick-up.ts';

let service: TestCertificates;
let account: TestAccount;
let id: string;
const passphrase = 'correct horse battery';
beforeAll(async () => {
  service = await startTestCertificates();
});
beforeEach(async () => {
  account = await service.account();
  await service.converge(account);
  id = (await service.enrolments(account))[0]!.id;
});
afterAll(() => service.stop());

async function pick(
  body: object = { passphrase },
  by: { id?: string; kind?: 'client' | 'holder'; permissions?: string[]; epoch?: number; agency?: string } = {},
) {
  return supertest(service.app)
    .post(`/v1/enrolments/${id}/pickup`)
    .set('Authorization', await service.tokens.bearer({ kind: 'holder', id: account.id, ...by }))
    .buffer(true)
    .parse((response, done) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => {
        const whole = Buffer.concat(parts);
        done(null, response.headers['content-type']?.includes('json') ? JSON.parse(whole.toString()) : whole);
      });
    })
    .send(body);
}
const enrolment = async () => (await service.enrolments(account))[0]!;
/** Ten minutes later, and the job that follows. */
async function windowOver(): Promise<void> {
  await service
    .owner('certificate.enrolments')
    .where({ id })
    .whereNotNull('pickup_open_until')
    .update({ pickup_open_until: new Date(Date.now() - 1) });
  await forgetDeliveredKeys(service.database);
}
const direct = () =>
  pickUp(
    service,
    id,
    { accountId: account.id, credentialEpoch: 1 },
    { passphrase, form: 'modern' },
    { kind: 'holder', id: account.id, ip: null },
  );

describe('a pickup', () => {
  test.each([
    ['modern', 'aes-256-cbc', []],
    ['legacy', 'pbeWithSHA1And3-KeyTripleDES-CBC', ['-legacy']],
  ])('in the %s form opens with OpenSSL: key, certificate, chain', async (form, cipher, options) => {
    const answer = await pick({ passphrase, form });
    expect(answer.status).toBe(200);
    expect(answer.headers).toMatchObject({
      'content-type': 'application/x-pkcs12',
      'content-disposition': 'attachment; filename="congvu.p12"',
      'cache-control': 'no-store',
    });
    const { judge } = service;
    judge.write('picked.p12', answer.body);
    const open = ['pkcs12', '-in', 'picked.p12', '-passin', `pass:${passphrase}`, ...options];
    judge.run(...open, '-nodes', '-nocerts', '-out', 'picked.key');
    judge.run(...open, '-clcerts', '-nokeys', '-out', 'picked.crt');
    expect(judge.run('x509', '-in', 'picked.crt', '-noout', '-pubkey')).toBe(
      judge.run('pkey', '-in', 'picked.key', '-pubout'),
    );
    const [row] = await service.certificates(account);
    expect(judge.run('x509', '-in', 'picked.crt', '-noout', '-serial').toLowerCase()).toContain(
      BigInt(`0x${row!.serial_number.toString('hex')}`).toString(16),
    );
    expect(judge.run(...open, '-cacerts', '-nokeys').match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    // OpenSSL tells how it is encrypted on standard error.
    const { stderr } = spawnSync('openssl', [...open, '-info', '-noout'], { cwd: judge.directory, encoding: 'utf8' });
    expect(stderr.toLowerCase()).toContain(cipher.toLowerCase());
  });

  test('is on record before it leaves, and the key is erased when its time is over', async () => {
    expect((await pick()).status).toBe(200);
    await windowOver();
    expect(await enrolment()).toMatchObject({
      state: 'issued',
      picked_up_at: expect.any(Date),
      wrapped_private_key: null,
    });
    expect((await service.actions(account)).at(-1)).toBe('enrolment.picked_up');
    expect((await pick()).body).toMatchObject({ status: 409, code: 'picked_up' });
  });

  test('whose record cannot be written gives nothing out', async () => {
    const allow = await service.forbid('insert', 'directory.audit_events');
    try {
      expect((await pick()).body).toMatchObject({ status: 500 });
    } finally {
      await allow();
    }
    expect(await enrolment()).toMatchObject({ state: 'awaiting_pickup', picked_up_at: null });
    expect((await pick()).status).toBe(200);
  });

  test('whose answer was lost may be repeated for ten minutes, and no longer', async () => {
    await direct(); // nothing has gone out: the key is still here
    const first = await enrolment();
    expect(first.wrapped_private_key).not.toBeNull();
    await direct();
    expect((await enrolment()).pickup_open_until).toEqual(first.pickup_open_until); // the window does not move
    await service
      .owner('certificate.enrolments')
      .where({ id })
      .update({ pickup_open_until: new Date(Date.now() - 1) });
    expect((await pick()).body).toMatchObject({ status: 409, code: 'picked_up' });
  });

  test('several at once: the key is gone when their time is over', async () => {
    const answers = await Promise.all([pick(), pick(), pick()]);
    for (const { status } of answers) expect([200, 409]).toContain(status);
    expect(answers.some(({ status }) => status === 200)).toBe(true);
    await windowOver();
    expect((await enrolment()).wrapped_private_key).toBeNull();
  });
});

describe('under a passphrase that is made here', () => {
  const shown = async (by: { id?: string; kind?: 'client' | 'holder'; permissions?: string[]; epoch?: number } = {}) =>
    supertest(service.app)
      .post(`/v1/enrolments/${id}/passphrase`)
      .set('Authorization', await service.tokens.bearer({ kind: 'holder', id: account.id, ...by }));
  const client = () => ({ kind: 'client' as const, id: randomUUID(), permissions: ['certificates:enrol'] });

  test.each([
    ['modern', [], 'PBKDF2, AES-256-CBC, Iteration 2048'],
    ['legacy', ['-legacy'], 'pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048'],
  ])('the agency takes the %s file, the holder is shown what opens it', async (form, options, cipher) => {
    const file = await pick({ form }, client());
    expect(file.status).toBe(200);
    const answer = await shown();
    expect(answer.headers['cache-control']).toBe('no-store');
    const open = ['pkcs12', '-in', 'handed.p12', '-passin', `pass:${answer.body.passphrase}`, ...options];
    service.judge.write('handed.p12', file.body);
    service.judge.run(...open, '-nodes', '-nocerts', '-out', 'handed.key');
    service.judge.run(...open, '-clcerts', '-nokeys', '-out', 'handed.crt');
    expect(service.judge.run('x509', '-in', 'handed.crt', '-noout', '-pubkey')).toBe(
      service.judge.run('pkey', '-in', 'handed.key', '-pubout'),
    );
    const info = spawnSync('openssl', [...open, '-info', '-noout'], { cwd: service.judge.directory, encoding: 'utf8' });
    expect(info.stderr).toContain(cipher);
    expect((await shown()).body.passphrase).toBe(answer.body.passphrase); // again, the same
    expect((await service.actions(account)).slice(-3)).toEqual([
      'enrolment.picked_up',
      'enrolment.passphrase_shown',
      'enrolment.passphrase_shown',
    ]);
    const stored = JSON.stringify(await enrolment());
    expect(stored).not.toContain(Buffer.from(answer.body.passphrase).toString('hex'));
  });

  test('the holder may take the file too; it opens after the key is forgotten, until the passphrase is', async () => {
    const passphraseFirst = (await shown()).body.passphrase;
    const file = await pick({});
    service.judge.write('own.p12', file.body);
    service.judge.run('pkcs12', '-in', 'own.p12', '-passin', `pass:${passphraseFirst}`, '-noout');
    await windowOver();
    expect((await shown()).body.passphrase).toBe(passphraseFirst);
    await service
      .owner('certificate.enrolments')
      .where({ id })
      .update({ passphrase_shown_at: new Date(Date.now() - 31 * 86_400_000) });
    await forgetDeliveredKeys(service.database);
    expect((await shown()).body).toMatchObject({ status: 409, code: 'no_passphrase' });
  });

  test('is shown to nobody else', async () => {
    const stranger = await service.account();
    expect((await shown({ id: stranger.id })).status).toBe(404);
    expect((await shown({ epoch: 2 })).status).toBe(404);
    const permissions = ['certificates:enrol', 'certificates:read', 'certificates:revoke'];
    expect((await shown({ kind: 'client', id: account.id, permissions })).status).toBe(403);
    expect((await enrolment()).wrapped_passphrase).toBeNull();
  });

  test('is not shown while the account is suspended', async () => {
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    expect((await shown()).body).toMatchObject({ status: 409, code: 'account_state' });
  });
});

describe('refused', () => {
  test.each([
    ['too short', 'elevenchars'],
    ['too long', 'x'.repeat(129)],
    ['not ASCII', 'mật khẩu đủ dài'],
    ['a control character', 'with\tin the middle'],
  ])('a passphrase that is %s', async (_what, wrong) => {
    expect((await pick({ passphrase: wrong })).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/passphrase' }],
    });
    expect(await enrolment()).toMatchObject({ state: 'awaiting_pickup', picked_up_at: null });
    expect((await enrolment()).wrapped_private_key).not.toBeNull();
  });

  test('another form, a word too much', async () => {
    expect((await pick({ passphrase, form: 'pem' })).body.errors).toMatchObject([{ pointer: '/form' }]);
    expect((await pick({ passphrase, pin: 1 })).body.errors).toMatchObject([
      { pointer: '/pin', code: 'unknown_field' },
    ]);
  });

  test('another holder', async () => {
    const stranger = await service.account();
    expect((await pick({ passphrase }, { id: stranger.id })).body).toMatchObject({
      status: 404,
      code: 'enrolment_not_found',
    });
  });

  test('whoever held the account before, with a token from then', async () => {
    await changeAccount(service.owner, account.id, { credential_epoch: 2 });
    expect((await pick()).status).toBe(404); // also before the certificate service has heard of it
    await service.converge(account);
    id = (await service.enrolments(account))[1]!.id;
    expect((await pick()).status).toBe(404);
    expect((await pick(undefined, { epoch: 2 })).status).toBe(200);
  });

  test('a client that would choose the passphrase, is of another agency, or may not enrol', async () => {
    const client = { kind: 'client', id: randomUUID(), permissions: ['certificates:enrol'] } as const;
    const { permissions } = { permissions: [...client.permissions] };
    expect((await pick({ passphrase }, { ...client, permissions })).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/passphrase', code: 'passphrase_not_yours' }],
    });
    expect((await pick({}, { ...client, permissions, agency: 'H41.02' })).status).toBe(404);
    const others = ['certificates:read', 'certificates:approve', 'certificates:revoke', 'holder'];
    expect((await pick({}, { ...client, permissions: others })).status).toBe(403);
    expect(await enrolment()).toMatchObject({ state: 'awaiting_pickup', wrapped_passphrase: null });
  });

  test('an account that is not active', async () => {
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    expect((await pick()).body).toMatchObject({ status: 409, code: 'account_state' });
  });

  test('a key of the holder’s own', async () => {
    account = await service.account({ certificatePath: 'csr' });
    await service.converge(account);
    id = (await service.enrolments(account))[0]!.id;
    expect((await pick()).body).toMatchObject({ status: 409, code: 'enrolment_path' });
  });

  test('before the certificate is made: later', async () => {
    account = await service.account();
    const allow = await service.forbid('insert', 'certificate.certificates');
    await service.converge(account).catch(() => undefined);
    await allow();
    id = (await service.enrolments(account))[0]!.id;
    const answer = await pick();
    expect(answer.body).toMatchObject({ status: 503, code: 'certificate_not_ready' });
    expect(answer.headers['retry-after']).toBe('5');
  });

  test('after its certificate was revoked: never again, and the key is erased', async () => {
    const [row] = await service.certificates(account);
    await service.revoke(row!.serial_number, 'keyCompromise');
    expect((await enrolment()).wrapped_private_key).toBeNull();
    expect((await pick()).body).toMatchObject({ status: 409, code: 'certificate_revoked' });
    await service.converge(account);
    expect((await pick()).body).toMatchObject({ status: 409, code: 'certificate_revoked' });
  });

  test('a key that was wrapped for another enrolment does not open', async () => {
    const other = await service.account();
    await service.converge(other);
    const [foreign] = await service.enrolments(other);
    await service
      .owner('certificate.enrolments')
      .where({ id })
      .update({ wrapped_private_key: foreign!.wrapped_private_key });
    await expect(direct()).rejects.toMatchObject({ code: 'wrapped_key_damaged' });
  });
});

test('the job forgets keys that were picked up and whose window is over, and no others', async () => {
  await forgetDeliveredKeys(service.database); // those of the tests before
  await direct();
  const fresh = await service.account();
  await service.converge(fresh);
  expect(await forgetDeliveredKeys(service.database)).toBe(0);
  await service
    .owner('certificate.enrolments')
    .where({ id })
    .update({ pickup_open_until: new Date(Date.now() - 1) });
  expect(await forgetDeliveredKeys(service.database)).toBe(1);
  expect((await enrolment()).wrapped_private_key).toBeNull();
  expect((await service.enrolments(fresh))[0]!.wrapped_private_key).not.toBeNull();
});
