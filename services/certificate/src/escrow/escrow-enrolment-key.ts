/**
 * Escrows the server-made key of an enrolment to the two officers on duty, in the transaction that gives the enrolment its key: there is
 * none that was to be escrowed and was not. From then on what is stored here does not open it; two officers do.
 */
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { readCertificate } from '../authority/certificate.ts';
import { escrowPrivateKey } from '../authority/key-escrow.ts';
import { certificateSystem, recordCertificateEvent } from '../certificates/certificate-event.ts';
import { insertEscrowedKey } from './escrow-store.ts';
import { listOfficersOnDuty } from './officer-store.ts';

export async function escrowEnrolmentKey(
  transaction: Transaction,
  account: { id: string; agencyId: string; requestId: string | null },
  enrolmentId: string,
  privateKey: Buffer,
): Promise<void> {
  const [first, second] = await listOfficersOnDuty(transaction);
  if (!first || !second)
    throw new ServiceError({
      kind: 'unavailable',
      code: 'escrow_not_ready',
      detail: 'There are not two recovery officers on duty to escrow the key to.',
    });
  const officers = [readCertificate(first.certificate), readCertificate(second.certificate)] as const;
  await insertEscrowedKey(transaction, {
    enrolmentId,
    accountId: account.id,
    officerIds: [first.id, second.id],
    ...escrowPrivateKey(privateKey, officers, enrolmentId),
  });
  const subject = { account_id: account.id, agency_id: account.agencyId, request_id: account.requestId };
  await recordCertificateEvent(transaction, certificateSystem, 'enrolment.key_escrowed', subject, null, {
    enrolmentId,
    officers: [first.id, second.id],
  });
}
