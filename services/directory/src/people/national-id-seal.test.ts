/** The seal opens what it sealed and nothing else, never seals twice alike, and compares without reading. */
import { randomBytes } from 'node:crypto';
import { expect, it } from '@jest/globals';
import { createNationalIdSeal } from './national-id-seal.ts';

const [key, indexKey] = [randomBytes(32), randomBytes(32)];
const seal = createNationalIdSeal(key, indexKey);
const number = '040080000123';

it('opens what it sealed, also in another process with the same keys', () => {
  expect(seal.open(seal.seal(number))).toBe(number);
  expect(createNationalIdSeal(Buffer.from(key), Buffer.from(indexKey)).open(seal.seal(number))).toBe(number);
});

it('hides the number, and that two are equal', () => {
  const sealed = seal.seal(number);
  expect(sealed.includes(number)).toBe(false);
  expect(seal.seal(number).equals(sealed)).toBe(false);
});

it('opens nothing that was altered, cut or sealed with another key', () => {
  const sealed = seal.seal(number);
  for (let at = 0; at < sealed.length; at += 1) {
    const altered = Buffer.from(sealed);
    altered[at] = (altered[at] as number) ^ 1;
    expect(() => seal.open(altered)).toThrow();
  }
  for (const length of [0, 1, 12, 28, sealed.length - 1]) expect(() => seal.open(sealed.subarray(0, length))).toThrow();
  expect(() => createNationalIdSeal(randomBytes(32), indexKey).open(sealed)).toThrow();
});

it('finds equal numbers by an index that depends on its own key alone', () => {
  expect(seal.index(number)).toEqual(seal.index(number));
  expect(seal.index(number)).toHaveLength(32);
  expect(seal.index('040080000124')).not.toEqual(seal.index(number));
  expect(createNationalIdSeal(key, randomBytes(32)).index(number)).not.toEqual(seal.index(number));
  expect(createNationalIdSeal(randomBytes(32), indexKey).index(number)).toEqual(seal.index(number));
});
