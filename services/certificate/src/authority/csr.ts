/**
 * PKCS#10 certification requests (RFC 2986). What a CSR brings is a public key and the proof that its sender holds the
 * private one; its subject and attributes are reported and never used. Input is hostile: at most 16 KiB, strict DER,
 * and every refusal is a ServiceError `invalid` with a fault at `/csr`.
 */
import { createPublicKey, hash, type KeyObject } from 'node:crypto';
import { invalid, ServiceError } from '@congvu/errors';
import { toPem } from './certificate.ts';
import * as der from './der.ts';
import { type ReadAttribute, readName } from './distinguished-name.ts';
import { pkcs } from './oids.ts';
import { type KeyKind, keyFamilyOf, keyKindOf } from './public-key.ts';
import { findSignatureAlgorithm, verifyBytes } from './signature.ts';
import { requireStrongKey } from './weak-key.ts';

export interface CertificationRequest {
  /** DER, canonical: may be copied into a certificate. */
  readonly subjectPublicKeyInfo: Buffer;
  readonly keyKind: KeyKind;
  /** What the CSR says about its subject: to be shown beside what the directory says, never to be certified. */
  readonly subject: readonly ReadAttribute[];
  /** Whether it asks for extensions, names of its own say: neither are these certified. */
  readonly asksForExtensions: boolean;
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hexadecimal: finds the same key again. */
  readonly fingerprint: string;
}

const maximumSize = 16 * 1024;

const refuse = (code: string, detail: string): ServiceError => invalid(code, [{ pointer: '/csr', code, detail }]);

/** Codes of the modules below, in the words of this one. */
const codeHere: Readonly<Record<string, string>> = {
  malformed_der: 'csr_malformed',
  key_kind: 'csr_key_kind',
  key_weak: 'csr_key_weak',
  key_parameters: 'csr_key_parameters',
};

/**
 * Reads a PEM (`CERTIFICATE REQUEST`, `NEW CERTIFICATE REQUEST`) or DER request and verifies its proof of possession.
 * Throws `invalid`: `csr_too_large`, `csr_malformed`, `csr_key_kind`, `csr_key_weak`, `csr_key_parameters`,
 * `csr_signature_algorithm` (SHA-1, MD5, or none that fits the key) or `csr_signature_invalid`.
 */
export async function parseCsr(input: string | Buffer): Promise<CertificationRequest> {
  if (input.length > maximumSize) throw refuse('csr_too_large', `A CSR has at most ${maximumSize} bytes.`);
  let parsed: ReturnType<typeof readRequest>;
  try {
    parsed = readRequest(toDer(input));
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    throw refuse(codeHere[error.code] ?? error.code, error.detail);
  }
  const { information, subjectPublicKeyInfo, keyKind, subject, asksForExtensions, algorithm, signature } = parsed;
  const publicKey = loadPublicKey(subjectPublicKeyInfo);
  if (!(await verifyBytes(publicKey, algorithm, information, signature)))
    throw refuse('csr_signature_invalid', "The CSR's signature does not prove possession of its key.");
  return {
    subjectPublicKeyInfo,
    keyKind,
    subject,
    asksForExtensions,
    fingerprint: hash('sha256', subjectPublicKeyInfo, 'hex'),
  };
}

function readRequest(encoded: Buffer) {
  const root = der.decode(encoded);
  der.checkDeep(root);
  const [information, signatureAlgorithm, signatureBits, ...rest] = der.readSequence(root, 'The CSR');
  const [version, subject, subjectPublicKeyInfo, attributes, ...surplus] = der.readSequence(
    information,
    "The CSR's information",
  );
  if (rest.length > 0 || surplus.length > 0) throw der.malformed('The CSR has surplus elements.');
  if (der.readSmallInteger(version, "The CSR's version") !== 0) throw der.malformed('The CSR is not of version 1.');
  // Some tokens leave the attributes out altogether, though RFC 2986 section 4.1 wants at least an empty set.
  const attributeTypes =
    attributes === undefined
      ? []
      : der
          .children(der.expect(attributes, 0xa0, "The CSR's attributes"))
          .map((one) => der.readObjectIdentifier(der.readSequence(one, 'An attribute')[0], "An attribute's type"));
  // A copy of its own, which outlives the request.
  const key = Buffer.from(der.expect(subjectPublicKeyInfo, der.tag.sequence, "The CSR's public key").raw);
  const keyKind = keyKindOf(key);
  requireStrongKey(key);
  const identifier = der.expect(signatureAlgorithm, der.tag.sequence, "The CSR's signature algorithm");
  const algorithm = findSignatureAlgorithm(identifier.raw);
  if (!algorithm || algorithm.key !== keyFamilyOf(keyKind))
    throw refuse(
      'csr_signature_algorithm',
      'The CSR must be signed with SHA-256, SHA-384 or SHA-512 by an algorithm that fits its key; SHA-1 and MD5 are refused.',
    );
  return {
    information: information!.raw,
    subjectPublicKeyInfo: key,
    keyKind,
    subject: readName(der.expect(subject, der.tag.sequence, "The CSR's subject")),
    asksForExtensions: attributeTypes.includes(pkcs.extensionRequest),
    algorithm,
    signature: der.readOctetAlignedBits(signatureBits, "The CSR's signature"),
  };
}

/** OpenSSL checks here that an EC point is on its curve. As PEM, which Node reads several times as fast as DER with its options. */
function loadPublicKey(subjectPublicKeyInfo: Buffer): KeyObject {
  try {
    return createPublicKey(toPem('PUBLIC KEY', subjectPublicKeyInfo));
  } catch {
    throw refuse('csr_key_parameters', "The CSR's public key is no valid key of its kind.");
  }
}

/** DER from PEM (RFC 7468: text before the block is ignored, a second block is not) or from DER as it is. */
function toDer(input: string | Buffer): Buffer {
  if (typeof input !== 'string' && input[0] === der.tag.sequence) return input;
  const text = typeof input === 'string' ? input : input.toString('latin1');
  const blocks = text.split('-----BEGIN ');
  if (blocks.length !== 2) throw der.malformed('The CSR must be DER or exactly one PEM block.');
  const block = /^(NEW )?CERTIFICATE REQUEST-----([A-Za-z0-9+/=\s]+)-----END (NEW )?CERTIFICATE REQUEST-----\s*$/.exec(
    blocks[1]!,
  );
  const base64 = block?.[2]?.replace(/\s/g, '');
  if (!base64 || block?.[1] !== block?.[3] || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64) || base64.length % 4 !== 0)
    throw der.malformed('The CSR is no well-formed PEM block of type CERTIFICATE REQUEST.');
  return Buffer.from(base64, 'base64');
}
