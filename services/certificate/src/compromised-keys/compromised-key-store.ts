/** Every query on certificate.compromised_keys: keys that nobody gets a certificate for any more, by the SHA-256 of their SubjectPublicKeyInfo. */
import { hash } from 'node:crypto';
import type { CompromisedKey } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import type { CertificateRow } from '../certificates/certificate-store.ts';
import { enrolmentsOfKey } from '../enrolments/enrolment-store.ts';

export const fingerprintOfKey = (subjectPublicKeyInfo: Buffer): Buffer =>
  hash('sha256', subjectPublicKeyInfo, 'buffer');

/** Of these fingerprints those that are known as compromised, in hexadecimal. */
export async function listCompromised(
  connection: Connection,
  fingerprints: readonly Buffer[],
): Promise<ReadonlySet<string>> {
  if (fingerprints.length === 0) return new Set();
  const found = await connection('certificate.compromised_keys')
    .whereRaw('fingerprint = any(?::bytea[])', [fingerprints as Buffer[]])
    .pluck<Buffer[]>('fingerprint');
  return new Set(found.map((one) => one.toString('hex')));
}

/** False if it was known before. */
export async function insertCompromised(
  transaction: Transaction,
  key: { fingerprint: Buffer; reason: string; reportedByKind: string; reportedBy: string },
): Promise<boolean> {
  const inserted = await transaction('certificate.compromised_keys')
    .insert({
      fingerprint: key.fingerprint,
      reason: key.reason,
      reported_by_kind: key.reportedByKind,
      reported_by: key.reportedBy,
    })
    .onConflict('fingerprint')
    .ignore()
    .returning('fingerprint');
  return inserted.length === 1;
}

/** Certificates with their keys, of those that are still good for something. */
const live = (connection: Connection) =>
  connection('certificate.certificates as x')
    .join('certificate.enrolments as e', 'e.id', 'x.enrolment_id')
    .whereNotNull('e.subject_public_key_info')
    .where('x.not_after', '>', connection.fn.now())
    .where((open) => open.whereNot('x.state', 'revoked').orWhere('x.revocation_reason', 'certificateHold'));

/** Live certificates of a key, and what is being signed for it, each with whether it lies at or below the agency. */
export async function listLiveOfKey(
  connection: Connection,
  fingerprint: Buffer,
  agencyCode: string,
): Promise<{ serial_number: Buffer; account_id: string; is_below: boolean }[]> {
  const ofKey = live(connection)
    .whereRaw(`e.id in (${enrolmentsOfKey})`, [fingerprint])
    .select('x.serial_number', 'x.account_id', 'x.agency_id', 'x.created_at')
    .unionAll(
      connection('certificate.intents as i')
        .whereRaw(`i.enrolment_id in (${enrolmentsOfKey})`, [fingerprint])
        .select('i.serial_number', 'i.account_id', 'i.agency_id', 'i.created_at'),
    );
  return connection
    .from(ofKey.as('x'))
    .orderBy('x.created_at')
    .select(
      'x.serial_number',
      'x.account_id',
      connection.raw('x.agency_id in (select directory.agency_subtree(?)) as is_below', [agencyCode]),
    );
}

/** Live certificates of an account whose keys are known to others. */
export const listCompromisedOfAccount = (connection: Connection, accountId: string): Promise<CertificateRow[]> =>
  live(connection)
    .joinRaw('join certificate.compromised_keys k on k.fingerprint = sha256(e.subject_public_key_info)')
    .where('x.account_id', accountId)
    .select('x.*');

export async function requireCompromised(
  connection: Connection,
  fingerprint: Buffer,
): Promise<Omit<CompromisedKey, 'certificates'>> {
  const row = await connection('certificate.compromised_keys').where({ fingerprint }).first();
  return {
    fingerprintSha256: fingerprint.toString('hex'),
    reason: row.reason,
    reportedBy: row.reported_by,
    reportedAt: row.reported_at.toISOString(),
  };
}
