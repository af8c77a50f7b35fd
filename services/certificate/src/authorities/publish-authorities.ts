/** CA certificates and CRLs under `ou=authorities`, where mail programs and connected systems look for them (RFC 4523). */
import {
  type AttributeChange,
  type Attributes,
  diffAttributes,
  distinguishedName,
  type Ldap,
  NoSuchObjectError,
} from '@congvu/ldap';

export interface AuthorityEntry {
  /** Of the authority, or of one of its lists. */
  name: string;
  /** Of an authority. */
  certificate?: Buffer;
  crl: Buffer;
  delta?: Buffer | null;
}

/** `isNew` says that it has just been made: then what is there is not read, which may be megabytes, but replaced. */
export async function publishAuthority(
  ldap: Ldap,
  baseDn: string,
  entry: AuthorityEntry,
  isNew = false,
): Promise<void> {
  const dn = distinguishedName({ cn: entry.name }, `ou=authorities,${baseDn}`);
  const wanted: Attributes = {
    ...(entry.certificate && { 'cACertificate;binary': [entry.certificate] }),
    'certificateRevocationList;binary': [entry.crl],
    'deltaRevocationList;binary': entry.delta ? [entry.delta] : [],
  };
  const found = isNew ? {} : (await ldap.find(dn, Object.keys(wanted)))?.attributes;
  const changes = found && (isNew ? replacing(wanted) : diffAttributes(found, wanted));
  if (changes?.length === 0) return;
  if (changes && (await modifyIfThere(ldap, dn, changes))) return;
  const objectClass = ['cRLDistributionPoint', ...(entry.certificate ? ['pkiCA'] : [])];
  const present = Object.fromEntries(Object.entries(wanted).filter(([, values]) => values.length > 0));
  // Another process may have added it meanwhile.
  if (!(await ldap.add(dn, { objectClass, cn: [entry.name], ...present }))) await ldap.modify(dn, replacing(wanted));
}

const replacing = (wanted: Attributes): AttributeChange[] =>
  Object.entries(wanted).map(([attribute, values]) => ({ attribute, operation: 'replace', values }));

async function modifyIfThere(ldap: Ldap, dn: string, changes: readonly AttributeChange[]): Promise<boolean> {
  try {
    await ldap.modify(dn, changes);
    return true;
  } catch (error) {
    if (error instanceof NoSuchObjectError) return false;
    throw error;
  }
}
