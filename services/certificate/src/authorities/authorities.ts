/**
 * The authorities that this service signs for, and the profiles that they issue. When one follows another of the same purpose, the
 * newer issues and the older still signs CRLs and OCSP certificates until the last of what it issued has ended: both chains stay
 * valid. At the start everything is proven: each key belongs to its certificate, and no profile outlives who issues it.
 */
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import {
  type Certificate,
  fromPem,
  isSignedBy,
  readCertificate,
  subjectKeyIdentifierOf,
} from '../authority/certificate.ts';
import { type Issuer, type Locations, requireProfile } from '../authority/issuer.ts';
import type { Profile, Purpose } from '../authority/profile.ts';
import { readRootCrl } from '../authority/root-crl.ts';
import type { Config } from '../config.ts';
import { type AuthorityFiles, readAuthorityFiles } from './authority-files.ts';
import { hasLiveCertificatesOfOthers, saveAuthority } from './authority-store.ts';
import { loadProfiles, requireServerKeyKind } from './profiles.ts';

export interface Authority {
  /** Row id. */
  readonly id: string;
  /** In URLs and in LDAP; what was recorded first stays, because it stands in certificates. */
  readonly name: string;
  readonly purposes: readonly Purpose[];
  /** `retired`: another issues in its place; `revoked`: by the root. Either still signs CRLs. */
  readonly state: 'active' | 'retired' | 'revoked';
  readonly issuer: Issuer;
  /** DER, from the issuer upwards. */
  readonly chain: readonly Buffer[];
  /** How many lists its certificates are spread over: a new one goes to one of the partitions 0 to this, exclusive. */
  readonly crlPartitions: number;
  /** By CRL partition: what stands in certificates of that partition. The same object for the same partition. */
  readonly locations: (crlPartition: number) => Locations;
}

export interface Authorities {
  readonly root: {
    readonly name: string;
    readonly certificate: Buffer;
    readonly crl: Buffer;
    /** When its CRL must have been replaced by the next one, which the ceremony makes. */
    readonly crlEnds: Date;
  };
  /** Every one whose key is here: those that issue, and those that only still sign CRLs and OCSP certificates. */
  readonly all: readonly Authority[];
  /** Throws `unavailable` (`authority_not_here`): another process may have its key. */
  readonly byId: (id: string) => Authority;
  readonly profiles: ReadonlyMap<string, Profile>;
  /** Throws `invalid` (`profile_unknown`). */
  readonly profile: (id: string) => Profile;
  /** Who issues a profile today. Throws `invalid` (`profile_unknown`) or `unavailable` (`authority_missing`). */
  readonly issuing: (profileId: string) => { readonly authority: Authority; readonly profile: Profile };
}

/** The name, in URLs and in LDAP, of the list of one partition of an authority. */
export const crlNameOf = (name: string, crlPartition: number): string =>
  crlPartition === 0 ? name : `${name}-${crlPartition}`;

/** Proves keys, certificates and profiles before anything is issued. Throws when they do not fit. */
export async function openAuthorities(database: Database, config: Config): Promise<Authorities> {
  const profiles = await loadProfiles();
  const root = readCertificate(fromPem('CERTIFICATE', config.ROOT_CERTIFICATE));
  const rootKey = subjectKeyIdentifierOf(root);
  if (!rootKey) throw new Error('the root certificate has no subject key identifier');
  const rootCrl = fromPem('X509 CRL', config.ROOT_CRL);
  const { revoked, nextUpdate } = await readRootCrl(root, rootCrl);
  const found = (await readAuthorityFiles(config.AUTHORITIES_DIRECTORY, config.AUTHORITIES_PASSPHRASE)).sort(
    (a, b) => startOf(b) - startOf(a),
  );
  for (const { name, issuer } of found) await requireSignedBy(root, issuer.certificate, name);
  const newestFirst = found.filter(({ issuer }) => !revoked.has(issuer.certificate.serialNumber.toString('hex')));
  for (const purpose of ['signature', ...new Set(newestFirst.flatMap((one) => one.purposes))] as const) {
    const newest = newestFirst.find((one) => one.purposes.includes(purpose));
    if (!newest) throw new Error(`there is no authority for the purpose ${purpose} in AUTHORITIES_DIRECTORY`);
    for (const profile of profiles.values())
      if (profile.purpose === purpose) requireProfile(newest.issuer, profile, new Date());
  }

  requireServerKeyKind(profiles, config.SERVER_KEY_KIND);

  await saveAuthority(database, { name: 'root', kind: 'root', certificate: root, subjectKeyIdentifier: rootKey });
  const all: Authority[] = [];
  for (const one of found) {
    const issues = one.purposes.some(
      (purpose) => newestFirst.find((other) => other.purposes.includes(purpose)) === one,
    );
    const { certificate, subjectKeyIdentifier } = one.issuer;
    const state = issues ? 'active' : newestFirst.includes(one) ? 'retired' : 'revoked';
    const { id, name } = await saveAuthority(database, {
      ...one,
      kind: 'issuing',
      certificate,
      subjectKeyIdentifier,
      state,
    });
    const chain = [certificate.der, root.der];
    all.push({ ...one, id, name, state, chain, locations: locationsOf(config.PUBLIC_URL, name) });
  }
  await refuseOrphans(database, all);
  return authoritiesOf({ name: 'root', certificate: root.der, crl: rootCrl, crlEnds: nextUpdate }, all, profiles);
}

/** From parts that fit; `openAuthorities` is the way in for what is configured. `all` is ordered, the newest first. */
export function authoritiesOf(
  root: Authorities['root'],
  all: readonly Authority[],
  profiles: ReadonlyMap<string, Profile>,
): Authorities {
  const unavailable = (code: string, detail: string) => new ServiceError({ kind: 'unavailable', code, detail });
  const profile = (id: string): Profile => {
    const found = profiles.get(id);
    if (found) return found;
    const detail = `There is no profile ${id}; there are ${[...profiles.keys()].join(', ')}.`;
    throw invalid('profile_unknown', [{ pointer: '/profile', code: 'profile_unknown', detail }]);
  };
  return {
    root,
    all,
    profiles,
    profile,
    byId: (id) => {
      const found = all.find((authority) => authority.id === id);
      if (!found) throw unavailable('authority_not_here', 'The key of that authority is not in this process.');
      return found;
    },
    issuing: (profileId) => {
      const wanted = profile(profileId);
      const now = new Date();
      const authority = all.find(
        ({ issuer, purposes, state }) =>
          state !== 'revoked' &&
          purposes.some((purpose) => purpose === wanted.purpose) &&
          issuer.certificate.notBefore <= now &&
          issuer.certificate.notAfter > now,
      );
      if (!authority)
        throw unavailable('authority_missing', `No authority issues certificates of profile ${profileId} here.`);
      return { authority, profile: wanted };
    },
  };
}

async function requireSignedBy(root: Certificate, certificate: Certificate, name: string): Promise<void> {
  if (certificate.issuer.equals(root.subject) && (await isSignedBy(root, certificate))) return;
  throw new Error(`the authority ${name} was not certified by this root`);
}

const startOf = ({ issuer }: AuthorityFiles): number => issuer.certificate.notBefore.getTime();

/** One object per partition, because templates of certificates are kept by it. */
function locationsOf(publicUrl: string, name: string): (crlPartition: number) => Locations {
  const known = new Map<number, Locations>();
  return (crlPartition) => {
    const locations = known.get(crlPartition) ?? {
      crl: [`${publicUrl}/crl/${crlNameOf(name, crlPartition)}.crl`],
      ocsp: [`${publicUrl}/ocsp`],
      caIssuers: [`${publicUrl}/ca/${name}.crt`],
    };
    known.set(crlPartition, locations);
    return locations;
  };
}

/** Certificates of an authority whose key is not here could be revoked, but no CRL would say so: better not to start. */
async function refuseOrphans(database: Database, all: readonly Authority[]): Promise<void> {
  if (
    !(await hasLiveCertificatesOfOthers(
      database,
      all.map((authority) => authority.id),
    ))
  )
    return;
  throw new Error(
    'certificates of another issuing authority are still valid, and this service was not given its key; give it that key, or wait until they have expired',
  );
}
