import type { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from './certificate.ts';
import { buildTbsCrl, signCrl } from './crl.ts';
import {
  buildTbsCertificate,
  type CertificateRequest,
  loadIssuer,
  newSerialNumber,
  requireProfile,
  signTbs,
} from './issuer.ts';
import {
  makeTestAuthority,
  openJudge,
  type TestAuthority,
  testLocations,
  testProfile,
  testRequest,
} from './judges/openssl-judge.ts';
import { generateKeyPair, type KeyPair } from './key-pair.ts';
import { encryptedPrivateKeyPem } from './pbes2.ts';
import { keyKinds } from './public-key.ts';

const judge = openJudge();
let authority: TestAuthority;
let keys: KeyPair;
beforeAll(async () => {
  authority = await makeTestAuthority(judge);
  keys = await generateKeyPair('ec-p256');
});
afterAll(() => judge.close());

async function emptyCrl({ issuing, now }: TestAuthority): Promise<string> {
  const nextUpdate = new Date(now.getTime() + 86_400_000);
  const tbs = buildTbsCrl(issuing.issuer, { crlNumber: 1n, thisUpdate: now, nextUpdate, entries: [] });
  return toPem('X509 CRL', await signCrl(issuing.issuer, tbs));
}

const verify = ['verify', '-x509_strict', '-crl_check_all', '-CAfile', 'root.pem', '-untrusted', 'issuing.pem'];

describe('OpenSSL accepts what is issued', () => {
  test.each(['rsa-2048', 'rsa-3072', 'ec-p256', 'ec-p384'] as const)(
    'by a %s issuer, for every kind of key',
    async (kind) => {
      const made = await makeTestAuthority(judge, kind);
      judge.write('all.crl.pem', await emptyCrl(made));
      const crls = ['-CRLfile', 'root.crl.pem', '-CRLfile', 'all.crl.pem', '-purpose', 'smimesign', 'ee.pem'];
      for (const keyKind of keyKinds.filter((one) => one !== 'rsa-4096')) {
        const { subjectPublicKeyInfo } = await generateKeyPair(keyKind);
        const tbs = buildTbsCertificate(
          made.issuing.issuer,
          testProfile,
          testLocations,
          testRequest(made, subjectPublicKeyInfo),
        );
        judge.write('ee.pem', toPem('CERTIFICATE', await signTbs(made.issuing.issuer, tbs)));
        expect(judge.run(...verify, ...crls)).toContain('ee.pem: OK');
      }
    },
  );

  test('and shows the fields of the profile in their order, and no others', async () => {
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const tbs = buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, request);
    judge.write('ee.pem', toPem('CERTIFICATE', await signTbs(authority.issuing.issuer, tbs)));
    const text = judge.run('x509', '-in', 'ee.pem', '-noout', '-text', '-nameopt', 'utf8,sep_comma_plus_space');
    expect(text).toContain(
      'Subject: C=VN, O=Ủy ban nhân dân huyện Quỳnh Lưu, organizationIdentifier=GOVVN+22, SN=Huỳnh, GN=Thanh Điền, CN=Huỳnh Thanh Điền',
    );
    const headings = [...text.matchAll(/^ {12}(\S.*): ?(critical)?\s*$/gm)].map(
      ([, name, critical]) => name + (critical ?? ''),
    );
    expect(headings.slice(headings.findIndex((heading) => heading.startsWith('X509v3')))).toEqual([
      'X509v3 Authority Key Identifier',
      'X509v3 Subject Key Identifier',
      'X509v3 Key Usagecritical',
      'X509v3 Extended Key Usage',
      'X509v3 Certificate Policies',
      'X509v3 CRL Distribution Points',
      'Authority Information Access',
      'X509v3 Subject Alternative Name',
    ]);
    expect(text).toMatch(/Key Usage: critical\s+Digital Signature, Non Repudiation\n/);
    expect(text).toMatch(/Extended Key Usage: \s+E-mail Protection\n/);
    expect(text).toMatch(/Policy: 2\.23\.140\.1\.5\.3\.3\n/);
    expect(text).toContain('URI:http://pki.example.vn/issuing.crl');
    expect(text).toContain('CA Issuers - URI:http://pki.example.vn/issuing.crt');
    expect(text).toContain('email:dienht@nghean.gov.vn');
    const types = judge.run('asn1parse', '-in', 'ee.pem');
    expect(types).toMatch(/:countryName\n.*PRINTABLESTRING\s+:VN/);
    expect(types).not.toContain('emailAddress');
    expect(types).not.toContain('T61STRING');
  });

  test('a message signed with it verifies', async () => {
    const tbs = buildTbsCertificate(
      authority.issuing.issuer,
      testProfile,
      testLocations,
      testRequest(authority, keys.subjectPublicKeyInfo),
    );
    await makeTestAuthorityFiles();
    judge.write('ee.pem', toPem('CERTIFICATE', await signTbs(authority.issuing.issuer, tbs)));
    judge.write('ee.key', toPem('PRIVATE KEY', keys.privateKey));
    judge.write('message.txt', 'Kính gửi Sở Nội vụ\r\n');
    judge.run(
      'cms',
      '-sign',
      '-in',
      'message.txt',
      '-signer',
      'ee.pem',
      '-inkey',
      'ee.key',
      '-certfile',
      'issuing.pem',
      '-out',
      'message.eml',
    );
    expect(judge.run('cms', '-verify', '-in', 'message.eml', '-CAfile', 'root.pem', '-purpose', 'smimesign')).toContain(
      'Kính gửi',
    );
  });
});

/** The files of the authority that the whole suite uses, after others have been judged. */
async function makeTestAuthorityFiles(): Promise<void> {
  judge.write('root.pem', toPem('CERTIFICATE', authority.root.issuer.certificate.der));
  judge.write('issuing.pem', toPem('CERTIFICATE', authority.issuing.issuer.certificate.der));
}

describe('building and signing', () => {
  test('the same request gives the same TBS, whatever form its text came in', () => {
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const { issuer } = authority.issuing;
    const decomposed = { ...request.subject, commonName: ' Huỳnh  Thanh Điền '.normalize('NFD') };
    const first = buildTbsCertificate(issuer, testProfile, testLocations, request);
    expect(
      buildTbsCertificate(issuer, testProfile, testLocations, { ...request, subject: decomposed }).equals(first),
    ).toBe(true);
  });

  test('what the profile does not list stays out of the subject', () => {
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const subject = { ...request.subject, localityName: 'Vinh' };
    const tbs = buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, { ...request, subject });
    expect(tbs.includes('Vinh')).toBe(false);
  });

  test('a TBS of another issuer is not signed', async () => {
    const tbs = buildTbsCertificate(
      authority.issuing.issuer,
      testProfile,
      testLocations,
      testRequest(authority, keys.subjectPublicKeyInfo),
    );
    await expect(async () => signTbs(authority.root.issuer, tbs)).rejects.toMatchObject({ code: 'tbs_foreign' });
    const other = await makeTestAuthority(judge, 'ec-p384');
    await expect(async () => signTbs(other.issuing.issuer, tbs)).rejects.toMatchObject({ code: 'tbs_foreign' });
  });

  test('every fault of a request at once', async () => {
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const { surname: _, ...subject } = request.subject;
    const bad: CertificateRequest = {
      ...request,
      serialNumber: Buffer.from('00', 'hex'),
      subject: { ...subject, countryName: 'vn', commonName: 'x'.repeat(65), organizationName: ' - ' },
      subjectAltName: [{ kind: 'rfc822Name', value: 'điền@nghean.gov.vn' }],
      subjectPublicKeyInfo: (await generateKeyPair('ec-p256')).subjectPublicKeyInfo.subarray(1),
      notAfter: authority.root.issuer.certificate.notAfter,
    };
    let faults: readonly { pointer: string; code: string }[] = [];
    try {
      buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, bad);
    } catch (error) {
      faults = (error as ServiceError).faults;
    }
    expect(faults.map((fault) => `${fault.pointer} ${fault.code}`)).toEqual([
      '/subject/countryName country_code',
      '/subject/organizationName empty',
      '/subject/commonName too_long',
      '/serialNumber range',
      '/subject/surname required',
      '/subjectAltName/0 format',
      '/subjectPublicKeyInfo malformed_der',
      '/notAfter range',
      '/notAfter outlives_issuer',
    ]);
  });

  test('serial numbers: 16 octets, positive, none twice', () => {
    const serials = Array.from({ length: 1000 }, () => newSerialNumber());
    expect(new Set(serials.map((serial) => serial.toString('hex'))).size).toBe(1000);
    expect(serials.every((serial) => serial.length === 16 && serial[0]! >= 0x40 && serial[0]! < 0x80)).toBe(true);
  });
});

describe('loading an issuer', () => {
  const passphrase = 'một mật khẩu đủ dài';
  const load = async (change: object = {}) => {
    const { issuing } = authority;
    return loadIssuer({
      certificatePem: toPem('CERTIFICATE', issuing.issuer.certificate.der),
      privateKeyPem: await encryptedPrivateKeyPem(issuing.privateKey, passphrase),
      passphrase,
      ...change,
    });
  };

  test('an encrypted key opens, signs, and issues its profile', async () => {
    const issuer = await load();
    requireProfile(issuer, testProfile, new Date());
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const tbs = buildTbsCertificate(issuer, testProfile, testLocations, request);
    expect(tbs.equals(buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, request))).toBe(true);
    await signTbs(issuer, tbs);
  });

  test('refuses the wrong passphrase, another key, an end entity and a wrong time, without telling the passphrase', async () => {
    const refusals = [
      [load({ passphrase: 'không phải mật khẩu này' }), 'issuer_key_unreadable'],
      [load({ privateKeyPem: toPem('PRIVATE KEY', keys.privateKey) }), 'issuer_key_mismatch'],
      [load({ certificatePem: 'nothing' }), 'issuer_certificate_malformed'],
      [load({ now: new Date('2000-01-01') }), 'issuer_not_in_date'],
      [load({ now: new Date('2100-01-01') }), 'issuer_not_in_date'],
    ] as const;
    for (const [refusal, code] of refusals) await expect(refusal).rejects.toMatchObject({ kind: 'invalid', code });
    const request = testRequest(authority, keys.subjectPublicKeyInfo);
    const tbs = buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, request);
    const endEntity = toPem('CERTIFICATE', await signTbs(authority.issuing.issuer, tbs));
    const privateKeyPem = toPem('PRIVATE KEY', keys.privateKey);
    await expect(load({ certificatePem: endEntity, privateKeyPem })).rejects.toMatchObject({
      code: 'issuer_not_authority',
    });
  });

  test('a profile must not outlive its issuer, nor ask for what the issuer may not certify', async () => {
    const issuer = await load();
    const late = new Date(issuer.certificate.notAfter.getTime() - 700 * 86_400_000);
    const soon = { kind: 'unavailable', code: 'issuer_ends_too_soon' };
    expect(() => requireProfile(issuer, testProfile, late)).toThrow(expect.objectContaining(soon));
    const device = {
      ...testProfile,
      id: 'tls-client',
      extendedKeyUsage: ['clientAuth' as const],
      certificatePolicies: ['2.25.1'],
    };
    expect(() => requireProfile(issuer, device, new Date())).toThrow(
      expect.objectContaining({ code: 'issuer_purpose' }),
    );
  });
});

test('RSA signatures over the same TBS are the same certificate', async () => {
  const made = await makeTestAuthority(judge, 'rsa-2048');
  const tbs = buildTbsCertificate(
    made.issuing.issuer,
    testProfile,
    testLocations,
    testRequest(made, keys.subjectPublicKeyInfo),
  );
  const [first, second] = await Promise.all([signTbs(made.issuing.issuer, tbs), signTbs(made.issuing.issuer, tbs)]);
  expect(first.equals(second)).toBe(true);
});
