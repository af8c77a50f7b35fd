/**
 * What of an account's entry is not as the record says, across the attributes of all three services. The directory's own are
 * judged by the very function with which it converges them.
 */
import { hash } from 'node:crypto';
import { type Attributes, diffAttributes, type Entry, type Value } from '@congvu/ldap';
import {
  changesTo,
  entryDn,
  hasEveryClass,
  isLockedForGood,
  isRenamed,
  ownedNames,
  wantedEntry,
} from '../accounts/entry.ts';
import type { ExpectedEntry } from './expected-store.ts';

export interface Difference {
  /** Whose converging puts it right. */
  part: Part;
  attribute: string;
  expected: readonly string[];
  actual: readonly string[];
}
export type Part = 'entry' | 'mailbox' | 'certificate';

const mailNames = ['mail', 'congvuMailAlias', 'congvuMailForward', 'congvuMailStatus', 'congvuMailQuotaBytes'];
export const certificateName = 'userCertificate;binary';

/** Everything that is compared. Passwords cannot be read, and are never looked at. */
export const comparedNames = ['congvuAccountId', ...ownedNames, ...mailNames, certificateName] as const;

export const partOf = (attribute: string): Part =>
  attribute === 'userCertificate' ? 'certificate' : mailNames.includes(attribute) ? 'mailbox' : 'entry';

export const digestedNames = [
  ...ownedNames.filter((name) => name !== 'objectClass' && name !== 'pwdAccountLockedTime'),
  ...mailNames,
];

/** Equal to what `digest-entries.ts` makes of the account's entry when that has no difference; unequal, it may have one and is looked at. */
export function digestOfExpected(base: string, { source, mail, routes, certificates }: ExpectedEntry): string {
  const { dn, attributes } = wantedEntry(base, source);
  const valid = certificates.filter(({ expired }) => !expired).map(({ fingerprint }) => fingerprint);
  return digestOf(dn, { ...attributes, ...mailAttributes(mail, routes) }, valid);
}

/** Characters that no value of ours can hold, this one and NUL, part the values, so that none flows into the next. */
export const valueSeparator = '\u0001';
export const joinValues = (values: readonly Value[]): string => [...values].sort().join(valueSeparator);

function digestOf(dn: string, attributes: Attributes, fingerprints: readonly string[]): string {
  let text = `${dn.toLowerCase()}${hasEveryClass(attributes)}${isLockedForGood(attributes)}`;
  for (const name of digestedNames) {
    const values = attributes[name];
    text += '\u0000';
    if (values?.length === 1) text += values[0];
    else if (values) text += joinValues(values);
  }
  text += fingerprints.length > 1 ? [...fingerprints].sort().join() : (fingerprints[0] ?? '');
  // Nothing secret rests on it; as text, because a Buffer each would cost as much again.
  return hash('sha1', text, 'binary');
}

/** Empty when the entry is as it should be. */
export function differencesOf(base: string, expected: ExpectedEntry, entry: Entry): Difference[] {
  const { source } = expected;
  const mail = mailAttributes(expected.mail, expected.routes);
  const actual = entry.attributes;
  const differences: Difference[] = [];
  const add = (attribute: string, wanted: readonly Value[], found: readonly Value[]) =>
    differences.push({
      part: partOf(attribute),
      attribute,
      expected: shown(attribute, wanted),
      actual: shown(attribute, found),
    });

  if (isRenamed(base, source, entry)) add('dn', [entryDn(base, source)], [entry.dn]);
  for (const { attribute, operation, values } of changesTo(base, actual, source)) {
    const found = actual[attribute] ?? [];
    if (differences.some((known) => known.attribute === attribute)) continue; // a deletion and an addition of one attribute
    add(attribute, operation === 'replace' ? values : wantedOf(base, attribute, actual, source), found);
  }
  for (const { attribute } of diffAttributes(actual, mail)) {
    add(attribute, mail[attribute] ?? [], actual[attribute] ?? []);
  }
  const certificates = certificateDifference(
    expected.certificates,
    (actual[certificateName] ?? []) as readonly Buffer[],
  );
  if (certificates) differences.push(certificates);
  return differences;
}

/** Telephone numbers are personal, and a finding and its audit event are kept: of them the end must do. */
const shown = (attribute: string, values: readonly Value[]): string[] =>
  values.map(String).map((value) => (attribute === 'mobile' ? `***${value.length > 6 ? value.slice(-3) : ''}` : value));

/** All values that the attribute should have, from the changes that lead there. */
function wantedOf(
  base: string,
  attribute: string,
  actual: Attributes,
  source: ExpectedEntry['source'],
): readonly Value[] {
  const changes = changesTo(base, actual, source).filter((change) => change.attribute === attribute);
  const gone = new Set(changes.flatMap(({ operation, values }) => (operation === 'delete' ? values : [])));
  const added = changes.flatMap(({ operation, values }) => (operation === 'add' ? values : []));
  return [...(actual[attribute] ?? []).filter((value) => !gone.has(value)), ...added];
}

const mailAttributes = (mail: ExpectedEntry['mail'], { aliases, forwards }: ExpectedEntry['routes']): Attributes => ({
  mail: mail ? [mail.mail] : [],
  congvuMailAlias: aliases,
  congvuMailForward: forwards,
  congvuMailStatus: mail ? [mail.mail_status] : [],
  congvuMailQuotaBytes: mail ? [mail.mail_quota_bytes] : [],
});

/** By fingerprint: the record of certificates is the certificate service's, and a certificate is a kilobyte. */
function certificateDifference(
  expected: ExpectedEntry['certificates'],
  values: readonly Buffer[],
): Difference | undefined {
  if (expected.length === 0 && values.length === 0) return undefined;
  const actual = values.map(fingerprintOf);
  const missing = expected.some(({ fingerprint, expired }) => !expired && !actual.includes(fingerprint));
  const surplus = actual.some((fingerprint) => !expected.some((one) => one.fingerprint === fingerprint));
  if (!missing && !surplus) return undefined;
  const wanted = expected.filter(({ expired }) => !expired).map(({ fingerprint }) => fingerprint);
  return { part: 'certificate', attribute: 'userCertificate', expected: wanted.sort(), actual: actual.sort() };
}

const fingerprintOf = (certificate: Buffer): string => hash('sha256', certificate);
