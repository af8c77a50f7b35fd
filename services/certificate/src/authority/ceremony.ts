/**
 * The key ceremony: makes the root, its first CRL and the first issuing authority, once, as files. Everything is written to a directory beside the target and renamed at the end, so the target either does not exist or
 * is complete; an existing one is never written over. Private keys reach the disk only encrypted, in files of mode 0600.
 */
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { createIssuing, createRoot } from './authority.ts';
import { type Certificate, fingerprintOf, toPem } from './certificate.ts';
import { buildTbsCrl, signCrl } from './crl.ts';
import type { NameAttribute } from './distinguished-name.ts';
import type { Issuer } from './issuer.ts';
import type { ExtendedKeyUsage } from './oids.ts';
import { encryptedPrivateKeyPem } from './pbes2.ts';
import type { Purpose } from './profile.ts';
import type { KeyKind } from './public-key.ts';

export interface CeremonyOptions {
  /** Directory to make; must not exist, or be empty. */
  readonly out: string;
  /** Legal name of who runs the authority: organizationName of both certificates. */
  readonly organization: string;
  /** ISO 3166-1, `VN` if left out. */
  readonly country?: string;
  readonly rootName: string;
  /** At least 12 characters; no authority below has the same. */
  readonly rootPassphrase: string;
  readonly issuing: readonly IssuingOptions[];
  /** `http:` URLs that the issuing certificate points to: the root's CRL and its certificate (DER). */
  readonly rootCrlUrl: string;
  readonly rootCertificateUrl: string;
  /**
   * `rsa-4096` if left out: verified by everything from Outlook 2010 and Windows 7 on, smart-card middleware and scanners
   * included, where P-384 chains still fail; a root signs so rarely that its slowness costs nothing.
   */
  readonly rootKeyKind?: KeyKind;
  /** 20 if left out. */
  readonly rootYears?: number;
  /** Days until the root's CRL must be replaced; 365 if left out, the longest that CA/B S/MIME BR 4.9.7 allow. */
  readonly rootCrlDays?: number;
  readonly now?: Date;
}

export interface IssuingOptions {
  /** `a-z 0-9 -`: of its files, and in URLs and LDAP. */
  readonly name: string;
  readonly commonName: string;
  readonly purposes: readonly Purpose[];
  readonly passphrase: string;
  /** `rsa-3072` if left out: 128-bit security until after the certificate ends, and as widely read. */
  readonly keyKind?: KeyKind;
  /** 10 if left out. */
  readonly years?: number;
}

/** To what the root confines an authority (CA/B S/MIME BR 7.1.2.2 g). */
const keyPurposesOf = (purposes: readonly Purpose[]): ExtendedKeyUsage[] => [
  ...(purposes.includes('signature') || purposes.includes('encryption') ? (['emailProtection'] as const) : []),
  ...(purposes.includes('device') ? (['serverAuth', 'clientAuth'] as const) : []),
];

const minimumPassphrase = 12;

/**
 * Makes `root.crt.pem`, `root.key.pem`, `root.crl.pem`, `transcript.txt` and of each issuing authority `<name>.crt.pem`,
 * `<name>.key.pem` and `<name>.json` in `options.out`, and returns the transcript. Throws `conflict` (`ceremony_done`) if the directory holds anything, and
 * `invalid` (`ceremony_invalid`, `subject_invalid`) before any key is made if the options are not usable.
 */
export async function runCeremony(options: CeremonyOptions): Promise<string> {
  const out = resolve(options.out);
  requireUsable(options);
  await requireVacant(out);
  await mkdir(dirname(out), { recursive: true });
  const work = await mkdtemp(join(dirname(out), `.${basename(out)}.partial-`));
  try {
    const transcript = await makeAuthorities(work, options);
    await replaceVacant(work, out);
    return transcript;
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}

async function makeAuthorities(directory: string, options: CeremonyOptions): Promise<string> {
  const started = new Date();
  const now = wholeSecond(options.now ?? started);
  const name = (commonName: string): NameAttribute[] => [
    { attribute: 'countryName', value: options.country ?? 'VN' },
    { attribute: 'organizationName', value: options.organization },
    { attribute: 'commonName', value: commonName },
  ];

  // 1. The root, and the issuing authority that it signs.
  const root = await createRoot({
    subject: name(options.rootName),
    keyKind: options.rootKeyKind ?? 'rsa-4096',
    notBefore: now,
    notAfter: yearsAfter(now, options.rootYears ?? 20),
  });
  const made = await Promise.all(
    options.issuing.map(async (one) => ({
      ...one,
      ...(await createIssuing(root.issuer, {
        subject: name(one.commonName),
        keyKind: one.keyKind ?? 'rsa-3072',
        notBefore: now,
        notAfter: yearsAfter(now, one.years ?? 10),
        extendedKeyUsage: keyPurposesOf(one.purposes),
        rootCrlUrl: options.rootCrlUrl,
        rootCertificateUrl: options.rootCertificateUrl,
      })),
    })),
  );

  // 2. The root's first CRL: nothing is revoked, and readers that check the whole chain can know it.
  const nextUpdate = new Date(now.getTime() + (options.rootCrlDays ?? 365) * 86_400_000);
  const tbsCrl = buildTbsCrl(root.issuer, { crlNumber: 1n, thisUpdate: now, nextUpdate, entries: [] });
  const rootCrl = await signCrl(root.issuer, tbsCrl);

  // 3. Files, each on the disk before the directory gets its name.
  const files = new Map<string, { content: string | Buffer; mode: number }>([
    ['root.crt.pem', { content: toPem('CERTIFICATE', root.issuer.certificate.der), mode: 0o644 }],
    ['root.crl.pem', { content: toPem('X509 CRL', rootCrl), mode: 0o644 }],
    ['root.key.pem', { content: await encryptedPrivateKeyPem(root.privateKey, options.rootPassphrase), mode: 0o600 }],
  ]);
  root.privateKey.fill(0);
  for (const one of made) {
    const key = await encryptedPrivateKeyPem(one.privateKey, one.passphrase);
    one.privateKey.fill(0);
    const settings = `${JSON.stringify({ purposes: one.purposes }, null, 2)}\n`;
    files.set(`${one.name}.crt.pem`, { content: toPem('CERTIFICATE', one.issuer.certificate.der), mode: 0o644 });
    files.set(`${one.name}.key.pem`, { content: key, mode: 0o600 });
    files.set(`${one.name}.json`, { content: settings, mode: 0o644 });
  }
  const transcript = [
    'Key ceremony: root and issuing authority',
    '',
    `Started   ${started.toISOString()}`,
    `Finished  ${new Date().toISOString()}`,
    ...describe('Root authority', root.issuer, name(options.rootName)),
    ...made.flatMap((one) => describe(`Issuing authority ${one.name}`, one.issuer, name(one.commonName))),
    '',
    `Root CRL: number 1, thisUpdate ${now.toISOString()}, nextUpdate ${nextUpdate.toISOString()}, nothing revoked`,
    '',
    'Files (SHA-256)',
    ...[...files].map(([file, { content }]) => `  ${createHash('sha256').update(content).digest('hex')}  ${file}`),
    '',
  ].join('\n');
  files.set('transcript.txt', { content: transcript, mode: 0o644 });
  for (const [file, { content, mode }] of files) await writeDurably(join(directory, file), content, mode);
  return transcript;
}

function requireUsable(options: CeremonyOptions): void {
  const problem = (pointer: string, detail: string) => ({ pointer, code: 'value', detail });
  const isHttp = (url: string) => URL.canParse(url) && new URL(url).protocol === 'http:' && /^[\x21-\x7e]+$/.test(url);
  const isPositive = (value: number | undefined) => value === undefined || (Number.isInteger(value) && value > 0);
  const tooShort = (pointer: string, passphrase: string) =>
    passphrase.length < minimumPassphrase
      ? [problem(pointer, `${pointer.slice(1)} must have at least ${minimumPassphrase} characters.`)]
      : [];
  const faults = [
    ...tooShort('/rootPassphrase', options.rootPassphrase),
    ...(['rootCrlUrl', 'rootCertificateUrl'] as const).flatMap((key) =>
      isHttp(options[key]) ? [] : [problem(`/${key}`, `${key} must be an http: URL.`)],
    ),
    ...(['rootYears', 'rootCrlDays'] as const).flatMap((key) =>
      isPositive(options[key]) ? [] : [problem(`/${key}`, `${key} must be a positive whole number.`)],
    ),
    ...options.issuing.flatMap((one, index) => [
      ...tooShort(`/issuing/${index}/passphrase`, one.passphrase),
      ...(one.passphrase === options.rootPassphrase
        ? [problem(`/issuing/${index}/passphrase`, 'The service must not hold the passphrase of the root; use two.')]
        : []),
      ...([options.rootName, ...options.issuing.slice(0, index).map((other) => other.commonName)].includes(
        one.commonName,
      )
        ? [problem(`/issuing/${index}/commonName`, 'Authorities must have different names.')]
        : []),
      ...(isPositive(one.years) && (one.years ?? 10) <= (options.rootYears ?? 20)
        ? []
        : [problem(`/issuing/${index}/years`, 'An issuing authority must not outlive the root.')]),
    ]),
  ];
  if (faults.length > 0)
    throw new ServiceError({
      kind: 'invalid',
      code: 'ceremony_invalid',
      detail: faults.map((fault) => fault.detail).join(' '),
      faults,
    });
}

const alreadyDone = (out: string) =>
  new ServiceError({
    kind: 'conflict',
    code: 'ceremony_done',
    detail: `${out} already holds something; authorities are made once and never written over.`,
  });

async function requireVacant(out: string): Promise<void> {
  try {
    if ((await readdir(out)).length > 0) throw alreadyDone(out);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOTDIR') throw alreadyDone(out);
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

/** rename(2) puts a directory in the place of an empty one or of none, atomically, and of no other. */
async function replaceVacant(work: string, out: string): Promise<void> {
  try {
    await rename(work, out);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === 'ENOTEMPTY' || code === 'EEXIST' || code === 'ENOTDIR' ? alreadyDone(out) : error;
  }
  const parent = await open(dirname(out), 'r');
  await parent.sync();
  await parent.close();
}

async function writeDurably(path: string, content: string | Buffer, mode: number): Promise<void> {
  const file = await open(path, 'wx', mode);
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

const wholeSecond = (date: Date) => new Date(Math.floor(date.getTime() / 1000) * 1000);

/** The last second of that many years, so that "20 years" is not a second more. */
function yearsAfter(start: Date, years: number): Date {
  const end = new Date(start);
  end.setUTCFullYear(end.getUTCFullYear() + years);
  return new Date(end.getTime() - 1000);
}

function describe(title: string, { certificate, keyKind }: Issuer, name: readonly NameAttribute[]): string[] {
  const colons = (hex: string) => hex.toUpperCase().match(/../g)!.join(':');
  const spoken: (keyof Certificate & ('notBefore' | 'notAfter'))[] = ['notBefore', 'notAfter'];
  return [
    '',
    title,
    `  Subject              ${name.map(({ attribute, value }) => `${attribute}=${value}`).join(', ')}`,
    `  Key                  ${keyKind}`,
    `  Serial number        ${certificate.serialNumber.toString('hex')}`,
    ...spoken.map((field) => `  ${field.padEnd(20)} ${certificate[field].toISOString()}`),
    `  SHA-256 fingerprint  ${colons(fingerprintOf(certificate.der))}`,
  ];
}
