/**
 * A private key that two recovery officers can recover together, and neither alone, nor whoever holds what is stored here:
 *   sealed key   AES-256-GCM under a random key; the certificate's serial number is authenticated with it
 *   two shares   that random key split by exclusive or, each half to one officer's RSA certificate as CMS EnvelopedData
 * Half of such a split is a random number that says nothing of the whole. With both halves any AES-GCM opens the sealed key,
 * so that what was escrowed does not depend on this program.
 */
import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';
import { ServiceError } from '@congvu/errors';
import type { Certificate } from './certificate.ts';
import { makeEnveloped, openEnveloped } from './enveloped-data.ts';

export interface EscrowedKey {
  /** nonce, 12 octets | ciphertext | tag, 16 octets */
  readonly sealedKey: Buffer;
  /** In the order of the officers. */
  readonly shares: readonly [Buffer, Buffer];
}

const shareLength = 32;
const nonceLength = 12;
const tagLength = 16;

/** `label` ties the key to where it belongs; the same is needed to open it. */
export function escrowPrivateKey(
  privateKey: Buffer,
  officers: readonly [Certificate, Certificate],
  label: string,
): EscrowedKey {
  const key = randomBytes(shareLength);
  const first = randomBytes(shareLength);
  const second = exclusiveOr(key, first);
  const nonce = randomBytes(nonceLength);
  const cipher = createCipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength });
  cipher.setAAD(Buffer.from(label, 'utf8'));
  const escrowed: EscrowedKey = {
    sealedKey: Buffer.concat([nonce, cipher.update(privateKey), cipher.final(), cipher.getAuthTag()]),
    shares: [makeEnveloped(first, officers[0]), makeEnveloped(second, officers[1])],
  };
  for (const secret of [key, first, second]) secret.fill(0);
  return escrowed;
}

/** One officer's half, by his or her private key. Throws `invalid` (`share_unreadable`) if the key is not the one. */
export function openShare(share: Buffer, privateKey: KeyObject): Buffer {
  let opened: Buffer;
  try {
    opened = openEnveloped(share, privateKey);
  } catch (cause) {
    throw unreadable(
      'share_unreadable',
      'This private key does not open the share; take the one of its officer.',
      cause,
    );
  }
  if (opened.length !== shareLength) throw unreadable('share_unreadable', 'What the share holds is no share.');
  return opened;
}

/** The private key (PKCS#8, DER). Throws `invalid` (`escrow_unreadable`) if shares, sealed key and label do not belong together. */
export function recoverPrivateKey(sealedKey: Buffer, shares: readonly [Buffer, Buffer], label: string): Buffer {
  const key = exclusiveOr(...shares);
  const tagStart = sealedKey.length - tagLength;
  try {
    const nonce = sealedKey.subarray(0, nonceLength);
    const cipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagLength });
    cipher.setAAD(Buffer.from(label, 'utf8'));
    cipher.setAuthTag(sealedKey.subarray(tagStart));
    return Buffer.concat([cipher.update(sealedKey.subarray(nonceLength, tagStart)), cipher.final()]);
  } catch (cause) {
    throw unreadable('escrow_unreadable', 'The two shares do not open this key; are they of one recovery?', cause);
  } finally {
    key.fill(0);
  }
}

const exclusiveOr = (one: Buffer, other: Buffer): Buffer =>
  Buffer.from(one.map((octet, index) => octet ^ other[index]!));

const unreadable = (code: string, detail: string, cause?: unknown) =>
  new ServiceError({ kind: 'invalid', code, detail, cause });
