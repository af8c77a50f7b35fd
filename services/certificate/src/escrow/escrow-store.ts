/** Every query on certificate.escrowed_keys and certificate.recoveries. */
import type { Recovery } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

export async function insertEscrowedKey(
  transaction: Transaction,
  key: {
    enrolmentId: string;
    accountId: string;
    officerIds: readonly [string, string];
    sealedKey: Buffer;
    shares: readonly [Buffer, Buffer];
  },
): Promise<void> {
  await transaction('certificate.escrowed_keys').insert({
    enrolment_id: key.enrolmentId,
    account_id: key.accountId,
    sealed_key: key.sealedKey,
    first_officer_id: key.officerIds[0],
    second_officer_id: key.officerIds[1],
    first_share: key.shares[0],
    second_share: key.shares[1],
  });
}

export interface EscrowedKeyRow {
  enrolment_id: string;
  sealed_key: Buffer;
  first_officer_id: string;
  second_officer_id: string;
  first_share: Buffer;
  second_share: Buffer;
  first_officer: string;
  second_officer: string;
  authority_id: string;
  serial_number: Buffer;
  certificate: Buffer;
}

/** Every key of the account that a certificate was made for, revoked and expired ones too, the oldest first. */
export const listEscrowedKeys = (connection: Connection, accountId: string): Promise<EscrowedKeyRow[]> =>
  connection('certificate.escrowed_keys as k')
    .join('certificate.certificates as x', 'x.enrolment_id', 'k.enrolment_id')
    .join('certificate.recovery_officers as one', 'one.id', 'k.first_officer_id')
    .join('certificate.recovery_officers as other', 'other.id', 'k.second_officer_id')
    .where('k.account_id', accountId)
    .orderBy('k.created_at')
    .select(
      'k.*',
      'one.name as first_officer',
      'other.name as second_officer',
      'x.authority_id',
      'x.serial_number',
      'x.certificate',
    );

export interface RecoveryRow {
  id: string;
  account_id: string;
  agency_id: string;
  reason: string;
  state: 'awaiting_confirmation' | 'confirmed' | 'cancelled';
  asked_by: string;
  confirmed_by: string | null;
  created_at: Date;
  confirmed_at: Date | null;
  open_until: Date;
}

const rows = (connection: Connection) => connection<RecoveryRow>('certificate.recoveries');

/** One that nobody confirmed in time makes way for another. */
export const cancelOverdue = (transaction: Transaction, accountId: string): Promise<number> =>
  rows(transaction)
    .where({ account_id: accountId, state: 'awaiting_confirmation' })
    .where('open_until', '<', transaction.fn.now())
    .update({ state: 'cancelled' });

export async function insertRecovery(
  transaction: Transaction,
  recovery: Pick<RecoveryRow, 'account_id' | 'agency_id' | 'reason' | 'asked_by' | 'open_until'>,
): Promise<string> {
  const [row] = await rows(transaction).insert(recovery).returning('id');
  return (row as { id: string }).id;
}

export async function updateRecovery(
  transaction: Transaction,
  id: string,
  changes: Partial<Pick<RecoveryRow, 'state' | 'confirmed_by' | 'confirmed_at' | 'open_until'>>,
): Promise<void> {
  await rows(transaction).where({ id }).update(changes);
}

interface ListRow extends RecoveryRow {
  address: string;
  display_name: string;
  asked_by_name: string;
  confirmed_by_name: string | null;
  key_count: number;
}

const recoveries = (connection: Connection, agencyCode: string) =>
  connection('certificate.recoveries as r')
    .join('directory.accounts_v as c', 'c.id', 'r.account_id')
    .join('certificate.recovery_officers as asked', 'asked.id', 'r.asked_by')
    .leftJoin('certificate.recovery_officers as confirmed', 'confirmed.id', 'r.confirmed_by')
    .whereRaw('r.agency_id in (select directory.agency_subtree(?))', [agencyCode])
    .select<ListRow[]>(
      'r.*',
      'c.address',
      'c.display_name',
      'asked.name as asked_by_name',
      'confirmed.name as confirmed_by_name',
      connection.raw(
        '(select count(*)::int from certificate.escrowed_keys k where k.account_id = r.account_id) as key_count',
      ),
    );

const toRecovery = (row: ListRow): Recovery => ({
  id: row.id,
  accountId: row.account_id,
  address: row.address,
  displayName: row.display_name,
  reason: row.reason,
  state: row.state !== 'cancelled' && row.open_until < new Date() ? 'expired' : row.state,
  askedBy: row.asked_by_name,
  confirmedBy: row.confirmed_by_name,
  keyCount: row.key_count,
  createdAt: row.created_at.toISOString(),
  confirmedAt: row.confirmed_at?.toISOString() ?? null,
  openUntil: row.open_until.toISOString(),
});

export async function requireRecovery(connection: Connection, id: string, agencyCode: string): Promise<Recovery> {
  const [row] = await recoveries(connection, agencyCode).where('r.id', id);
  if (!row) throw notFound();
  return toRecovery(row);
}

/** The row itself, locked: what is done to a recovery is done one after the other. */
export async function lockRecovery(transaction: Transaction, id: string, agencyCode: string): Promise<RecoveryRow> {
  const row = await rows(transaction)
    .where({ id })
    .whereRaw('agency_id in (select directory.agency_subtree(?))', [agencyCode])
    .forUpdate()
    .first();
  if (!row) throw notFound();
  return row;
}

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'recovery_not_found',
    detail: 'There is no recovery of that id at or below your agency.',
  });

export async function listRecoveries(
  connection: Connection,
  agencyCode: string,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Recovery[]> {
  const found = await recoveries(connection, agencyCode)
    .modify((query) => {
      if (after) query.whereRaw('(r.created_at, r.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'r.created_at', order: 'desc' },
      { column: 'r.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return found.map(toRecovery);
}
