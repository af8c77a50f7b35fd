/** Audit events of certificates, through the directory's one way in. */
import type { Transaction } from '@congvu/database';

export interface SystemOrActor {
  kind: 'client' | 'holder' | 'system';
  id: string;
  ip: string | null;
}

export const certificateSystem: SystemOrActor = { kind: 'system', id: 'certificate', ip: null };

export async function recordCertificateEvent(
  transaction: Transaction,
  actor: SystemOrActor,
  action: string,
  subject: { account_id: string; agency_id: string; request_id: string | null },
  before: object | null,
  after: object,
): Promise<void> {
  await transaction.raw('select directory.record_event(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', [
    actor.kind,
    actor.id,
    actor.ip,
    action,
    'account',
    subject.account_id,
    subject.agency_id,
    subject.request_id,
    before && JSON.stringify(before),
    JSON.stringify(after),
  ] as never[]);
}
