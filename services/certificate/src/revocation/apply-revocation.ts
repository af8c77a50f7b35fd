/**
 * What belongs to every revocation, whoever decided on it, in one transaction: the certificate's state, its key forgotten if it
 * waits here to be picked up, the event, and the list that is to say so. (That the list changes is noted by the database itself.)
 */
import { addJobs, type Transaction } from '@congvu/database';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import {
  type CertificateRow,
  type RevocationReason,
  releaseHold,
  setRevoked,
} from '../certificates/certificate-store.ts';
import { forgetPrivateKey } from '../enrolments/enrolment-store.ts';
import { crlJob } from './crl-job.ts';
import { deleteScheduled } from './schedule-store.ts';

export interface Revocation {
  reason: RevocationReason;
  invalidityDate?: Date | null | undefined;
  /** A hold that somebody decided on, which does not end with a suspension. */
  holdDecided?: boolean;
}

/** False when the certificate is revoked already: nothing happened. A hold may become final. */
export async function applyRevocation(
  transaction: Transaction,
  certificate: CertificateRow,
  revocation: Revocation,
  actor: SystemOrActor,
): Promise<boolean> {
  const { reason, invalidityDate } = revocation;
  if (!(await setRevoked(transaction, certificate.id, revocation))) return false;
  if (reason !== 'certificateHold') {
    await forgetPrivateKey(transaction, certificate.enrolment_id);
    await deleteScheduled(transaction, certificate.id);
  }
  await recordCertificateEvent(
    transaction,
    actor,
    'certificate.revoked',
    certificate,
    { state: certificate.state },
    {
      serialNumber: certificate.serial_number.toString('hex'),
      reason,
      ...(invalidityDate && { invalidityDate: invalidityDate.toISOString() }),
    },
  );
  await addJobs(transaction, 'certificate', [crlJob(certificate)]);
  return true;
}

/** The only revocation that ends (RFC 5280 section 5.3.1). False when the certificate is not on such a hold. */
export async function applyRelease(
  transaction: Transaction,
  certificate: CertificateRow,
  hold: { decided: boolean },
  actor: SystemOrActor,
): Promise<boolean> {
  if (!(await releaseHold(transaction, certificate.id, hold.decided))) return false;
  const serialNumber = certificate.serial_number.toString('hex');
  await recordCertificateEvent(
    transaction,
    actor,
    'certificate.hold_released',
    certificate,
    { state: certificate.state },
    { serialNumber, reason: null },
  );
  await addJobs(transaction, 'certificate', [crlJob(certificate)]);
  return true;
}
