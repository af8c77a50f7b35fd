/**
 * Revokes the certificates of an account whose keys are known to others: after a report, and when one certificate of a key that was
 * kept at a renewal was revoked as compromised, the other too. Harmless to repeat.
 */
import { addJobs, type Database } from '@congvu/database';
import { certificateSystem, recordCertificateEvent } from '../certificates/certificate-event.ts';
import { setRevoked } from '../certificates/certificate-store.ts';
import { forgetPrivateKey } from '../enrolments/enrolment-store.ts';
import { crlJob } from '../revocation/crl-job.ts';
import { listCompromisedOfAccount } from './compromised-key-store.ts';

export async function revokeCompromised(database: Database, accountId: string): Promise<void> {
  if ((await listCompromisedOfAccount(database, accountId)).length === 0) return;
  await database.transaction(async (transaction) => {
    const certificates = await listCompromisedOfAccount(transaction, accountId);
    const ids = certificates.map(({ id }) => id);
    const changed = new Set(await setRevoked(transaction, ids, 'keyCompromise'));
    for (const certificate of certificates.filter(({ id }) => changed.has(id))) {
      await forgetPrivateKey(transaction, certificate.enrolment_id);
      const before = { state: certificate.state };
      const after = { serialNumber: certificate.serial_number.toString('hex'), reason: 'keyCompromise' };
      await recordCertificateEvent(transaction, certificateSystem, 'certificate.revoked', certificate, before, after);
    }
    const authorityIds = new Set(certificates.map((certificate) => certificate.authority_id));
    await addJobs(transaction, 'certificate', [...authorityIds].map(crlJob));
  });
}
