import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type AttributeChange, type Attributes, diffAttributes, type Value } from './index.ts';

/** As a directory server applies it (RFC 4511 section 4.6), with the faults that it would find. */
function apply(attributes: Attributes, changes: readonly AttributeChange[]): Attributes {
  const key = (value: Value) => Buffer.from(value).toString('hex');
  const result = new Map(
    Object.entries(attributes).map(([name, values]) => [name, new Map(values.map((v) => [key(v), v]))]),
  );
  for (const { attribute, operation, values } of changes) {
    const present =
      operation === 'replace' ? new Map<string, Value>() : (result.get(attribute) ?? new Map<string, Value>());
    if (operation !== 'replace' && values.length === 0) throw new Error('an empty list of values');
    for (const value of values) {
      if (operation === 'delete') {
        if (!present.delete(key(value))) throw new Error('noSuchAttribute');
      } else {
        if (present.has(key(value))) throw new Error('attributeOrValueExists');
        present.set(key(value), value);
      }
    }
    result.set(attribute, present);
  }
  return Object.fromEntries([...result].map(([name, values]) => [name, [...values.values()]]));
}

const text = fc.constantFrom('', 'a', 'b', 'Huỳnh', 'c');
const octets = fc.uint8Array({ maxLength: 2 }).map((bytes) => Buffer.from(bytes));
const values = fc.oneof(
  fc.uniqueArray(text, { maxLength: 4 }),
  fc.uniqueArray(octets, { maxLength: 4, selector: (one) => one.toString('hex') }),
);
const entry = fc.dictionary(fc.constantFrom('cn', 'mail', 'title', 'userCertificate;binary'), values);
const sorted = (list: readonly Value[] | undefined) =>
  (list ?? []).map((one) => Buffer.from(one).toString('hex')).sort();

describe('laws', () => {
  test('applying the difference gives what is wanted, and touches nothing else', () => {
    fc.assert(
      fc.property(entry, entry, (actual, wanted) => {
        const result = apply(actual, diffAttributes(actual, wanted));
        for (const name of new Set([...Object.keys(actual), ...Object.keys(wanted)]))
          expect(sorted(result[name])).toEqual(sorted(wanted[name] ?? actual[name]));
      }),
    );
  });

  test('there is no difference between equals, in whatever order', () => {
    fc.assert(
      fc.property(entry, (attributes) => {
        const reversed = Object.fromEntries(
          Object.entries(attributes).map(([name, list]) => [name, [...list].reverse()]),
        );
        expect(diffAttributes(attributes, reversed)).toEqual([]);
      }),
    );
  });

  test('a value named twice is wanted once', () => {
    fc.assert(
      fc.property(entry, entry, (actual, wanted) => {
        const twice = Object.fromEntries(Object.entries(wanted).map(([name, list]) => [name, [...list, ...list]]));
        const result = apply(actual, diffAttributes(actual, twice));
        for (const name of Object.keys(wanted)) expect(sorted(result[name])).toEqual(sorted(wanted[name]));
      }),
    );
  });
});

test.each<[string, Attributes, Attributes, AttributeChange[]]>([
  ['absent and wanted none', {}, { title: [] }, []],
  ['the first value', {}, { title: ['a'] }, [{ attribute: 'title', operation: 'replace', values: ['a'] }]],
  ['the last value', { title: ['a'] }, { title: [] }, [{ attribute: 'title', operation: 'replace', values: [] }]],
  [
    'one of many: only what differs travels',
    { member: ['a', 'b', 'c'] },
    { member: ['b', 'c', 'd'] },
    [
      { attribute: 'member', operation: 'delete', values: ['a'] },
      { attribute: 'member', operation: 'add', values: ['d'] },
    ],
  ],
  ['not ours', { cn: ['a'], mail: ['x'] }, { cn: ['a'] }, []],
])('%s', (_name, actual, wanted, changes) => {
  expect(diffAttributes(actual, wanted)).toEqual(changes);
});
