/**
 * For tests: the openssl command as the judge of what is made here, in a temporary directory of its own, and a small
 * two-tier authority with quick keys for it to judge.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createIssuing, createRoot, type MadeAuthority } from '../authority.ts';
import { toPem } from '../certificate.ts';
import { buildTbsCrl, signCrl } from '../crl.ts';
import { type CertificateRequest, type Locations, newSerialNumber, validityPeriod } from '../issuer.ts';
import { checkProfile, type Profile } from '../profile.ts';
import type { KeyKind } from '../public-key.ts';

export interface Judge {
  readonly directory: string;
  /** Runs openssl there; its output, or an error with what it wrote if it says no. */
  run(...args: readonly string[]): string;
  write(name: string, content: string | Buffer): void;
  read(name: string): Buffer;
  /** Removes the directory. */
  close(): void;
}

export function openJudge(): Judge {
  const directory = mkdtempSync(join(tmpdir(), 'congvu-authority-'));
  return {
    directory,
    run: (...args) =>
      execFileSync('openssl', args, { cwd: directory, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }),
    write: (name, content) => writeFileSync(join(directory, name), content),
    read: (name) => readFileSync(join(directory, name)),
    close: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** A profile as it is shipped. */
export const shippedProfile = (id: string): Profile =>
  checkProfile(JSON.parse(readFileSync(join(import.meta.dirname, `../../profiles/${id}.json`), 'utf8')));
export const testProfile: Profile = shippedProfile('person-signature');
export const testLocations: Locations = {
  crl: ['http://pki.example.vn/issuing.crl'],
  ocsp: ['http://pki.example.vn/ocsp'],
  caIssuers: ['http://pki.example.vn/issuing.crt'],
};

export interface TestAuthority {
  readonly root: MadeAuthority;
  readonly issuing: MadeAuthority;
  readonly now: Date;
}

/** Root P-256, issuing authority of the given kind; written for the judge as root.pem, issuing.pem and root.crl.pem. */
export async function makeTestAuthority(judge: Judge, keyKind: KeyKind = 'ec-p256'): Promise<TestAuthority> {
  const now = new Date(Math.floor(Date.now() / 1000) * 1000 - 3600_000);
  const subject = (commonName: string) => [
    { attribute: 'countryName' as const, value: 'VN' },
    { attribute: 'organizationName' as const, value: 'Sở Thông tin và Truyền thông tỉnh Nghệ An' },
    { attribute: 'commonName' as const, value: commonName },
  ];
  const yearsLater = (years: number) => new Date(now.getTime() + years * 365 * 86_400_000);
  const root = await createRoot({
    subject: subject('Gốc thử'),
    keyKind: 'ec-p256',
    notBefore: now,
    notAfter: yearsLater(20),
  });
  const issuing = await createIssuing(root.issuer, {
    subject: subject(`Cấp thử ${keyKind}`),
    keyKind,
    notBefore: now,
    notAfter: yearsLater(10),
    extendedKeyUsage: ['emailProtection'],
    rootCrlUrl: 'http://pki.example.vn/root.crl',
    rootCertificateUrl: 'http://pki.example.vn/root.crt',
  });
  judge.write('root.pem', toPem('CERTIFICATE', root.issuer.certificate.der));
  judge.write('issuing.pem', toPem('CERTIFICATE', issuing.issuer.certificate.der));
  const nextUpdate = new Date(now.getTime() + 86_400_000);
  const tbs = buildTbsCrl(root.issuer, { crlNumber: 1n, thisUpdate: now, nextUpdate, entries: [] });
  judge.write('root.crl.pem', toPem('X509 CRL', await signCrl(root.issuer, tbs)));
  return { root, issuing, now };
}

/** Huỳnh Thanh Điền of Quỳnh Lưu district, for a given key. */
export function testRequest(authority: TestAuthority, subjectPublicKeyInfo: Buffer): CertificateRequest {
  return {
    serialNumber: newSerialNumber(),
    subject: {
      commonName: 'Huỳnh Thanh Điền',
      surname: 'Huỳnh',
      givenName: 'Thanh Điền',
      countryName: 'VN',
      organizationName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
      organizationIdentifier: 'GOVVN+22',
    },
    subjectAltName: [{ kind: 'rfc822Name', value: 'dienht@nghean.gov.vn' }],
    subjectPublicKeyInfo,
    ...validityPeriod(authority.issuing.issuer, testProfile, new Date()),
  };
}
