/**
 * Distinguished Encoding Rules (X.690 section 10), as far as X.509, PKCS#10 and PKCS#12 need them.
 * The writer makes Buffers and nothing but canonical forms. The reader is for hostile input: every length is checked
 * against what is really there, indefinite and non-minimal lengths, multi-byte tags, bytes left over and nesting deeper
 * than `maximumDepth` are refused, and the only thing it ever throws is a ServiceError `invalid`, code `malformed_der`.
 */
import { invalid, type ServiceError } from '@congvu/errors';

/** Identifier octets of the universal types used here; SEQUENCE and SET with the constructed bit, as DER demands. */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  teletexString: 0x14,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  universalString: 0x1c,
  bmpString: 0x1e,
  sequence: 0x30,
  set: 0x31,
} as const;

const constructedBit = 0x20;
const contextClass = 0x80;
/** Deeper than anything in PKIX; a bound on recursion, whatever the input. */
const maximumDepth = 24;

// ---------------------------------------------------------------------------------------------------------- writer

/** Octets that the length field of `length` content octets takes. */
const lengthOctets = (length: number): number =>
  length < 0x80 ? 1 : length < 0x100 ? 2 : length < 0x10000 ? 3 : length < 0x1000000 ? 4 : 5;

/** One element with the given identifier octet around the concatenation of `content`: one allocation, whatever goes in. */
export function element(identifier: number, ...content: readonly Buffer[]): Buffer {
  let length = 0;
  for (const part of content) length += part.length;
  const lengthSize = lengthOctets(length);
  const encoded = Buffer.allocUnsafe(1 + lengthSize + length);
  encoded[0] = identifier;
  if (lengthSize === 1) encoded[1] = length;
  else {
    encoded[1] = 0x7f + lengthSize;
    encoded.writeUIntBE(length, 2, lengthSize - 1);
  }
  let offset = 1 + lengthSize;
  for (const part of content) {
    encoded.set(part, offset);
    offset += part.length;
  }
  return encoded;
}

export const sequence = (...content: readonly Buffer[]): Buffer => element(tag.sequence, ...content);
/** SET OF: the elements in ascending order of their encodings (X.690 section 11.6). */
export const setOf = (...content: readonly Buffer[]): Buffer =>
  element(tag.set, ...content.toSorted((a, b) => Buffer.compare(a, b)));
/** `[number] EXPLICIT` around one complete element. */
export const explicit = (number: number, content: Buffer): Buffer =>
  element(contextClass | constructedBit | number, content);
/** `[number] IMPLICIT` over a primitive type: the content octets alone. */
export const implicit = (number: number, content: Buffer): Buffer => element(contextClass | number, content);
/** `[number] IMPLICIT` over SEQUENCE or SET: the elements alone. */
export const implicitConstructed = (number: number, ...content: readonly Buffer[]): Buffer =>
  element(contextClass | constructedBit | number, ...content);

export const boolean = (value: boolean): Buffer => Buffer.of(tag.boolean, 1, value ? 0xff : 0);
export const nullValue: Buffer = Buffer.of(tag.null, 0);
export const octetString = (content: Buffer): Buffer => element(tag.octetString, content);
export const bitString = (content: Buffer, unusedBits = 0): Buffer =>
  element(tag.bitString, Buffer.of(unusedBits), content);
export const utf8String = (value: string): Buffer => element(tag.utf8String, Buffer.from(value, 'utf8'));
export const printableString = (value: string): Buffer => element(tag.printableString, Buffer.from(value, 'latin1'));
export const ia5String = (value: string): Buffer => element(tag.ia5String, Buffer.from(value, 'latin1'));
/** BMPString is UTF-16 in network order; the caller has made sure that no surrogates are in it. */
export const bmpString = (value: string): Buffer => element(tag.bmpString, Buffer.from(value, 'utf16le').swap16());

/** BIT STRING of named bits (X.690 section 11.2.2): trailing zero bits are dropped; `bits` are positions, 0 first. */
export function namedBits(bits: readonly number[]): Buffer {
  if (bits.length === 0) return bitString(Buffer.alloc(0));
  const highest = Math.max(...bits);
  const octets = Buffer.alloc((highest >>> 3) + 1);
  for (const bit of bits) octets[bit >>> 3] = octets[bit >>> 3]! | (0x80 >>> (bit & 7));
  return bitString(octets, 7 - (highest & 7));
}

/** INTEGER content octets, two's complement, shortest form (X.690 section 8.3). */
export function integerContent(value: number | bigint): Buffer {
  let rest = BigInt(value);
  const octets: number[] = [];
  for (;;) {
    const low = Number(BigInt.asUintN(8, rest));
    octets.unshift(low);
    rest >>= 8n;
    if ((rest === 0n && low < 0x80) || (rest === -1n && low >= 0x80)) return Buffer.from(octets);
  }
}
export const integer = (value: number | bigint): Buffer => element(tag.integer, integerContent(value));
export const enumerated = (value: number): Buffer => element(tag.enumerated, integerContent(value));

/** OBJECT IDENTIFIER from dotted decimal; arcs of any size (X.690 section 8.19). */
export function objectIdentifier(dotted: string): Buffer {
  const arcs = dotted.split('.').map(BigInt);
  const [first, second] = arcs;
  if (first === undefined || second === undefined) throw new TypeError(`not an object identifier: ${dotted}`);
  const octets: number[] = [];
  for (const arc of [first * 40n + second, ...arcs.slice(2)]) {
    const group = [Number(arc & 0x7fn)];
    for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) group.unshift(Number(rest & 0x7fn) | 0x80);
    octets.push(...group);
  }
  return element(tag.objectIdentifier, Buffer.from(octets));
}

/** Time as RFC 5280 section 4.1.2.5 wants it: UTCTime through 2049, GeneralizedTime after; whole seconds, UTC. */
export function time(date: Date): Buffer {
  const year = date.getUTCFullYear();
  if (!(year >= 1950 && year <= 9999)) throw new RangeError(`year ${year} does not fit an X.509 time`);
  return timeOf(date, year < 2050);
}

/** GeneralizedTime whatever the year, in the form of RFC 5280 section 4.1.2.5.2. */
export const generalizedTime = (date: Date): Buffer => timeOf(date, false);

function timeOf(date: Date, short: boolean): Buffer {
  const year = date.getUTCFullYear();
  if (!(year >= 0 && year <= 9999)) throw new RangeError(`year ${year} does not fit an X.509 time`);
  const encoded = Buffer.allocUnsafe(short ? 15 : 17);
  encoded[0] = short ? tag.utcTime : tag.generalizedTime;
  encoded[1] = encoded.length - 2;
  let offset = 2;
  // Digit by digit: a CRL has one of these per entry, and formatting a string for each would be most of its cost.
  const twoDigits = (value: number) => {
    encoded[offset++] = 0x30 + Math.trunc(value / 10);
    encoded[offset++] = 0x30 + (value % 10);
  };
  if (!short) twoDigits(Math.trunc(year / 100));
  twoDigits(year % 100);
  twoDigits(date.getUTCMonth() + 1);
  twoDigits(date.getUTCDate());
  twoDigits(date.getUTCHours());
  twoDigits(date.getUTCMinutes());
  twoDigits(date.getUTCSeconds());
  encoded[offset] = 0x5a;
  return encoded;
}

// ---------------------------------------------------------------------------------------------------------- reader

/** One element as it was read: views into the input, nothing copied. `depth` counts the constructed elements around it. */
export interface DerElement {
  readonly tag: number;
  readonly content: Buffer;
  /** Identifier, length and content: the octets that were signed or hashed. */
  readonly raw: Buffer;
  readonly depth: number;
}

export function malformed(detail: string): ServiceError {
  return invalid('malformed_der', [{ pointer: '', code: 'malformed_der', detail }]);
}

function elementAt(buffer: Buffer, offset: number, depth: number): DerElement {
  if (depth > maximumDepth) throw malformed(`The encoding is nested more than ${maximumDepth} deep.`);
  const identifier = buffer[offset];
  const initial = buffer[offset + 1];
  if (identifier === undefined || initial === undefined) throw malformed('The encoding ends inside a header.');
  if ((identifier & 0x1f) === 0x1f) throw malformed('A tag number above 30 is not used in any structure read here.');
  // Of the universal types SEQUENCE and SET alone are constructed; strings in pieces are BER (X.690 section 10.2).
  const isStructure = (identifier & 0x1f) === 0x10 || (identifier & 0x1f) === 0x11;
  if ((identifier & 0xc0) === 0 && isStructure !== ((identifier & constructedBit) !== 0))
    throw malformed('A primitive type is encoded as a structure, or the other way round.');
  let start = offset + 2;
  let length = initial;
  if (initial >= 0x80) {
    const count = initial & 0x7f;
    if (count === 0) throw malformed('Indefinite length is not DER.');
    if (count > 4) throw malformed('A length of more than four octets is refused.');
    if (start + count > buffer.length) throw malformed('The encoding ends inside a length.');
    length = buffer.readUIntBE(start, count);
    if (length < 0x80 || length < 2 ** (8 * (count - 1))) throw malformed('A length is not in its shortest form.');
    start += count;
  }
  if (length > buffer.length - start) throw malformed('An element is longer than what holds it.');
  const end = start + length;
  return { tag: identifier, content: buffer.subarray(start, end), raw: buffer.subarray(offset, end), depth };
}

/** The one element that `buffer` holds; bytes after it are an error. */
export function decode(buffer: Buffer): DerElement {
  const found = elementAt(buffer, 0, 0);
  if (found.raw.length !== buffer.length) throw malformed('There are bytes after the end of the structure.');
  return found;
}

/** The first element of `buffer` and nothing about what follows it: for looking at the start of something large. */
export const decodeFirst = (buffer: Buffer, offset = 0): DerElement => elementAt(buffer, offset, 0);

/** The elements inside a constructed one. */
export function children(parent: DerElement): DerElement[] {
  if ((parent.tag & constructedBit) === 0) throw malformed('A primitive element stands where a structure belongs.');
  const found: DerElement[] = [];
  for (let offset = 0; offset < parent.content.length; ) {
    const child = elementAt(parent.content, offset, parent.depth + 1);
    found.push(child);
    offset += child.raw.length;
  }
  return found;
}

/** Walks everything below `root`, so that what nobody reads (attributes, extensions) is well-formed too. */
export function checkDeep(root: DerElement): void {
  if ((root.tag & constructedBit) !== 0) for (const child of children(root)) checkDeep(child);
}

/** `found` if it is there and has the tag; `what` names it in the error. */
export function expect(found: DerElement | undefined, identifier: number, what: string): DerElement {
  if (found === undefined) throw malformed(`${what} is missing.`);
  if (found.tag !== identifier) throw malformed(`${what} has the wrong type (tag 0x${found.tag.toString(16)}).`);
  return found;
}

export const readSequence = (found: DerElement | undefined, what: string): DerElement[] =>
  children(expect(found, tag.sequence, what));

/** INTEGER content octets, checked to be the shortest form. */
export function readInteger(found: DerElement | undefined, what: string): Buffer {
  const { content } = expect(found, tag.integer, what);
  const [first, second] = content;
  if (first === undefined) throw malformed(`${what} is an empty INTEGER.`);
  if (second !== undefined && ((first === 0 && second < 0x80) || (first === 0xff && second >= 0x80)))
    throw malformed(`${what} is not in its shortest form.`);
  return content;
}

/** A small non-negative INTEGER as a number. */
export function readSmallInteger(found: DerElement | undefined, what: string): number {
  const content = readInteger(found, what);
  if (content.length > 4 || content[0]! >= 0x80) throw malformed(`${what} is out of range.`);
  return content.readUIntBE(0, content.length);
}

export function readBoolean(found: DerElement | undefined, what: string): boolean {
  const { content } = expect(found, tag.boolean, what);
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw malformed(`${what} is no DER BOOLEAN.`);
  return content[0] === 0xff;
}

/** Octets of a BIT STRING that has no unused bits, as keys and signatures have. */
export function readOctetAlignedBits(found: DerElement | undefined, what: string): Buffer {
  const { content } = expect(found, tag.bitString, what);
  if (content[0] !== 0) throw malformed(`${what} is no whole number of octets.`);
  return content.subarray(1);
}

/** Positions of the bits that are set in a named-bit BIT STRING. */
export function readNamedBits(found: DerElement | undefined, what: string): number[] {
  const { content } = expect(found, tag.bitString, what);
  const unused = content[0];
  if (unused === undefined || unused > 7 || content.length > 5) throw malformed(`${what} is no BIT STRING of flags.`);
  const bits: number[] = [];
  for (let bit = 0; bit < (content.length - 1) * 8; bit++)
    if ((content[1 + (bit >>> 3)]! & (0x80 >>> (bit & 7))) !== 0) bits.push(bit);
  return bits;
}

/** Dotted decimal. Arcs longer than a UUID's 19 octets are refused, so that no arithmetic here grows with the input. */
export function readObjectIdentifier(found: DerElement | undefined, what: string): string {
  const { content } = expect(found, tag.objectIdentifier, what);
  if (content.length === 0 || content.length > 128) throw malformed(`${what} has no usable length.`);
  const arcs: bigint[] = [];
  let arc = 0n;
  let octets = 0;
  for (const octet of content) {
    if (octets === 0 && octet === 0x80) throw malformed(`${what} is not in its shortest form.`);
    if (++octets > 19) throw malformed(`${what} has an arc that is too large.`);
    arc = (arc << 7n) | BigInt(octet & 0x7f);
    if (octet >= 0x80) continue;
    arcs.push(arc);
    arc = 0n;
    octets = 0;
  }
  if (octets !== 0) throw malformed(`${what} ends inside an arc.`);
  const first = arcs[0]!;
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - root * 40n, ...arcs.slice(1)].join('.');
}

/** UTCTime or GeneralizedTime in the only form that RFC 5280 section 4.1.2.5 allows: seconds, Z, no fraction. */
export function readTime(found: DerElement | undefined, what: string): Date {
  if (found?.tag !== tag.utcTime && found?.tag !== tag.generalizedTime) throw malformed(`${what} is no time.`);
  const text = found.content.toString('latin1');
  const short = found.tag === tag.utcTime;
  if (!(short ? /^\d{12}Z$/ : /^\d{14}Z$/).test(text)) throw malformed(`${what} is not in the form RFC 5280 allows.`);
  const full = short ? (text < '50' ? '20' : '19') + text : text;
  const iso = full.replace(/^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6.000Z');
  const date = new Date(iso);
  if (Number.isNaN(date.getTime()) || date.toISOString() !== iso) throw malformed(`${what} is no date that exists.`);
  return date;
}

/** Text of any of the string types that occur in names; undefined if `found` is none of them or not valid in its type. */
export function readText(found: DerElement): string | undefined {
  const { content } = found;
  switch (found.tag) {
    case tag.utf8String:
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
      } catch {
        return undefined;
      }
    case tag.printableString:
    case tag.ia5String:
      return content.every((octet) => octet < 0x80) ? content.toString('latin1') : undefined;
    case tag.teletexString:
      return content.toString('latin1');
    case tag.bmpString:
      return content.length % 2 === 0 ? Buffer.from(content).swap16().toString('utf16le') : undefined;
    default:
      return undefined;
  }
}
