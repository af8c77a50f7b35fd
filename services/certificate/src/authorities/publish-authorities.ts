/** CA certificates and CRLs under `ou=authorities`, where mail programs and connected systems look for them (RFC 4523). */
import { diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';

export interface AuthorityEntry {
  /** Of the authority, or of one of its lists. */
  name: string;
  /** Of an authority. */
  certificate?: Buffer;
  crl: Buffer;
  delta?: Buffer | null;
}

export async function publishAuthority(ldap: Ldap, baseDn: string, entry: AuthorityEntry): Promise<void> {
  const dn = distinguishedName({ cn: entry.name }, `ou=authorities,${baseDn}`);
  const wanted = {
    ...(entry.certificate && { 'cACertificate;binary': [entry.certificate] }),
    'certificateRevocationList;binary': [entry.crl],
    'deltaRevocationList;binary': entry.delta ? [entry.delta] : [],
  };
  const objectClass = ['cRLDistributionPoint', ...(entry.certificate ? ['pkiCA'] : [])];
  const present = Object.fromEntries(Object.entries(wanted).filter(([, values]) => values.length > 0));
  if (await ldap.add(dn, { objectClass, cn: [entry.name], ...present })) return;
  const found = await ldap.find(dn, Object.keys(wanted));
  const changes = diffAttributes(found?.attributes ?? {}, wanted);
  if (changes.length > 0) await ldap.modify(dn, changes);
}
