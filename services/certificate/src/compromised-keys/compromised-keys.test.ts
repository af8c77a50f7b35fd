import { hash, randomUUID } from 'node:crypto';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { fromPem } from '../authority/certificate.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';

let service: TestCertificates;
let keys = 0;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

const send = async (path: string, body: object, permission: string, agency = 'H41') =>
  supertest(service.app)
    .post(path)
    .set('Authorization', await service.tokens.bearer({ permissions: [permission], agency }))
    .send(body);
const report = (body: object, agency?: string) => send('/v1/compromised-keys', body, 'certificates:revoke', agency);
const reason = 'Khóa nằm trong một kho mã công khai';

async function enrolled(): Promise<{ account: TestAccount; submit: (csr: string) => ReturnType<typeof send> }> {
  const account = await service.account({ certificatePath: 'csr' });
  await service.converge(account);
  const [enrolment] = await service.enrolments(account);
  return { account, submit: (csr) => send(`/v1/enrolments/${enrolment!.id}/csr`, { csr }, 'certificates:enrol') };
}
function newKey() {
  const name = `known${++keys}`;
  const csr = service.csr(name);
  const publicKey = service.judge.run('pkey', '-in', `${name}.key`, '-pubout');
  return { csr, publicKey, fingerprint: hash('sha256', fromPem('PUBLIC KEY', publicKey)) };
}

describe('a key that was reported', () => {
  test.each<[string, (key: ReturnType<typeof newKey>) => object]>([
    ['by its fingerprint', ({ fingerprint }) => ({ fingerprintSha256: fingerprint.toUpperCase() })],
    ['as it is', ({ publicKey }) => ({ publicKey })],
    ['in a CSR', ({ csr }) => ({ publicKey: csr })],
  ])('%s is certified no more', async (_what, body) => {
    const key = newKey();
    const answer = await report({ ...body(key), reason });
    expect(answer.status).toBe(201);
    expect(answer.body).toMatchObject({ fingerprintSha256: key.fingerprint, reason, certificates: [] });
    const { account, submit } = await enrolled();
    expect((await submit(key.csr)).body).toMatchObject({
      status: 422,
      code: 'csr_key_compromised',
      errors: [{ pointer: '/csr' }],
    });
    expect(await service.enrolments(account)).toMatchObject([{ state: 'awaiting_csr', subject_public_key_info: null }]);
    expect((await submit(newKey().csr)).status).toBe(201);
    const events = await service.owner('directory.audit_events').where({ subject_id: key.fingerprint });
    expect(events).toMatchObject([{ action: 'compromised_key.reported', after: { reason } }]);
  });

  test('alone is refused among many that come at once, and so is the second of the same key', async () => {
    const [known, shared] = [newKey(), newKey()];
    await report({ publicKey: known.publicKey, reason });
    const csrs = [newKey().csr, known.csr, shared.csr, shared.csr, newKey().csr];
    const people = await Promise.all(csrs.map(enrolled));
    const answers = await Promise.all(people.map(({ submit }, index) => submit(csrs[index]!)));
    const outcomes = answers.map(({ status, body }) => body.code ?? status);
    expect([outcomes[0], outcomes[1], outcomes[4]]).toEqual([201, 'csr_key_compromised', 201]);
    expect(outcomes.slice(2, 4).map(String).sort()).toEqual(['201', 'csr_key_reused']);
    for (const [index, { account }] of people.entries())
      expect(await service.certificates(account)).toHaveLength(outcomes[index] === 201 ? 1 : 0);
  });

  test('and has a certificate: it is revoked, if it lies below who reports', async () => {
    const key = newKey();
    const { account, submit } = await enrolled();
    const { body } = await submit(key.csr);
    const told = { publicKey: body.certificate, reason };
    expect((await report(told, 'H41.02')).body).toMatchObject({ status: 403, code: 'key_of_others' });
    expect(
      await service.owner('certificate.compromised_keys').where({ fingerprint: Buffer.from(key.fingerprint, 'hex') }),
    ).toEqual([]);
    expect((await report(told, 'H41.12')).body.certificates).toEqual([body.serialNumber]);
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'keyCompromise' },
    ]);
    expect((await service.actions(account)).at(-1)).toBe('certificate.revoked');
    expect((await report(told)).body.certificates).toEqual([]);
    expect(await service.owner('directory.audit_events').where({ subject_id: key.fingerprint })).toHaveLength(1);
  });

  test('while a certificate is signed for it: the account is looked at, and who has no right learns no more', async () => {
    const key = newKey();
    const { account, submit } = await enrolled();
    const allow = await service.forbid('insert', 'certificate.certificates');
    expect((await submit(key.csr)).status).toBe(500);
    await allow();
    const [intent] = await service.intents(account);
    const told = { publicKey: key.publicKey, reason };
    expect((await report(told, 'H41.02')).body).toMatchObject({ status: 403, code: 'key_of_others' });
    expect((await report(told, 'H41.12')).body.certificates).toEqual([intent!.serial_number.toString('hex')]);
    expect(await service.queued()).toContain(`certificates:${account.id}`);
  });

  test('is told by one of the two, and by what holds a key', async () => {
    const { publicKey, fingerprint } = newKey();
    for (const body of [{}, { publicKey, fingerprintSha256: fingerprint }, { publicKey: 'nothing' }])
      expect((await report({ ...body, reason })).body).toMatchObject({
        status: 422,
        errors: [{ pointer: '/publicKey' }],
      });
    expect((await report({ fingerprintSha256: fingerprint })).body.errors).toMatchObject([{ pointer: '/reason' }]);
  });
});

test('revoking with keyCompromise makes the key known, whoever brings it then; another reason does not', async () => {
  for (const [why, code] of [
    ['keyCompromise', 'csr_key_compromised'],
    ['superseded', 'csr_key_reused'],
  ] as const) {
    const key = newKey();
    const { submit } = await enrolled();
    const { body } = await submit(key.csr);
    await send(`/v1/certificates/${body.serialNumber}/revoke`, { reason: why }, 'certificates:revoke');
    expect(
      await service.owner('certificate.compromised_keys').where({ fingerprint: Buffer.from(key.fingerprint, 'hex') }),
    ).toHaveLength(why === 'keyCompromise' ? 1 : 0);
    const other = await enrolled();
    expect((await other.submit(key.csr)).body.code).toBe(code);
  }
});

test('the service can add to the list and take nothing off it', async () => {
  const list = () => service.database('certificate.compromised_keys').where({ reason: randomUUID() });
  await expect(list().delete()).rejects.toThrow('permission denied');
  await expect(list().update({ reason: 'x' })).rejects.toThrow('permission denied');
});
