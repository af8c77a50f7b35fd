import { changeAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { authoritiesOf } from '../authorities/authorities.ts';
import { createRoot } from '../authority/authority.ts';
import { fingerprintOf, readCertificate, toPem } from '../authority/certificate.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { certificateSystem } from './certificate-event.ts';
import { openIssuing } from './issue-certificate.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

/** An account whose enrolment has its key and whose certificate stops before the register, its intent committed. */
async function intended() {
  const account = await service.account();
  const allow = await service.forbid('insert', 'certificate.certificates');
  try {
    await expect(service.converge(account)).rejects.toThrow('forbidden by the test');
  } finally {
    await allow();
  }
  return account;
}
const issue = async (account: { id: string }, parts: Partial<TestCertificates> = {}) => {
  const enrolment = await service.owner('certificate.enrolments').where({ account_id: account.id }).first('id');
  return openIssuing({ ...service, ...parts })({ enrolmentId: enrolment.id, actor: certificateSystem });
};

describe('intent first', () => {
  test('killed after signing: serial number and content are on record, and the retry makes that very certificate', async () => {
    const account = await intended();
    expect(await service.certificates(account)).toEqual([]);
    const [intent] = await service.intents(account);
    expect(await service.actions(account)).toEqual(['enrolment.opened']);

    await service.converge(account);
    const [made, ...others] = await service.certificates(account);
    expect(others).toEqual([]);
    expect(made).toMatchObject({
      id: intent!.id,
      state: 'valid',
      serial_number: intent!.serial_number,
    });
    expect(made!.certificate.includes(intent!.tbs)).toBe(true);
    expect(await service.intents(account)).toEqual([]);
    expect(readCertificate(made!.certificate!).serialNumber).toEqual(intent!.serial_number);
    expect(service.verify(made!.certificate!)).toContain('OK');
    expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.issued']);
  });

  test('nothing is signed before the intent is committed', async () => {
    const account = await service.account();
    let committed: number | undefined;
    const { issuer } = service.authority;
    const watching = {
      ...issuer,
      sign: async (data: Buffer) => {
        committed = (await service.intents(account)).length;
        return issuer.sign(data);
      },
    };
    await service.converge(account, { authorities: service.signingWith(watching.sign) });
    expect(committed).toBe(1);
  });

  test('where the intent cannot be committed nothing is signed', async () => {
    const account = await service.account();
    const allow = await service.forbid('insert', 'certificate.intents');
    let signed = 0;
    const { issuer } = service.authority;
    const counting = {
      ...issuer,
      sign: (data: Buffer) => {
        signed++;
        return issuer.sign(data);
      },
    };
    try {
      await expect(service.converge(account, { authorities: service.signingWith(counting.sign) })).rejects.toThrow(
        'forbidden by the test',
      );
    } finally {
      await allow();
    }
    expect(signed).toBe(0);
    expect(await service.intents(account)).toEqual([]);
  });

  test('an audit event that cannot be written takes the certificate with it', async () => {
    const account = await intended();
    const allow = await service.forbid('insert', 'directory.audit_events');
    try {
      await expect(issue(account)).rejects.toThrow('forbidden by the test');
    } finally {
      await allow();
    }
    expect(await service.certificates(account)).toEqual([]);
    expect(await service.intents(account)).toHaveLength(1);
  });

  test('two at once, many times over: one serial number, one certificate, one event', async () => {
    const account = await intended();
    await Promise.all(Array.from({ length: 4 }, () => issue(account)));
    expect(await service.certificates(account)).toMatchObject([{ state: 'valid' }]);
    expect((await service.actions(account)).filter((action) => action === 'certificate.issued')).toHaveLength(1);

    const fresh = await service.account();
    await Promise.all(Array.from({ length: 4 }, () => service.converge(fresh)));
    expect(await service.enrolments(fresh)).toHaveLength(1);
    expect(await service.certificates(fresh)).toMatchObject([{ state: 'valid' }]);
    expect(await service.actions(fresh)).toEqual(['enrolment.opened', 'certificate.issued']);
  });

  test('an intent of another authority is never signed by this one', async () => {
    const account = await intended();
    const { authority, authorities } = service;
    const { issuer } = await createRoot({
      subject: [{ attribute: 'commonName', value: 'Another' }],
      keyKind: 'ec-p256',
      notBefore: new Date(),
      notAfter: new Date('2040-01-01'),
    });
    const mixedUp = { ...authority, issuer: { ...issuer, sign: authority.issuer.sign } };
    await expect(
      issue(account, { authorities: authoritiesOf(authorities.root, [mixedUp], authorities.profiles) }),
    ).rejects.toMatchObject({ code: 'tbs_foreign' });
  });
});

describe('what was signed stays', () => {
  test.each([
    ["certificate = '\\x00'", 'what was signed'],
    ['certificate = null', 'null value'],
    ["serial_number = '\\x01'", 'what was signed'],
    ['authority_id = gen_random_uuid()', 'what was signed'],
    ['enrolment_id = gen_random_uuid()', 'what was signed'],
    ["state = 'signing'", 'certificates_state_check'],
  ])('set %s', async (change, refusal) => {
    const account = await service.account();
    await service.converge(account);
    await expect(
      service.owner.raw(`update certificate.certificates set ${change} where account_id = ?`, [account.id]),
    ).rejects.toThrow(refusal);
  });

  /** What may be intended for an enrolment that waits for its CSR. */
  async function possible() {
    const waiting = await service.account({ certificatePath: 'csr' });
    await service.converge(waiting);
    const [enrolment] = await service.enrolments(waiting);
    const { authority } = service;
    return {
      enrolment_id: enrolment!.id,
      authority_id: authority.id,
      serial_number: Buffer.from('77', 'hex'),
      crl_partition: 0,
      account_id: waiting.id,
      agency_id: waiting.agencyId,
      address: waiting.address,
      profile: 'person-signature',
      key_kind: 'ec-p256',
      tbs: Buffer.of(0x30),
      not_before: new Date(),
      not_after: new Date(Date.now() + 1_000),
      actor_kind: 'system',
      actor_id: 'certificate',
    };
  }
  const intend = (intent: object): Promise<unknown> => service.database('certificate.intents').insert(intent);

  test('a serial number is used once, an enrolment has one certificate: looked at before anything is signed', async () => {
    const account = await service.account();
    await service.converge(account);
    const [row] = await service.certificates(account);
    const intent = await possible();
    await expect(intend({ ...intent, serial_number: row!.serial_number })).rejects.toMatchObject({
      code: '23505',
      constraint: 'certificates_serial_unique',
    });
    await expect(intend({ ...intent, enrolment_id: row!.enrolment_id })).rejects.toMatchObject({
      code: '23505',
      constraint: 'certificates_one_per_enrolment',
    });
    await intend(intent);
    await expect(intend({ ...intent, serial_number: Buffer.from('78', 'hex') })).rejects.toThrow('intents_pkey');
    await expect(intend(await possible())).rejects.toThrow('intents_serial_unique');
    await service.owner('certificate.intents').where({ enrolment_id: intent.enrolment_id }).delete();
  });

  test.each([
    ['authority_id', 'intents_authority_id_fkey'],
    ['enrolment_id', 'intents_enrolment_id_fkey'],
  ])('an intent is of one that is there: %s', async (column, constraint) => {
    await expect(intend({ ...(await possible()), [column]: crypto.randomUUID() })).rejects.toMatchObject({
      code: '23503',
      constraint,
    });
  });

  test('a certificate comes from an intent alone', async () => {
    const { enrolment_id: id } = await possible();
    const given = [[id], [Buffer.of(0x30)]] as never[];
    const { rows } = await service.database.raw('select certificate.store_issued(?, ?) as stored', given);
    expect(rows).toEqual([{ stored: [] }]);
  });

  test('an enrolment that was closed does not open again', async () => {
    const account = await service.account();
    await service.converge(account);
    const enrolment = () => service.owner('certificate.enrolments').where({ account_id: account.id });
    await enrolment().update({ state: 'revoked' });
    await expect(enrolment().update({ state: 'awaiting_csr' })).rejects.toThrow('does not open again');
  });
});

describe('what the certificate says', () => {
  test('comes from the directory, by the profile', async () => {
    const account = await service.account({ displayName: 'Đặng Thị Hồng Nhung' });
    await service.converge(account);
    const [row] = await service.certificates(account);
    service.judge.write('said.pem', toPem('CERTIFICATE', row!.certificate!));
    const said = service.judge.run(
      'x509',
      '-in',
      'said.pem',
      '-noout',
      '-text',
      '-nameopt',
      'utf8,sep_comma_plus_space',
    );
    for (const part of [
      'C=VN',
      'O=Ủy ban nhân dân huyện Quỳnh Lưu',
      'organizationIdentifier=GOVVN+22',
      'SN=Đặng',
      'GN=Nhung',
      'CN=Đặng Thị Hồng Nhung',
      `serialNumber=${account.username}`,
      `email:${account.address}`,
      `URI:http://pki.example.vn/crl/${service.authority.name}.crl`,
      `URI:http://pki.example.vn/ca/${service.authority.name}.crt`,
      'Digital Signature, Non Repudiation',
      'E-mail Protection',
    ])
      expect(said).toContain(part);
    expect(row).toMatchObject({ agency_id: account.agencyId, address: account.address, key_kind: 'ec-p256' });
    expect((row as unknown as { fingerprint_sha256: Buffer }).fingerprint_sha256.toString('hex')).toBe(
      fingerprintOf(row!.certificate!),
    );
    expect(service.verify(row!.certificate!)).toContain('OK');
  });

  test.each([
    ['Điền', { surname: '', given_name: 'Điền' }, 'SN=Điền'],
    ['X'.repeat(70), { display_name: 'X'.repeat(70) }, `CN=${'X'.repeat(64)}`],
    ['words', { display_name: `${'Xã Quỳnh Thắng '.repeat(5)}` }, `CN=${'Xã Quỳnh Thắng '.repeat(4)}Xã`],
  ])('a name of one word, or longer than X.520 allows: %s', async (_what, change, part) => {
    const account = await service.account();
    await changeAccount(service.owner, account.id, change);
    await service.converge(account);
    const [row] = await service.certificates(account);
    service.judge.write('long.pem', toPem('CERTIFICATE', row!.certificate!));
    const said = service.judge.run('x509', '-in', 'long.pem', '-noout', '-subject', '-nameopt', 'utf8,sep_multiline');
    expect(said.split('\n').map((line) => line.trim())).toContain(part);
    expect(service.verify(row!.certificate!)).toContain('OK');
  });
});
