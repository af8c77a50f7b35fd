/**
 * Which public keys Congvu certifies: RSA of 2048, 3072 or 4096 bits, ECDSA on P-256 or P-384 and Ed25519, each in the one
 * encoding that CA/B S/MIME BR 7.1.3.1 allows. A SubjectPublicKeyInfo that passes here can be put into a certificate
 * byte for byte. The sizes are checked before any arithmetic, so a hostile key costs nothing.
 */
import { hash } from 'node:crypto';
import { invalid, type ServiceError } from '@congvu/errors';
import * as der from './der.ts';

export const keyKinds = ['rsa-2048', 'rsa-3072', 'rsa-4096', 'ec-p256', 'ec-p384', 'ed25519'] as const;
export type KeyKind = (typeof keyKinds)[number];

/** What a key can do depends on its family: RSA signs and transports keys, EC signs and agrees on keys, Ed25519 signs. */
export const keyFamilies = ['rsa', 'ec', 'ed25519'] as const;
export type KeyFamily = (typeof keyFamilies)[number];
export const keyFamilyOf = (kind: KeyKind): KeyFamily =>
  kind === 'ed25519' ? kind : kind.startsWith('rsa') ? 'rsa' : 'ec';

/** AlgorithmIdentifier octets, to be matched whole: no parameter variants, so explicit curves fall out here too. */
const rsaEncryption = Buffer.from('300d06092a864886f70d0101010500', 'hex');
const ecCurves: readonly { algorithm: Buffer; kind: KeyKind; coordinateLength: number }[] = [
  {
    algorithm: Buffer.from('301306072a8648ce3d020106082a8648ce3d030107', 'hex'),
    kind: 'ec-p256',
    coordinateLength: 32,
  },
  { algorithm: Buffer.from('301006072a8648ce3d020106052b81040022', 'hex'), kind: 'ec-p384', coordinateLength: 48 },
];
/** Without parameters (RFC 8410 section 3). */
const ed25519 = Buffer.from('300506032b6570', 'hex');
const idEcPublicKey = '1.2.840.10045.2.1';

/** The primes below 752 (CA/B S/MIME BR 6.1.6: a modulus has no factor smaller than that). */
const smallPrimes = Array.from({ length: 750 }, (_, index) => index + 2).filter((candidate) => {
  for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) return false;
  return true;
});
const primorial = smallPrimes.reduce((product, prime) => product * BigInt(prime), 1n);
/** Five primes at a time, whose product a double still holds exactly: few divisions of big numbers, many of small ones. */
const primeGroups = Array.from({ length: Math.ceil(smallPrimes.length / 5) }, (_, index) => {
  const primes = smallPrimes.slice(index * 5, index * 5 + 5);
  return { primes, product: BigInt(primes.reduce((product, prime) => product * prime, 1)) };
});

function hasSmallFactor(modulus: Buffer): boolean {
  const remainder = BigInt(`0x${modulus.toString('hex')}`) % primorial;
  return primeGroups.some(({ primes, product }) => {
    const rest = Number(remainder % product);
    return primes.some((prime) => rest % prime === 0);
  });
}

const refuse = (code: string, detail: string): ServiceError => invalid(code, [{ pointer: '', code, detail }]);

/**
 * The kind of an encoded SubjectPublicKeyInfo, after every check that needs no big arithmetic; that an EC point is on
 * its curve is left to OpenSSL, which refuses to load one that is not.
 * Throws `invalid`: `malformed_der`, `key_parameters`, `key_kind` (algorithm, curve or size not certified) or `key_weak`.
 */
export function keyKindOf(subjectPublicKeyInfo: Buffer): KeyKind {
  const known = kindsKnown.get(subjectPublicKeyInfo);
  if (known) return known;
  const kind = readKeyKind(subjectPublicKeyInfo);
  kindsKnown.set(subjectPublicKeyInfo, kind);
  return kind;
}

/** The same octets are asked about when a CSR comes, when its certificate is built and when it is recorded. */
const kindsKnown = new WeakMap<Buffer, KeyKind>();

function readKeyKind(subjectPublicKeyInfo: Buffer): KeyKind {
  const [algorithm, bits, ...rest] = der.readSequence(der.decode(subjectPublicKeyInfo), 'The public key');
  const parameters = der.readSequence(algorithm, "The public key's algorithm");
  const octets = der.readOctetAlignedBits(bits, 'The public key');
  if (algorithm === undefined || rest.length > 0) throw der.malformed('The public key has surplus elements.');
  if (algorithm.raw.equals(rsaEncryption)) return rsaKind(octets);
  const curve = ecCurves.find((known) => known.algorithm.equals(algorithm.raw));
  if (curve) {
    // Uncompressed only (RFC 5480 section 2.2): readers need not understand compressed points.
    if (octets[0] !== 0x04 || octets.length !== 1 + 2 * curve.coordinateLength)
      throw refuse('key_parameters', 'The EC public key must be an uncompressed point.');
    return curve.kind;
  }
  if (algorithm.raw.equals(ed25519)) {
    if (octets.length !== 32) throw refuse('key_parameters', 'An Ed25519 public key has 32 octets.');
    return 'ed25519';
  }
  const oid = der.readObjectIdentifier(parameters[0], "The public key's algorithm");
  if (oid === idEcPublicKey && parameters[1]?.tag !== der.tag.objectIdentifier)
    throw refuse('key_parameters', 'EC parameters must name the curve; explicit or absent parameters are refused.');
  if (oid === '1.2.840.113549.1.1.1')
    throw refuse('key_parameters', 'The parameters of an RSA key must be present and NULL.');
  throw refuse(
    'key_kind',
    `Keys certified here are ${keyKinds.join(', ')}; this one is of another algorithm or curve.`,
  );
}

function rsaKind(octets: Buffer): KeyKind {
  const [n, e, ...rest] = der.readSequence(der.decode(octets), 'The RSA key');
  const modulus = der.readInteger(n, 'The RSA modulus');
  const exponent = der.readInteger(e, 'The RSA exponent');
  if (rest.length > 0) throw der.malformed('The RSA key has surplus elements.');
  if (modulus[0]! >= 0x80 || exponent[0]! >= 0x80) throw der.malformed('The RSA key holds a negative number.');
  const magnitude = modulus[0] === 0 ? modulus.subarray(1) : modulus;
  const bits = magnitude.length * 8 - Math.clz32(magnitude[0] ?? 0) + 24;
  if (bits < 2048) throw refuse('key_weak', `RSA keys have at least 2048 bits; this one has ${bits}.`);
  const kind = keyKinds.find((known) => known === `rsa-${bits}`);
  if (!kind) throw refuse('key_kind', `RSA keys certified here have 2048, 3072 or 4096 bits; this one has ${bits}.`);
  // Below 65537 the padding of other people's software is what protects; above 32 bits old CryptoAPI cannot load the key.
  const value = exponent.length > 5 ? Number.POSITIVE_INFINITY : exponent.readUIntBE(0, exponent.length);
  if (value % 2 !== 1 || value < 65537 || value > 0xffffffff)
    throw refuse('key_weak', 'The RSA public exponent must be odd, at least 65537 and at most 32 bits long.');
  if (hasSmallFactor(magnitude)) throw refuse('key_weak', 'The RSA modulus has a small factor.');
  return kind;
}

/** Key identifier by RFC 5280 section 4.2.1.2 method 1: SHA-1 over the key's bits. A label, not a protection. */
export function keyIdentifierOf(subjectPublicKeyInfo: Buffer): Buffer {
  const [, bits] = der.readSequence(der.decode(subjectPublicKeyInfo), 'The public key');
  return hash('sha1', der.readOctetAlignedBits(bits, 'The public key'), 'buffer');
}
