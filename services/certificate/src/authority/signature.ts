/**
 * Signature algorithms: the AlgorithmIdentifier octets that CA/B S/MIME BR 7.1.3.2 allows, matched and written whole
 * (ECDSA and Ed25519 without parameters, RSA with NULL), and native signing and verifying: what takes longer than
 * handing it over on libuv's pool, never on the event loop.
 */
import { constants, type KeyObject, sign, verify } from 'node:crypto';
import { type KeyFamily, type KeyKind, keyFamilyOf } from './public-key.ts';

export interface SignatureAlgorithm {
  /** The whole AlgorithmIdentifier. */
  readonly identifier: Buffer;
  readonly key: KeyFamily;
  /** Null where the algorithm hashes by itself. */
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
  /** Octets of salt if the padding is PSS; MGF1 then uses the same hash (RFC 4055 section 3.1). */
  readonly pssSaltLength?: number;
}

const pss = (hashArc: string, saltLength: string) =>
  `304106092a864886f70d01010a3034a00f300d06096086480165030402${hashArc}0500` +
  `a11c301a06092a864886f70d010108300d06096086480165030402${hashArc}0500a2030201${saltLength}`;

export const signatureAlgorithms = [
  { identifier: Buffer.from('300d06092a864886f70d01010b0500', 'hex'), key: 'rsa', hash: 'sha256' },
  { identifier: Buffer.from('300d06092a864886f70d01010c0500', 'hex'), key: 'rsa', hash: 'sha384' },
  { identifier: Buffer.from('300d06092a864886f70d01010d0500', 'hex'), key: 'rsa', hash: 'sha512' },
  { identifier: Buffer.from(pss('01', '20'), 'hex'), key: 'rsa', hash: 'sha256', pssSaltLength: 32 },
  { identifier: Buffer.from(pss('02', '30'), 'hex'), key: 'rsa', hash: 'sha384', pssSaltLength: 48 },
  { identifier: Buffer.from(pss('03', '40'), 'hex'), key: 'rsa', hash: 'sha512', pssSaltLength: 64 },
  { identifier: Buffer.from('300a06082a8648ce3d040302', 'hex'), key: 'ec', hash: 'sha256' },
  { identifier: Buffer.from('300a06082a8648ce3d040303', 'hex'), key: 'ec', hash: 'sha384' },
  { identifier: Buffer.from('300a06082a8648ce3d040304', 'hex'), key: 'ec', hash: 'sha512' },
  { identifier: Buffer.from('300506032b6570', 'hex'), key: 'ed25519', hash: null },
] as const satisfies readonly SignatureAlgorithm[];

/** The accepted algorithm with exactly these octets, or undefined. */
export const findSignatureAlgorithm = (identifier: Buffer): SignatureAlgorithm | undefined =>
  signatureAlgorithms.find((known) => known.identifier.equals(identifier));

/**
 * What a key of this kind signs with here. RSA always with SHA-256 and PKCS#1 v1.5, which every reader in use
 * understands (Outlook rejects PSS in certificates); ECDSA with the hash of its curve's size, as the BR demand.
 */
export function signatureAlgorithmOf(kind: KeyKind): SignatureAlgorithm {
  const hash = { 'ec-p256': 'sha256', 'ec-p384': 'sha384', ed25519: null } as const;
  const wanted = kind in hash ? hash[kind as keyof typeof hash] : 'sha256';
  return signatureAlgorithms.find((known) => known.key === keyFamilyOf(kind) && known.hash === wanted)!;
}

/** The key itself where that says enough: Node looks into an object of options by an error that it throws and catches. */
const keyOptions = (key: KeyObject, algorithm: SignatureAlgorithm) =>
  algorithm.pssSaltLength === undefined
    ? key
    : { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: algorithm.pssSaltLength };

/** Some 0.03 ms, about what it costs to hand the work to another thread and to be told of its end. */
const quickToSign: readonly SignatureAlgorithm[] = [signatureAlgorithmOf('ec-p256'), signatureAlgorithmOf('ed25519')];
/** Up to 0.1 ms; P-384 takes ten times as long. By its length, for Node takes a fifth of that time to say what the curve of a key is. */
const isQuickToVerify = (algorithm: SignatureAlgorithm, signature: Buffer): boolean =>
  algorithm.key !== 'ec' || signature.length <= longestOnP256;
/** Ecdsa-Sig-Value (RFC 3279 section 2.2.3) of two integers of 33 octets. */
const longestOnP256 = 72;

/** Signature octets over `data`; DER-encoded for ECDSA. */
export async function signBytes(privateKey: KeyObject, algorithm: SignatureAlgorithm, data: Buffer): Promise<Buffer> {
  const key = keyOptions(privateKey, algorithm);
  if (quickToSign.includes(algorithm)) return sign(algorithm.hash, data, key);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  sign(algorithm.hash, data, key, (error, signature) => (error ? reject(error) : resolve(signature)));
  return promise;
}

/** Whether `signature` is the key's signature over `data`. A signature that cannot even be parsed is a plain no. */
export async function verifyBytes(
  publicKey: KeyObject,
  algorithm: SignatureAlgorithm,
  data: Buffer,
  signature: Buffer,
): Promise<boolean> {
  const key = keyOptions(publicKey, algorithm);
  if (isQuickToVerify(algorithm, signature)) {
    try {
      return verify(algorithm.hash, data, key, signature);
    } catch {
      return false;
    }
  }
  const { promise, resolve } = Promise.withResolvers<boolean>();
  verify(algorithm.hash, data, key, signature, (error, result) => resolve(!error && result));
  return promise;
}
