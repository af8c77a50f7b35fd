/**
 * Reads X.509 certificates (RFC 5280 section 4.1) as far as an authority must know its own and check what it hands out.
 * Names and keys stay octets, because that is how they are compared. Strict DER; throws ServiceError `invalid` only.
 */
import { createPublicKey, hash } from 'node:crypto';
import * as der from './der.ts';
import { extensionType } from './oids.ts';
import { findSignatureAlgorithm, verifyBytes } from './signature.ts';

export interface Certificate {
  readonly der: Buffer;
  /** INTEGER content octets. */
  readonly serialNumber: Buffer;
  /** DER of the Name. */
  readonly issuer: Buffer;
  readonly subject: Buffer;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly subjectPublicKeyInfo: Buffer;
  /** By dotted OID: the octets inside extnValue. */
  readonly extensions: ReadonlyMap<string, Buffer>;
}

/** PEM (RFC 7468) around DER; `label` such as `CERTIFICATE` or `X509 CRL`. */
export function toPem(label: string, encoded: Buffer): string {
  const base64 = encoded.toString('base64');
  let lines = '';
  for (let at = 0; at < base64.length; at += 64) lines += `${base64.slice(at, at + 64)}\n`;
  return `-----BEGIN ${label}-----\n${lines}-----END ${label}-----\n`;
}

/** DER of the first PEM block with that label. Throws `invalid` (`malformed_der`) if there is none. */
export function fromPem(label: string, pem: string): Buffer {
  const block = new RegExp(`-----BEGIN ${label}-----([A-Za-z0-9+/=\\s]+)-----END ${label}-----`).exec(pem);
  if (!block) throw der.malformed(`There is no PEM block of type ${label}.`);
  return Buffer.from(block[1]!, 'base64');
}

/** Throws `invalid` (`malformed_der`) if `encoded` is no version 3 certificate. Verifies no signature. */
export function readCertificate(encoded: Buffer): Certificate {
  const [tbs] = der.readSequence(der.decode(encoded), 'The certificate');
  const [version, serial, , issuer, validity, subject, key, ...optional] = der.readSequence(tbs, 'TBSCertificate');
  const [versionNumber] = der.children(der.expect(version, 0xa0, "The certificate's version"));
  if (der.readSmallInteger(versionNumber, "The certificate's version") !== 2)
    throw der.malformed('The certificate is not of version 3.');
  const [notBefore, notAfter] = der.readSequence(validity, "The certificate's validity");
  return {
    der: encoded,
    serialNumber: der.readInteger(serial, "The certificate's serial number"),
    issuer: der.expect(issuer, der.tag.sequence, "The certificate's issuer").raw,
    subject: der.expect(subject, der.tag.sequence, "The certificate's subject").raw,
    notBefore: der.readTime(notBefore, 'notBefore'),
    notAfter: der.readTime(notAfter, 'notAfter'),
    subjectPublicKeyInfo: der.expect(key, der.tag.sequence, "The certificate's public key").raw,
    extensions: readExtensions(optional.find((candidate) => candidate.tag === 0xa3)),
  };
}

function readExtensions(wrapper: der.DerElement | undefined): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  if (!wrapper) return found;
  for (const extension of der.readSequence(der.children(wrapper)[0], "The certificate's extensions")) {
    const parts = der.readSequence(extension, 'An extension');
    const oid = der.readObjectIdentifier(parts[0], "An extension's type");
    if (found.has(oid)) throw der.malformed(`The extension ${oid} occurs twice.`);
    found.set(oid, der.expect(parts.at(-1), der.tag.octetString, "An extension's value").content);
  }
  return found;
}

function extensionOf(certificate: Certificate, type: keyof typeof extensionType): der.DerElement | undefined {
  const value = certificate.extensions.get(extensionType[type]);
  return value && der.decode(value);
}

/** Whether it is an authority's, and how many authorities may stand below it (undefined: any number). */
export function basicConstraintsOf(certificate: Certificate): { cA: boolean; pathLength: number | undefined } {
  const value = extensionOf(certificate, 'basicConstraints');
  const [cA, pathLength] = value ? der.readSequence(value, 'basicConstraints') : [];
  return {
    cA: cA !== undefined && der.readBoolean(cA, 'cA'),
    pathLength: pathLength && der.readSmallInteger(pathLength, 'pathLenConstraint'),
  };
}

/** Bit positions that are set; undefined if the extension is absent, which permits everything. */
export function keyUsageBitsOf(certificate: Certificate): number[] | undefined {
  const value = extensionOf(certificate, 'keyUsage');
  return value && der.readNamedBits(value, 'keyUsage');
}

/** Dotted OIDs of the key purposes; undefined if the extension is absent, which permits everything. */
export function keyPurposesOf(certificate: Certificate): string[] | undefined {
  const value = extensionOf(certificate, 'extKeyUsage');
  return value && der.readSequence(value, 'extKeyUsage').map((one) => der.readObjectIdentifier(one, 'A key purpose'));
}

/** Undefined if the extension is absent. */
export function subjectKeyIdentifierOf(certificate: Certificate): Buffer | undefined {
  const value = extensionOf(certificate, 'subjectKeyIdentifier');
  return value && der.expect(value, der.tag.octetString, 'subjectKeyIdentifier').content;
}

/** Whether the issuer's key signed it; nothing else of the path is judged. */
export async function isSignedBy(issuer: Certificate, certificate: Certificate): Promise<boolean> {
  const [tbs, identifier, signature] = der.readSequence(der.decode(certificate.der), 'The certificate');
  const algorithm = identifier && findSignatureAlgorithm(identifier.raw);
  if (!tbs || !algorithm) return false;
  const publicKey = createPublicKey({ key: issuer.subjectPublicKeyInfo, format: 'der', type: 'spki' });
  return verifyBytes(publicKey, algorithm, tbs.raw, der.readOctetAlignedBits(signature, 'The signature'));
}

/** SHA-256 of the whole certificate, lower-case hexadecimal. */
export const fingerprintOf = (encoded: Buffer): string => hash('sha256', encoded, 'hex');
