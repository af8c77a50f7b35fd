/** For tests: the rules of RFC 5280 section 5 and of the CA/B Forum S/MIME Baseline Requirements (SMBR), held against finished lists. */
import * as der from '../der.ts';
import { extensionType } from '../oids.ts';
import { keyIdentifierOf, keyKindOf } from '../public-key.ts';
import { signatureAlgorithmOf } from '../signature.ts';
import { type Extension, nameOf, type Say } from './lint-shape.ts';

/** What is wrong with a revocation list of `issuer` (both DER): RFC 5280 section 5, SMBR 4.9.7 and 7.2. */
export function lintList(list: Buffer, issuer: Buffer): string[] {
  const findings: string[] = [];
  const say: Say = (rule, broken) => void (broken && findings.push(rule));
  const [tbs, outerAlgorithm] = der.readSequence(der.decode(list), 'CertificateList');
  const [version, algorithm, issuerName, from, to, ...rest] = der.readSequence(tbs, 'TBSCertList');
  const authority = der.readSequence(der.readSequence(der.decode(issuer), 'Certificate')[0], 'TBS');
  say('RFC 5280 5.1.2.1: version 2', !version?.raw.equals(der.integer(1)));
  say('RFC 5280 5.1.1.2: both algorithms are the same', !algorithm?.raw.equals(outerAlgorithm!.raw));
  const expected = signatureAlgorithmOf(keyKindOf(authority[6]!.raw)).identifier;
  say('SMBR 7.1.3.2: the encoding of the signature algorithm', !algorithm?.raw.equals(expected));
  say("RFC 5280 5.1.2.3: the issuer's name as in its certificate", !issuerName?.raw.equals(authority[5]!.raw));
  const thisUpdate = der.readTime(from, 'thisUpdate').getTime();
  const nextUpdate = der.readTime(to, 'nextUpdate').getTime();
  say(
    'SMBR 4.9.7: the next list within ten days',
    !(nextUpdate > thisUpdate && nextUpdate - thisUpdate <= 864_000_000),
  );

  const extensions = new Map<string, Extension>();
  for (const one of der.readSequence(der.children(rest.at(-1)!)[0], 'crlExtensions')) {
    const [type, ...parts] = der.readSequence(one, 'an extension');
    extensions.set(der.readObjectIdentifier(type, 'its type'), {
      critical: parts.length === 2,
      value: parts.at(-1)!.content,
    });
  }
  const isDelta = extensions.has(extensionType.deltaCRLIndicator);
  const critical: readonly string[] = [extensionType.deltaCRLIndicator, extensionType.issuingDistributionPoint];
  for (const [oid, extension] of extensions)
    say(`RFC 5280 5.2: ${oid} is critical or not as it must be`, extension.critical !== critical.includes(oid));
  const known = ['authorityKeyIdentifier', 'cRLNumber', 'deltaCRLIndicator', 'issuingDistributionPoint', 'freshestCRL'];
  for (const oid of extensions.keys())
    say(`RFC 5280 5.2: ${oid} is no extension of a list`, !known.includes(nameOf(extensionType, oid as never)));
  const ofIssuer = der.sequence(der.implicit(0, keyIdentifierOf(authority[6]!.raw)));
  const authorityKey = extensions.get(extensionType.authorityKeyIdentifier);
  say("RFC 5280 5.2.1: the issuer's key identifier and nothing else", !authorityKey?.value.equals(ofIssuer));
  say('RFC 5280 5.2.3: a number', !extensions.has(extensionType.cRLNumber));
  say('RFC 5280 5.2.6: a delta has no delta', isDelta && extensions.has(extensionType.freshestCRL));

  const serials = new Set<string>();
  const entries = rest[0]?.tag === der.tag.sequence ? der.children(rest[0]) : undefined;
  say('RFC 5280 5.1.2.6: no empty list of entries', entries?.length === 0);
  for (const entry of entries ?? []) lintEntry(entry, thisUpdate, isDelta, serials, say);
  return findings;
}

function lintEntry(entry: der.DerElement, thisUpdate: number, isDelta: boolean, serials: Set<string>, say: Say): void {
  const [serial, date, extensions, ...rest] = der.readSequence(entry, 'an entry');
  const number = der.readInteger(serial, 'userCertificate').toString('hex');
  say('a serial number once in a list', serials.has(number));
  serials.add(number);
  say('no revocation is later than its list', der.readTime(date, 'revocationDate').getTime() > thisUpdate);
  say('RFC 5280 5.1.2.6: an entry has three parts', rest.length > 0);
  for (const extension of extensions ? der.readSequence(extensions, 'crlEntryExtensions') : []) {
    const [type, value, ...more] = der.readSequence(extension, 'an extension');
    const oid = der.readObjectIdentifier(type, 'its type');
    say('RFC 5280 5.3: extensions of entries are not critical here', more.length > 0);
    if (oid === extensionType.reasonCode) {
      const reason = der.decode(value!.content).content[0]!;
      say('RFC 5280 5.3.1: unspecified is left out', reason === 0);
      say('RFC 5280 5.3.1: removeFromCRL is for deltas', reason === 8 && !isDelta);
      say(`RFC 5280 5.3.1: reason ${reason}`, reason === 7 || reason > 10);
    } else {
      say(`RFC 5280 5.3: ${oid} in an entry`, oid !== extensionType.invalidityDate);
      const isGeneralized = der.decode(value!.content).tag === der.tag.generalizedTime;
      say('RFC 5280 5.3.2: GeneralizedTime', oid === extensionType.invalidityDate && !isGeneralized);
    }
  }
}
