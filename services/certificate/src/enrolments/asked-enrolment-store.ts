/** Queries on certificate.enrolments for those that were asked for here: what repeats, what is unfinished, what was decided. */
import type { Connection, Transaction } from '@congvu/database';
import type { EnrolmentRow } from './enrolment-store.ts';

const rows = (connection: Connection) => connection<EnrolmentRow>('certificate.enrolments');

/** Of two with one key the second waits here until the first is on record. */
export async function lockIdempotencyKey(transaction: Transaction, clientId: string, key: string): Promise<void> {
  await transaction.raw('select pg_advisory_xact_lock(hashtextextended(?, 0))', [`enrolment:${clientId}:${key}`]);
}

export const findByIdempotencyKey = (
  connection: Connection,
  clientId: string,
  key: string,
): Promise<EnrolmentRow | undefined> =>
  rows(connection)
    .where({ asked_by: clientId, idempotency_key: key } as never)
    .first();

/**
 * Closes an enrolment whose certificate has ended or was revoked for good, so that another can be asked for. One whose certificate is
 * on hold stays open.
 */
export async function closeEnded(
  transaction: Transaction,
  accountId: string,
  profile: string,
  dnsNames: readonly string[],
): Promise<void> {
  await transaction.raw(
    `update certificate.enrolments e set wrapped_private_key = null, updated_at = now(),
       state = case when x.state = 'revoked' then 'revoked' else 'expired' end
     from certificate.certificates x
     where x.enrolment_id = e.id and e.account_id = ? and e.profile = ? and e.dns_names = ?::text[]
       and e.state in ('awaiting_csr', 'awaiting_pickup', 'issued')
       and (x.not_after < now() or (x.state = 'revoked' and x.revocation_reason <> 'certificateHold'))`,
    [accountId, profile, dnsNames as string[]],
  );
}

/**
 * Those that can go on without their holder: a key to be made here, or a certificate to be made for a key. What is intended and not
 * signed, because a process was killed, is finished by `finishIssuing`.
 */
export const listUnfinished = (connection: Connection, accountId: string): Promise<EnrolmentRow[]> =>
  rows(connection)
    .where({ account_id: accountId })
    .whereIn('state', ['awaiting_csr', 'awaiting_pickup'])
    .where((able) => able.where({ path: 'server_key' }).orWhereNotNull('subject_public_key_info'))
    .whereRaw(`(same_key or not exists (select from certificate.certificates x where x.enrolment_id = enrolments.id))`)
    .orderBy('created_at');

/** The key of an enrolment that has none yet. */
export async function setServerKey(
  transaction: Transaction,
  id: string,
  key: { wrappedPrivateKey: Buffer; subjectPublicKeyInfo: Buffer },
): Promise<void> {
  await rows(transaction).where({ id }).whereNull('subject_public_key_info').update({
    wrapped_private_key: key.wrappedPrivateKey,
    subject_public_key_info: key.subjectPublicKeyInfo,
  });
}

export async function setDecided(
  transaction: Transaction,
  id: string,
  decision: { state: EnrolmentRow['state']; by: string; remark: string | null },
): Promise<void> {
  await rows(transaction).where({ id }).update({
    state: decision.state,
    decided_by: decision.by,
    decided_at: new Date(),
    decision_remark: decision.remark,
  });
}

export async function setPassphrase(transaction: Transaction, id: string, wrapped: Buffer): Promise<void> {
  await rows(transaction).where({ id }).update({ wrapped_passphrase: wrapped });
}

export async function setPassphraseShown(transaction: Transaction, id: string): Promise<void> {
  await transaction('certificate.enrolments')
    .where({ id })
    .update({ passphrase_shown_at: transaction.raw('coalesce(passphrase_shown_at, now())') });
}

/** Server-made keys of accounts that a request opened, at or below the agency, page by page. */
export const listPickupsOfRequest = (
  connection: Connection,
  requestId: string,
  agencyCode: string,
  after: string,
  limit: number,
): Promise<{ id: string; username: string; profile: string }[]> =>
  connection('certificate.enrolments as e')
    .join('directory.accounts_v as c', 'c.id', 'e.account_id')
    .where('c.request_id', requestId)
    .whereRaw('c.agency_id in (select directory.agency_subtree(?))', [agencyCode])
    .where('e.path', 'server_key')
    .whereNotNull('e.wrapped_private_key')
    .where('e.id', '>', after)
    .orderBy('e.id')
    .limit(limit)
    .select('e.id', 'c.username', 'e.profile');
