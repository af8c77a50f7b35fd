import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from './certificate.ts';
import {
  buildTbsCrl,
  type CrlEntry,
  encodeEntries,
  type RevocationReason,
  revocationReasonCode,
  signCrl,
  splitCrl,
} from './crl.ts';
import { buildTbsCertificate, newSerialNumber, signTbs } from './issuer.ts';
import {
  makeTestAuthority,
  openJudge,
  type TestAuthority,
  testLocations,
  testProfile,
  testRequest,
} from './judges/openssl-judge.ts';
import { generateKeyPair } from './key-pair.ts';

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
  const reasons = Object.keys(revocationReasonCode).filter(
    (reason) => reason !== 'removeFromCRL',
  ) as RevocationReason[];
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

describe('parts', () => {
  const entry = (reason: RevocationReason = 'superseded'): CrlEntry => ({
    serialNumber: newSerialNumber(),
    revocationDate: authority.now,
    reason,
  });
  const contents = () => ({
    crlNumber: 8n,
    thisUpdate: authority.now,
    nextUpdate: new Date(authority.now.getTime() + 86_400_000),
  });

  test('entries that were encoded before stand in the list as if they were encoded now', async () => {
    const { issuer } = authority.issuing;
    const entries = [entry(), entry('unspecified'), entry('keyCompromise'), entry('certificateHold')];
    const chunks = [encodeEntries(entries.slice(0, 1)), encodeEntries(entries.slice(1, 3)), entries[3]!];
    const [whole, parts] = [entries, chunks].map((some) => buildTbsCrl(issuer, { ...contents(), entries: some }));
    expect(parts).toEqual(whole);
  });

  test('a list comes apart before and after its entries, also when there are none', async () => {
    const { issuer } = authority.issuing;
    for (const entries of [[], [encodeEntries([entry(), entry()])]]) {
      const crl = await signCrl(issuer, buildTbsCrl(issuer, { ...contents(), entries }));
      const { prefix, suffix } = splitCrl(crl);
      expect(Buffer.concat([prefix, ...entries, suffix])).toEqual(crl);
    }
  });

  test('OpenSSL reads since when a key was not to be trusted, and where list and delta are', async () => {
    const { issuer } = authority.issuing;
    const dated = { ...entry('keyCompromise'), invalidityDate: new Date('2026-10-01T02:03:04.5Z') };
    const tbs = buildTbsCrl(issuer, {
      ...contents(),
      entries: [dated, { ...entry('unspecified'), invalidityDate: new Date('2051-10-01T00:00:00Z') }],
      distributionPoint: 'http://pki.example.vn/crl/issuing-3.crl',
      freshestCrl: 'http://pki.example.vn/crl/issuing-3-delta.crl',
    });
    judge.write('parts.crl.pem', toPem('X509 CRL', await signCrl(issuer, tbs)));
    const text = judge.run('crl', '-in', 'parts.crl.pem', '-CAfile', 'issuing.pem', '-noout', '-text');
    for (const part of [
      /Issuing Distribution Point: critical\s+Full Name:\s+URI:http:\/\/pki.example.vn\/crl\/issuing-3.crl/,
      /Freshest CRL:\s+Full Name:\s+URI:http:\/\/pki.example.vn\/crl\/issuing-3-delta.crl/,
      /Invalidity Date:\s+Oct {2}1 02:03:04 2026 GMT/,
      /Invalidity Date:\s+Oct {2}1 00:00:00 2051 GMT/,
    ])
      expect(text).toMatch(part);
    expect(text).not.toContain('Delta');
  });

  test('a delta says on which list it builds, critically, and what is no longer revoked', async () => {
    const { issuer } = authority.issuing;
    const delta = { ...contents(), baseCrlNumber: 6n, freshestCrl: 'http://pki.example.vn/crl/x-delta.crl' };
    const entries = [{ ...entry(), reason: 'removeFromCRL' as const }, entry('keyCompromise')];
    const tbs = buildTbsCrl(issuer, { ...delta, entries });
    judge.write('delta.crl.pem', toPem('X509 CRL', await signCrl(issuer, tbs)));
    const text = judge.run('crl', '-in', 'delta.crl.pem', '-CAfile', 'issuing.pem', '-noout', '-text');
    expect(text).toMatch(/Delta CRL Indicator: critical\s+6\n/);
    expect(text).toContain('Remove From CRL');
    expect(text).not.toContain('Freshest');
    for (const baseCrlNumber of [8n, 9n, -1n])
      expect(() => buildTbsCrl(issuer, { ...delta, baseCrlNumber, entries })).toThrow(
        expect.objectContaining({ code: 'crl_invalid' }),
      );
  });
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
    { ...good, entries: [{ ...entry, reason: 'removeFromCRL' as const }] },
    { ...good, entries: [{ ...entry, reason: 'expired' as RevocationReason }] },
    { ...good, entries: [{ ...entry, serialNumber: Buffer.alloc(21, 1) }] },
  ];
  for (const contents of bad)
    expect(() => buildTbsCrl(issuer, contents)).toThrow(expect.objectContaining({ code: 'crl_invalid' }));
  await expect(async () => signCrl(authority.root.issuer, buildTbsCrl(issuer, good))).rejects.toMatchObject({
    code: 'tbs_foreign',
  });
});
