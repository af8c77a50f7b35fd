/** CA certificates and CRLs under `ou=authorities`, where mail programs and connected systems look for them (RFC 4523). */
import { diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';
import type { Authorities, Authority } from './authorities.ts';

export async function publishAuthorities(
  ldap: Ldap,
  baseDn: string,
  root: Authorities['root'],
  authority: Authority,
  crl: Buffer,
): Promise<void> {
  await publish(ldap, baseDn, root.name, root.certificate, root.crl);
  await publish(ldap, baseDn, authority.name, authority.issuer.certificate.der, crl);
}

async function publish(ldap: Ldap, baseDn: string, name: string, certificate: Buffer, crl: Buffer): Promise<void> {
  const dn = distinguishedName({ cn: name }, `ou=authorities,${baseDn}`);
  const wanted = { 'cACertificate;binary': [certificate], 'certificateRevocationList;binary': [crl] };
  if (await ldap.add(dn, { objectClass: ['cRLDistributionPoint', 'pkiCA'], cn: [name], ...wanted })) return;
  const entry = await ldap.find(dn, Object.keys(wanted));
  const changes = diffAttributes(entry?.attributes ?? {}, wanted);
  if (changes.length > 0) await ldap.modify(dn, changes);
}
