/**
 * What the record says of an account's certificate: that there is to be one, by which way, and how many have been asked for; or
 * none, and why. The certificate service makes it true.
 */
import type { AuditAction } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { insertEvents } from '../audit/audit-store.ts';
import { type CertificateOrder, lockCertificateOrder, saveCertificateOrder } from './certificate-order-store.ts';
import { type Cause, conflict } from './change-account.ts';
import { queueEntries, queueOtherParts } from './queue-convergence.ts';

/** A new certificate; one that is still valid is revoked as superseded. */
export async function orderCertificate(
  transaction: Transaction,
  input: { accountId: string; path: 'server_key' | 'csr' },
  cause: Cause,
): Promise<void> {
  const order = await lockCertificateOrder(transaction, input.accountId);
  if (order.state !== 'active') {
    throw conflict('account_state', `The account is ${order.state}; a certificate is for one that is active.`);
  }
  const number = order.certificateNumber + 1;
  // One that was just withdrawn may still have to be revoked, for the reason given then.
  const reason = order.certificatePath === 'none' ? order.revocationReason : null;
  await change(transaction, order, 'account.certificate_ordered', { path: input.path, number, reason }, cause);
}

/** The account is to have no certificate any more. */
export async function withdrawCertificate(
  transaction: Transaction,
  input: { accountId: string; reason: string },
  cause: Cause,
): Promise<void> {
  const order = await lockCertificateOrder(transaction, input.accountId);
  if (order.state === 'retired')
    throw conflict('account_state', 'The account is retired; its certificates are revoked.');
  if (order.certificatePath === 'none') {
    throw conflict('account_without_certificate', 'The account has no certificate that could be revoked.');
  }
  const wanted = { path: 'none', number: order.certificateNumber, reason: input.reason } as const;
  await change(transaction, order, 'account.certificate_withdrawn', wanted, cause);
}

async function change(
  transaction: Transaction,
  order: CertificateOrder,
  action: AuditAction,
  wanted: { path: 'server_key' | 'csr' | 'none'; number: number; reason: string | null },
  cause: Cause,
): Promise<void> {
  await saveCertificateOrder(transaction, order.id, wanted);
  await insertEvents(transaction, [
    {
      actor: cause.actor,
      action,
      subjectType: 'account',
      subjectId: order.id,
      agencyId: order.agencyId,
      requestId: cause.requestId,
      before: { certificate: order.certificatePath, number: order.certificateNumber },
      after: { certificate: wanted.path, number: wanted.number, ...(wanted.reason ? { reason: wanted.reason } : {}) },
    },
  ]);
  // The entry says nothing of it, but has to be seen at the account's new version.
  await queueEntries(transaction, [order.id]);
  await queueOtherParts(transaction, [{ id: order.id }]);
}
