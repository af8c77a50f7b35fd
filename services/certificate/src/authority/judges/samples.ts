/** For tests: chains of authorities, and certificates and lists of every profile and kind of key, made by the code that issues. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createIssuing, createRoot } from '../authority.ts';
import { buildTbsCrl, type CrlContents, type CrlEntry, revocationReasonCode, signCrl } from '../crl.ts';
import type { NameAttribute } from '../distinguished-name.ts';
import { buildTbsCertificate, type Issuer, newSerialNumber, signTbs, validityPeriod } from '../issuer.ts';
import { generateKeyPair, type KeyPair } from '../key-pair.ts';
import type { Profile } from '../profile.ts';
import { type KeyKind, keyKinds } from '../public-key.ts';
import { shippedProfile, testLocations } from './openssl-judge.ts';
import type { Use } from './programs.ts';

/** What each profile that is shipped is for. */
export const useOf: Readonly<Record<string, Use>> = {
  'person-signature': 'smimesign',
  'person-encryption': 'smimeencrypt',
  'authority-signature': 'smimesign',
  'agency-seal': 'smimesign',
  'tls-server': 'sslserver',
  'tls-client': 'sslclient',
  'ocsp-responder': 'ocsphelper',
};
export const profiles = readdirSync(join(import.meta.dirname, '../../profiles')).map((file) =>
  shippedProfile(file.slice(0, -'.json'.length)),
);

const subject = {
  countryName: 'VN',
  organizationName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
  organizationIdentifier: 'GOVVN+22',
  title: 'Chủ tịch',
  serialNumber: 'dienht',
  surname: 'Huỳnh',
  givenName: 'Thanh Điền',
};
const address = 'dienht@nghean.gov.vn';
const host = 'mail.quynhluu.nghean.gov.vn';

/** What the directory would say for a profile. */
const commonNameOf = ({ id, purpose }: Profile): string =>
  purpose === 'device'
    ? host
    : purpose === 'encryption'
      ? address
      : id === 'agency-seal'
        ? subject.organizationName
        : 'Huỳnh Thanh Điền';

export type Keys = Readonly<Record<KeyKind, KeyPair>>;

/** One key of each kind: making them is what takes time. */
export async function sampleKeys(): Promise<Keys> {
  const keys = {} as Record<KeyKind, KeyPair>;
  for (const kind of keyKinds) keys[kind] = await generateKeyPair(kind);
  return keys;
}

/** The certificate of Huỳnh Thanh Điền, his agency or its mail server for a key. */
export async function sampleCertificate(
  issuer: Issuer,
  profile: Profile,
  key: KeyPair,
  serialNumber = newSerialNumber(),
): Promise<Buffer> {
  const kinds = profile.subjectAltName.map(({ kind }) => kind);
  const tbs = buildTbsCertificate(issuer, profile, testLocations, {
    serialNumber,
    subject: { ...subject, commonName: commonNameOf(profile) },
    subjectAltName: kinds.map((kind) => ({ kind, value: kind === 'dNSName' ? host : address })),
    subjectPublicKeyInfo: key.subjectPublicKeyInfo,
    ...validityPeriod(issuer, profile, new Date()),
  });
  return signTbs(issuer, tbs);
}

/** A list that was signed a minute ago. */
export function sampleList(issuer: Issuer, contents: Pick<CrlContents, 'crlNumber'> & Partial<CrlContents>) {
  const thisUpdate = new Date(Math.floor(Date.now() / 1000) * 1000 - 60_000);
  const nextUpdate = new Date(thisUpdate.getTime() + 86_400_000);
  return signCrl(issuer, buildTbsCrl(issuer, { thisUpdate, nextUpdate, entries: [], ...contents }));
}

/** A root and an issuing authority with keys of that kind, for people or for devices. */
export async function sampleAuthorities(
  keyKind: KeyKind,
  forDevices = false,
): Promise<{ root: Issuer; issuing: Issuer }> {
  const notBefore = new Date(Math.floor(Date.now() / 1000) * 1000 - 3600_000);
  const name = (commonName: string): NameAttribute[] => [
    { attribute: 'countryName', value: 'VN' },
    { attribute: 'organizationName', value: 'Sở Thông tin và Truyền thông tỉnh Nghệ An' },
    { attribute: 'commonName', value: commonName },
  ];
  const years = (count: number) => new Date(notBefore.getTime() + count * 365 * 86_400_000);
  const made = { keyKind, notBefore };
  const { issuer: root } = await createRoot({ ...made, subject: name('Gốc thử'), notAfter: years(20) });
  const { issuer: issuing } = await createIssuing(root, {
    ...made,
    subject: name('Cấp thử'),
    notAfter: years(10),
    extendedKeyUsage: forDevices ? ['serverAuth', 'clientAuth'] : ['emailProtection'],
    rootCrlUrl: 'http://pki.example.vn/root.crl',
    rootCertificateUrl: 'http://pki.example.vn/root.crt',
  });
  return { root, issuing };
}

const url = testLocations.crl[0]!;

/** An entry of two minutes ago. */
export const sampleEntry = (reason: CrlEntry['reason'], invalidityDate?: Date): CrlEntry => {
  const revocationDate = new Date(Date.now() - 120_000);
  return { serialNumber: newSerialNumber(), revocationDate, reason, ...(invalidityDate ? { invalidityDate } : {}) };
};
const reasons = Object.keys(revocationReasonCode).filter(
  (reason) => reason !== 'removeFromCRL',
) as CrlEntry['reason'][];

/** Every kind of list that is made. */
export const sampleLists: Readonly<Record<string, () => Partial<CrlContents>>> = {
  empty: () => ({}),
  'every reason': () => ({ entries: reasons.map((reason) => sampleEntry(reason)) }),
  'since when a key was not to be trusted': () => ({ entries: [sampleEntry('keyCompromise', new Date(2026, 1, 1))] }),
  'one that has a delta': () => ({ entries: [sampleEntry('superseded')], freshestCrl: `${url}-delta` }),
  'one distribution point’s': () => ({
    entries: [sampleEntry('superseded')],
    distributionPoint: url,
    freshestCrl: `${url}-delta`,
  }),
  'a delta': () => ({ entries: [sampleEntry('removeFromCRL'), sampleEntry('keyCompromise')], baseCrlNumber: 8n }),
  'a delta of one distribution point': () => ({
    entries: [sampleEntry('superseded')],
    baseCrlNumber: 8n,
    distributionPoint: url,
  }),
};
