/** Every query on certificate.compromised_keys: keys that nobody gets a certificate for any more, by the SHA-256 of their SubjectPublicKeyInfo. */
import { hash } from 'node:crypto';
import type { CompromisedKey } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

export const fingerprintOfKey = (subjectPublicKeyInfo: Buffer): Buffer =>
  hash('sha256', subjectPublicKeyInfo, 'buffer');

/** Of these fingerprints those that are known as compromised, in hexadecimal. */
export async function listCompromised(
  connection: Connection,
  fingerprints: readonly Buffer[],
): Promise<ReadonlySet<string>> {
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

/** With the certificates of this key below the agency that are not revoked for good. */
export async function requireCompromised(
  connection: Connection,
  fingerprint: Buffer,
  agencyCode: string,
): Promise<CompromisedKey> {
  const row = await connection('certificate.compromised_keys').where({ fingerprint }).first();
  const serialNumbers = await connection('certificate.certificates as x')
    .join('certificate.enrolments as e', 'e.id', 'x.enrolment_id')
    .whereRaw('sha256(e.subject_public_key_info) = ?', [fingerprint])
    .whereNotNull('e.subject_public_key_info')
    .whereRaw('x.agency_id in (select directory.agency_subtree(?))', [agencyCode])
    .where('x.not_after', '>', connection.fn.now())
    .where((open) => open.whereNot('x.state', 'revoked').orWhere('x.revocation_reason', 'certificateHold'))
    .orderBy('x.created_at')
    .pluck<Buffer[]>('x.serial_number');
  return {
    fingerprintSha256: fingerprint.toString('hex'),
    reason: row.reason,
    reportedBy: row.reported_by,
    reportedAt: row.reported_at.toISOString(),
    certificates: serialNumbers.map((one) => one.toString('hex')),
  };
}
