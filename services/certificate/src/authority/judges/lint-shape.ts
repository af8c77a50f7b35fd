/**
 * For tests: what RFC 5280 (with 5480 and 8410) says of every certificate, whatever it is used for, held against its octets; and what it holds, for
 * the rules of its use.
 */
import * as der from '../der.ts';
import { readName } from '../distinguished-name.ts';
import { attributeType, extensionType, keyPurpose, keyUsageBit } from '../oids.ts';
import { type KeyKind, keyIdentifierOf, keyKindOf } from '../public-key.ts';
import { signatureAlgorithmOf } from '../signature.ts';

export interface Extension {
  readonly critical: boolean;
  readonly value: Buffer;
}
export type Say = (rule: string, broken: boolean) => void;

export interface Parsed {
  readonly subject: ReadonlyMap<string, string>;
  readonly extensions: ReadonlyMap<string, Extension>;
  readonly keyKind: KeyKind;
  readonly days: number;
  readonly usages: readonly string[];
  readonly purposes: readonly string[];
  readonly policies: readonly string[];
  /** Context tag and value of each name in subjectAltName. */
  readonly names: readonly { readonly tag: number; readonly value: string }[];
}

export const nameOf = <T extends string | number>(table: Readonly<Record<string, T>>, value: T): string =>
  Object.entries(table).find(([, known]) => known === value)?.[0] ?? String(value);
export const sequenceIn = (value: Buffer) => der.readSequence(der.decode(value), 'an extension');
const oidsIn = (value: Buffer) => sequenceIn(value).map((one) => der.readObjectIdentifier(one, 'an OID'));

/** RFC 5280 4.1 and what 4.2 says of every extension that occurs here. */
export function lintShape(certificate: Buffer, issuer: Buffer, say: Say): Parsed {
  const [tbs, outerAlgorithm] = der.readSequence(der.decode(certificate), 'Certificate');
  const [version, serial, algorithm, issuerName, validity, subject, key, ...rest] = der.readSequence(tbs, 'TBS');
  const authority = der.readSequence(der.readSequence(der.decode(issuer), 'Certificate')[0], 'TBS');
  say('RFC 5280 4.1.2.1: version 3', !version?.raw.equals(Buffer.from('a003020102', 'hex')));
  const number = der.readInteger(serial, 'serialNumber');
  say(
    'RFC 5280 4.1.2.2: a serial number is positive and has at most 20 octets',
    number[0]! > 0x7f || number.length > 20,
  );
  say('SMBR 7.1: at least 64 bits of a serial number are random', number.length < 8);
  say('RFC 5280 4.1.1.2: both algorithms are the same', !algorithm?.raw.equals(outerAlgorithm!.raw));
  const issuerKey = authority[6]!.raw;
  const expected = signatureAlgorithmOf(keyKindOf(issuerKey)).identifier;
  say('SMBR 7.1.3.2: the encoding of the signature algorithm', !algorithm?.raw.equals(expected));
  say("RFC 5280 4.1.2.4: the issuer's name as in its certificate", !issuerName?.raw.equals(authority[5]!.raw));
  say('RFC 5280 4.1.2.8: no unique identifiers', rest.length !== 1 || rest[0]?.tag !== 0xa3);

  const [notBefore, notAfter] = der.readSequence(validity, 'validity').map((one) => {
    const time = der.readTime(one, 'a time');
    const utc = time.getUTCFullYear() < 2050;
    say('RFC 5280 4.1.2.5: UTCTime until 2049', (one.tag === der.tag.utcTime) !== utc);
    say('RFC 5280 4.1.2.5: seconds and Z, and no fraction', one.content.length !== (utc ? 13 : 15));
    return time.getTime();
  });
  const [issuerFrom, issuerTo] = der.readSequence(authority[4], 'validity').map((one) => der.readTime(one, 'a time'));
  say(
    'a certificate is valid only while its issuer is',
    notBefore! < issuerFrom!.getTime() || notAfter! > issuerTo!.getTime(),
  );

  const extensions = new Map<string, Extension>();
  for (const one of der.readSequence(der.children(rest[0]!)[0], 'extensions')) {
    const [type, ...parts] = der.readSequence(one, 'an extension');
    const oid = der.readObjectIdentifier(type, 'an extension');
    say(`RFC 5280 4.2: extension ${oid} occurs once`, extensions.has(oid));
    say(`only extensions that are known: ${oid}`, !Object.values<string>(extensionType).includes(oid));
    extensions.set(oid, { critical: parts.length === 2, value: parts.at(-1)!.content });
  }
  const find = (type: keyof typeof extensionType) => extensions.get(extensionType[type]);
  lintIdentifiers(find, key!.raw, issuerKey, certificate.equals(issuer), say);
  const bits = find('keyUsage') ? der.readNamedBits(der.decode(find('keyUsage')!.value), 'keyUsage') : [];
  say('RFC 5280 4.2.1.3: key usage is there, critical and not empty', bits.length === 0 || !find('keyUsage')?.critical);
  const policies = find('certificatePolicies') ? sequenceIn(find('certificatePolicies')!.value) : [];
  const policyIds = policies.map((one) => {
    const parts = der.readSequence(one, 'a policy');
    say('RFC 5280 4.2.1.4: a policy is an OID alone', parts.length !== 1);
    return der.readObjectIdentifier(parts[0], 'a policy');
  });
  say('RFC 5280 4.2.1.4: no policy twice', new Set(policyIds).size !== policyIds.length);
  for (const type of [
    'certificatePolicies',
    'extKeyUsage',
    'cRLDistributionPoints',
    'authorityInfoAccess',
    'subjectAltName',
  ] as const)
    say(`RFC 5280 4.2, SMBR 7.1.2.3: ${type} is not critical`, find(type)?.critical === true);
  return {
    subject: lintName(subject!, say),
    extensions,
    keyKind: keyKindOf(key!.raw),
    days: (notAfter! - notBefore! + 1000) / 86_400_000,
    usages: bits.map((bit) => nameOf(keyUsageBit, bit as 0)),
    purposes: find('extKeyUsage')
      ? oidsIn(find('extKeyUsage')!.value).map((oid) => nameOf(keyPurpose, oid as never))
      : [],
    policies: policyIds,
    names: find('subjectAltName')
      ? sequenceIn(find('subjectAltName')!.value).map(({ tag, content }) => ({
          tag: tag & 0x1f,
          value: content.toString('latin1'),
        }))
      : [],
  };
}

function lintIdentifiers(
  find: (type: keyof typeof extensionType) => Extension | undefined,
  key: Buffer,
  issuerKey: Buffer,
  isRoot: boolean,
  say: Say,
): void {
  const own = der.octetString(keyIdentifierOf(key));
  say('RFC 5280 4.2.1.2: the key identifier by method 1', !find('subjectKeyIdentifier')?.value.equals(own));
  const ofIssuer = der.sequence(der.implicit(0, keyIdentifierOf(issuerKey)));
  // SMBR 7.1.2.3 g: no authorityCertIssuer, no authorityCertSerialNumber. A root may leave the whole extension out.
  const authorityKey = find('authorityKeyIdentifier');
  say(
    "RFC 5280 4.2.1.1: the issuer's key identifier and nothing else",
    !(authorityKey ? authorityKey.value.equals(ofIssuer) : isRoot),
  );
  const critical = find('subjectKeyIdentifier')?.critical === true || authorityKey?.critical === true;
  say('RFC 5280 4.2.1.1, 4.2.1.2: key identifiers are not critical', critical);
}

/** Upper bounds of RFC 5280 appendix A.1, in characters. */
const bounds: Readonly<Record<string, number>> = {
  countryName: 2,
  organizationName: 64,
  commonName: 64,
  title: 64,
  serialNumber: 64,
};

function lintName(name: der.DerElement, say: Say): Map<string, string> {
  const found = new Map<string, string>();
  const rdns = der.readSequence(name, 'a name');
  say('RFC 5280 4.1.2.6: the subject is not empty', rdns.length === 0);
  say(
    'SMBR: one attribute in each RDN',
    rdns.some((rdn) => der.children(rdn).length !== 1),
  );
  const encodings = rdns.flatMap((rdn) => der.children(rdn).map((pair) => der.children(pair)[1]!.tag));
  readName(name).forEach(({ type, value }, index) => {
    say(`SMBR 7.1.4.2: ${type} occurs once`, found.has(type));
    say(`SMBR 7.1.4.2: an attribute that is known: ${type}`, !Object.hasOwn(attributeType, type));
    const printable = type === 'countryName' || type === 'serialNumber';
    const encoding = printable ? der.tag.printableString : der.tag.utf8String;
    say(`RFC 5280 4.1.2.4, appendix A.1: the string type of ${type}`, encodings[index] !== encoding);
    say(`RFC 5280 appendix A.1: ${type} is too long`, [...value].length > (bounds[type] ?? 64));
    say(`RFC 5280 section 7: ${type} is NFC`, value !== value.normalize('NFC'));
    say(`SMBR 7.1.4.2: ${type} says something`, !/[\p{L}\p{N}]/u.test(value));
    say(`${type} has no blanks around it and no HTML in it`, value !== value.trim() || /&[a-z]+;/i.test(value));
    found.set(type, value);
  });
  return found;
}
