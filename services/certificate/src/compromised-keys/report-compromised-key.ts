/**
 * A key that others know: nobody gets a certificate for it any more, whoever brings it. Told by its fingerprint, or by anything that
 * holds the public key. Reporting revokes nothing by itself; the answer names what is still to be revoked.
 */
import { createPublicKey } from 'node:crypto';
import type { CompromisedKey } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { fromPem, readCertificate } from '../authority/certificate.ts';
import { parseCsr } from '../authority/csr.ts';
import { recordEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { fingerprintOfKey, insertCompromised, requireCompromised } from './compromised-key-store.ts';

export async function reportCompromisedKey(
  database: Database,
  input: { fingerprintSha256?: string | undefined; publicKey?: string | undefined; reason: string },
  actor: SystemOrActor & { agencyCode: string },
): Promise<CompromisedKey> {
  const fingerprint =
    input.publicKey === undefined
      ? Buffer.from(input.fingerprintSha256!, 'hex')
      : fingerprintOfKey(await readPublicKey(input.publicKey));
  await database.transaction(async (transaction) => {
    const { reason } = input;
    const reporter = { reportedByKind: actor.kind, reportedBy: actor.id };
    if (!(await insertCompromised(transaction, { fingerprint, reason, ...reporter }))) return;
    const id = fingerprint.toString('hex');
    const subject = { type: 'compromised_key', id, agencyId: null } as const;
    await recordEvent(transaction, actor, 'compromised_key.reported', subject, null, { reason });
  });
  return requireCompromised(database, fingerprint, actor.agencyCode);
}

/** DER of the SubjectPublicKeyInfo. */
async function readPublicKey(pem: string): Promise<Buffer> {
  try {
    if (pem.includes('CERTIFICATE REQUEST-----')) return (await parseCsr(pem)).subjectPublicKeyInfo;
    if (pem.includes('BEGIN CERTIFICATE-----'))
      return readCertificate(fromPem('CERTIFICATE', pem)).subjectPublicKeyInfo;
    const key = { key: fromPem('PUBLIC KEY', pem), format: 'der', type: 'spki' } as const;
    return createPublicKey(key).export({ type: 'spki', format: 'der' });
  } catch (error) {
    const detail =
      error instanceof ServiceError
        ? error.detail
        : 'This is no public key; send PEM of type PUBLIC KEY, CERTIFICATE or CERTIFICATE REQUEST.';
    throw invalid('public_key_unreadable', [{ pointer: '/publicKey', code: 'public_key_unreadable', detail }]);
  }
}
