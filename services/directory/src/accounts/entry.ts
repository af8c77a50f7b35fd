/**
 * What the LDAP entry of an account should say of what the directory service answers for, and the smallest change that makes it say so.
 * Pure: the comparison of everything runs it in a thread of its own, which loads nothing else.
 */
import { type AttributeChange, type Attributes, diffAttributes, distinguishedName, type Entry } from '@congvu/ldap';
import type { EntrySource } from './convergence-store.ts';

/** ppolicy: locked until an administrator unlocks (draft-behera-ldap-password-policy section 5.3.3). */
export const lockedForGood = '000001010000Z';

/** Attributes of an entry that this service answers for, as they are asked for in LDAP. */
export const ownedNames = [
  'objectClass',
  'uid',
  'pwdAccountLockedTime',
  'cn',
  'sn',
  'givenName',
  'displayName',
  'title',
  'o',
  'congvuAccountKind',
  'congvuAccountStatus',
  'congvuAgencyCode',
  'congvuAgencyPath',
  'congvuCredentialEpoch',
  'mobile',
  'roleOccupant',
] as const;

export const entryDn = (base: string, source: EntrySource): string => distinguishedName({ uid: source.username }, base);

function wantedAttributes(base: string, source: EntrySource): Attributes {
  return {
    uid: [source.username],
    cn: [source.displayName],
    sn: [source.surname],
    givenName: [source.givenName],
    displayName: [source.displayName],
    title: source.title ? [source.title] : [],
    o: [source.agencyName],
    congvuAccountKind: [source.kind],
    congvuAccountStatus: [source.state],
    congvuAgencyCode: [source.agencyCode],
    congvuAgencyPath: source.agencyPath,
    congvuCredentialEpoch: [String(source.credentialEpoch)],
    mobile: source.mobile ? [source.mobile] : [],
    roleOccupant: source.holderUsername ? [distinguishedName({ uid: source.holderUsername }, base)] : [],
  };
}

/** Whether what the entry says of the lock is the administrative one; any other value is the policy's own, after failed attempts. */
export const isLockedForGood = (attributes: Attributes): boolean =>
  attributes.pwdAccountLockedTime?.[0] === lockedForGood;

export const hasEveryClass = (attributes: Attributes): boolean =>
  classes.every((name) => attributes.objectClass?.includes(name));

const isLocked = (source: EntrySource): boolean => source.state === 'suspended' || source.state === 'retired';

const classes = ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'];

/** The whole entry of a new account, but for what the other services write to it. */
export const wantedEntry = (base: string, source: EntrySource): { dn: string; attributes: Attributes } => ({
  dn: entryDn(base, source),
  attributes: {
    objectClass: classes,
    congvuAccountId: [source.id],
    ...wantedAttributes(base, source),
    ...(isLocked(source) ? { pwdAccountLockedTime: [lockedForGood] } : {}),
  },
});

export const isRenamed = (base: string, source: EntrySource, entry: Entry): boolean =>
  entry.dn.toLowerCase() !== entryDn(base, source).toLowerCase();

/** An entry that is not there yet has no password to take away; one without the mark was made before there were marks. */
export const epochOf = (attributes: Attributes | undefined): number =>
  attributes ? Number(attributes.congvuCredentialEpoch?.[0] ?? 1) : Number.POSITIVE_INFINITY;

/** The smallest change that makes an entry with these attributes say what the account says. */
export function changesTo(base: string, actual: Attributes, source: EntrySource): AttributeChange[] {
  // Its mark may be newer than what we read of the record; then whoever wrote it knew more.
  const credentialEpoch = Math.max(epochOf(actual), source.credentialEpoch);
  const changes = diffAttributes(actual, wantedAttributes(base, { ...source, credentialEpoch }));
  // Further classes may be somebody else's; those that the services need have to be there.
  const missing = classes.filter((name) => !actual.objectClass?.includes(name));
  if (missing.length > 0) changes.unshift({ attribute: 'objectClass', operation: 'add', values: missing });
  const locked = isLockedForGood(actual);
  if (locked !== isLocked(source)) {
    changes.push({
      attribute: 'pwdAccountLockedTime',
      operation: 'replace',
      values: locked ? [] : [lockedForGood],
    });
  }
  return changes;
}
