import { randomUUID } from 'node:crypto';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { authoritiesOf } from '../authorities/authorities.ts';
import type { Profile } from '../authority/profile.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { renewCertificate } from './renew-certificate.ts';

let service: TestCertificates;
let keys = 0;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

type Claims = Parameters<TestCertificates['tokens']['bearer']>[0];
const agency: Claims = { permissions: ['certificates:enrol'] };
const post = async (path: string, body: object, claims: Claims = agency, headers: Record<string, string> = {}) =>
  supertest(service.app)
    .post(path)
    .set('Authorization', await service.tokens.bearer(claims))
    .set(headers)
    .send(body);
const newCsr = (...options: string[]) => service.csr(`renewed${++keys}`, ...options);
const renew = (serialNumber: string, newKey: boolean, claims?: Claims, headers?: Record<string, string>) =>
  post(`/v1/certificates/${serialNumber}/renew`, { newKey }, claims, headers);
const inDays = (days: number) => new Date(Date.now() + days * 86_400_000);
/** As time would have it: the record says when it ends. */
const endsIn = (account: TestAccount, days: number) =>
  service
    .owner('certificate.certificates')
    .where({ account_id: account.id })
    .update({ not_after: inDays(days) });
const serialOf = async (account: TestAccount) =>
  (await service.certificates(account)).at(-1)!.serial_number.toString('hex');

/** With a certificate for a key of the holder's own, which ends in thirty days. */
async function withCsr(): Promise<TestAccount> {
  const account = await service.account({ certificatePath: 'csr' });
  await service.converge(account);
  const [enrolment] = await service.enrolments(account);
  expect((await post(`/v1/enrolments/${enrolment!.id}/csr`, { csr: newCsr() })).status).toBe(201);
  await endsIn(account, 30);
  return account;
}
const states = async (account: TestAccount) =>
  (await service.enrolments(account)).map(({ state, same_key }) => (same_key ? `${state}, same key` : state));

describe('with a new key', () => {
  test('of the holder’s own: by a CSR to the new enrolment; the old certificate stays valid and both are published', async () => {
    const account = await withCsr();
    const opened = await renew(await serialOf(account), true, { kind: 'holder', id: account.id });
    const [old] = await service.enrolments(account);
    expect(opened.body).toMatchObject({ state: 'awaiting_csr', renews: old!.id, sameKey: false, askedBy: account.id });
    expect(await states(account)).toEqual(['renewed', 'awaiting_csr']);
    const answer = await post(`/v1/enrolments/${opened.body.id}/csr`, { csr: newCsr() });
    expect(answer.status).toBe(201);
    expect(await states(account)).toEqual(['renewed', 'issued']);
    expect((await service.certificates(account)).map(({ state }) => state)).toEqual(['valid', 'valid']);
    await service.converge(account);
    expect((await service.certificates(account)).map(({ state }) => state)).toEqual(['valid', 'valid']);
    expect(await service.actions(account)).toContain('enrolment.renewal_asked');
  });

  test('that is made here: made by the job, and picked up as the first was', async () => {
    const account = await service.account();
    await service.converge(account);
    await endsIn(account, 30);
    const serialNumber = await serialOf(account);
    expect((await renew(serialNumber, true)).body).toMatchObject({ status: 409, code: 'enrolment_state' });
    const [first] = await service.enrolments(account);
    const holder: Claims = { kind: 'holder', id: account.id };
    await post(`/v1/enrolments/${first!.id}/pickup`, {}, holder);
    const { body } = await renew(serialNumber, true);
    expect(body).toMatchObject({ state: 'awaiting_pickup', serialNumber: null });
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    await service.converge(account);
    const [one, other] = await service.enrolments(account);
    expect(other!.subject_public_key_info).not.toEqual(one!.subject_public_key_info);
    expect(other!.wrapped_private_key).not.toBeNull();
    expect((await post(`/v1/enrolments/${body.id}/pickup`, {}, holder)).status).toBe(200);
    expect(await states(account)).toEqual(['renewed', 'issued']);
  });

  test('not that of the certificate before', async () => {
    const account = await withCsr();
    const csr = service.judge.run('req', '-new', '-key', `renewed${keys}.key`, '-subj', '/CN=x');
    const { body } = await renew(await serialOf(account), true);
    expect((await post(`/v1/enrolments/${body.id}/csr`, { csr })).body.code).toBe('csr_key_reused');
  });
});

test('one that was taken back leaves the certificate to be renewed still', async () => {
  const account = await withCsr();
  const { body } = await renew(await serialOf(account), true);
  await post(`/v1/enrolments/${body.id}/withdraw`, {});
  expect(await states(account)).toEqual(['issued', 'rejected']);
  expect((await renew(await serialOf(account), false)).status).toBe(201);
});

describe('with the same key', () => {
  test('the certificate follows without the holder, for the same key and a new period', async () => {
    const account = await withCsr();
    const { body } = await renew(await serialOf(account), false);
    expect(body).toMatchObject({ sameKey: true });
    await service.converge(account);
    expect(await states(account)).toEqual(['renewed', 'issued, same key']);
    const [old, fresh] = await service.certificates(account);
    expect(service.verify(fresh!.certificate!)).toContain('OK');
    expect(fresh!.serial_number).not.toEqual(old!.serial_number);
    const keyOf = (certificate: Buffer) => {
      service.judge.write('key-of.der', certificate);
      return service.judge.run('x509', '-inform', 'DER', '-in', 'key-of.der', '-noout', '-pubkey');
    };
    expect(keyOf(fresh!.certificate!)).toBe(keyOf(old!.certificate!));
    expect((await post(`/v1/enrolments/${body.id}/csr`, { csr: newCsr() })).body.code).toBe('enrolment_state');
    await service.converge(account);
    expect(await service.certificates(account)).toHaveLength(2);
  });

  test('of a key that was made here: nothing is to be picked up a second time', async () => {
    const account = await service.account();
    await service.converge(account);
    await endsIn(account, 30);
    const holder: Claims = { kind: 'holder', id: account.id };
    const [first] = await service.enrolments(account);
    await post(`/v1/enrolments/${first!.id}/pickup`, {}, holder);
    const { body } = await renew(await serialOf(account), false);
    await service.converge(account);
    expect(await states(account)).toEqual(['renewed', 'issued, same key']);
    expect((await post(`/v1/enrolments/${body.id}/pickup`, {}, holder)).body.code).toBe('enrolment_path');
  });

  test('the database takes no other key for it', async () => {
    const account = await withCsr();
    const { body } = await renew(await serialOf(account), false);
    await expect(
      service
        .database('certificate.enrolments')
        .where({ id: body.id })
        .update({ subject_public_key_info: Buffer.alloc(9) }),
    ).rejects.toThrow('has the key of the enrolment that it renews');
  });

  test('when one of the two certificates of the key is revoked as compromised, so is the other', async () => {
    const account = await withCsr();
    const serialNumber = await serialOf(account);
    await renew(serialNumber, false);
    await service.converge(account);
    const revoker: Claims = { permissions: ['certificates:revoke'] };
    await post(`/v1/certificates/${serialNumber}/revoke`, { reason: 'keyCompromise' }, revoker);
    await service.converge(account);
    expect((await service.certificates(account)).map((one) => one.revocation_reason)).toEqual([
      'keyCompromise',
      'keyCompromise',
    ]);
  });

  test('not of one that is known to others', async () => {
    const account = await withCsr();
    const [enrolment] = await service.enrolments(account);
    const fingerprintSha256 = (
      await service.owner.raw("select encode(sha256(?::bytea), 'hex') as hex", [enrolment!.subject_public_key_info])
    ).rows[0].hex;
    await post(
      '/v1/compromised-keys',
      { fingerprintSha256, reason: 'Lộ khóa' },
      { permissions: ['certificates:revoke'] },
    );
    expect((await renew(await serialOf(account), false)).body).toMatchObject({
      status: 422,
      errors: [{ pointer: '/newKey', code: 'key_compromised' }],
    });
  });
});

describe('the profile’s rules hold', () => {
  /** The service as it is when the profile says something else since. */
  const withProfile = (changes: Partial<Profile>) => {
    const { root, all, profiles } = service.authorities;
    const changed = { ...profiles.get('person-signature')!, ...changes };
    return { ...service, authorities: authoritiesOf(root, all, new Map([...profiles, [changed.id, changed]])) };
  };
  const attempt = async (account: TestAccount, changes: Partial<Profile>, newKey = false) =>
    renewCertificate(
      withProfile(changes),
      Buffer.from(await serialOf(account), 'hex'),
      { newKey },
      { agencyCode: 'H41' },
      certificateSystem,
      undefined,
    );

  test.each<[string, Partial<Profile>, string]>([
    ['another kind of key', { keyKinds: ['rsa-4096'] }, 'key_kind'],
    ['no key twice', { renewal: { daysBefore: 60, sameKey: false } }, 'same_key_not_allowed'],
    ['keys that are made here alone', { paths: ['server_key'] }, 'path_not_for_profile'],
    ['another kind of account', { accountKinds: ['position'] }, 'profile_not_for_account'],
  ])('it wants %s by now', async (_what, changes, code) => {
    const account = await withCsr();
    await expect(attempt(account, changes)).rejects.toMatchObject({
      kind: 'invalid',
      faults: [expect.objectContaining({ code })],
    });
    expect(await states(account)).toEqual(['issued']);
  });

  test('a second person, if it wants one: refused, the certificate may be renewed still', async () => {
    const account = await withCsr();
    const id = await attempt(account, { fourEyes: true });
    expect(await states(account)).toEqual(['renewed', 'awaiting_approval, same key']);
    await service.converge(account);
    expect(await service.certificates(account)).toHaveLength(1);
    const approver: Claims = { id: randomUUID(), permissions: ['certificates:approve'] };
    await post(`/v1/enrolments/${id}/reject`, { remark: 'Không cần nữa' }, approver);
    expect(await states(account)).toEqual(['issued', 'rejected, same key']);
    const again = await attempt(account, { fourEyes: true });
    expect((await post(`/v1/enrolments/${again}/approve`, {}, approver)).status).toBe(200);
    await service.converge(account);
    expect((await states(account))[2]).toBe('issued, same key');
  });

  test('the validity is what it says now, and not what it was', async () => {
    const account = await withCsr();
    await attempt(account, {});
    const { authorities } = withProfile({ validityDays: 100 });
    await service.converge(account, { authorities });
    const fresh = (await service.certificates(account)).at(-1)!;
    expect(fresh.not_after.getTime()).toBeLessThan(inDays(100).getTime());
  });
});

describe('refused', () => {
  test('before its time, with the day from which it can be', async () => {
    const account = await withCsr();
    await endsIn(account, 61);
    const { body } = await renew(await serialOf(account), true);
    expect(body).toMatchObject({
      status: 409,
      code: 'renewal_too_early',
      detail: expect.stringContaining(inDays(1).toISOString().slice(0, 10)),
    });
  });

  test('twice; but the same Idempotency-Key has the same answer', async () => {
    const account = await withCsr();
    const serialNumber = await serialOf(account);
    const key = { 'Idempotency-Key': randomUUID() };
    const answers = await Promise.all([1, 2].map(() => renew(serialNumber, true, agency, key)));
    expect(answers.map(({ status }) => status)).toEqual([201, 201]);
    expect(answers[0]!.body.id).toBe(answers[1]!.body.id);
    expect((await renew(serialNumber, true)).body.code).toBe('certificate_renewed');
  });

  test.each([
    ['revoked', { state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' }],
    ['on hold', { state: 'revoked', revoked_at: new Date(), revocation_reason: 'certificateHold' }],
    ['ended', { not_before: new Date(0), not_after: new Date(1) }],
  ])('one that is %s', async (_what, end) => {
    const account = await withCsr();
    await service.owner('certificate.certificates').where({ account_id: account.id }).update(end);
    expect((await renew(await serialOf(account), true)).body).toMatchObject({ status: 409, code: 'certificate_state' });
  });

  test("another's, and that of an account that is not active", async () => {
    const account = await withCsr();
    const serialNumber = await serialOf(account);
    const stranger = await service.account();
    expect((await renew(serialNumber, true, { kind: 'holder', id: stranger.id })).status).toBe(404);
    expect((await renew(serialNumber, true, { ...agency, agency: 'H41.02' })).status).toBe(404);
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    expect((await renew(serialNumber, true)).body.code).toBe('account_state');
  });
});
