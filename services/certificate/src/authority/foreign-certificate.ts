/**
 * Certificates that others issued, read as far as a register must know them, and their chains followed to roots that were given. Input is
 * hostile: at most 16 KiB, strict DER; whatever cannot be read is a ServiceError `invalid`, code `certificate_malformed`.
 */
import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { invalid, ServiceError } from '@congvu/errors';
import { basicConstraintsOf, type Certificate, fingerprintOf, fromPem, readCertificate } from './certificate.ts';
import * as der from './der.ts';
import { type ReadAttribute, readName } from './distinguished-name.ts';
import { extensionType } from './oids.ts';

export interface ForeignCertificate {
  readonly der: Buffer;
  readonly serialNumber: Buffer;
  readonly issuer: readonly ReadAttribute[];
  readonly subject: readonly ReadAttribute[];
  /** Of the subject alternative name, and of the subject where older authorities put it; lower case. */
  readonly addresses: readonly string[];
  readonly dnsNames: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** `rsa-2048`, `ec-p256`, or what the platform calls it. */
  readonly keyKind: string;
  readonly isAuthority: boolean;
  /** SHA-256 of the certificate, and of its SubjectPublicKeyInfo. */
  readonly fingerprint: Buffer;
  readonly keyFingerprint: Buffer;
}

const maximumSize = 16 * 1024;
const refuse = (detail: string, cause?: unknown): ServiceError => {
  const fault = { pointer: '/certificate', code: 'certificate_malformed', detail };
  return new ServiceError({ kind: 'invalid', code: fault.code, detail, faults: [fault], cause });
};
const sha256 = (octets: Buffer): Buffer => createHash('sha256').update(octets).digest();

/** From PEM, or DER in base64. */
export function readForeignCertificate(text: string): ForeignCertificate {
  const encoded = toDer(text);
  if (encoded.length > maximumSize) throw refuse(`A certificate has at most ${maximumSize} octets.`);
  try {
    der.checkDeep(der.decode(encoded));
    const certificate = readCertificate(encoded);
    const subject = readName(der.decode(certificate.subject));
    const names = alternativeNames(certificate);
    return {
      der: encoded,
      serialNumber: certificate.serialNumber,
      issuer: readName(der.decode(certificate.issuer)),
      subject,
      addresses: [
        ...names.addresses,
        ...subject.flatMap(({ type, value }) => (type === 'emailAddress' ? [value.toLowerCase()] : [])),
      ],
      dnsNames: names.dnsNames,
      notBefore: certificate.notBefore,
      notAfter: certificate.notAfter,
      keyKind: kindOf(new X509Certificate(encoded).publicKey),
      isAuthority: basicConstraintsOf(certificate).cA,
      fingerprint: Buffer.from(fingerprintOf(encoded), 'hex'),
      keyFingerprint: sha256(certificate.subjectPublicKeyInfo),
    };
  } catch (error) {
    if (error instanceof ServiceError && error.kind === 'invalid') throw refuse(error.detail, error);
    // OpenSSL's own words are for the log.
    throw refuse('The certificate, or the key in it, is not of a form that can be read.', error);
  }
}

function toDer(text: string): Buffer {
  const blocks = text.split('-----BEGIN ').length - 1;
  if (blocks > 1) throw refuse('Send one certificate, without its chain.');
  if (blocks === 1) {
    try {
      return fromPem('CERTIFICATE', text);
    } catch (error) {
      throw refuse('There is no well-formed PEM block of type CERTIFICATE.', error);
    }
  }
  const base64 = text.replace(/\s/g, '');
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw refuse('Send the certificate as PEM, or its DER in base64.');
  return Buffer.from(base64, 'base64');
}

function alternativeNames(certificate: Certificate): { addresses: string[]; dnsNames: string[] } {
  const value = certificate.extensions.get(extensionType.subjectAltName);
  const names = value ? der.readSequence(der.decode(value), 'subjectAltName') : [];
  // [1] rfc822Name, [2] dNSName (RFC 5280 section 4.2.1.6)
  const texts = (tag: number) =>
    names.flatMap((name) => (name.tag === tag ? [name.content.toString('latin1').toLowerCase()] : []));
  return { addresses: texts(0x81), dnsNames: texts(0x82) };
}

const curves: Readonly<Record<string, string>> = { prime256v1: 'p256', secp384r1: 'p384', secp521r1: 'p521' };

function kindOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): string {
  if (type === 'rsa') return `rsa-${details?.modulusLength}`;
  if (type === 'ec') return `ec-${curves[details?.namedCurve ?? ''] ?? details?.namedCurve ?? 'other'}`;
  return type ?? 'other';
}

const shortNames: Readonly<Record<string, string>> = {
  commonName: 'CN',
  organizationName: 'O',
  organizationalUnitName: 'OU',
  localityName: 'L',
  stateOrProvinceName: 'ST',
  countryName: 'C',
};

/**
 * A name for people to read, the most special attribute first (RFC 4514). Whole numbers as long as an identity number are hidden but for
 * their last digits, because some authorities write those into subjects.
 */
export const textOfName = (name: readonly ReadAttribute[]): string =>
  name
    .toReversed()
    .map(({ type, value }) => `${shortNames[type] ?? type}=${maskNumbers(value).replace(/[\\,+"<>;]/g, '\\$&')}`)
    .join(', ');

const maskNumbers = (text: string): string =>
  text.replace(/(?<!\d)(?:\d{12}|\d{9})(?!\d)/g, (digits) => '*'.repeat(digits.length - 3) + digits.slice(-3));

/** The certificates in a bundle of PEM blocks. Throws `invalid` if one of them is no authority's. */
export function readBundle(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  return blocks.map((block, index) => {
    const certificate = new X509Certificate(block);
    if (certificate.ca) return certificate;
    const detail = `Certificate ${index + 1} of the bundle is no authority's.`;
    throw invalid('bundle_invalid', [{ pointer: '', code: 'bundle_invalid', detail }]);
  });
}

const deepest = 6;

/** Whether signatures lead from `certificate` to one of `authorities` that signed itself, each of them valid at that time. */
export function leadsToRoot(certificate: Buffer, authorities: readonly X509Certificate[], at: Date): boolean {
  const climb = (current: X509Certificate, depth: number): boolean =>
    authorities.some((candidate) => {
      const inTime = at >= candidate.validFromDate && at <= candidate.validToDate;
      if (!inTime || !current.checkIssued(candidate) || !current.verify(candidate.publicKey)) return false;
      return candidate.checkIssued(candidate) || (depth < deepest && climb(candidate, depth + 1));
    });
  return climb(new X509Certificate(certificate), 1);
}
