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
  const allow = await service.forbid('update', 'certificate.certificates');
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
    const [intent] = await service.certificates(account);
    expect(intent).toMatchObject({ state: 'signing', certificate: null });
    expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.intended']);

    await service.converge(account);
    const [made, ...others] = await service.certificates(account);
    expect(others).toEqual([]);
    expect(made).toMatchObject({
      id: intent!.id,
      state: 'valid',
      serial_number: intent!.serial_number,
      tbs: intent!.tbs,
    });
    expect(made!.certificate!.includes(intent!.tbs)).toBe(true);
    expect(readCertificate(made!.certificate!).serialNumber).toEqual(intent!.serial_number);
    expect(service.verify(made!.certificate!)).toContain('OK');
    expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.intended', 'certificate.issued']);
  });

  test('nothing is signed before the intent is committed', async () => {
    const account = await service.account();
    let committed: number | undefined;
    const { issuer } = service.authority;
    const watching = {
      ...issuer,
      sign: async (data: Buffer) => {
        committed = (await service.certificates(account)).length;
        return issuer.sign(data);
      },
    };
    await service.converge(account, { authorities: service.signingWith(watching.sign) });
    expect(committed).toBe(1);
  });

  test('where the intent cannot be committed nothing is signed', async () => {
    const account = await service.account();
    const allow = await service.forbid('insert', 'certificate.certificates');
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
    expect(await service.certificates(account)).toEqual([]);
  });

  test('an audit event that cannot be written takes the certificate with it', async () => {
    const account = await intended();
    const allow = await service.forbid('insert', 'directory.audit_events');
    try {
      await expect(issue(account)).rejects.toThrow('forbidden by the test');
    } finally {
      await allow();
    }
    expect(await service.certificates(account)).toMatchObject([{ state: 'signing' }]);
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
    expect(await service.actions(fresh)).toEqual(['enrolment.opened', 'certificate.intended', 'certificate.issued']);
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
    ['certificate = null', 'what was signed'],
    ["tbs = '\\x00'", 'what was signed'],
    ["serial_number = '\\x01'", 'what was signed'],
    ['authority_id = gen_random_uuid()', 'what was signed'],
    ['enrolment_id = gen_random_uuid()', 'what was signed'],
    ["state = 'signing'", 'certificates_signed'],
  ])('set %s', async (change, refusal) => {
    const account = await service.account();
    await service.converge(account);
    await expect(
      service.database.raw(`update certificate.certificates set ${change} where account_id = ?`, [account.id]),
    ).rejects.toThrow(refusal);
  });

  test('a serial number is used once, an enrolment has one certificate', async () => {
    const account = await service.account();
    await service.converge(account);
    const [row] = await service.certificates(account);
    const again = { ...row!, id: crypto.randomUUID(), certificate: null, fingerprint_sha256: null, state: 'signing' };
    await expect(service.database('certificate.certificates').insert(again)).rejects.toThrow(
      'certificates_serial_unique',
    );
    await expect(
      service.database('certificate.certificates').insert({ ...again, serial_number: Buffer.from('77', 'hex') }),
    ).rejects.toThrow('certificates_one_per_enrolment');
  });

  test('a certificate is of an authority and an enrolment that are there', async () => {
    const account = await service.account();
    await service.converge(account);
    const waiting = await service.account({ certificatePath: 'csr' });
    await service.converge(waiting);
    const [row] = await service.certificates(account);
    const [free] = await service.enrolments(waiting);
    const unsigned = { certificate: null, fingerprint_sha256: null, state: 'signing' };
    const other = { ...row!, ...unsigned, id: crypto.randomUUID(), enrolment_id: free!.id };
    for (const [column, constraint] of [
      ['authority_id', 'certificates_authority_id_fkey'],
      ['enrolment_id', 'certificates_enrolment_id_fkey'],
    ] as const)
      await expect(
        service
          .database('certificate.certificates')
          .insert({ ...other, serial_number: Buffer.from('77', 'hex'), [column]: crypto.randomUUID() }),
      ).rejects.toMatchObject({ code: '23503', constraint });
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
