/** Key pairs made here, by OpenSSL on libuv's pool: a prime search of a second never holds up a request. */
import { generateKeyPair as generate } from 'node:crypto';
import type { KeyKind } from './public-key.ts';

export interface KeyPair {
  readonly keyKind: KeyKind;
  /** PKCS#8 PrivateKeyInfo, DER, in the clear: wrap it (key-wrap.ts) before it goes anywhere. */
  readonly privateKey: Buffer;
  /** SubjectPublicKeyInfo, DER. */
  readonly subjectPublicKeyInfo: Buffer;
}

const curveName = { 'ec-p256': 'P-256', 'ec-p384': 'P-384' } as const;
const encoding = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
} as const;

/** A new key pair of the given kind; RSA with exponent 65537. */
export function generateKeyPair(keyKind: KeyKind): Promise<KeyPair> {
  const { promise, resolve, reject } = Promise.withResolvers<KeyPair>();
  const done = (error: Error | null, subjectPublicKeyInfo: Buffer, privateKey: Buffer) =>
    error ? reject(error) : resolve({ keyKind, privateKey, subjectPublicKeyInfo });
  if (keyKind === 'ec-p256' || keyKind === 'ec-p384')
    generate('ec', { namedCurve: curveName[keyKind], paramEncoding: 'named', ...encoding }, done);
  else if (keyKind === 'ed25519') generate('ed25519', encoding, done);
  else generate('rsa', { modulusLength: Number(keyKind.slice(4)), publicExponent: 65537, ...encoding }, done);
  return promise;
}
