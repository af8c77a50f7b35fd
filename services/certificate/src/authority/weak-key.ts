/**
 * RSA keys that have the right size and form and are weak all the same, because of how their primes were chosen: primes that
 * lie close together (Fermat's method finds them; CA/B S/MIME BR 6.1.1.3 wants 100 rounds of it) and those of Infineon's
 * library (ROCA, CVE-2017-15361), which sat in smart cards and tokens of the kind that people here bring. Small factors,
 * sizes and exponents are public-key.ts's. A fraction of a millisecond a key.
 */
import { invalid } from '@congvu/errors';
import * as der from './der.ts';

const rsaEncryption = Buffer.from('300d06092a864886f70d0101010500', 'hex');

/** Throws `invalid` (`key_weak`) for such a key; to be called with one that `keyKindOf` has passed. */
export function requireStrongKey(subjectPublicKeyInfo: Buffer): void {
  const modulus = rsaModulusOf(subjectPublicKeyInfo);
  const weakness = modulus && weaknessOf(modulus);
  if (weakness) throw invalid('key_weak', [{ pointer: '', code: 'key_weak', detail: weakness }]);
}

function rsaModulusOf(subjectPublicKeyInfo: Buffer): bigint | undefined {
  const [algorithm, bits] = der.readSequence(der.decode(subjectPublicKeyInfo), 'The public key');
  if (!algorithm?.raw.equals(rsaEncryption)) return undefined;
  const [modulus] = der.readSequence(der.decode(der.readOctetAlignedBits(bits, 'The public key')), 'The RSA key');
  return BigInt(`0x${der.readInteger(modulus, 'The RSA modulus').toString('hex')}`);
}

function weaknessOf(modulus: bigint): string | undefined {
  if (hasRocaFingerprint(modulus))
    return 'The RSA key was made by a chip whose keys can be computed from their public half (ROCA, CVE-2017-15361); use another token.';
  if (hasClosePrimes(modulus)) return 'The primes of the RSA key lie too close together; make a new key.';
  return undefined;
}

// ------------------------------------------------------------------------------------------------------------ ROCA

/**
 * The primes of such a key are powers of 65537 modulo a product of small primes, and so is their product: modulo each of
 * these it lies in the subgroup that 65537 generates. A sound key does so by chance once in 2^27.
 */
const rocaGroups = Array.from({ length: 165 }, (_, index) => index + 3)
  .filter((candidate) => {
    for (let divisor = 2; divisor * divisor <= candidate; divisor++) if (candidate % divisor === 0) return false;
    return true;
  })
  .map((prime) => {
    const members = new Set<number>();
    for (let power = 1; !members.has(power); power = (power * 65537) % prime) members.add(power);
    return { prime: BigInt(prime), members };
  });
const rocaProduct = rocaGroups.reduce((product, { prime }) => product * prime, 1n);

function hasRocaFingerprint(modulus: bigint): boolean {
  const remainder = modulus % rocaProduct;
  return rocaGroups.every(({ prime, members }) => members.has(Number(remainder % prime)));
}

// ---------------------------------------------------------------------------------------------------------- Fermat

const fermatRounds = 100;

/**
 * n = a² - b² for an `a` just above the root of n. A modulus that is a square itself is found in the first round. What the sieve needs
 * of a² - n goes from round to round in small numbers; the big ones are made for the few that pass it.
 */
function hasClosePrimes(modulus: bigint): boolean {
  let root = squareRoot(modulus);
  if (root * root < modulus) root += 1n;
  const difference = root * root - modulus;
  let rootRest = Number(root % sieveModulus);
  let rest = Number(difference % sieveModulus);
  for (let round = 0; round < fermatRounds; round++) {
    if (squaresOfLowBits.has(rest & 63) && squaresOfSieve.has(rest % sieve)) {
      const further = BigInt(round);
      if (isSquare(difference + 2n * further * root + further * further)) return true;
    }
    rest = (rest + 2 * rootRest + 1) % (64 * sieve);
    rootRest += 1;
  }
  return false;
}

const squaresModulo = (modulus: number) =>
  new Set(Array.from({ length: modulus }, (_, root) => (root * root) % modulus));
const sieve = 45_045; // 9 · 5 · 7 · 11 · 13: with the low bits it passes one number in a hundred on to the root
const squaresOfSieve = squaresModulo(sieve);
const squaresOfLowBits = squaresModulo(64);
const sieveModulus = BigInt(64 * sieve);

function isSquare(number: bigint): boolean {
  const root = squareRoot(number);
  return root * root === number;
}

/** The whole part of the square root, by Newton's step with as many leading bits as the step makes right, twice as many each time. */
function squareRoot(number: bigint): bigint {
  if (number === 0n) return 0n;
  const half = (number.toString(2).length - 1) >>> 1;
  let root = 1n;
  let known = 0;
  for (let shift = 32 - Math.clz32(half) - 1; shift >= 0; shift--) {
    const before = known;
    known = half >>> shift;
    root = (root << BigInt(known - before - 1)) + (number >> BigInt(2 * half - before - known + 1)) / root;
  }
  return root * root > number ? root - 1n : root;
}
