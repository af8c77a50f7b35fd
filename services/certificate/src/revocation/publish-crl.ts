/** Makes what lists are due or have changed, and brings LDAP to what is on record, whoever made it. */
import type { Database } from '@congvu/database';
import type { Ldap } from '@congvu/ldap';
import { type Authorities, type Authority, crlNameOf } from '../authorities/authorities.ts';
import { publishAuthority } from '../authorities/publish-authorities.ts';
import { findCrlVersion, listPartitions } from './crl-store.ts';
import { readCrl } from './held-crl.ts';
import { makeCrl } from './make-crl.ts';

export interface CrlDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  authorities: Authorities;
  /** Hours until the next list; a delta and so a new list comes more often. */
  crlHours: number;
  deltaHours: number;
  now?: () => Date;
}

/** Every list of every authority, and the root's, which no service makes. */
export async function publishCrls(dependencies: CrlDependencies): Promise<void> {
  const { database, ldap, baseDn, authorities } = dependencies;
  await publishAuthority(ldap, baseDn, authorities.root);
  for (const authority of authorities.all)
    for (const partition of await listPartitions(database, authority))
      await publishCrl(dependencies, authority.id, partition);
}

export async function publishCrl(dependencies: CrlDependencies, authorityId: string, partition: number): Promise<void> {
  const { database, ldap, baseDn, authorities, crlHours, deltaHours, now } = dependencies;
  const authority = authorities.byId(authorityId);
  const isOneOfSeveral = (await listPartitions(database, authority)).length > 1;
  const source = { authority, partition, isOneOfSeveral, crlHours, deltaHours: Math.min(deltaHours, crlHours) };
  const isNew = await database.transaction((transaction) => makeCrl(transaction, source, now?.() ?? new Date()));
  const list = { authorityId, partition };
  for (;;) {
    const newest = await readCrl(database, list);
    if (!newest) throw new Error('a revocation list that was just made is not on record');
    const entry = { ...entryOf(authority, partition), crl: newest.crl, delta: newest.delta };
    await publishAuthority(ldap, baseDn, entry, isNew);
    // Another process may have made and published the next one meanwhile, which must not be hidden by ours.
    if ((await findCrlVersion(database, list)) === newest.version) return;
  }
}

const entryOf = (authority: Authority, partition: number) => ({
  name: crlNameOf(authority.name, partition),
  // The first list lies beside the certificate; the others have entries of their own.
  ...(partition === 0 && { certificate: authority.issuer.certificate.der }),
});
