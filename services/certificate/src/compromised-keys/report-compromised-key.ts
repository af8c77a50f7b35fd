/**
 * A key that others know: nobody gets a certificate for it any more, whoever brings it. Told by its fingerprint, or by anything that
 * holds the public key. What has a certificate of it is revoked by the job that is queued with the report; the answer names it.
 */
import { createPublicKey } from 'node:crypto';
import type { CompromisedKey } from '@congvu/contracts';
import { addJobs, type Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { fromPem, readCertificate } from '../authority/certificate.ts';
import { parseCsr } from '../authority/csr.ts';
import { recordEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { fingerprintOfKey, insertCompromised, listLiveOfKey, requireCompromised } from './compromised-key-store.ts';

export async function reportCompromisedKey(
  database: Database,
  input: { fingerprintSha256?: string | undefined; publicKey?: string | undefined; reason: string },
  actor: SystemOrActor & { agencyCode: string },
): Promise<CompromisedKey> {
  const fingerprint =
    input.publicKey === undefined
      ? Buffer.from(input.fingerprintSha256!, 'hex')
      : fingerprintOfKey(await readPublicKey(input.publicKey));
  const serialNumbers = await database.transaction(async (transaction) => {
    const certificates = await listLiveOfKey(transaction, fingerprint, actor.agencyCode);
    // Certificates are public: nobody may have those of others revoked by naming their keys.
    if (certificates.some(({ is_below }) => !is_below))
      throw new ServiceError({
        kind: 'forbidden',
        code: 'key_of_others',
        detail: 'This key has certificates beyond your agency; tell the agency above.',
      });
    const { reason } = input;
    const reporter = { reportedByKind: actor.kind, reportedBy: actor.id };
    if (await insertCompromised(transaction, { fingerprint, reason, ...reporter })) {
      const id = fingerprint.toString('hex');
      const subject = { type: 'compromised_key', id, agencyId: null } as const;
      await recordEvent(transaction, actor, 'compromised_key.reported', subject, null, { reason });
    }
    const accountIds = new Set(certificates.map(({ account_id }) => account_id));
    await addJobs(transaction, 'certificate', [...accountIds].map(convergenceJob));
    return certificates.map(({ serial_number }) => serial_number.toString('hex'));
  });
  return { ...(await requireCompromised(database, fingerprint)), certificates: serialNumbers };
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
