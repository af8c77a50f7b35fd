import { ServiceError } from '@congvu/errors';
import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as der from './der.ts';

const tree: fc.Arbitrary<Buffer> = fc.letrec<{ node: Buffer }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 6 },
    fc.uint8Array({ maxLength: 300 }).map((octets) => der.octetString(Buffer.from(octets))),
    fc.array(tie('node'), { maxLength: 4 }).map((nodes) => der.sequence(...nodes)),
  ),
})).node;

/** Writes what was read again, from tags and contents alone. */
function rewrite(found: der.DerElement): Buffer {
  return (found.tag & 0x20) !== 0
    ? der.element(found.tag, ...der.children(found).map(rewrite))
    : der.element(found.tag, found.content);
}

test('what is written is read back, and there is one encoding of it', () => {
  fc.assert(fc.property(tree, (encoded) => rewrite(der.decode(encoded)).equals(encoded)));
});

test('lengths of every size survive', () => {
  for (const length of [0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 24]) {
    const encoded = der.octetString(Buffer.alloc(length, 7));
    expect(der.decode(encoded).content.length).toBe(length);
  }
});

test('integers: shortest two-s complement, both ways', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 170n), max: 2n ** 170n }), (value) => {
      const content = der.readInteger(der.decode(der.integer(value)), 'x');
      return BigInt.asIntN(content.length * 8, BigInt(`0x${content.toString('hex')}`)) === value;
    }),
  );
  expect(der.integer(128).toString('hex')).toBe('02020080');
  expect(der.integer(-129).toString('hex')).toBe('0202ff7f');
});

test('object identifiers: any arcs, UUID-based ones included', () => {
  const arc = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
  const dotted = fc
    .tuple(fc.nat(2), fc.nat(39), fc.array(arc, { maxLength: 6 }))
    .map(([first, second, rest]) => [first, second, ...rest].join('.'));
  fc.assert(fc.property(dotted, (oid) => der.readObjectIdentifier(der.decode(der.objectIdentifier(oid)), 'x') === oid));
});

test('times: whole seconds, UTCTime to 2049, GeneralizedTime from 2050', () => {
  const date = fc.date({ min: new Date('1950-01-01'), max: new Date('9999-12-31T23:59:59Z'), noInvalidDate: true });
  fc.assert(
    fc.property(date, (value) => {
      const encoded = der.decode(der.time(value));
      const seconds = Math.floor(value.getTime() / 1000) * 1000;
      return (
        der.readTime(encoded, 'x').getTime() === seconds &&
        (encoded.tag === der.tag.utcTime) === value.getUTCFullYear() < 2050
      );
    }),
  );
  expect(() => der.time(new Date(Number.NaN))).toThrow(RangeError);
});

test.each([
  ['indefinite length', '30800000'],
  ['length that could be shorter', '308101ff'],
  ['length with a leading zero', `30820080${'00'.repeat(128)}`],
  ['length of five octets', '30850000000001ff'],
  ['content that is not there', '0405aabb'],
  ['bytes after the end', '050000'],
  ['multi-byte tag', '1f810100'],
  ['a string in pieces', '2404040201ff'],
  ['a primitive SEQUENCE', '1000'],
  ['nothing', ''],
  ['a header cut off', '30'],
])('refuses %s', (_, hex) => {
  expect(() => der.decode(Buffer.from(hex, 'hex'))).toThrow(ServiceError);
});

test('refuses values that are no DER of their type', () => {
  const read = (hex: string) => der.decode(Buffer.from(hex, 'hex'));
  expect(() => der.readInteger(read('02020001'), 'x')).toThrow('shortest');
  expect(() => der.readInteger(read('0200'), 'x')).toThrow('empty');
  expect(() => der.readBoolean(read('010101'), 'x')).toThrow('BOOLEAN');
  expect(() => der.readObjectIdentifier(read('06028001'), 'x')).toThrow('shortest');
  expect(() => der.readObjectIdentifier(read('06028881'), 'x')).toThrow('inside an arc');
  expect(() => der.readTime(der.decode(der.element(der.tag.utcTime, Buffer.from('260231000000Z'))), 'x')).toThrow(
    'exists',
  );
  expect(() => der.readTime(der.decode(der.element(der.tag.utcTime, Buffer.from('2602280000Z'))), 'x')).toThrow(
    'RFC 5280',
  );
});

test('deep nesting ends in a refusal, not in a stack overflow', () => {
  let encoded = der.nullValue;
  for (let depth = 0; depth < 5000; depth++) encoded = der.sequence(encoded);
  expect(() => der.checkDeep(der.decode(encoded))).toThrow('nested');
});

test('arbitrary octets: read in full or refused, never anything else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (octets) => {
      try {
        der.checkDeep(der.decode(Buffer.from(octets)));
        return true;
      } catch (error) {
        return error instanceof ServiceError && error.kind === 'invalid' && error.code === 'malformed_der';
      }
    }),
    { numRuns: 2000 },
  );
});
