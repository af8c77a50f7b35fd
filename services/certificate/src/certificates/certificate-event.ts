/** Audit events of certificates, through the directory's one way in. */
import type { AuditAction } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';

export interface SystemOrActor {
  kind: 'client' | 'holder' | 'system';
  id: string;
  ip: string | null;
}

export const certificateSystem: SystemOrActor = { kind: 'system', id: 'certificate', ip: null };

export interface EventSubject {
  type: 'account' | 'recovery' | 'recovery_officer' | 'compromised_key';
  id: string;
  agencyId: string | null;
  requestId?: string | null;
}

export async function recordEvent(
  transaction: Transaction,
  actor: SystemOrActor,
  action: AuditAction,
  subject: EventSubject,
  before: object | null,
  after: object,
): Promise<void> {
  await transaction.raw('select directory.record_event(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', [
    actor.kind,
    actor.id,
    actor.ip,
    action,
    subject.type,
    subject.id,
    subject.agencyId,
    subject.requestId ?? null,
    before && JSON.stringify(before),
    JSON.stringify(after),
  ] as never[]);
}

/** What happens to certificates and enrolments is on record with the account. */
export const recordCertificateEvent = (
  transaction: Transaction,
  actor: SystemOrActor,
  action: AuditAction,
  subject: { account_id: string; agency_id: string; request_id: string | null },
  before: object | null,
  after: object,
): Promise<void> =>
  recordEvent(
    transaction,
    actor,
    action,
    { type: 'account', id: subject.account_id, agencyId: subject.agency_id, requestId: subject.request_id },
    before,
    after,
  );
