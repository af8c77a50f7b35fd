/**
 * Certificate profiles as data: what a certificate of a kind says, for whom, for how long, for which keys, and by which rules it
 * is asked for, renewed and taken back. A profile is checked whole when it is loaded (all faults at once), so that nothing is
 * left to be decided when a certificate is made. Extensions are those that the profile's fields stand for and no others.
 */
import { type Fault, invalid } from '@congvu/errors';
import { z } from 'zod';
import { type GeneralNameKind, generalNameKinds } from './extension.ts';
import {
  type AttributeName,
  attributeType,
  type ExtendedKeyUsage,
  type KeyUsage,
  keyPurpose,
  keyUsageBit,
  smimePolicy,
} from './oids.ts';
import { type KeyFamily, type KeyKind, keyFamilies, keyFamilyOf, keyKinds } from './public-key.ts';

/** What an issuing authority may be for. */
export const purposes = ['signature', 'encryption', 'device'] as const;
export type Purpose = (typeof purposes)[number];
export const accountKinds = ['person', 'position', 'agency', 'service'] as const;
export type AccountKind = (typeof accountKinds)[number];
export const enrolmentPaths = ['csr', 'server_key'] as const;
export type EnrolmentPath = (typeof enrolmentPaths)[number];

/** What is known of a subject, by which a profile says where the value of each attribute comes from. */
export const subjectFacts = [
  'country',
  'agencyName',
  'organizationIdentifier',
  'username',
  'address',
  'displayName',
  /** Of the person: of a position, whoever holds it. */
  'surname',
  'givenName',
  'fullName',
  'title',
  /** The first of the device's names. */
  'dnsName',
  'authorityName',
] as const;
export type SubjectFact = (typeof subjectFacts)[number];

export interface Profile {
  /** `a-z 0-9 -`; recorded with every certificate, so never given another meaning. */
  readonly id: string;
  /** `ocsp`: the responder of each authority, which the service asks of that authority by itself. */
  readonly purpose: Purpose | 'ocsp';
  readonly accountKinds: readonly AccountKind[];
  readonly paths: readonly EnrolmentPath[];
  /** Another than who asked must approve. */
  readonly fourEyes: boolean;
  /** A server-made key is kept, openable by two recovery officers together. */
  readonly escrow: boolean;
  /** What happens when the account goes to another agency. */
  readonly onTransfer: 'keep' | 'revoke';
  readonly maySelfRevoke: boolean;
  readonly renewal: { readonly daysBefore: number; readonly sameKey: boolean };
  /** Days of 86,400 seconds, both ends included. */
  readonly validityDays: number;
  readonly keyKinds: readonly KeyKind[];
  /** Critical. By family of the key, because each can do other things. */
  readonly keyUsage: Readonly<Partial<Record<KeyFamily, readonly KeyUsage[]>>>;
  readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
  /** Dotted OIDs; none: no such extension. */
  readonly certificatePolicies: readonly string[];
  /** In the order in which they stand in the name. What is not listed never appears, whatever is known of the subject. */
  readonly subject: readonly {
    readonly attribute: AttributeName;
    readonly from: SubjectFact;
    readonly required: boolean;
  }[];
  /** Kinds of name that subjectAltName takes; of each required kind at least one. */
  readonly subjectAltName: readonly { readonly kind: GeneralNameKind; readonly required: boolean }[];
  /** Trusted for as long as it lives: id-pkix-ocsp-nocheck instead of CRL and responder. */
  readonly ocspNoCheck: boolean;
}

const strings = z.array(z.string());
/** Shape alone; what the values mean is judged in `checkProfile`, all at once. */
const Shape = z.strictObject({
  id: z.string(),
  purpose: z.string(),
  accountKinds: strings,
  paths: strings,
  fourEyes: z.boolean(),
  escrow: z.boolean(),
  onTransfer: z.string(),
  maySelfRevoke: z.boolean(),
  renewal: z.strictObject({ daysBefore: z.number(), sameKey: z.boolean() }),
  validityDays: z.number(),
  keyKinds: strings,
  keyUsage: z.record(z.string(), strings),
  extendedKeyUsage: strings,
  certificatePolicies: strings,
  subject: z.array(z.strictObject({ attribute: z.string(), from: z.string(), required: z.boolean() })),
  subjectAltName: z.array(z.strictObject({ kind: z.string(), required: z.boolean() })),
  ocspNoCheck: z.boolean(),
});

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
export function checkProfile(input: unknown): Profile {
  const faults = profileFaults(input);
  if (faults.length > 0) throw invalid('profile_invalid', faults);
  return input as Profile;
}

/** Everything that is wrong with what should be a profile; nothing if it is one. */
export function profileFaults(input: unknown): Fault[] {
  const shaped = Shape.safeParse(input);
  if (!shaped.success)
    return shaped.error.issues.map(({ path, message }) => ({
      pointer: path.map((part) => `/${String(part)}`).join(''),
      code: 'shape',
      detail: `A profile: ${path.join('.')}: ${message}.`,
    }));
  const profile = input as Profile;
  const faults: Fault[] = [];
  const fault = (pointer: string, code: string, detail: string) =>
    faults.push({ pointer, code, detail: `Profile ${profile.id}: ${detail}` });

  if (!/^[a-z][a-z0-9-]{0,62}$/.test(profile.id)) fault('/id', 'format', 'an id has the form a-z 0-9 -.');
  const days = (pointer: string, value: number) => {
    if (!Number.isInteger(value) || value < 1)
      fault(pointer, 'range', `${pointer.slice(1)} is a whole number of days.`);
  };
  days('/validityDays', profile.validityDays);
  if (profile.purpose !== 'ocsp') days('/renewal/daysBefore', profile.renewal.daysBefore);
  if (profile.renewal.daysBefore >= profile.validityDays)
    fault('/renewal/daysBefore', 'range', 'a certificate cannot be due for renewal before it is valid.');
  if (profile.purpose !== 'ocsp' && !purposes.includes(profile.purpose))
    fault('/purpose', 'value', `a purpose is one of ${purposes.join(', ')}, ocsp.`);
  if (profile.onTransfer !== 'keep' && profile.onTransfer !== 'revoke')
    fault('/onTransfer', 'value', 'on a transfer it is either keep or revoke.');
  // The responder's certificate is asked for by nobody and no way.
  const empty = profile.purpose === 'ocsp' ? ['/accountKinds', '/paths', '/subjectAltName'] : [];
  if (!profile.extendedKeyUsage.includes('emailProtection')) empty.push('/certificatePolicies');
  const list = <T>(pointer: string, values: readonly T[], known: (value: T) => boolean) =>
    checkList(values, pointer, empty.includes(pointer), known, fault);
  list('/accountKinds', profile.accountKinds, (kind) => accountKinds.includes(kind));
  list('/paths', profile.paths, (path) => enrolmentPaths.includes(path));
  list('/keyKinds', profile.keyKinds, (kind) => keyKinds.includes(kind));
  for (const [family, usages] of Object.entries(profile.keyUsage))
    list(`/keyUsage/${family}`, usages, (usage) => Object.hasOwn(keyUsageBit, usage));
  list('/extendedKeyUsage', profile.extendedKeyUsage, (purpose) => Object.hasOwn(keyPurpose, purpose));
  list('/certificatePolicies', profile.certificatePolicies, (oid) => /^[0-2](\.(0|[1-9]\d*))+$/.test(oid));
  const attributes = profile.subject.map((one) => one.attribute);
  list('/subject', attributes, (attribute) => Object.hasOwn(attributeType, attribute));
  profile.subject.forEach(({ from }, index) => {
    if (!subjectFacts.includes(from)) fault(`/subject/${index}/from`, 'value', `"${from}" is nothing that is known.`);
  });
  const kinds = profile.subjectAltName.map((one) => one.kind);
  list('/subjectAltName', kinds, (kind) => generalNameKinds.includes(kind));
  if (!profile.subject.some((one) => one.required))
    fault('/subject', 'required', 'at least one subject attribute must be required, or the subject could be empty.');
  checkKeyUsage(profile, fault);
  if (profile.escrow && (profile.purpose !== 'encryption' || !profile.paths.includes('server_key')))
    fault(
      '/escrow',
      'escrow',
      'only encryption keys that are made here are kept: nobody else may ever sign for a person.',
    );
  if (profile.ocspNoCheck !== (profile.purpose === 'ocsp'))
    fault('/ocspNoCheck', 'ocsp', 'the responder alone, which nobody else can ask about, is trusted unasked.');
  if (profile.extendedKeyUsage.includes('emailProtection')) checkSmime(profile, attributes, fault);
  return faults;
}

type Report = (pointer: string, code: string, detail: string) => void;

/** What a family of keys cannot do (RFC 8017, RFC 5480 section 3, RFC 8410 section 5). */
const notOfFamily: Readonly<Record<KeyFamily, readonly KeyUsage[]>> = {
  rsa: ['keyAgreement'],
  ec: ['keyEncipherment', 'dataEncipherment'],
  ed25519: ['keyEncipherment', 'dataEncipherment', 'keyAgreement'],
};

function checkKeyUsage(profile: Profile, fault: Report): void {
  for (const family of new Set(profile.keyKinds.filter((kind) => keyKinds.includes(kind)).map(keyFamilyOf)))
    if (!profile.keyUsage[family]) fault(`/keyUsage/${family}`, 'required', `its ${family} keys have no usage.`);
  for (const [family, usages] of Object.entries(profile.keyUsage) as [KeyFamily, KeyUsage[]][]) {
    const pointer = `/keyUsage/${family}`;
    if (!profile.keyKinds.some((kind) => keyFamilyOf(kind) === family))
      fault(pointer, 'key_kind', `it takes no ${family} keys (families: ${keyFamilies.join(', ')}).`);
    for (const usage of usages) {
      if (usage === 'keyCertSign' || usage === 'cRLSign')
        fault(pointer, 'authority_only', `${usage} belongs to authorities, which are made in a ceremony.`);
      if (notOfFamily[family]?.includes(usage)) fault(pointer, 'key_kind', `${usage} is no usage of ${family} keys.`);
    }
    // A key that signs must not be kept for others, and one that is kept must not sign.
    const signs = usages.some((usage) => usage === 'digitalSignature' || usage === 'nonRepudiation');
    if (profile.purpose === 'encryption' && signs)
      fault(pointer, 'purpose', 'an encryption certificate does not sign.');
  }
}

/** Not empty unless it may be, no value twice, each value known. */
function checkList<T>(
  values: readonly T[],
  pointer: string,
  mayBeEmpty: boolean,
  known: (value: T) => boolean,
  fault: Report,
): void {
  if (values.length === 0 && !mayBeEmpty) fault(pointer, 'empty', `${pointer.slice(1)} must not be empty.`);
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
