/**
 * Distinguished names (X.501, RFC 5280 section 4.1.2.4): attributes in the order given, one per RDN, countryName and
 * serialNumber as PrintableString, everything else as UTF8String in NFC, so that "Quỳnh" is the same octets whether it
 * came composed or decomposed. A value outside its attribute's bounds never gets into a name.
 */
import { type Fault, invalid } from '@congvu/errors';
import * as der from './der.ts';
import { type AttributeName, attributeType } from './oids.ts';

/** One attribute of a name. */
export interface NameAttribute {
  readonly attribute: AttributeName;
  readonly value: string;
}

/** An attribute as read from somebody else's name: the standard's name for its type, or the dotted OID. */
export interface ReadAttribute {
  readonly type: string;
  /** The text; for anything that is no text, its DER in hexadecimal after `#` (RFC 4514 section 2.4). */
  readonly value: string;
}

/** Upper bounds in characters (RFC 5280 appendix A.1). Names of persons have 32768 there; X.520's 64 is kept instead. */
const upperBound: Readonly<Record<AttributeName, number>> = {
  commonName: 64,
  surname: 64,
  serialNumber: 64,
  countryName: 2,
  localityName: 128,
  stateOrProvinceName: 128,
  organizationName: 64,
  organizationalUnitName: 64,
  title: 64,
  givenName: 64,
  organizationIdentifier: 256,
};

const attributeTypeDer = Object.fromEntries(
  Object.entries(attributeType).map(([name, oid]) => [name, der.objectIdentifier(oid)]),
) as Readonly<Record<AttributeName, Buffer>>;

const nameOfType = new Map<string, string>([
  ...Object.entries(attributeType).map(([name, oid]) => [oid, name] as const),
  ['1.2.840.113549.1.9.1', 'emailAddress'],
]);

/** What is written for `value`: NFC, no blanks at the ends, single blanks inside. */
const normalise = (value: string): string => value.normalize('NFC').trim().replace(/\s+/gu, ' ');

function problemOf(attribute: AttributeName, value: string): { code: string; detail: string } | undefined {
  const length = [...value].length;
  if (attribute === 'countryName') {
    if (/^[A-Z]{2}$/.test(value)) return undefined;
    return { code: 'country_code', detail: 'countryName must be two capital letters (ISO 3166-1).' };
  }
  // CA/B S/MIME BR 7.1.4.2: a value may not merely say that there is no value.
  if (/^[\s.\-_*]*$/u.test(value)) return { code: 'empty', detail: `${attribute} must not be empty.` };
  if (length > upperBound[attribute])
    return { code: 'too_long', detail: `${attribute} has ${length} characters; at most ${upperBound[attribute]} fit.` };
  if (/[\p{Cc}\p{Cs}\p{Co}\p{Cn}\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]/u.test(value))
    return { code: 'characters', detail: `${attribute} holds control or invisible characters.` };
  if (attribute === 'serialNumber' && !/^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value))
    return { code: 'characters', detail: 'serialNumber takes the characters of a PrintableString only.' };
  return undefined;
}

/** One fault per value that its attribute cannot take, pointers `/subject/<attribute>`; none if the name can be encoded. */
export function nameFaults(attributes: readonly NameAttribute[]): Fault[] {
  return attributes.flatMap(({ attribute, value }) => {
    const problem = problemOf(attribute, normalise(value));
    return problem ? [{ pointer: `/subject/${attribute}`, ...problem }] : [];
  });
}

/** DER of the Name that holds `attributes` in this order. Throws `invalid` (`subject_invalid`) with every fault. */
export function encodeName(attributes: readonly NameAttribute[]): Buffer {
  const faults = nameFaults(attributes);
  if (faults.length > 0) throw invalid('subject_invalid', faults);
  return encodeCheckedName(attributes);
}

/** The same of attributes in which `nameFaults` found nothing. */
export function encodeCheckedName(attributes: readonly NameAttribute[]): Buffer {
  return der.sequence(
    ...attributes.map(({ attribute, value }) => {
      const printable = attribute === 'countryName' || attribute === 'serialNumber';
      const text = printable ? der.printableString(normalise(value)) : der.utf8String(normalise(value));
      return der.element(der.tag.set, der.sequence(attributeTypeDer[attribute], text));
    }),
  );
}

/** The attributes of a Name in their order. For showing only: two names are equal when their DER is. */
export function readName(name: der.DerElement): ReadAttribute[] {
  return der.readSequence(name, 'A name').flatMap((rdn) =>
    der.children(der.expect(rdn, der.tag.set, 'A relative distinguished name')).map((pair) => {
      const [type, value] = der.readSequence(pair, 'An attribute of a name');
      const oid = der.readObjectIdentifier(type, 'The type of a name attribute');
      if (value === undefined) throw der.malformed('An attribute of a name has no value.');
      return {
        type: nameOfType.get(oid) ?? oid,
        value: der.readText(value) ?? `#${value.raw.toString('hex')}`,
      };
    }),
  );
}
