/**
 * Private keys at rest: AES-256-GCM under a wrapping key that the database never sees. The associated data (say, the
 * enrolment's id) is authenticated with the key, so that a wrapped key copied into another row does not open there.
 *
 *   version 0x01 | length of key id | key id (ASCII) | nonce, 12 octets | ciphertext | tag, 16 octets
 *
 * The key id says which wrapping key opens it, so old and new wrapping keys can stand side by side while rows are
 * wrapped anew. Nonces are random: one wrapping key is good for 2^32 keys (NIST SP 800-38D section 8.3).
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { ServiceError } from '@congvu/errors';

export interface WrappingKey {
  /** 1 to 32 characters of `A-Z a-z 0-9 . _ -`; stored beside what it wraps, in the clear. */
  readonly id: string;
  /** 32 octets. */
  readonly key: Buffer;
}

const version = 1;
const nonceLength = 12;
const tagLength = 16;

const damaged = (cause?: unknown) =>
  new ServiceError({
    kind: 'unavailable',
    code: 'wrapped_key_damaged',
    detail: 'A stored private key cannot be opened.',
    cause,
  });

/** The header carries its own length, so no two pairs of header and data look alike. */
const authenticated = (header: Buffer, associatedData: string): Buffer =>
  Buffer.concat([header, Buffer.from(associatedData, 'utf8')]);

/** Wraps a PKCS#8 private key. The same `associatedData` is needed to unwrap it. */
export function wrapPrivateKey(privateKey: Buffer, wrappingKey: WrappingKey, associatedData: string): Buffer {
  if (wrappingKey.key.length !== 32 || !/^[A-Za-z0-9._-]{1,32}$/.test(wrappingKey.id))
    throw new ServiceError({
      kind: 'invalid',
      code: 'wrapping_key_invalid',
      detail: 'A wrapping key has 32 octets and an id of 1 to 32 characters A-Z a-z 0-9 . _ -.',
    });
  const header = Buffer.concat([Buffer.of(version, wrappingKey.id.length), Buffer.from(wrappingKey.id, 'latin1')]);
  const nonce = randomBytes(nonceLength);
  const cipher = createCipheriv('aes-256-gcm', wrappingKey.key, nonce, { authTagLength: tagLength });
  cipher.setAAD(authenticated(header, associatedData));
  return Buffer.concat([header, nonce, cipher.update(privateKey), cipher.final(), cipher.getAuthTag()]);
}

function readHeader(wrapped: Buffer): { id: string; length: number } {
  const idLength = wrapped[1] ?? 0;
  const length = 2 + idLength;
  if (wrapped[0] !== version || idLength === 0 || wrapped.length < length + nonceLength + tagLength) throw damaged();
  return { id: wrapped.toString('latin1', 2, length), length };
}

/** Id of the wrapping key that opens `wrapped`: for finding what is still to be wrapped anew after a rotation. */
export const wrappingKeyIdOf = (wrapped: Buffer): string => readHeader(wrapped).id;

/**
 * The PKCS#8 private key inside `wrapped`; the caller overwrites it when done.
 * Throws `unavailable`: `wrapping_key_unknown` if none of `wrappingKeys` has the id, `wrapped_key_damaged` if the
 * octets or the associated data are not those that were wrapped.
 */
export function unwrapPrivateKey(
  wrapped: Buffer,
  wrappingKeys: readonly WrappingKey[],
  associatedData: string,
): Buffer {
  const header = readHeader(wrapped);
  const wrappingKey = wrappingKeys.find((candidate) => candidate.id === header.id);
  if (!wrappingKey)
    throw new ServiceError({
      kind: 'unavailable',
      code: 'wrapping_key_unknown',
      detail: 'The wrapping key of a stored private key is not configured.',
    });
  const nonceEnd = header.length + nonceLength;
  const tagStart = wrapped.length - tagLength;
  try {
    const nonce = wrapped.subarray(header.length, nonceEnd);
    const cipher = createDecipheriv('aes-256-gcm', wrappingKey.key, nonce, { authTagLength: tagLength });
    cipher.setAAD(authenticated(wrapped.subarray(0, header.length), associatedData));
    cipher.setAuthTag(wrapped.subarray(tagStart));
    return Buffer.concat([cipher.update(wrapped.subarray(nonceEnd, tagStart)), cipher.final()]);
  } catch (cause) {
    throw damaged(cause);
  }
}
