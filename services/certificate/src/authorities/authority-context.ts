/** The authority that this service issues by: key, profile, its place in the record, and what it publishes. */
import type { Database } from '@congvu/database';
import { fromPem, readCertificate, subjectKeyIdentifierOf } from '../authority/certificate.ts';
import { type Issuer, loadIssuer, requireProfile } from '../authority/issuer.ts';
import { type Profile, personSignature } from '../authority/profile.ts';
import type { Config } from '../config.ts';
import { hasLiveCertificatesOfAnother, saveAuthority } from './authority-store.ts';

export interface AuthorityContext {
  /** Row id of the issuing authority. */
  id: string;
  /** Also the name in URLs and in LDAP. */
  name: string;
  issuer: Issuer;
  profile: Profile;
  /** DER, from the issuer upwards. */
  chain: readonly Buffer[];
  root: { name: string; certificate: Buffer; crl: Buffer };
}

/** Proves key, certificate and profile before anything is issued. Throws when they do not fit. */
export async function openAuthority(database: Database, config: Config): Promise<AuthorityContext> {
  const issuer = await loadIssuer({
    certificatePem: config.ISSUING_CERTIFICATE,
    privateKeyPem: config.ISSUING_PRIVATE_KEY,
    passphrase: config.ISSUING_PASSPHRASE,
  });
  const root = readCertificate(fromPem('CERTIFICATE', config.ROOT_CERTIFICATE));
  const name = `issuing-${issuer.subjectKeyIdentifier.toString('hex').slice(0, 8)}`;
  const profile = personSignature({
    crl: `${config.PUBLIC_URL}/crl/${name}.crl`,
    caIssuers: `${config.PUBLIC_URL}/ca/${name}.crt`,
  });
  requireProfile(issuer, profile, new Date());
  const rootKey = subjectKeyIdentifierOf(root);
  if (!rootKey) throw new Error('the root certificate has no subject key identifier');
  await saveAuthority(database, { name: 'root', kind: 'root', certificate: root, subjectKeyIdentifier: rootKey });
  const id = await saveAuthority(database, {
    name,
    kind: 'issuing',
    certificate: issuer.certificate,
    subjectKeyIdentifier: issuer.subjectKeyIdentifier,
  });
  await refuseOrphans(database, id);
  return {
    id,
    name,
    issuer,
    profile,
    chain: [issuer.certificate.der, root.der],
    root: { name: 'root', certificate: root.der, crl: fromPem('X509 CRL', config.ROOT_CRL) },
  };
}

/** Certificates of an authority whose key is not here could be revoked, but no CRL would say so: better not to start. */
async function refuseOrphans(database: Database, id: string): Promise<void> {
  if (!(await hasLiveCertificatesOfAnother(database, id))) return;
  throw new Error(
    'certificates of another issuing authority are still valid, and this service was not given its key; give it that key, or wait until they have expired',
  );
}
