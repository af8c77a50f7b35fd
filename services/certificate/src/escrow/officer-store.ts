/** Every query on certificate.recovery_officers, and what this service asks of clients through the directory's function. */
import type { RecoveryOfficer } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

export interface OfficerRow {
  id: string;
  client_id: string;
  agency_id: string;
  name: string;
  certificate: Buffer;
  fingerprint_sha256: Buffer;
  state: RecoveryOfficer['state'];
  seat: 1 | 2 | null;
  proof_hash: Buffer;
  approved_by: string | null;
  created_at: Date;
  active_from: Date | null;
  retired_at: Date | null;
}

const rows = (connection: Connection) => connection<OfficerRow>('certificate.recovery_officers');

/** The two on duty, in the order of their seats; fewer while one is missing. */
export const listOfficersOnDuty = (connection: Connection): Promise<OfficerRow[]> =>
  rows(connection).where({ state: 'active' }).orderBy('seat');

export const listOfficers = (connection: Connection): Promise<OfficerRow[]> =>
  rows(connection).orderBy([{ column: 'created_at' }, { column: 'id' }]);

/** All that this client has been as an officer, the present first. */
export const listOfficersOfClient = (connection: Connection, clientId: string): Promise<OfficerRow[]> =>
  rows(connection)
    .where({ client_id: clientId })
    .whereNot({ state: 'awaiting_proof' })
    .orderByRaw("state = 'retired', created_at desc");

/** Officers come and go one after the other. */
export const lockOfficers = async (transaction: Transaction): Promise<void> => {
  await transaction.raw("select pg_advisory_xact_lock(hashtextextended('certificate.recovery_officers', 0))");
};

export async function requireOfficer(connection: Connection, id: string): Promise<OfficerRow> {
  const row = await rows(connection).where({ id }).first();
  if (row) return row;
  throw new ServiceError({
    kind: 'not_found',
    code: 'officer_not_found',
    detail: 'There is no such recovery officer.',
  });
}

export const findUnproven = (connection: Connection, clientId: string): Promise<OfficerRow | undefined> =>
  rows(connection).where({ client_id: clientId, state: 'awaiting_proof' }).first();

export async function insertOfficer(
  transaction: Transaction,
  officer: Pick<OfficerRow, 'client_id' | 'agency_id' | 'name' | 'certificate' | 'fingerprint_sha256' | 'proof_hash'>,
): Promise<OfficerRow> {
  const [row] = await rows(transaction)
    .insert({ ...officer, state: 'awaiting_proof' })
    .returning('*');
  return row as OfficerRow;
}

export async function updateOfficer(
  transaction: Transaction,
  id: string,
  changes: Partial<Omit<OfficerRow, 'id' | 'client_id' | 'created_at'>>,
): Promise<OfficerRow> {
  const [row] = await rows(transaction).where({ id }).update(changes).returning('*');
  return row as OfficerRow;
}

/** Whether the two are the same client, or one was shown the other's secret. */
export async function isOneHand(connection: Connection, one: string, other: string): Promise<boolean> {
  const { rows: found } = await connection.raw<{ rows: { yes: boolean }[] }>(
    'select directory.is_one_hand(?, ?) as yes',
    [one, other],
  );
  return found[0]?.yes === true;
}

/** The agency with nothing above it, if that is whom the code names. */
export const findTopAgency = (connection: Connection, code: string): Promise<{ id: string } | undefined> =>
  connection('directory.agencies_v').where({ code }).whereNull('parent_code').first('id');

export const toOfficer = (row: OfficerRow): RecoveryOfficer => ({
  id: row.id,
  clientId: row.client_id,
  name: row.name,
  fingerprintSha256: row.fingerprint_sha256.toString('hex'),
  state: row.state,
  approvedBy: row.approved_by,
  createdAt: row.created_at.toISOString(),
  activeFrom: row.active_from?.toISOString() ?? null,
  retiredAt: row.retired_at?.toISOString() ?? null,
});
