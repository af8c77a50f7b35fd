import { createPrivateKey, createPublicKey } from 'node:crypto';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { pickUp } from './pick-up.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

const change = async (account: TestAccount, changes: Record<string, unknown>) => {
  await changeAccount(service.owner, account.id, changes);
  await service.converge(account);
};
const part = async (account: TestAccount) =>
  (await service.owner('directory.provisioning').where({ account_id: account.id, part: 'certificate' }).first()).state;
const hex = (octets: Buffer | null) => octets?.toString('hex');
const crlKey = () => `crl:${service.authority.id}:0`;

describe('a key made here', () => {
  test('enrolment, certificate, LDAP, report; and again changes nothing', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [enrolment] = await service.enrolments(account);
    const [certificate] = await service.certificates(account);
    expect(enrolment).toMatchObject({ path: 'server_key', state: 'awaiting_pickup', picked_up_at: null });
    expect(certificate).toMatchObject({ state: 'valid', enrolment_id: enrolment!.id });
    expect(await service.published(account)).toEqual([hex(certificate!.certificate)]);
    expect(await part(account)).toBe('done');
    await service.converge(account);
    expect(await service.certificates(account)).toEqual([certificate]);
    expect(await service.enrolments(account)).toEqual([enrolment]);
    expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.issued']);
  });

  test('at rest it is wrapped, bound to its enrolment, and its octets are nowhere in the database', async () => {
    const account = await service.account();
    await service.converge(account);
    const [enrolment] = await service.enrolments(account);
    const wrapped = enrolment!.wrapped_private_key!;
    const key = unwrapPrivateKey(wrapped, [service.wrappingKey], enrolment!.id);
    const opened = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
    expect(createPublicKey(opened).export({ type: 'spki', format: 'der' })).toEqual(enrolment!.subject_public_key_info);
    expect(() => unwrapPrivateKey(wrapped, [service.wrappingKey], crypto.randomUUID())).toThrow();
    const scalar = Buffer.from(opened.export({ format: 'jwk' }).d!, 'base64url');
    for (const secret of [key, scalar]) expect(await dump()).not.toContain(secret.toString('hex'));
    expect(wrapped.includes(Buffer.from('300a06082a8648ce3d040302', 'hex'))).toBe(false);
  });

  test('before the LDAP entry is there the certificate is made, and published when the entry comes', async () => {
    const account = await service.account();
    await service.converge(account);
    expect(await service.certificates(account)).toMatchObject([{ state: 'valid' }]);
    expect(await part(account)).toBe('waiting');
    await service.convergeEntry(account);
    await service.converge(account);
    expect(await service.published(account)).toHaveLength(1);
    expect(await part(account)).toBe('done');
  });
});

/** Every row of every table that this service can write, as text. */
async function dump(): Promise<string> {
  const tables = [
    'certificate.enrolments',
    'certificate.certificates',
    'certificate.crls',
    'certificate_jobs._private_jobs',
  ];
  const texts = await Promise.all(
    [...tables, 'directory.audit_events'].map(
      async (table) => (await service.owner.raw(`select row_to_json(t)::text as text from ${table} t`)).rows,
    ),
  );
  return texts
    .flat()
    .map((row: { text: string }) => row.text)
    .join('\n');
}

describe('a key of the holder’s own', () => {
  test('an enrolment that waits, and no certificate', async () => {
    const account = await service.accountWithEntry({ certificatePath: 'csr' });
    await service.converge(account);
    await service.converge(account);
    expect(await service.enrolments(account)).toMatchObject([
      { path: 'csr', state: 'awaiting_csr', wrapped_private_key: null, subject_public_key_info: null },
    ]);
    expect(await service.certificates(account)).toEqual([]);
    expect(await service.published(account)).toEqual([]);
    expect(await part(account)).toBe('waiting');
  });

  test('none asked, pending, suspended, unknown: nothing', async () => {
    for (const options of [
      { certificatePath: 'none' },
      { state: 'pending' },
      { state: 'suspended' },
      { state: 'retired' },
    ] as const) {
      const account = await service.accountWithEntry(options);
      await service.converge(account);
      expect(await service.enrolments(account)).toEqual([]);
    }
    await service.converge({ ...(await service.account()), id: crypto.randomUUID() });
  });
});

describe('LDAP holds exactly the valid ones', () => {
  test('through hold, release and revocation', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [certificate] = await service.certificates(account);

    await change(account, { state: 'suspended' });
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'certificateHold' },
    ]);
    expect(await service.published(account)).toEqual([]);
    expect(await service.queued()).toContain(crlKey());
    await service.converge(account);
    expect((await service.actions(account)).slice(2)).toEqual(['certificate.revoked']);

    await change(account, { state: 'active' });
    expect(await service.certificates(account)).toEqual([{ ...certificate, status_changed_in: expect.any(String) }]);
    expect(await service.published(account)).toEqual([hex(certificate!.certificate)]);
    expect((await service.actions(account)).slice(2)).toEqual(['certificate.revoked', 'certificate.hold_released']);

    await change(account, { state: 'suspended' });
    await change(account, { state: 'retired' });
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'cessationOfOperation' },
    ]);
    expect(await service.published(account)).toEqual([]);
    expect(await service.enrolments(account)).toMatchObject([{ wrapped_private_key: null }]);
  });

  test('whoever held the account before loses key and certificate for good; the account gets others', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [before] = await service.certificates(account);
    await change(account, { credential_epoch: 2 });
    const [old, own, ...more] = await service.certificates(account);
    expect(more).toEqual([]);
    expect(old).toMatchObject({ id: before!.id, state: 'revoked', revocation_reason: 'affiliationChanged' });
    expect(own).toMatchObject({ state: 'valid' });
    expect(await service.enrolments(account)).toMatchObject([
      { state: 'revoked', number: 1, wrapped_private_key: null },
      { state: 'awaiting_pickup', number: 2 },
    ]);
    expect(await service.published(account)).toEqual([hex(own!.certificate)]);
    expect(await service.queued()).toContain(crlKey());
    await service.converge(account);
    expect(await service.certificates(account)).toEqual([old, own]);

    // On hold it is not the old one's state any more that decides.
    await changeAccount(service.owner, account.id, { state: 'suspended' });
    await change(account, { credential_epoch: 3 });
    await change(account, { state: 'active' });
    expect(
      (await service.certificates(account)).map(({ state, revocation_reason }) => [state, revocation_reason]),
    ).toEqual([
      ['revoked', 'affiliationChanged'],
      ['revoked', 'affiliationChanged'],
      ['valid', null],
    ]);
  });

  test('a retired account that is reactivated gets another certificate; the revoked one stays revoked', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    await change(account, { state: 'retired', credential_epoch: 2 });
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'cessationOfOperation' },
    ]);
    await change(account, { state: 'active' });
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'cessationOfOperation' },
      { state: 'valid', revocation_reason: null },
    ]);
    expect(await service.published(account)).toHaveLength(1);
  });

  test('a revocation by an administrator outlives everything that the account does later, and its key gets no other certificate', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [certificate] = await service.certificates(account);
    await service.revoke(certificate!.serial_number, 'keyCompromise');
    await service.converge(account);
    expect(await service.published(account)).toEqual([]);
    for (const state of ['suspended', 'active', 'suspended', 'retired']) {
      await change(account, { state });
      expect(await service.certificates(account)).toMatchObject([
        { id: certificate!.id, state: 'revoked', revocation_reason: 'keyCompromise' },
      ]);
      expect(await service.published(account)).toEqual([]);
    }
    expect(await service.enrolments(account)).toHaveLength(1);
  });

  test('one that has expired, and what somebody put there by hand, is taken out', async () => {
    const account = await service.accountWithEntry();
    const stranger = await service.account();
    await service.converge(account);
    await service.converge(stranger);
    const [own] = await service.certificates(account);
    const [foreign] = await service.certificates(stranger);
    await service.ldap.modify(service.dn(account), [
      { attribute: 'userCertificate;binary', operation: 'add', values: [foreign!.certificate!] },
    ]);
    await service.converge(account);
    expect(await service.published(account)).toEqual([hex(own!.certificate)]);
    await service
      .owner('certificate.certificates')
      .where({ id: own!.id })
      .update({ not_after: new Date(Date.now() - 1_000) });
    await service.converge(account);
    expect(await service.published(account)).toEqual([]);
  });

  test('revoked between reading and writing: it does not stay behind', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [certificate] = await service.certificates(account);
    await service.ldap.modify(service.dn(account), [
      { attribute: 'userCertificate;binary', operation: 'replace', values: [] },
    ]);
    let revoked = false;
    const slow: Ldap = {
      ...service.ldap,
      findBy: async (...parameters) => {
        const found = await service.ldap.findBy(...parameters);
        if (!revoked) {
          revoked = true;
          await service.revoke(certificate!.serial_number, 'superseded');
          await service.converge(account);
        }
        return found;
      },
    };
    await service.converge(account, { ldap: slow });
    expect(await service.published(account)).toEqual([]);
  });
});

describe('a certificate by request', () => {
  const order = (account: TestAccount, path: string, number: number, reason: string | null = null) =>
    change(account, {
      certificate_path: path,
      certificate_number: number,
      certificate_revocation_reason: reason,
    });
  const waits = (account: TestAccount) =>
    service.owner('directory.provisioning').where({ account_id: account.id }).update({ state: 'waiting' });

  test('withdrawn: revoked for the reason given, its key erased, out of LDAP, and said so', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    await waits(account);
    await order(account, 'none', 1, 'affiliationChanged');
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'affiliationChanged' },
    ]);
    expect(await service.enrolments(account)).toMatchObject([{ state: 'revoked', wrapped_private_key: null }]);
    expect(await service.published(account)).toEqual([]);
    expect(await part(account)).toBe('done');
    const actions = await service.actions(account);
    await service.converge(account);
    expect(await service.actions(account)).toEqual(actions);
    for (const state of ['suspended', 'active']) await change(account, { state });
    expect(await service.certificates(account)).toMatchObject([{ revocation_reason: 'affiliationChanged' }]);
  });

  test('asked again after a revocation: another enrolment, another key, another certificate, once', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [first] = await service.certificates(account);
    await service.revoke(first!.serial_number, 'keyCompromise');
    await waits(account);
    await order(account, 'server_key', 2);
    await service.converge(account);
    const certificates = await service.certificates(account);
    expect(certificates).toMatchObject([
      { id: first!.id, state: 'revoked', revocation_reason: 'keyCompromise' },
      { state: 'valid' },
    ]);
    const [former, latter] = await service.enrolments(account);
    expect([former, latter]).toMatchObject([
      { number: 1, state: 'revoked' },
      { number: 2, state: 'awaiting_pickup' },
    ]);
    expect(latter!.subject_public_key_info).not.toEqual(former!.subject_public_key_info);
    expect(await service.published(account)).toEqual([hex(certificates[1]!.certificate)]);
    expect(await part(account)).toBe('done');
  });

  test('asked anew while one is valid: that one is superseded; from the holder’s token this time', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    await waits(account);
    await order(account, 'csr', 2);
    expect(await service.certificates(account)).toMatchObject([{ state: 'revoked', revocation_reason: 'superseded' }]);
    expect(await service.enrolments(account)).toMatchObject([
      { path: 'server_key', state: 'revoked' },
      { path: 'csr', state: 'awaiting_csr' },
    ]);
    expect(await service.published(account)).toEqual([]);
    expect(await part(account)).toBe('waiting');
  });

  test('withdrawn and asked anew before anybody looked: both are done', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    await order(account, 'server_key', 2, 'keyCompromise');
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'keyCompromise' },
      { state: 'valid' },
    ]);
  });

  test('withdrawn while it is being made: it does not stay valid', async () => {
    const account = await service.accountWithEntry();
    const { issuer } = service.authority;
    const slow = {
      ...issuer,
      sign: async (data: Buffer) => {
        await order(account, 'none', 1, 'unspecified');
        return issuer.sign(data);
      },
    };
    await service.converge(account, { authorities: service.signingWith(slow.sign) });
    expect(await service.certificates(account)).toMatchObject([{ state: 'revoked', revocation_reason: 'unspecified' }]);
    expect(await service.published(account)).toEqual([]);
  });

  test('an account that comes back after its retirement gets another', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    await change(account, { state: 'retired' });
    await change(account, { state: 'active' });
    expect(await service.certificates(account)).toMatchObject([
      { state: 'revoked', revocation_reason: 'cessationOfOperation' },
      { state: 'valid' },
    ]);
  });

  test('the key of one that was withdrawn before its pickup is not handed out', async () => {
    const account = await service.accountWithEntry();
    await service.converge(account);
    const [enrolment] = await service.enrolments(account);
    await order(account, 'none', 1, 'unspecified');
    const pickup = pickUp(
      service,
      enrolment!.id,
      { accountId: account.id, credentialEpoch: 1 },
      { passphrase: 'mật khẩu của tôi', form: 'modern' },
      certificateSystem,
    );
    await expect(pickup).rejects.toMatchObject({ kind: 'conflict', code: 'certificate_revoked' });
  });
});

describe('when LDAP is down', () => {
  test('the certificate is made and on record; the next run publishes it', async () => {
    const account = await service.accountWithEntry();
    const down = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(service.converge(account, { ldap: down })).rejects.toMatchObject({ kind: 'unavailable' });
    const [certificate] = await service.certificates(account);
    expect(certificate).toMatchObject({ state: 'valid' });
    expect(await part(account)).toBe('waiting');
    await service.converge(account);
    expect(await service.published(account)).toEqual([hex(certificate!.certificate)]);
    expect(await part(account)).toBe('done');
  });

  test('an entry that was made and is gone is an error', async () => {
    const account = await service.account();
    await changeAccount(service.owner, account.id, { entry_version: 1 });
    await expect(service.converge(account)).rejects.toMatchObject({ kind: 'conflict', code: 'entry_missing' });
  });
});

test('suspended while its certificate is being made: it ends on hold', async () => {
  const account = await service.accountWithEntry();
  const { issuer } = service.authority;
  const slow = {
    ...issuer,
    sign: async (data: Buffer) => {
      await changeAccount(service.owner, account.id, { state: 'suspended' });
      await service.converge(account);
      return issuer.sign(data);
    },
  };
  await service.converge(account, { authorities: service.signingWith(slow.sign) });
  expect(await service.certificates(account)).toMatchObject([
    { state: 'revoked', revocation_reason: 'certificateHold' },
  ]);
  expect(await service.published(account)).toEqual([]);
});
