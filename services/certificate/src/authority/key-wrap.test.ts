import { randomBytes } from 'node:crypto';
import { ServiceError } from '@congvu/errors';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { unwrapPrivateKey, wrapPrivateKey, wrappingKeyIdOf } from './key-wrap.ts';

const oldKey = { id: '2026-01', key: randomBytes(32) };
const newKey = { id: '2027-01', key: randomBytes(32) };
const octets = fc.uint8Array({ maxLength: 3000 }).map((array) => Buffer.from(array));

test('what was wrapped is unwrapped, by the key that its id names', () => {
  fc.assert(
    fc.property(octets, fc.string(), (privateKey, data) => {
      const wrapped = wrapPrivateKey(privateKey, oldKey, data);
      expect(wrappingKeyIdOf(wrapped)).toBe('2026-01');
      return unwrapPrivateKey(wrapped, [newKey, oldKey], data).equals(privateKey);
    }),
  );
});

test('two wrappings of one key have nothing in common but the header', () => {
  const privateKey = randomBytes(100);
  const [first, second] = [wrapPrivateKey(privateKey, oldKey, 'a'), wrapPrivateKey(privateKey, oldKey, 'a')];
  expect(first.subarray(9).equals(second.subarray(9))).toBe(false);
});

test('another row, another key under the same id, any changed octet: not opened', () => {
  const wrapped = wrapPrivateKey(randomBytes(40), oldKey, 'enrolment 1');
  const refusalOf = (input: Buffer, keys = [oldKey], data = 'enrolment 1') => {
    try {
      unwrapPrivateKey(input, keys, data);
    } catch (error) {
      return (error as ServiceError).code;
    }
    return 'opened';
  };
  expect(refusalOf(wrapped)).toBe('opened');
  expect(refusalOf(wrapped, [oldKey], 'enrolment 2')).toBe('wrapped_key_damaged');
  expect(refusalOf(wrapped, [{ ...newKey, id: oldKey.id }])).toBe('wrapped_key_damaged');
  expect(refusalOf(wrapped, [newKey])).toBe('wrapping_key_unknown');
  for (let index = 0; index < wrapped.length; index++) {
    const changed = Buffer.from(wrapped);
    changed[index]! ^= 1;
    expect(refusalOf(changed)).not.toBe('opened');
    expect(refusalOf(wrapped.subarray(0, index))).not.toBe('opened');
  }
});

test('refuses wrapping keys that are none', () => {
  expect(() => wrapPrivateKey(Buffer.alloc(1), { id: 'a', key: Buffer.alloc(16) }, '')).toThrow(ServiceError);
  expect(() => wrapPrivateKey(Buffer.alloc(1), { id: 'a b', key: Buffer.alloc(32) }, '')).toThrow(ServiceError);
});
