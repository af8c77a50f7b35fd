import { checkPrimeSync, generateKeyPairSync, generatePrimeSync, randomBytes } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import * as der from './der.ts';
import { requireStrongKey } from './weak-key.ts';

const spki = (modulus: bigint) =>
  der.sequence(
    Buffer.from('300d06092a864886f70d0101010500', 'hex'),
    der.bitString(der.sequence(der.integer(modulus), der.integer(65537))),
  );
const nextPrime = (from: bigint): bigint => {
  let candidate = from | 1n;
  while (!checkPrimeSync(candidate)) candidate += 2n;
  return candidate;
};
const prime = () => generatePrimeSync(1024, { bigint: true });
/** One by the design of the chips of 2017, for 2048 bits: k · M + 65537^a mod M, M the product of the first 126 primes. */
function primeOfRoca(): bigint {
  const primes: bigint[] = [];
  for (let candidate = 2n; primes.length < 126; candidate++)
    if (primes.every((known) => candidate % known !== 0n)) primes.push(candidate);
  const product = primes.reduce((all, one) => all * one, 1n);
  let power = 1n;
  for (let exponent = randomBytes(2).readUInt16BE() + 1; exponent > 0; exponent--) power = (power * 65537n) % product;
  const top = 2n ** 1023n / product + 1n;
  for (let k = top + BigInt(randomBytes(3).readUIntBE(0, 3)); ; k++)
    if (checkPrimeSync(k * product + power)) return k * product + power;
}
const refusal = { kind: 'invalid', code: 'key_weak' };

describe('refuses', () => {
  test('primes that lie close together, and one prime twice', () => {
    const p = prime();
    for (const q of [p, nextPrime(p + 2n), nextPrime(p + 2n ** 512n), nextPrime(p + 2n ** 514n)])
      expect(() => requireStrongKey(spki(p * q))).toThrow(expect.objectContaining(refusal));
  });

  test('keys of chips with ROCA', () => {
    for (let i = 0; i < 3; i++)
      expect(() => requireStrongKey(spki(primeOfRoca() * primeOfRoca()))).toThrow('CVE-2017-15361');
  });

  test('one such prime with a sound one is no ROCA key', () => {
    expect(() => requireStrongKey(spki(primeOfRoca() * prime()))).not.toThrow();
  });
});

test('accepts sound RSA keys, primes that are only near by common measure, and keys of curves', () => {
  for (const modulusLength of [2048, 3072])
    expect(() =>
      requireStrongKey(generateKeyPairSync('rsa', { modulusLength }).publicKey.export({ type: 'spki', format: 'der' })),
    ).not.toThrow();
  const p = prime();
  expect(() => requireStrongKey(spki(p * nextPrime(p + 2n ** 530n)))).not.toThrow();
  const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'der' });
  expect(() => requireStrongKey(curve)).not.toThrow();
});
