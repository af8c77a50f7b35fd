/**
 * Thousands of certification requests (RFC 2986), each of a key of its own. Making so many RSA keys would take an hour: theirs are
 * products of every two of a few primes, each a good key for its size and all together worth nothing but a measurement.
 */
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  generatePrime,
  type KeyObject,
  sign,
} from 'node:crypto';

export type BenchKeyKind = 'rsa-2048' | 'rsa-3072' | 'ec-p256';

export async function makeCsrs(kind: BenchKeyKind, count: number): Promise<string[]> {
  const csrs: string[] = [];
  for await (const key of kind === 'ec-p256' ? ecKeys(count) : rsaKeys(Number(kind.slice(4)), count))
    csrs.push(await csrOf(key, kind));
  return csrs;
}

function* ecKeys(count: number): Generator<KeyObject> {
  for (let made = 0; made < count; made += 1) yield generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
}

async function* rsaKeys(bits: number, count: number): AsyncGenerator<KeyObject> {
  const primeCount = Math.ceil((1 + Math.sqrt(1 + 8 * count)) / 2); // n (n - 1) / 2 pairs
  const made = Array.from({ length: primeCount }, () => newPrime(bits / 2));
  const primes = (await Promise.all(made)).filter((prime) => prime % 65_537n !== 1n);
  let left = count;
  for (const [index, p] of primes.entries()) for (const q of primes.slice(0, index)) if (left-- > 0) yield rsaKey(p, q);
}

/** Its two highest bits are set, so that the product of two has twice its length. */
const newPrime = (bits: number): Promise<bigint> =>
  new Promise((resolve, reject) => {
    generatePrime(bits, { bigint: true }, (error, prime) => (error ? reject(error) : resolve(prime)));
  });

function rsaKey(p: bigint, q: bigint): KeyObject {
  const e = 65_537n;
  const phi = (p - 1n) * (q - 1n);
  // d = (1 + k phi) / e for the k that makes it whole: arithmetic of small numbers.
  const k = inverse(e - (phi % e), e);
  const d = (1n + k * phi) / e;
  const part = (value: bigint): string => Buffer.from(evenHex(value), 'hex').toString('base64url');
  const jwk = {
    kty: 'RSA',
    n: part(p * q),
    e: part(e),
    d: part(d),
    p: part(p),
    q: part(q),
    dp: part(d % (p - 1n)),
    dq: part(d % (q - 1n)),
    qi: part(inverse(q, p)),
  };
  return createPrivateKey({ key: jwk, format: 'jwk' });
}

const evenHex = (value: bigint): string => {
  const hex = value.toString(16);
  return hex.length % 2 === 0 ? hex : `0${hex}`;
};

function inverse(value: bigint, modulus: bigint): bigint {
  let [a, b, x, y] = [value % modulus, modulus, 1n, 0n];
  while (b !== 0n) [a, b, x, y] = [b, a % b, y, x - (a / b) * y];
  return ((x % modulus) + modulus) % modulus;
}

const der = (tag: number, ...content: readonly Buffer[]): Buffer => {
  const body = Buffer.concat(content);
  const length =
    body.length < 0x80
      ? [body.length]
      : body.length < 0x100
        ? [0x81, body.length]
        : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.of(tag, ...length), body]);
};

/** CN=bench; what a subject says is not used. */
const name = Buffer.from('3010310e300c06035504030c0562656e6368', 'hex');
const algorithms = {
  rsa: Buffer.from('300d06092a864886f70d01010b0500', 'hex'),
  ec: Buffer.from('300a06082a8648ce3d040302', 'hex'),
} as const;

async function csrOf(key: KeyObject, kind: BenchKeyKind): Promise<string> {
  const subjectPublicKeyInfo = createPublicKey(key).export({ type: 'spki', format: 'der' });
  const information = der(0x30, Buffer.of(2, 1, 0), name, subjectPublicKeyInfo, Buffer.of(0xa0, 0));
  const signature = await new Promise<Buffer>((resolve, reject) => {
    sign('sha256', information, key, (error, made) => (error ? reject(error) : resolve(made)));
  });
  const algorithm = algorithms[kind === 'ec-p256' ? 'ec' : 'rsa'];
  const csr = der(0x30, information, algorithm, der(0x03, Buffer.of(0), signature));
  const lines = csr.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE REQUEST-----\n${lines.join('\n')}\n-----END CERTIFICATE REQUEST-----\n`;
}
