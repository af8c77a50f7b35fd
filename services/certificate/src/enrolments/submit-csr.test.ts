import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { fingerprintOf, fromPem, readCertificate } from '../authority/certificate.ts';
import { finishIssuing } from '../certificates/finish-issuing.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { findAccount } from './enrolment-store.ts';
import type { IssuedAccount } from './issuing-store.ts';
import { publishIssued } from './publish-certificates.ts';

let service: TestCertificates;
let account: TestAccount;
let id: string;
let keys = 0;
beforeAll(async () => {
  service = await startTestCertificates();
});
beforeEach(async () => {
  account = await service.accountWithEntry({ certificatePath: 'csr' });
  await service.converge(account);
  id = (await service.enrolments(account))[0]!.id;
  await service.owner('certificate_jobs._private_jobs').delete(); // what the account's making asked for is done
});
afterAll(() => service.stop());

/** What the job that follows is told. */
const issued = async (): Promise<IssuedAccount[]> =>
  (
    await service.owner.raw(
      `select j.payload from certificate_jobs._private_jobs j
       join certificate_jobs._private_tasks t on t.id = j.task_id where t.identifier = 'publish-certificates'`,
    )
  ).rows[0].payload.accounts;

const newCsr = (...options: string[]) => service.csr(`key${++keys}`, ...options);
async function send(
  csr: unknown,
  by?: { id?: string; kind?: 'client' | 'holder'; agency?: string; permissions?: string[] },
) {
  return supertest(service.app)
    .post(`/v1/enrolments/${id}/csr`)
    .set('Authorization', await service.tokens.bearer({ kind: 'holder', id: account.id, ...by }))
    .send({ csr });
}

describe('a good CSR', () => {
  test('brings back a certificate for that key and the directory’s names, and is published', async () => {
    const answer = await send(newCsr());
    expect(answer.status).toBe(201);
    expect(answer.body.ignoredSubject).toBe(true);
    const der = fromPem('CERTIFICATE', answer.body.certificate);
    expect(service.verify(der)).toContain('OK');
    expect(answer.body.chain).toHaveLength(2);
    expect(readCertificate(der).serialNumber.toString('hex')).toBe(answer.body.serialNumber);
    service.judge.write('csr-leaf.pem', answer.body.certificate);
    expect(service.judge.run('x509', '-in', 'csr-leaf.pem', '-noout', '-pubkey')).toBe(
      service.judge.run('pkey', '-in', `key${keys}.key`, '-pubout'),
    );
    const subject = service.judge.run('x509', '-in', 'csr-leaf.pem', '-noout', '-subject', '-nameopt', 'utf8');
    expect(subject).toContain('Huỳnh Thanh Điền');
    expect(subject).not.toContain('Somebody Else');
    await publishIssued(service, await issued());
    expect(await service.published(account)).toEqual([der.toString('hex')]);
    expect(await service.enrolments(account)).toMatchObject([{ state: 'issued', wrapped_private_key: null }]);
    expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.issued']);
    const event = { subject_id: account.id, action: 'certificate.issued' };
    expect(await service.owner('directory.audit_events').where(event)).toMatchObject([
      {
        service: 'certificate',
        actor_kind: 'holder',
        actor_id: account.id,
        source_ip: expect.stringContaining('127.0.0.1'),
        agency_id: account.agencyId,
        after: {
          enrolmentId: id,
          serialNumber: answer.body.serialNumber,
          profile: 'person-signature',
          fingerprintSha256: fingerprintOf(der),
        },
      },
    ]);
  });

  test('that asks for a name of its own in the extensions: it is ignored, and said so', async () => {
    newCsr();
    const asking = ['-subj', '/', '-addext', 'subjectAltName=email:somebody@else.vn'];
    const answer = await send(service.judge.run('req', '-new', '-key', `key${keys}.key`, ...asking));
    expect(answer.body.ignoredSubject).toBe(true);
    service.judge.write('asking.pem', answer.body.certificate);
    const names = service.judge.run('x509', '-in', 'asking.pem', '-noout', '-ext', 'subjectAltName');
    expect(names).toContain(account.address);
    expect(names).not.toContain('somebody@else.vn');
    newCsr();
    account = await service.accountWithEntry({ certificatePath: 'csr' });
    await service.converge(account);
    id = (await service.enrolments(account))[0]!.id;
    const modest = await send(service.judge.run('req', '-new', '-key', `key${keys}.key`, '-subj', '/'));
    expect(modest.body.ignoredSubject).toBe(false);
  });

  test.each([
    ['RSA 2048', ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048']],
    ['P-384', ['EC', '-pkeyopt', 'ec_paramgen_curve:P-384']],
  ])('%s', async (_what, options) => {
    const answer = await send(newCsr(...options));
    expect(answer.status).toBe(201);
    expect(service.verify(fromPem('CERTIFICATE', answer.body.certificate))).toContain('OK');
  });

  test('sent twice, also at once: the same serial number', async () => {
    const csr = newCsr();
    const answers = [...(await Promise.all([send(csr), send(csr), send(csr)])), await send(csr)];
    expect(answers.map(({ status }) => status)).toEqual([201, 201, 201, 201]);
    expect(new Set(answers.map(({ body }) => body.certificate)).size).toBe(1);
    expect(await service.certificates(account)).toHaveLength(1);
  });

  test('two different ones at once: one is taken', async () => {
    const answers = await Promise.all([send(newCsr()), send(newCsr())]);
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409]);
    expect(await service.certificates(account)).toHaveLength(1);
  });

  test('a client of the agency above may send it for the person', async () => {
    const client = { kind: 'client', permissions: ['certificates:enrol'] } as const;
    expect((await send(newCsr(), { ...client, agency: 'H41.02', permissions: [...client.permissions] })).status).toBe(
      404,
    );
    expect((await send(newCsr(), { ...client, agency: 'H41', permissions: [...client.permissions] })).status).toBe(201);
  });
});

describe('killed or cut off', () => {
  test('after the intent: the same CSR again, or whoever looks for what was begun, finishes', async () => {
    const csr = newCsr();
    const allow = await service.forbid('insert', 'certificate.certificates');
    expect((await send(csr)).status).toBe(500);
    await allow();
    const [intent, ...others] = await service.intents(account);
    expect(others).toEqual([]);
    await finishIssuing(service);
    expect(await service.intents(account)).toEqual([intent]); // it may be at work still
    await service.owner.raw("update certificate.intents set created_at = now() - interval '2 minutes'");
    await finishIssuing(service);
    const [row] = await service.certificates(account);
    expect(row).toMatchObject({ state: 'valid' });
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    expect(await service.enrolments(account)).toMatchObject([{ state: 'issued' }]);
    // By who asked for it, though another finished.
    expect(
      await service.owner('directory.audit_events').where({ subject_id: account.id, action: 'certificate.issued' }),
    ).toMatchObject([{ actor_kind: 'holder', actor_id: account.id }]);
    expect((await send(csr)).body.serialNumber).toBe(row!.serial_number.toString('hex'));
  });

  test('withdrawn while it was being signed: on record, and revoked at the next look', async () => {
    const allow = await service.forbid('insert', 'certificate.certificates');
    expect((await send(newCsr())).status).toBe(500);
    await allow();
    await service.owner.raw("update certificate.intents set created_at = now() - interval '2 minutes'");
    await changeAccount(service.owner, account.id, { state: 'retired' });
    await service.converge(account);
    await finishIssuing(service);
    expect(await service.certificates(account)).toMatchObject([{ state: 'valid' }]);
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ state: 'revoked' }]);
  });

  test('LDAP down: the holder has the certificate, and the job that publishes it is tried again', async () => {
    expect((await send(newCsr())).status).toBe(201);
    const { rows } = await service.owner.raw(
      `select t.identifier, j.payload from certificate_jobs._private_jobs j
       join certificate_jobs._private_tasks t on t.id = j.task_id`,
    );
    const { version } = (await findAccount(service.database, account.id))!;
    expect(rows).toEqual([
      {
        identifier: 'publish-certificates',
        payload: { accounts: [{ id: account.id, version, key: expect.stringMatching(/^[0-9a-f]{64}$/) }] },
      },
    ]);
    const ldap = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(publishIssued({ ...service, ldap }, await issued())).rejects.toMatchObject({ kind: 'unavailable' });
    await publishIssued(service, await issued());
    expect(await service.published(account)).toHaveLength(1);
  });

  test('its key became known while it was signed: looked at alone, revoked, never published', async () => {
    expect((await send(newCsr())).status).toBe(201);
    await service.owner.raw(
      `insert into certificate.compromised_keys (fingerprint, reason, reported_by_kind, reported_by)
       select sha256(subject_public_key_info), 'found', 'client', 'x' from certificate.enrolments where id = ?`,
      [id],
    );
    await publishIssued(service, await issued());
    expect(await service.published(account)).toEqual([]);
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ revocation_reason: 'keyCompromise' }]);
  });

  test('ordered anew while it was signed: looked at alone, the former revoked', async () => {
    expect((await send(newCsr())).status).toBe(201);
    await changeAccount(service.owner, account.id, { certificate_number: 2 });
    await publishIssued(service, await issued());
    expect(await service.published(account)).toEqual([]);
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ state: 'revoked' }]);
  });

  test('suspended when it comes to publishing: looked at alone', async () => {
    expect((await send(newCsr())).status).toBe(201);
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    await publishIssued(service, await issued());
    expect(await service.published(account)).toEqual([]);
    expect(await service.queued()).toContain(`certificates:${account.id}`);
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ revocation_reason: 'certificateHold' }]);
  });
});

describe('refused', () => {
  const other = () => newCsr();

  test("another's enrolment, or none", async () => {
    const stranger = await service.account();
    expect((await send(other(), { id: stranger.id })).body).toMatchObject({ status: 404, code: 'enrolment_not_found' });
    id = crypto.randomUUID();
    expect((await send(other())).body).toMatchObject({ status: 404, code: 'enrolment_not_found' });
  });

  test('a second key after the first', async () => {
    await send(newCsr());
    expect((await send(newCsr())).body).toMatchObject({ status: 409, code: 'enrolment_state' });
  });

  test('a key that somebody else has, or that was made here', async () => {
    const csr = newCsr();
    expect((await send(csr)).status).toBe(201);
    account = await service.accountWithEntry({ certificatePath: 'csr' });
    await service.converge(account);
    id = (await service.enrolments(account))[0]!.id;
    expect((await send(csr)).body).toMatchObject({
      status: 422,
      code: 'csr_key_reused',
      errors: [{ pointer: '/csr', code: 'csr_key_reused' }],
    });
    expect((await send(newCsr())).status).toBe(201);
  });

  test('an enrolment whose key is made here', async () => {
    account = await service.account();
    await service.converge(account);
    id = (await service.enrolments(account))[0]!.id;
    expect((await send(newCsr())).body).toMatchObject({ status: 409, code: 'enrolment_state' });
  });

  test('an account that is not active', async () => {
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    expect((await send(newCsr())).body).toMatchObject({ status: 409, code: 'account_state' });
  });

  test('a key whose certificate was revoked: the same CSR gets no other', async () => {
    const csr = newCsr();
    const { body } = await send(csr);
    const serialNumber = Buffer.from(body.serialNumber, 'hex');
    await service.revoke(serialNumber, 'keyCompromise');
    expect((await send(csr)).body).toMatchObject({ status: 409, code: 'certificate_revoked' });
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ state: 'revoked' }]);
    expect(await service.published(account)).toEqual([]);
  });

  test.each<[string, () => unknown, number, string]>([
    ['too small a key', () => newCsr('RSA', '-pkeyopt', 'rsa_keygen_bits:1024'), 422, 'csr_key_weak'],
    [
      'a curve that is not certified',
      () => newCsr('EC', '-pkeyopt', 'ec_paramgen_curve:secp256k1'),
      422,
      'csr_key_kind',
    ],
    ['another algorithm', () => newCsr('ED448'), 422, 'csr_key_kind'],
    ['garbage', () => 'garbage', 422, 'csr_malformed'],
    ['nothing', () => '', 422, 'csr_malformed'],
    ['garbage in PEM', () => newCsr().replace(/\n[A-Za-z0-9+/=]{20}/, '\nAAAAAAAAAAAAAAAAAAAA'), 422, 'csr_malformed'],
    ['a certificate', () => service.judge.run('x509', '-in', 'authorities/root.crt.pem'), 422, 'csr_malformed'],
    ['no text', () => 5, 422, 'request_invalid'],
    ['too large', () => 'x'.repeat(40_000), 413, 'body_too_large'],
  ])('%s', async (_what, make, status, code) => {
    const answer = await send(make());
    expect(answer.body).toMatchObject({ status, code });
    if (status === 422) expect(answer.body.errors).toMatchObject([{ pointer: '/csr' }]);
    expect(await service.certificates(account)).toEqual([]);
    expect(await service.enrolments(account)).toMatchObject([{ state: 'awaiting_csr', subject_public_key_info: null }]);
  });

  test('a signature that is not by the key', async () => {
    const der = fromPem('CERTIFICATE REQUEST', newCsr());
    const last = der.length - 1;
    der.writeUInt8(der.readUInt8(last) ^ 1, last);
    const pem = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----`;
    expect((await send(pem)).body).toMatchObject({ status: 422, code: 'csr_signature_invalid' });
  });
});
