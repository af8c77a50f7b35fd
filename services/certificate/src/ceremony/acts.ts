/**
 * The acts of the key ceremony, in which alone the root's key is used: the root is made, an issuing authority is certified, the
 * root's CRL is renewed, an authority is revoked. Each needs both officers, and leaves a signed transcript. What will be signed is
 * on the disk before it is; a step that was killed is finished by the next one with the very same octets.
 */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Fault, ServiceError } from '@congvu/errors';
import { isAuthorityName } from '../authorities/authority-files.ts';
import { buildTbsIssuing, createRoot } from '../authority/authority.ts';
import { type Certificate, fromPem, readCertificate, toPem } from '../authority/certificate.ts';
import { parseCsr } from '../authority/csr.ts';
import * as der from '../authority/der.ts';
import { type NameAttribute, nameFaults, readName } from '../authority/distinguished-name.ts';
import { generateKeyPair } from '../authority/key-pair.ts';
import type { ExtendedKeyUsage } from '../authority/oids.ts';
import { encryptedPrivateKeyPem } from '../authority/pbes2.ts';
import { type Purpose, purposes } from '../authority/profile.ts';
import type { KeyKind } from '../authority/public-key.ts';
import {
  type Officers,
  type OpenRoot,
  passphraseOf,
  type RootState,
  replaceFile,
  replaceVacant,
  requireVacant,
  type revocationReasons,
} from './root-directory.ts';
import { complete, namesOf, openForStep, takeStep, tbsCrl } from './step.ts';

export interface RootOptions {
  /** To make; must not exist, or be empty. */
  readonly directory: string;
  readonly officers: Officers;
  /** Legal name of who runs the authorities: organizationName of them all. */
  readonly organization: string;
  /** ISO 3166-1, `VN` if left out. */
  readonly country?: string;
  readonly rootName: string;
  /** `http:` URLs to which the issuing certificates point: the root's CRL and its certificate (DER). */
  readonly rootCrlUrl: string;
  readonly rootCertificateUrl: string;
  /**
   * `rsa-4096` if left out: verified by everything from Outlook 2010 and Windows 7 on, smart-card middleware and scanners
   * included, where P-384 chains still fail; a root signs so rarely that its slowness costs nothing.
   */
  readonly keyKind?: KeyKind;
  /** 20 if left out. */
  readonly years?: number;
  /** Days until the root's CRL must be replaced; 365 if left out, the longest that CA/B S/MIME BR 4.9.7 allow. */
  readonly crlDays?: number;
  readonly now?: Date;
}

/** Makes the root and its first CRL in a new directory; returns the transcript. */
export async function initRoot(options: RootOptions): Promise<string> {
  const now = wholeSecond(options.now ?? new Date());
  const directory = resolve(options.directory);
  const { officers, rootCrlUrl, rootCertificateUrl } = options;
  const state: RootState = {
    step: 1,
    organization: options.organization,
    country: options.country ?? 'VN',
    rootCrlUrl,
    rootCertificateUrl,
    crlNumber: 1,
    crlDays: options.crlDays ?? 365,
    authorities: [],
  };
  refuse([
    ...officerFaults(officers),
    ...nameFaults(nameOf(state, options.rootName)),
    ...(['rootCrlUrl', 'rootCertificateUrl'] as const).flatMap((key) =>
      isHttp(options[key]) ? [] : [problem(`/${key}`, `${key} must be an http: URL.`)],
    ),
    ...countFaults({ years: options.years, crlDays: options.crlDays }),
  ]);
  await requireVacant(directory);
  await mkdir(dirname(directory), { recursive: true });
  const work = await mkdtemp(join(dirname(directory), `.${basename(directory)}.partial-`));
  try {
    const { issuer, privateKey } = await createRoot({
      subject: nameOf(state, options.rootName),
      keyKind: options.keyKind ?? 'rsa-4096',
      notBefore: now,
      notAfter: yearsAfter(now, options.years ?? 20),
    });
    const key = await encryptedPrivateKeyPem(privateKey, passphraseOf(officers));
    privateKey.fill(0);
    await replaceFile(work, 'root.crt.pem', toPem('CERTIFICATE', issuer.certificate.der));
    await replaceFile(work, 'root.key.pem', key, 0o600);
    const crl = tbsCrl(issuer, state, now).toString('base64');
    const remarks = ['The root was made.'];
    const intent = {
      command: 'init',
      started: now.toISOString(),
      officers: namesOf(officers),
      remarks,
      state,
      crl: { tbs: crl },
    };
    const transcript = await complete({ directory: work, issuer }, intent);
    await replaceVacant(work, directory);
    return transcript;
  } catch (error) {
    await rm(work, { recursive: true, force: true });
    throw error;
  }
}

export interface IssuingOptions {
  readonly directory: string;
  readonly officers: Officers;
  /** `a-z 0-9 -`: of its files, and in URLs and LDAP for as long as anything that it issued is read. */
  readonly name: string;
  readonly commonName: string;
  readonly purposes: readonly Purpose[];
  /** Made here and encrypted under a passphrase that the service gets; or in a token, which proves by a CSR that it has it. */
  readonly key: { readonly passphrase: string; readonly keyKind?: KeyKind } | { readonly csr: string };
  /** 10 if left out. */
  readonly years?: number;
  /** Over how many CRLs its certificates are spread; 1 if left out. */
  readonly crlPartitions?: number;
  readonly now?: Date;
}

/** Certifies an issuing authority; returns the transcript. One that follows another of its purpose gets a name of its own. */
export async function issueAuthority(options: IssuingOptions): Promise<string> {
  const now = wholeSecond(options.now ?? new Date());
  const { directory, officers, name, commonName, key, crlPartitions = 1 } = options;
  refuse(officerFaults(officers));
  const root = await openForStep(directory, officers, now);
  const { state, issuer } = root;
  const notAfter = yearsAfter(now, options.years ?? 10);
  const taken = state.authorities;
  refuse([
    ...(isAuthorityName(name)
      ? []
      : [
          problem(
            '/name',
            'A name is of a-z 0-9 -, at most 30, and does not end in -1 or -delta, as lists do (people-2026 is one).',
          ),
        ]),
    ...(taken.some((one) => one.name === name) ? [problem('/name', `There is an authority ${name} already.`)] : []),
    ...(taken.some((one) => one.commonName === commonName) || commonName === commonNameOf(issuer.certificate)
      ? [problem('/commonName', 'Authorities must have different names.')]
      : []),
    ...nameFaults(nameOf(state, commonName)),
    ...(options.purposes.length > 0 && options.purposes.every((purpose) => purposes.includes(purpose))
      ? []
      : [problem('/purposes', `Its purposes are among ${purposes.join(', ')}.`)]),
    ...(options.purposes.includes('device') && options.purposes.length > 1
      ? [problem('/purposes', 'An authority for devices is for nothing else (CA/B S/MIME BR 7.1.2.2 g).')]
      : []),
    ...('passphrase' in key ? passphraseFaults('/passphrase', key.passphrase) : []),
    ...('passphrase' in key && officers.some((officer) => officer.passphrase === key.passphrase)
      ? [problem('/passphrase', 'The service must not hold the passphrase of an officer.')]
      : []),
    ...countFaults({ years: options.years, crlPartitions }),
    ...(notAfter <= issuer.certificate.notAfter
      ? []
      : [problem('/years', 'An issuing authority must not outlive the root.')]),
  ]);
  const subjectPublicKeyInfo = await keyFor(options);
  const tbs = buildTbsIssuing(issuer, {
    subject: nameOf(state, commonName),
    subjectPublicKeyInfo,
    notBefore: now,
    notAfter,
    extendedKeyUsage: keyPurposesOf(options.purposes),
    rootCrlUrl: state.rootCrlUrl,
    rootCertificateUrl: state.rootCertificateUrl,
  });
  const settings = { purposes: options.purposes, crlPartitions };
  await replaceFile(directory, `${name}.json`, `${JSON.stringify(settings, null, 2)}\n`);
  const made = {
    name,
    commonName,
    purposes: [...options.purposes],
    serialNumber: serialNumberOf(tbs).toString('hex'),
    notAfter: notAfter.toISOString(),
  };
  return takeStep(root, officers, now, {
    command: 'issue-authority',
    remarks: ['csr' in key ? 'Its key is in a token; the CSR proved it.' : 'Its key was made here.'],
    state: { ...state, authorities: [...taken, made] },
    certificate: { name, tbs: tbs.toString('base64'), keyIsHere: !('csr' in key) },
  });
}

/** The key is on the disk, encrypted, before anything is signed for it. */
async function keyFor({ directory, name, key }: IssuingOptions): Promise<Buffer> {
  if ('csr' in key) {
    const { subjectPublicKeyInfo } = await parseCsr(key.csr);
    // A second certificate for one key would be one authority under two names (RFC 5280 section 4.2.1.1).
    for (const file of (await readdir(directory)).filter((one) => one.endsWith('.crt.pem'))) {
      const other = readCertificate(fromPem('CERTIFICATE', await readFile(join(directory, file), 'utf8')));
      if (other.subjectPublicKeyInfo.equals(subjectPublicKeyInfo))
        refuse([problem('/csr', `The key of ${file} cannot be another authority's too; make a new one.`)]);
    }
    return subjectPublicKeyInfo;
  }
  // `rsa-3072`: 128-bit security until after the certificate ends, and as widely read.
  const pair = await generateKeyPair(key.keyKind ?? 'rsa-3072');
  const pem = await encryptedPrivateKeyPem(pair.privateKey, key.passphrase);
  pair.privateKey.fill(0);
  await replaceFile(directory, `${name}.key.pem`, pem, 0o600);
  return pair.subjectPublicKeyInfo;
}

export interface CrlOptions {
  readonly directory: string;
  readonly officers: Officers;
  readonly now?: Date;
}

/** The root's next CRL, before the last one runs out; returns the transcript. */
export async function renewRootCrl(options: CrlOptions): Promise<string> {
  const now = wholeSecond(options.now ?? new Date());
  refuse(officerFaults(options.officers));
  const root = await openForStep(options.directory, options.officers, now);
  return listStep(root, options.officers, now, 'renew-crl', ['The CRL of the root was renewed.'], root.state);
}

/** Takes an issuing authority back, with everything that it issued: it is on the root's next CRL, which is made at once. */
export async function revokeAuthority(
  options: CrlOptions & { readonly name: string; readonly reason: (typeof revocationReasons)[number] },
): Promise<string> {
  const now = wholeSecond(options.now ?? new Date());
  refuse(officerFaults(options.officers));
  const root = await openForStep(options.directory, options.officers, now);
  const { state } = root;
  const found = state.authorities.find((one) => one.name === options.name);
  refuse(found ? [] : [problem('/name', `There is no authority ${options.name}.`)]);
  if (found?.revoked) {
    const detail = `The authority ${options.name} was revoked at ${found.revoked.at} (${found.revoked.reason}).`;
    throw new ServiceError({ kind: 'conflict', code: 'authority_revoked', detail });
  }
  const revoked = { at: now.toISOString(), reason: options.reason };
  const authorities = state.authorities.map((one) => (one === found ? { ...one, revoked } : one));
  const remark = `Revoked: ${options.name}, ${options.reason}.`;
  return listStep(root, options.officers, now, 'revoke-authority', [remark], { ...state, authorities });
}

const listStep = (
  root: OpenRoot,
  officers: Officers,
  now: Date,
  command: string,
  remarks: string[],
  state: RootState,
): Promise<string> => {
  const listed = { ...state, crlNumber: state.crlNumber + 1 };
  const crl = { tbs: tbsCrl(root.issuer, listed, now).toString('base64') };
  return takeStep(root, officers, now, { command, remarks, state: listed, crl });
};

/** To what the root confines an authority (CA/B S/MIME BR 7.1.2.2 g). */
const keyPurposesOf = (wanted: readonly Purpose[]): ExtendedKeyUsage[] =>
  wanted.includes('device') ? ['serverAuth', 'clientAuth'] : ['emailProtection'];

const nameOf = ({ country, organization }: RootState, commonName: string): NameAttribute[] => [
  { attribute: 'countryName', value: country },
  { attribute: 'organizationName', value: organization },
  { attribute: 'commonName', value: commonName },
];

const commonNameOf = ({ subject }: Certificate): string | undefined =>
  readName(der.decode(subject)).find(({ type }) => type === 'commonName')?.value;

const serialNumberOf = (tbs: Buffer): Buffer =>
  der.readInteger(der.readSequence(der.decode(tbs), 'TBSCertificate')[1], 'The serial number');

const problem = (pointer: string, detail: string): Fault => ({ pointer, code: 'value', detail });
const isHttp = (url: string) => URL.canParse(url) && new URL(url).protocol === 'http:' && /^[\x21-\x7e]+$/.test(url);

const minimumPassphrase = 12;
const passphraseFaults = (pointer: string, passphrase: string): Fault[] =>
  [...passphrase].length < minimumPassphrase
    ? [problem(pointer, `A passphrase has at least ${minimumPassphrase} characters.`)]
    : [];

const officerFaults = ([first, second]: Officers): Fault[] => [
  ...passphraseFaults('/officers/0/passphrase', first.passphrase),
  ...passphraseFaults('/officers/1/passphrase', second.passphrase),
  ...(first.passphrase === second.passphrase || first.name === second.name
    ? [problem('/officers', 'Two officers are two persons with two passphrases.')]
    : []),
  ...[first, second].flatMap(({ name }, index) =>
    /^[\p{L}\p{N}][\p{L}\p{N} .'-]{0,63}$/u.test(name)
      ? []
      : [problem(`/officers/${index}/name`, 'An officer has a name of letters, at most 64.')],
  ),
];

const countFaults = (counts: Record<string, number | undefined>): Fault[] =>
  Object.entries(counts).flatMap(([key, value]) =>
    value === undefined || (Number.isInteger(value) && value > 0 && value <= 1000)
      ? []
      : [problem(`/${key}`, `${key} is a whole number from 1 to 1000.`)],
  );

function refuse(faults: Fault[]): void {
  if (faults.length === 0) return;
  const detail = faults.map((fault) => fault.detail).join(' ');
  throw new ServiceError({ kind: 'invalid', code: 'ceremony_invalid', detail, faults });
}

const wholeSecond = (date: Date) => new Date(Math.floor(date.getTime() / 1000) * 1000);

/** The last second of that many years, so that "20 years" is not a second more. */
function yearsAfter(start: Date, years: number): Date {
  const end = new Date(start);
  end.setUTCFullYear(end.getUTCFullYear() + years);
  return new Date(end.getTime() - 1000);
}
