/**
 * Certificate profiles as data: what a certificate of a kind says, for whom, for how long and for which keys. A profile
 * is checked whole when it is loaded (all faults at once), so that nothing is left to be decided when a certificate is
 * made. Extensions are those that the profile's fields stand for and no others.
 */
import { type Fault, invalid } from '@congvu/errors';
import type { GeneralNameKind } from './extension.ts';
import {
  type AttributeName,
  attributeType,
  type ExtendedKeyUsage,
  type KeyUsage,
  keyPurpose,
  keyUsageBit,
  smimePolicy,
} from './oids.ts';
import { type KeyKind, keyKinds } from './public-key.ts';

export interface Profile {
  /** `a-z 0-9 -`; recorded with every certificate, so never given another meaning. */
  readonly id: string;
  /** Days of 86,400 seconds, both ends included. */
  readonly validityDays: number;
  readonly keyKinds: readonly KeyKind[];
  /** Critical. */
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
  /** Dotted OIDs. */
  readonly certificatePolicies: readonly string[];
  /** In the order in which they stand in the name. What is not listed never appears, whatever is known of the subject. */
  readonly subject: readonly { readonly attribute: AttributeName; readonly required: boolean }[];
  /** Kinds of name that subjectAltName takes; of each required kind at least one. */
  readonly subjectAltName: readonly { readonly kind: GeneralNameKind; readonly required: boolean }[];
  /** `http:` URLs where the issuer's CRL is. */
  readonly crlDistributionPoints: readonly string[];
  /** `http:` URLs where the issuer's certificate is, in DER. */
  readonly caIssuers: readonly string[];
}

/**
 * Signature certificate of an official, by the rules of CA/B S/MIME BR for sponsor-validated certificates of the strict
 * generation: the agency vouches for the person, so organizationName and organizationIdentifier are mandatory
 * (7.1.4.2.5) and a province's agency, having no entry in a trade register, is `GOVVN+<ISO 3166-2 subdivision>`
 * (7.1.4.2.2 d). Strict allows emailProtection alone (7.1.2.3 f), and that is wanted: with clientAuth the same key that
 * signs documents, non-repudiably, would answer whatever challenge a TLS server sends it. Signing in is a purpose of
 * its own and gets a profile of its own.
 * 730 days: under the 825 allowed (6.3.2), whose limit the BR advise not to use up.
 */
export function personSignature(urls: { crl: string; caIssuers: string }): Profile {
  return {
    id: 'person-signature',
    validityDays: 730,
    keyKinds,
    keyUsage: ['digitalSignature', 'nonRepudiation'],
    extendedKeyUsage: ['emailProtection'],
    certificatePolicies: [smimePolicy.sponsorValidatedStrict],
    subject: [
      { attribute: 'countryName', required: true },
      { attribute: 'organizationName', required: true },
      { attribute: 'organizationIdentifier', required: true },
      // An identifier of ours, to tell two people of one name in one agency apart; never the national identity number.
      { attribute: 'serialNumber', required: false },
      { attribute: 'surname', required: true },
      // A person with a single name carries it as surname (7.1.4.2.2 e).
      { attribute: 'givenName', required: false },
      { attribute: 'title', required: false },
      { attribute: 'commonName', required: true },
    ],
    subjectAltName: [{ kind: 'rfc822Name', required: true }],
    crlDistributionPoints: [urls.crl],
    caIssuers: [urls.caIssuers],
  };
}

/** Subject attributes of the strict S/MIME generations (CA/B S/MIME BR 7.1.4.2.3 to 7.1.4.2.6), as far as Congvu knows them. */
const smimeSubjectRules: Readonly<
  Record<string, { needs: readonly AttributeName[]; forbids: readonly AttributeName[] }>
> = {
  [smimePolicy.mailboxValidatedStrict]: {
    needs: [],
    forbids: (Object.keys(attributeType) as AttributeName[]).filter(
      (attribute) => attribute !== 'commonName' && attribute !== 'serialNumber',
    ),
  },
  [smimePolicy.organizationValidatedStrict]: {
    needs: ['organizationName', 'organizationIdentifier'],
    forbids: ['surname', 'givenName', 'title'],
  },
  [smimePolicy.sponsorValidatedStrict]: {
    needs: ['organizationName', 'organizationIdentifier', 'surname'],
    forbids: [],
  },
  [smimePolicy.individualValidatedStrict]: {
    needs: ['surname'],
    forbids: ['organizationName', 'organizationalUnitName', 'organizationIdentifier'],
  },
};

/** The profile itself if nothing is wrong with it. Throws `invalid` (`profile_invalid`) with every fault. */
export function checkProfile(profile: Profile): Profile {
  const faults: Fault[] = [];
  const fault = (pointer: string, code: string, detail: string) =>
    faults.push({ pointer, code, detail: `Profile ${profile.id}: ${detail}` });

  if (!/^[a-z][a-z0-9-]{0,62}$/.test(profile.id)) fault('/id', 'format', 'an id has the form a-z 0-9 -.');
  if (!Number.isInteger(profile.validityDays) || profile.validityDays < 1)
    fault('/validityDays', 'range', 'validity is a whole number of days.');
  checkList(profile.keyKinds, '/keyKinds', (kind) => keyKinds.includes(kind), fault);
  checkList(profile.keyUsage, '/keyUsage', (usage) => Object.hasOwn(keyUsageBit, usage), fault);
  checkList(profile.extendedKeyUsage, '/extendedKeyUsage', (purpose) => Object.hasOwn(keyPurpose, purpose), fault);
  checkList(profile.certificatePolicies, '/certificatePolicies', (oid) => /^[0-2](\.(0|[1-9]\d*))+$/.test(oid), fault);
  const attributes = profile.subject.map((one) => one.attribute);
  checkList(attributes, '/subject', (attribute) => Object.hasOwn(attributeType, attribute), fault);
  const kinds = profile.subjectAltName.map((one) => one.kind);
  checkList(kinds, '/subjectAltName', (kind) => kind === 'rfc822Name', fault);
  // Plain HTTP: what is fetched is signed, and fetching it over TLS would need it first (RFC 5280 section 8).
  const isHttp = (url: string) => URL.canParse(url) && new URL(url).protocol === 'http:' && /^[\x21-\x7e]+$/.test(url);
  checkList(profile.crlDistributionPoints, '/crlDistributionPoints', isHttp, fault);
  checkList(profile.caIssuers, '/caIssuers', isHttp, fault);
  if (!profile.subject.some((one) => one.required))
    fault('/subject', 'required', 'at least one subject attribute must be required, or the subject could be empty.');

  for (const usage of profile.keyUsage) {
    if (usage === 'keyCertSign' || usage === 'cRLSign')
      fault('/keyUsage', 'authority_only', `${usage} belongs to authorities, which are made in a ceremony.`);
    const family =
      usage === 'keyEncipherment' || usage === 'dataEncipherment' ? 'rsa' : usage === 'keyAgreement' ? 'ec' : '';
    if (profile.keyKinds.some((kind) => !kind.startsWith(family)))
      fault('/keyUsage', 'key_kind', `${usage} is a usage of ${family} keys only.`);
  }
  if (profile.extendedKeyUsage.includes('emailProtection')) checkSmime(profile, attributes, fault);
  if (faults.length > 0) throw invalid('profile_invalid', faults);
  return profile;
}

type Report = (pointer: string, code: string, detail: string) => void;

/** Not empty, no value twice, each value known. */
function checkList<T>(values: readonly T[], pointer: string, known: (value: T) => boolean, fault: Report): void {
  if (values.length === 0) fault(pointer, 'empty', `${pointer.slice(1)} must not be empty.`);
  values.forEach((value, index) => {
    if (!known(value)) fault(`${pointer}/${index}`, 'value', `"${value}" is not allowed in ${pointer.slice(1)}.`);
    if (values.indexOf(value) !== index) fault(`${pointer}/${index}`, 'duplicate', `"${value}" is listed twice.`);
  });
}

/** CA/B S/MIME BR 6.3.2, 7.1.2.3 and 7.1.4.2 for the strict generation, the only one that Congvu issues. */
function checkSmime(profile: Profile, attributes: readonly AttributeName[], fault: Report): void {
  if (profile.validityDays > 825) fault('/validityDays', 'range', 'an S/MIME certificate lives at most 825 days.');
  if (profile.extendedKeyUsage.length > 1)
    fault('/extendedKeyUsage', 'smime_strict', 'a strict S/MIME certificate has emailProtection alone.');
  if (!profile.subjectAltName.some((one) => one.kind === 'rfc822Name' && one.required))
    fault('/subjectAltName', 'required', 'an S/MIME certificate requires an rfc822Name.');
  const reserved = profile.certificatePolicies.filter((policy) => policy.startsWith('2.23.140.1.5.'));
  const rules = smimeSubjectRules[reserved[0] ?? ''];
  if (reserved.length !== 1 || !rules) {
    fault(
      '/certificatePolicies',
      'smime_policy',
      'exactly one reserved policy of the strict S/MIME generation is needed.',
    );
    return;
  }
  for (const attribute of rules.needs)
    if (!profile.subject.some((one) => one.attribute === attribute && one.required))
      fault('/subject', 'smime_subject', `${reserved[0]} requires ${attribute}.`);
  for (const attribute of rules.forbids)
    if (attributes.includes(attribute)) fault('/subject', 'smime_subject', `${reserved[0]} forbids ${attribute}.`);
}
