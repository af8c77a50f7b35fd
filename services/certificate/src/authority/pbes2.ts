/**
 * Password-based encryption PBES2 (RFC 8018 section 6.2): PBKDF2 with HMAC-SHA-256, then AES-256-CBC. The key is derived
 * by node:crypto on libuv's pool.
 */
import { createCipheriv, createDecipheriv, pbkdf2 as derive, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import { toPem } from './certificate.ts';
import * as der from './der.ts';
import { pkcs } from './oids.ts';

const pbkdf2 = promisify(derive);
const keyLength = 32;
const hmacWithSha256 = der.sequence(der.objectIdentifier(pkcs.hmacWithSha256), der.nullValue);

export interface Encrypted {
  /** The whole AlgorithmIdentifier, with salt, count and IV. */
  readonly algorithm: Buffer;
  readonly ciphertext: Buffer;
}

/** Encrypts under a passphrase (its UTF-8 octets) with a new salt and IV. */
export async function encryptPbes2(plaintext: Buffer, passphrase: string, iterations: number): Promise<Encrypted> {
  const salt = randomBytes(16);
  const iv = randomBytes(16);
  const key = await pbkdf2(passphrase, salt, iterations, keyLength, 'sha256');
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const derivation = der.sequence(der.octetString(salt), der.integer(iterations), hmacWithSha256);
  const algorithm = der.sequence(
    der.objectIdentifier(pkcs.pbes2),
    der.sequence(
      der.sequence(der.objectIdentifier(pkcs.pbkdf2), derivation),
      der.sequence(der.objectIdentifier(pkcs.aes256Cbc), der.octetString(iv)),
    ),
  );
  return { algorithm, ciphertext: Buffer.concat([cipher.update(plaintext), cipher.final()]) };
}

/** Undoes `encryptPbes2`; reads its one choice of algorithms and no other. Throws on anything else or a wrong passphrase. */
export async function decryptPbes2(encrypted: Encrypted, passphrase: string): Promise<Buffer> {
  const [, parameters] = der.readSequence(der.decode(encrypted.algorithm), 'PBES2');
  const [derivation, scheme] = der.readSequence(parameters, 'PBES2 parameters');
  const [, pbkdf2Parameters] = der.readSequence(derivation, 'PBKDF2');
  const [salt, count, prf] = der.readSequence(pbkdf2Parameters, 'PBKDF2 parameters');
  const [cipherType, iv] = der.readSequence(scheme, 'The encryption scheme');
  const known =
    prf?.raw.equals(hmacWithSha256) && der.readObjectIdentifier(cipherType, 'The cipher') === pkcs.aes256Cbc;
  if (!known) throw der.malformed('PBES2 with other algorithms than PBKDF2-HMAC-SHA-256 and AES-256-CBC.');
  const iterations = der.readSmallInteger(count, 'The iteration count');
  const saltOctets = der.expect(salt, der.tag.octetString, 'The salt').content;
  const key = await pbkdf2(passphrase, saltOctets, iterations, keyLength, 'sha256');
  const cipher = createDecipheriv('aes-256-cbc', key, der.expect(iv, der.tag.octetString, 'The IV').content);
  return Buffer.concat([cipher.update(encrypted.ciphertext), cipher.final()]);
}

/**
 * An authority's private key as encrypted PKCS#8 (RFC 5958 section 3), PEM. 600,000 iterations, because this passphrase
 * is one that officers choose and keep, and the file may be copied and attacked at leisure.
 */
export async function encryptedPrivateKeyPem(privateKey: Buffer, passphrase: string): Promise<string> {
  const { algorithm, ciphertext } = await encryptPbes2(privateKey, passphrase, 600_000);
  return toPem('ENCRYPTED PRIVATE KEY', der.sequence(algorithm, der.octetString(ciphertext)));
}
