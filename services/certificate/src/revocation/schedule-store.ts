/** Every query on certificate.scheduled_revocations: at most one of a certificate. */
import type { Connection, Transaction } from '@congvu/database';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { RevocationReason } from '../certificates/certificate-store.ts';

export interface ScheduledRevocation {
  certificateId: string;
  revokeAt: Date;
  reason: RevocationReason;
  invalidityDate: Date | null;
  actor: SystemOrActor;
}

/** False when one is scheduled already. */
export async function insertScheduled(transaction: Transaction, scheduled: ScheduledRevocation): Promise<boolean> {
  const inserted = await transaction('certificate.scheduled_revocations')
    .insert({
      certificate_id: scheduled.certificateId,
      revoke_at: scheduled.revokeAt,
      reason: scheduled.reason,
      invalidity_date: scheduled.invalidityDate,
      actor_kind: scheduled.actor.kind,
      actor_id: scheduled.actor.id,
      actor_ip: scheduled.actor.ip,
    })
    .onConflict('certificate_id')
    .ignore()
    .returning('certificate_id');
  return inserted.length === 1;
}

/** True when there was one. */
export const deleteScheduled = async (transaction: Transaction, certificateId: string): Promise<boolean> =>
  (await transaction('certificate.scheduled_revocations').where({ certificate_id: certificateId }).delete()) === 1;

export const listDue = (connection: Connection, limit: number): Promise<string[]> =>
  connection('certificate.scheduled_revocations')
    .where('revoke_at', '<=', connection.fn.now())
    .orderBy('revoke_at')
    .limit(limit)
    .pluck('certificate_id');

/** Taken off the schedule, to be carried out in the same transaction; undefined when another process has it. */
export async function takeScheduled(
  transaction: Transaction,
  certificateId: string,
): Promise<ScheduledRevocation | undefined> {
  const [row] = await transaction('certificate.scheduled_revocations')
    .where({ certificate_id: certificateId })
    .delete()
    .returning('*');
  return (
    row && {
      certificateId,
      revokeAt: row.revoke_at,
      reason: row.reason,
      invalidityDate: row.invalidity_date,
      actor: { kind: row.actor_kind, id: row.actor_id, ip: row.actor_ip },
    }
  );
}
