import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { toPem } from './certificate.ts';
import { buildTbsCrl, type CrlEntry, type RevocationReason, revocationReasonCode, signCrl } from './crl.ts';
import { buildTbsCertificate, newSerialNumber, signTbs } from './issuer.ts';
import { generateKeyPair } from './key-pair.ts';
import {
  makeTestAuthority,
  openJudge,
  type TestAuthority,
  testLocations,
  testProfile,
  testRequest,
} from './openssl-judge.ts';

const judge = openJudge();
let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeTestAuthority(judge, 'rsa-2048');
});
afterAll(() => judge.close());

async function writeCrl(entries: Iterable<CrlEntry>, crlNumber = 7n): Promise<void> {
  const { issuer } = authority.issuing;
  const nextUpdate = new Date(authority.now.getTime() + 86_400_000);
  const tbs = buildTbsCrl(issuer, { crlNumber, thisUpdate: authority.now, nextUpdate, entries });
  judge.write('issuing.crl.pem', toPem('X509 CRL', await signCrl(issuer, tbs)));
}

test('OpenSSL verifies the signature and reads every field', async () => {
  const reasons = Object.keys(revocationReasonCode) as RevocationReason[];
  const entries = reasons.map((reason) => ({ serialNumber: newSerialNumber(), revocationDate: authority.now, reason }));
  await writeCrl(entries);
  const text = judge.run('crl', '-in', 'issuing.crl.pem', '-CAfile', 'issuing.pem', '-noout', '-text');
  expect(text).toContain('Version 2');
  expect(text).toMatch(/CRL Number: \s+7\n/);
  expect(text).toContain('Authority Key Identifier');
  for (const { serialNumber } of entries) expect(text).toContain(serialNumber.toString('hex').toUpperCase());
  for (const reason of [
    'Key Compromise',
    'CA Compromise',
    'Affiliation Changed',
    'Superseded',
    'Cessation Of Operation',
    'Certificate Hold',
    'Privilege Withdrawn',
    'AA Compromise',
  ])
    expect(text).toContain(reason);
  // Left out, not written as zero (RFC 5280 section 5.3.1).
  expect(text).not.toContain('Unspecified');
  expect(text.match(/CRL entry extensions/g)).toHaveLength(reasons.length - 1);
});

test('a revoked certificate is refused, the next one is not', async () => {
  const { subjectPublicKeyInfo } = await generateKeyPair('ec-p256');
  const [revoked, valid] = [testRequest(authority, subjectPublicKeyInfo), testRequest(authority, subjectPublicKeyInfo)];
  for (const [name, request] of [
    ['revoked.pem', revoked],
    ['valid.pem', valid],
  ] as const) {
    const tbs = buildTbsCertificate(authority.issuing.issuer, testProfile, testLocations, request);
    judge.write(name, toPem('CERTIFICATE', await signTbs(authority.issuing.issuer, tbs)));
  }
  await writeCrl([{ serialNumber: revoked.serialNumber, revocationDate: new Date(), reason: 'keyCompromise' }]);
  const verify = (name: string) =>
    judge.run(
      'verify',
      '-x509_strict',
      '-crl_check',
      '-CAfile',
      'root.pem',
      '-untrusted',
      'issuing.pem',
      '-CRLfile',
      'issuing.crl.pem',
      '-purpose',
      'smimesign',
      name,
    );
  expect(verify('valid.pem')).toContain('OK');
  expect(() => verify('revoked.pem')).toThrow('certificate revoked');
});

test('an empty list has no list of entries', async () => {
  await writeCrl([], 0n);
  expect(judge.run('crl', '-in', 'issuing.crl.pem', '-CAfile', 'issuing.pem', '-noout', '-text')).toContain(
    'No Revoked Certificates',
  );
});

test('100,000 entries, from an iterator that is read once', async () => {
  function* entries(): Generator<CrlEntry> {
    for (let index = 0; index < 100_000; index++)
      yield {
        serialNumber: newSerialNumber(),
        revocationDate: new Date(authority.now.getTime() - index * 1000),
        reason: 'superseded',
      };
  }
  await writeCrl(entries());
  judge.run('crl', '-in', 'issuing.crl.pem', '-CAfile', 'issuing.pem', '-noout', '-text', '-out', 'text');
  judge.run('crl', '-in', 'issuing.crl.pem', '-outform', 'DER', '-out', 'issuing.crl');
  const lines = judge.run('crl', '-in', 'issuing.crl.pem', '-noout', '-crlnumber');
  expect(lines).toContain('07');
});

test('refuses an update in the past, bad numbers, reasons and serial numbers, and other issuers', async () => {
  const { issuer } = authority.issuing;
  const thisUpdate = authority.now;
  const good = { crlNumber: 1n, thisUpdate, nextUpdate: new Date(thisUpdate.getTime() + 1000), entries: [] };
  const entry = {
    serialNumber: newSerialNumber(),
    revocationDate: thisUpdate,
    reason: 'superseded' as RevocationReason,
  };
  const bad = [
    { ...good, nextUpdate: thisUpdate },
    { ...good, nextUpdate: new Date(thisUpdate.getTime() + 999) },
    { ...good, crlNumber: -1n },
    { ...good, crlNumber: 1n << 160n },
    { ...good, entries: [{ ...entry, reason: 'removeFromCRL' as RevocationReason }] },
    { ...good, entries: [{ ...entry, serialNumber: Buffer.alloc(21, 1) }] },
  ];
  for (const contents of bad)
    expect(() => buildTbsCrl(issuer, contents)).toThrow(expect.objectContaining({ code: 'crl_invalid' }));
  await expect(async () => signCrl(authority.root.issuer, buildTbsCrl(issuer, good))).rejects.toMatchObject({
    code: 'tbs_foreign',
  });
});
