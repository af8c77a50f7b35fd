/**
 * Issuing: a profile and an issuer are compiled once into a DER template, and a certificate is the template with its
 * serial number, dates, subject, names, key and key identifier filled in. Building the TBSCertificate is pure and
 * deterministic, signing it is a second step: whoever calls commits serial number and TBS in between, so that nothing
 * is ever signed that the register does not know. Signing the same TBS again is harmless: it is the same certificate
 * (with ECDSA under another signature; keep the one that was stored first).
 */
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from 'node:crypto';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import {
  basicConstraintsOf,
  type Certificate,
  fromPem,
  keyPurposesOf,
  keyUsageBitsOf,
  readCertificate,
  subjectKeyIdentifierOf,
} from './certificate.ts';
import * as der from './der.ts';
import { encodeCheckedName, nameFaults } from './distinguished-name.ts';
import * as extension from './extension.ts';
import { type AttributeName, keyPurpose, keyUsageBit } from './oids.ts';
import { checkProfile, type Profile } from './profile.ts';
import { type KeyFamily, type KeyKind, keyFamilyOf, keyIdentifierOf, keyKindOf } from './public-key.ts';
import { type SignatureAlgorithm, signatureAlgorithmOf, signBytes, verifyBytes } from './signature.ts';
import type { TokenKey } from './token-key.ts';

/** An authority that can sign. The private key is reachable through `sign` alone; a key in a token fits the same shape. */
export interface Issuer {
  readonly certificate: Certificate;
  readonly keyKind: KeyKind;
  readonly subjectKeyIdentifier: Buffer;
  readonly signatureAlgorithm: SignatureAlgorithm;
  /** Signature octets over `data`, made off the event loop. */
  sign(data: Buffer): Promise<Buffer>;
}

/**
 * Where a certificate says that its issuer's CRL, responder and certificate (DER) are: `http:` URLs, because what is fetched is
 * signed, and fetching it over TLS would need it first (RFC 5280 section 8). What is common to the certificates of one place is
 * compiled once per object, so give the same object again.
 */
export interface Locations {
  readonly crl: readonly string[];
  readonly ocsp: readonly string[];
  readonly caIssuers: readonly string[];
}

export interface CertificateRequest {
  /** INTEGER content octets: positive, canonical, at most 20; see `newSerialNumber`. */
  readonly serialNumber: Buffer;
  /** What the directory knows of the subject; the profile picks and orders what the certificate says. */
  readonly subject: Readonly<Partial<Record<AttributeName, string>>>;
  readonly subjectAltName: readonly extension.GeneralName[];
  /** DER, as `parseCsr` or `generateKeyPair` gives it. */
  readonly subjectPublicKeyInfo: Buffer;
  /** Whole seconds; what is below is cut off. */
  readonly notBefore: Date;
  readonly notAfter: Date;
}

const unusable = (code: string, detail: string, cause?: unknown) =>
  new ServiceError({ kind: 'invalid', code, detail, cause });

/**
 * An issuer from its certificate and its private key: PEM (PKCS#8, encrypted if `passphrase` is given), or one in a token. That they
 * belong together is proven by a signature.
 * Throws `invalid`: `issuer_certificate_malformed`, `issuer_key_unreadable` (wrong passphrase included),
 * `issuer_key_mismatch`, `issuer_not_authority` (may not sign certificates and CRLs) or `issuer_not_in_date` at `now`.
 */
export async function loadIssuer(
  options: { certificatePem: string; now?: Date } & (
    | { privateKeyPem: string; passphrase?: string }
    | { token: TokenKey }
  ),
): Promise<Issuer> {
  const certificate = readIssuerCertificate(options.certificatePem);
  const issuer = issuerOf(certificate, 'token' in options ? options.token : readPrivateKey(options));
  const { signatureAlgorithm: algorithm } = issuer;
  const publicKey = createPublicKey({ key: certificate.subjectPublicKeyInfo, format: 'der', type: 'spki' });
  const challenge = randomBytes(32);
  const proof = await issuer.sign(challenge).catch((error: unknown) => {
    if (error instanceof ServiceError) throw error;
    return Buffer.alloc(0); // a key of another kind than the certificate's
  });
  if (!(await verifyBytes(publicKey, algorithm, challenge, proof)))
    throw unusable('issuer_key_mismatch', "The issuer's private key does not belong to its certificate.");
  requireAuthority(certificate, options.now ?? new Date());
  return issuer;
}

function readPrivateKey({ privateKeyPem: key, passphrase }: { privateKeyPem: string; passphrase?: string }): KeyObject {
  try {
    return createPrivateKey(passphrase === undefined ? { key } : { key, passphrase });
  } catch (cause) {
    throw unusable('issuer_key_unreadable', "The issuer's private key or its passphrase is not right.", cause);
  }
}

/** An issuer from parts that are known to belong together; `loadIssuer` is the way in for anything read from outside. */
export function issuerOf(certificate: Certificate, key: KeyObject | TokenKey): Issuer {
  const keyKind = keyKindOf(certificate.subjectPublicKeyInfo);
  const signatureAlgorithm = signatureAlgorithmOf(keyKind);
  return {
    certificate,
    keyKind,
    subjectKeyIdentifier: subjectKeyIdentifierOf(certificate) ?? keyIdentifierOf(certificate.subjectPublicKeyInfo),
    signatureAlgorithm,
    sign: (data) => ('sign' in key ? key.sign(signatureAlgorithm, data) : signBytes(key, signatureAlgorithm, data)),
  };
}

function readIssuerCertificate(pem: string): Certificate {
  try {
    return readCertificate(fromPem('CERTIFICATE', pem));
  } catch (cause) {
    throw unusable('issuer_certificate_malformed', "The issuer's certificate cannot be read.", cause);
  }
}

function requireAuthority(certificate: Certificate, now: Date): void {
  const bits = keyUsageBitsOf(certificate) ?? [];
  if (
    !basicConstraintsOf(certificate).cA ||
    !bits.includes(keyUsageBit.keyCertSign) ||
    !bits.includes(keyUsageBit.cRLSign)
  )
    throw unusable('issuer_not_authority', "The issuer's certificate does not let it sign certificates and CRLs.");
  if (now < certificate.notBefore || now > certificate.notAfter)
    throw unusable('issuer_not_in_date', "The issuer's certificate is not valid at this time.");
}

/** 16 octets, positive and always of that length: the two top bits are fixed, 126 come from the random generator. */
export function newSerialNumber(): Buffer {
  const serialNumber = randomBytes(16);
  serialNumber[0] = (serialNumber[0]! & 0x3f) | 0x40;
  return serialNumber;
}

/** Clocks of readers run behind: a certificate is valid from a little before it was made. */
const clockSkewMilliseconds = 5 * 60_000;

/**
 * From when to when a certificate made at `now` is valid. Throws `unavailable` (`issuer_ends_too_soon`) if it would
 * outlive its issuer: the issuing authority must be replaced before that day comes.
 */
export function validityPeriod(
  issuer: Issuer,
  profile: Profile,
  now: Date,
  /** Than the profile would allow. */
  daysEarlier = 0,
): { notBefore: Date; notAfter: Date } {
  const skewed = Math.floor((now.getTime() - clockSkewMilliseconds) / 1000) * 1000;
  const notBefore = new Date(Math.max(skewed, issuer.certificate.notBefore.getTime()));
  // The second of notAfter is still inside (RFC 5280 section 4.1.2.5).
  const notAfter = new Date(notBefore.getTime() + (profile.validityDays - daysEarlier) * 86_400_000 - 1000);
  if (notAfter > issuer.certificate.notAfter)
    throw new ServiceError({
      kind: 'unavailable',
      code: 'issuer_ends_too_soon',
      detail: `A certificate of profile ${profile.id} made now would outlive its issuing authority, which ends on ${issuer.certificate.notAfter.toISOString().slice(0, 10)}.`,
    });
  return { notBefore, notAfter };
}

/**
 * Proves at start that `issuer` can issue `profile` now: the profile is sound, the issuer's own key purposes cover it,
 * and its certificates end before the issuer does. Throws `invalid` or `unavailable` (see `validityPeriod`).
 */
export function requireProfile(issuer: Issuer, profile: Profile, now: Date): void {
  checkProfile(profile);
  const purposes = keyPurposesOf(issuer.certificate);
  // A responder is delegated by the authority itself, whatever else that may certify (RFC 6960 section 4.2.2.2).
  const uncovered = profile.extendedKeyUsage.filter(
    (purpose) => purpose !== 'OCSPSigning' && purposes && !purposes.includes(keyPurpose[purpose]),
  );
  if (uncovered.length > 0)
    throw unusable(
      'issuer_purpose',
      `The issuer may not issue for ${uncovered.join(', ')}, as profile ${profile.id} needs.`,
    );
  validityPeriod(issuer, profile, now);
}

/** What does not change from one certificate of a profile, a place and a family of keys to the next. */
interface Template {
  readonly algorithmAndIssuer: Buffer;
  /** Extensions in order: finished octets, or what has to be made for the one certificate. */
  readonly extensions: readonly (Buffer | 'subjectKeyIdentifier' | 'subjectAltName')[];
}

const templates = new WeakMap<Issuer, WeakMap<Profile, WeakMap<Locations, Partial<Record<KeyFamily, Template>>>>>();

function templateOf(issuer: Issuer, profile: Profile, locations: Locations, family: KeyFamily): Template {
  const known = templates.get(issuer)?.get(profile)?.get(locations)?.[family];
  if (known) return known;
  checkProfile(profile);
  checkLocations(locations);
  const policies = profile.certificatePolicies;
  const template: Template = {
    algorithmAndIssuer: Buffer.concat([issuer.signatureAlgorithm.identifier, issuer.certificate.subject]),
    extensions: [
      extension.authorityKeyIdentifier(issuer.subjectKeyIdentifier),
      'subjectKeyIdentifier',
      extension.keyUsage(profile.keyUsage[family] ?? []),
      extension.extKeyUsage(profile.extendedKeyUsage),
      ...(policies.length > 0 ? [extension.certificatePolicies(policies)] : []),
      ...(profile.ocspNoCheck
        ? [extension.ocspNoCheck()]
        : [extension.cRLDistributionPoints(locations.crl), extension.authorityInfoAccess(locations)]),
      ...(profile.subjectAltName.length > 0 ? ['subjectAltName' as const] : []),
    ],
  };
  const ofIssuer = templates.get(issuer) ?? new WeakMap();
  const ofProfile = ofIssuer.get(profile) ?? new WeakMap();
  templates.set(issuer, ofIssuer.set(profile, ofProfile));
  ofProfile.set(locations, { ...ofProfile.get(locations), [family]: template });
  return template;
}

function checkLocations(locations: Locations): void {
  const isHttp = (url: string) => URL.canParse(url) && new URL(url).protocol === 'http:' && /^[\x21-\x7e]+$/.test(url);
  const faults = (['crl', 'ocsp', 'caIssuers'] as const).flatMap((kind) =>
    locations[kind].length > 0 && locations[kind].every(isHttp)
      ? []
      : [{ pointer: `/${kind}`, code: 'value', detail: `${kind} must be one or more http: URLs.` }],
  );
  if (faults.length > 0) throw invalid('locations_invalid', faults);
}

/**
 * DER of the TBSCertificate. Pure and deterministic. Throws `invalid` (`certificate_request_invalid`) with every fault:
 * pointers `/serialNumber`, `/subject/<attribute>`, `/subjectAltName/<index>`, `/subjectPublicKeyInfo`, `/notAfter`.
 */
export function buildTbsCertificate(
  issuer: Issuer,
  profile: Profile,
  locations: Locations,
  request: CertificateRequest,
): Buffer {
  const subject = profile.subject.flatMap(({ attribute }) => {
    const value = request.subject[attribute];
    return value === undefined ? [] : [{ attribute, value }];
  });
  const faults = [...nameFaults(subject), ...requestFaults(issuer, profile, request)];
  if (faults.length > 0) throw invalid('certificate_request_invalid', faults);
  const template = templateOf(issuer, profile, locations, keyFamilyOf(keyKindOf(request.subjectPublicKeyInfo)));
  const extensions = template.extensions.flatMap((part) =>
    part === 'subjectKeyIdentifier'
      ? extension.subjectKeyIdentifier(keyIdentifierOf(request.subjectPublicKeyInfo))
      : part !== 'subjectAltName'
        ? part
        : request.subjectAltName.length > 0
          ? extension.subjectAltName(request.subjectAltName)
          : [],
  );
  return assembleTbs({
    ...request,
    algorithmAndIssuer: template.algorithmAndIssuer,
    subject: encodeCheckedName(subject),
    extensions,
  });
}

function requestFaults(issuer: Issuer, profile: Profile, request: CertificateRequest): Fault[] {
  const faults: Fault[] = [];
  const fault = (pointer: string, code: string, detail: string) => faults.push({ pointer, code, detail });
  const { serialNumber, notBefore, notAfter } = request;
  const [first, second] = serialNumber;
  if (serialNumber.length > 20 || first === undefined || first >= 0x80 || (first === 0 && (second ?? 0) < 0x80))
    fault(
      '/serialNumber',
      'range',
      'A serial number is a positive INTEGER of at most 20 octets, in its shortest form.',
    );
  for (const { attribute, required } of profile.subject)
    if (required && request.subject[attribute] === undefined)
      fault(`/subject/${attribute}`, 'required', `Profile ${profile.id} needs ${attribute} in the subject.`);
  request.subjectAltName.forEach(({ kind, value }, index) => {
    if (!profile.subjectAltName.some((one) => one.kind === kind))
      fault(`/subjectAltName/${index}`, 'kind', `Profile ${profile.id} takes no ${kind}.`);
    else if (kind === 'rfc822Name' && !isMailbox(value))
      fault(`/subjectAltName/${index}`, 'format', 'An rfc822Name is an ASCII mailbox address, local-part@domain.');
    else if (kind === 'dNSName' && !isHostName(value))
      fault(`/subjectAltName/${index}`, 'format', 'A dNSName is a full ASCII host name, such as mail.example.vn.');
  });
  for (const { kind, required } of profile.subjectAltName)
    if (required && !request.subjectAltName.some((name) => name.kind === kind))
      fault('/subjectAltName', 'required', `Profile ${profile.id} needs at least one ${kind}.`);
  try {
    const kind = keyKindOf(request.subjectPublicKeyInfo);
    if (!profile.keyKinds.includes(kind))
      fault('/subjectPublicKeyInfo', 'key_kind', `Profile ${profile.id} takes no ${kind} keys.`);
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    fault('/subjectPublicKeyInfo', error.code, error.detail);
  }
  const period = notAfter.getTime() - notBefore.getTime();
  if (!(period >= 0) || period >= profile.validityDays * 86_400_000)
    fault('/notAfter', 'range', `Profile ${profile.id} allows ${profile.validityDays} days, both ends included.`);
  if (!(notBefore >= issuer.certificate.notBefore && notAfter <= issuer.certificate.notAfter))
    fault('/notAfter', 'outlives_issuer', 'A certificate is valid only while its issuer is.');
  return faults;
}

/** Dot-atom local part and a host name of letters, digits and hyphens (RFC 5280 section 4.2.1.6, RFC 5321 section 4.5.3.1). */
function isMailbox(address: string): boolean {
  const found = /^([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64})@([A-Za-z0-9.-]{1,253})$/.exec(address);
  return (
    found !== null &&
    address.length <= 254 &&
    found[1]!.split('.').every((atom) => atom.length > 0) &&
    found[2]!.split('.').every(isHostLabel)
  );
}

/** At least two labels, no wildcard and no address: a device is named. */
function isHostName(name: string): boolean {
  const labels = name.split('.');
  return name.length <= 253 && labels.length > 1 && labels.every(isHostLabel) && !/^[0-9]+$/.test(labels.at(-1)!);
}

const isHostLabel = (label: string): boolean => /^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/.test(label);

const version3 = Buffer.from('a003020102', 'hex');

/** TBSCertificate from finished parts (RFC 5280 section 4.1.2). `algorithmAndIssuer` is both elements, one after the other. */
export function assembleTbs(parts: {
  readonly serialNumber: Buffer;
  readonly algorithmAndIssuer: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subject: Buffer;
  readonly subjectPublicKeyInfo: Buffer;
  readonly extensions: readonly Buffer[];
}): Buffer {
  return der.sequence(
    version3,
    der.element(der.tag.integer, parts.serialNumber),
    parts.algorithmAndIssuer,
    der.sequence(der.time(parts.notBefore), der.time(parts.notAfter)),
    parts.subject,
    parts.subjectPublicKeyInfo,
    der.explicit(3, der.sequence(...parts.extensions)),
  );
}

/**
 * The complete certificate, DER. Only a TBSCertificate that names this issuer and its algorithm is signed; anything else
 * throws `invalid` (`tbs_foreign`), so that a mixed-up row never becomes a signature.
 */
export async function signTbs(issuer: Issuer, tbs: Buffer): Promise<Buffer> {
  const [version, , algorithm, name] = der.readSequence(der.decode(tbs), 'TBSCertificate');
  return signIfOwn(issuer, tbs, version?.tag === 0xa0 ? algorithm : undefined, name);
}

/** The last step that certificates and CRLs share: SEQUENCE of what was signed, the algorithm and the signature. */
export async function signIfOwn(
  issuer: Issuer,
  tbs: Buffer,
  algorithm: der.DerElement | undefined,
  name: der.DerElement | undefined,
): Promise<Buffer> {
  const { identifier } = issuer.signatureAlgorithm;
  if (!algorithm?.raw.equals(identifier) || !name?.raw.equals(issuer.certificate.subject))
    throw unusable('tbs_foreign', 'What is to be signed names another issuer or another signature algorithm.');
  return der.sequence(tbs, identifier, der.bitString(await issuer.sign(tbs)));
}
