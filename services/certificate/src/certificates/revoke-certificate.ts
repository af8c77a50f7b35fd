/**
 * Revokes a certificate by an administrator's decision, with a reason of RFC 5280 section 5.3.1. Its key, if it was not
 * picked up yet, is erased: nobody can use it any more.
 */
import { addJobs, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { forgetPrivateKey } from '../enrolments/enrolment-store.ts';
import { crlJob } from '../revocation/crl-job.ts';
import { recordCertificateEvent, type SystemOrActor } from './certificate-event.ts';
import {
  listOfAccount,
  type RevocationReason,
  requireCertificate,
  type Scope,
  setRevoked,
} from './certificate-store.ts';

export async function revokeCertificate(
  database: Database,
  serialNumber: Buffer,
  reason: RevocationReason,
  scope: Scope,
  actor: SystemOrActor,
): Promise<void> {
  const { wire, id } = await requireCertificate(database, serialNumber, scope);
  await database.transaction(async (transaction) => {
    const changed = await setRevoked(transaction, [id], reason);
    if (changed.length === 0) {
      throw new ServiceError({
        kind: 'conflict',
        code: 'certificate_state',
        detail:
          wire.state === 'signing'
            ? 'The certificate is just being made; try again in a moment.'
            : `The certificate is ${wire.state} already.`,
      });
    }
    const row = (await listOfAccount(transaction, wire.accountId)).find((one) => one.id === id);
    if (!row) throw new Error('a certificate that was just revoked is not there');
    await forgetPrivateKey(transaction, row.enrolment_id);
    await recordCertificateEvent(
      transaction,
      actor,
      'certificate.revoked',
      row,
      { state: wire.state },
      { serialNumber: wire.serialNumber, reason },
    );
    await addJobs(transaction, 'certificate', [
      crlJob(row.authority_id),
      {
        task: 'converge-certificates',
        payload: { accountIds: [wire.accountId] },
        key: `certificates:${wire.accountId}`,
      },
    ]);
  });
}
