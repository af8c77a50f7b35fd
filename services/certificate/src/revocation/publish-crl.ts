/**
 * Makes a new CRL when something was revoked or the last one has lived half its time, stores it, and puts it into LDAP.
 * Its number and its contents are fixed under one lock.
 */
import type { Database, Transaction } from '@congvu/database';
import type { Ldap } from '@congvu/ldap';
import type { Authorities, Authority } from '../authorities/authorities.ts';
import { publishAuthorities } from '../authorities/publish-authorities.ts';
import { buildTbsCrl, signCrl } from '../authority/crl.ts';
import { listRevoked } from '../certificates/certificate-store.ts';
import { type CrlRow, findNewestCrl, insertCrl, lockAuthority } from './crl-store.ts';

export interface CrlDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  authorities: Authorities;
  crlHours: number;
}

export async function publishCrl(dependencies: CrlDependencies, authorityId: string, force: boolean): Promise<void> {
  const { database, ldap, baseDn, authorities, crlHours } = dependencies;
  const authority = authorities.byId(authorityId);
  let newest = await database.transaction((transaction) => renew(transaction, authority, crlHours, force));
  for (;;) {
    await publishAuthorities(ldap, baseDn, authorities.root, authority, newest.crl);
    // Another process may have made and published the next one meanwhile, which must not be hidden by ours.
    const now = await findNewestCrl(database, authority.id);
    if (!now || now.crl_number === newest.crl_number) return;
    newest = now;
  }
}

async function renew(
  transaction: Transaction,
  authority: Authority,
  crlHours: number,
  force: boolean,
): Promise<CrlRow> {
  await lockAuthority(transaction, authority.id);
  const last = await findNewestCrl(transaction, authority.id);
  const thisUpdate = new Date(Math.floor(Date.now() / 1_000) * 1_000);
  const half = (crlHours * 3_600_000) / 2;
  if (last && !force && last.next_update.getTime() - thisUpdate.getTime() > half) return last;
  const nextUpdate = new Date(thisUpdate.getTime() + crlHours * 3_600_000);
  const crlNumber = BigInt(last?.crl_number ?? 0) + 1n;
  const revoked = await listRevoked(transaction, authority.id, last?.this_update ?? new Date(0));
  const tbs = buildTbsCrl(authority.issuer, {
    crlNumber,
    thisUpdate,
    nextUpdate,
    entries: revoked.map((row) => ({
      serialNumber: row.serial_number,
      revocationDate: row.revoked_at,
      reason: row.revocation_reason,
    })),
  });
  const crl = await signCrl(authority.issuer, tbs);
  await insertCrl(transaction, {
    authorityId: authority.id,
    crlNumber,
    thisUpdate,
    nextUpdate,
    crl,
    entryCount: revoked.length,
  });
  return {
    authority_id: authority.id,
    crl_number: crlNumber.toString(),
    this_update: thisUpdate,
    next_update: nextUpdate,
    crl,
  };
}
