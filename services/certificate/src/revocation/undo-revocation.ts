/** What can be undone of a revocation: a hold that somebody decided on, and what is only scheduled. */
import { addJobs, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { certificateSystem, recordCertificateEvent } from '../certificates/certificate-event.ts';
import { lockCertificate, requireCertificate } from '../certificates/certificate-store.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { findAccount } from '../enrolments/enrolment-store.ts';
import { applyRelease, applyRevocation } from './apply-revocation.ts';
import type { Decider } from './revoke-certificate.ts';
import { deleteScheduled } from './schedule-store.ts';

/** If the account is suspended, the certificate stays on hold for that. */
export async function releaseCertificate(database: Database, serialNumber: Buffer, decider: Decider): Promise<void> {
  const { id } = await requireCertificate(database, serialNumber, decider.scope);
  await database.transaction(async (transaction) => {
    const certificate = await lockCertificate(transaction, id);
    if (!(await applyRelease(transaction, certificate, { decided: true }, decider.actor))) {
      const { state, revocation_reason: reason } = certificate;
      throw new ServiceError({
        kind: 'conflict',
        code: 'not_on_hold',
        detail:
          reason === 'certificateHold'
            ? 'The certificate is on hold because its account is suspended; resume that.'
            : state === 'revoked'
              ? `The certificate is revoked for good (${reason}); only a hold ends. Order another.`
              : 'The certificate is not on hold.',
      });
    }
    if ((await findAccount(transaction, certificate.account_id))?.state === 'suspended')
      await applyRevocation(transaction, certificate, { reason: 'certificateHold' }, certificateSystem);
    await addJobs(transaction, 'certificate', [convergenceJob(certificate.account_id)]);
  });
}

export async function cancelScheduled(database: Database, serialNumber: Buffer, decider: Decider): Promise<void> {
  const { id, wire } = await requireCertificate(database, serialNumber, decider.scope);
  await database.transaction(async (transaction) => {
    const certificate = await lockCertificate(transaction, id);
    if (!(await deleteScheduled(transaction, id))) {
      const detail = 'No revocation of this certificate is scheduled.';
      throw new ServiceError({ kind: 'not_found', code: 'nothing_scheduled', detail });
    }
    await recordCertificateEvent(
      transaction,
      decider.actor,
      'certificate.revocation_cancelled',
      certificate,
      { revokeAt: wire.revocationScheduledAt },
      { serialNumber: wire.serialNumber },
    );
  });
}
