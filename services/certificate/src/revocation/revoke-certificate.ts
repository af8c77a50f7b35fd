/**
 * Revokes a certificate by somebody's decision, with a reason of RFC 5280 section 5.3.1: at once, on a day that lies ahead, or only for
 * the time being (a hold). The holder and the agency may do it for every reason but that the authority takes a privilege away.
 */
import { addJobs, type Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Authorities } from '../authorities/authorities.ts';
import { recordCertificateEvent, type SystemOrActor } from '../certificates/certificate-event.ts';
import {
  type CertificateRow,
  lockCertificate,
  type RevocationReason,
  requireCertificate,
  type Scope,
} from '../certificates/certificate-store.ts';
import { convergenceJob } from '../enrolments/convergence-job.ts';
import { applyRevocation } from './apply-revocation.ts';
import { insertScheduled, listDue, takeScheduled } from './schedule-store.ts';

export interface RevocationRequest {
  reason: RevocationReason;
  /** Since when it is not to be trusted. */
  invalidityDate?: Date | undefined;
  /** Later than now; at once if left out. */
  revokeAt?: Date | undefined;
}

export interface Decider {
  actor: SystemOrActor;
  scope: Scope;
  isAdministrator: boolean;
}

export async function revokeCertificate(
  { database, authorities }: { database: Database; authorities: Authorities },
  serialNumber: Buffer,
  request: RevocationRequest,
  decider: Decider,
): Promise<void> {
  const { id, wire } = await requireCertificate(database, serialNumber, decider.scope);
  requireRight(authorities, wire.profile, request, decider);
  requireTimes(request, new Date(wire.notAfter));
  await database.transaction(async (transaction) => {
    const certificate = await lockCertificate(transaction, id);
    requireRevocable(certificate, request);
    if (request.revokeAt) {
      const { reason, revokeAt, invalidityDate = null } = request;
      const scheduled = { certificateId: id, reason, revokeAt, invalidityDate, actor: decider.actor };
      if (!(await insertScheduled(transaction, scheduled)))
        throw conflict('revocation_scheduled', 'A revocation is scheduled already; cancel that first.');
      await recordCertificateEvent(transaction, decider.actor, 'certificate.revocation_scheduled', certificate, null, {
        serialNumber: wire.serialNumber,
        reason,
        revokeAt: revokeAt.toISOString(),
      });
      return;
    }
    const revocation = { ...request, holdDecided: request.reason === 'certificateHold' };
    if (!(await applyRevocation(transaction, certificate, revocation, decider.actor)))
      throw new Error('a certificate that can be revoked was not');
    await addJobs(transaction, 'certificate', [convergenceJob(certificate.account_id)]);
  });
}

/** Carries out what is due, each in a transaction of its own. What was revoked or ended meanwhile is let be. */
export async function revokeScheduled(database: Database): Promise<void> {
  const atOnce = 100;
  for (;;) {
    const due = await listDue(database, atOnce);
    for (const id of due) {
      await database.transaction(async (transaction) => {
        const scheduled = await takeScheduled(transaction, id);
        if (!scheduled) return;
        const certificate = await lockCertificate(transaction, id);
        if (!(await applyRevocation(transaction, certificate, scheduled, scheduled.actor))) return;
        await addJobs(transaction, 'certificate', [convergenceJob(certificate.account_id)]);
      });
    }
    if (due.length < atOnce) return;
  }
}

function requireRight(
  { profiles }: Authorities,
  profile: string,
  { reason }: RevocationRequest,
  { scope, isAdministrator }: Decider,
): void {
  const forbidden = (code: string, detail: string) => new ServiceError({ kind: 'forbidden', code, detail });
  if (reason === 'privilegeWithdrawn' && !isAdministrator)
    throw forbidden('revocation_reason', 'privilegeWithdrawn is a decision of the authority; give another reason.');
  if ('accountId' in scope && !profiles.get(profile)?.maySelfRevoke)
    throw forbidden('self_revocation', `Certificates of profile ${profile} are revoked by the agency; ask it.`);
}

function requireTimes({ reason, invalidityDate, revokeAt }: RevocationRequest, notAfter: Date): void {
  const now = new Date();
  const fault = (pointer: string, code: string, detail: string) => ({ pointer, code, detail });
  const faults = [
    ...(revokeAt && revokeAt <= now
      ? [fault('/revokeAt', 'time_past', 'This lies in the past; leave it out to revoke at once.')]
      : []),
    ...(revokeAt && revokeAt > notAfter
      ? [fault('/revokeAt', 'time_after_end', `The certificate ends by itself on ${notAfter.toISOString()}.`)]
      : []),
    ...(revokeAt && reason === 'certificateHold'
      ? [fault('/revokeAt', 'hold_scheduled', 'A hold begins at once; it cannot be scheduled.')]
      : []),
    ...(invalidityDate && invalidityDate > now
      ? [fault('/invalidityDate', 'time_future', 'Say since when it is not to be trusted, not from when on.')]
      : []),
    ...(invalidityDate && reason === 'certificateHold'
      ? [fault('/invalidityDate', 'hold_dated', 'A hold is for the time being and says nothing of before.')]
      : []),
  ];
  if (faults.length > 0) throw invalid('revocation_invalid', faults);
}

/** Not twice, not what has ended; but a hold may become final, and one that follows the account a decided one. */
function requireRevocable(certificate: CertificateRow, { reason }: RevocationRequest): void {
  const { state, revocation_reason: former, revoked_at: revokedAt, not_after: notAfter } = certificate;
  if (notAfter <= new Date()) throw conflict('certificate_state', 'The certificate has expired already.');
  if (state === 'valid') return;
  if (former !== 'certificateHold')
    throw conflict(
      'certificate_state',
      `The certificate is revoked already, since ${revokedAt?.toISOString()} (${former}).`,
    );
  if (reason === 'certificateHold' && certificate.hold_decided)
    throw conflict('certificate_state', `The certificate is on hold already, since ${revokedAt?.toISOString()}.`);
}

const conflict = (code: string, detail: string) => new ServiceError({ kind: 'conflict', code, detail });
