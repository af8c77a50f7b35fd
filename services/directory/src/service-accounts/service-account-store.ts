/** Every query on directory.service_accounts. */
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';

export interface ServiceAccountRow {
  id: string;
  name: string;
  display_name: string;
  agency_id: string;
  agency_code: string;
  state: 'active' | 'retired';
  read_scopes: string[];
  secret_issued_at: Date | null;
  created_at: Date;
  version: number;
  /** That its LDAP entry says. */
  entry_version: number;
}

const serviceAccounts = (connection: Connection) =>
  connection('directory.service_accounts as s')
    .join('directory.agencies as a', 'a.id', 's.agency_id')
    .select<ServiceAccountRow[]>(
      's.id',
      's.name',
      's.display_name',
      's.agency_id',
      'a.code as agency_code',
      's.state',
      's.read_scopes',
      's.secret_issued_at',
      's.created_at',
      's.version',
      's.entry_version',
    );

export async function insertServiceAccount(
  transaction: Transaction,
  row: { name: string; displayName: string; agencyId: string; readScopes: readonly string[] },
): Promise<string> {
  const [inserted] = await transaction('directory.service_accounts')
    .insert({
      name: row.name,
      display_name: row.displayName,
      agency_id: row.agencyId,
      read_scopes: [...row.readScopes],
    })
    .returning<{ id: string }[]>('id');
  return (inserted as { id: string }).id;
}

export async function requireServiceAccount(
  connection: Connection,
  id: string,
  scope: string,
): Promise<ServiceAccountRow> {
  const [row] = await serviceAccounts(connection).where('s.id', id).whereRaw(inSubtree('s.agency_id'), [scope]);
  if (!row) throw notFound();
  return row;
}

/** Locks it until the transaction ends. */
export async function lockServiceAccount(
  transaction: Transaction,
  id: string,
  scope: string,
): Promise<ServiceAccountRow> {
  const [row] = await serviceAccounts(transaction)
    .where('s.id', id)
    .whereRaw(inSubtree('s.agency_id'), [scope])
    .forUpdate('s');
  if (!row) throw notFound();
  return row;
}

const notFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'service_account_not_found',
    detail: 'There is no service account of that id at or below your agency.',
  });

export const listServiceAccounts = (
  connection: Connection,
  scope: string,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<ServiceAccountRow[]> =>
  serviceAccounts(connection)
    .whereRaw(inSubtree('s.agency_id'), [scope])
    .modify((query) => {
      if (after) query.whereRaw('(s.created_at, s.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 's.created_at', order: 'desc' },
      { column: 's.id', order: 'desc' },
    ])
    .limit(limit + 1);

/** Its version grows with it. */
export async function updateServiceAccount(
  transaction: Transaction,
  id: string,
  set: { state?: 'retired'; read_scopes?: string[]; secret_issued_at?: Date | null },
): Promise<void> {
  await transaction('directory.service_accounts')
    .where({ id })
    .update({ ...set, version: transaction.raw('version + 1'), updated_at: transaction.fn.now() });
}

export const findServiceAccount = async (connection: Connection, id: string): Promise<ServiceAccountRow | undefined> =>
  (await serviceAccounts(connection).where('s.id', id))[0];

/** All, or those whose LDAP entry is behind the record; by id. */
export const listIds = (
  connection: Connection,
  which: 'all' | 'behind',
  after: string,
  limit: number,
): Promise<string[]> =>
  connection('directory.service_accounts')
    .modify((query) => {
      if (which === 'behind') query.whereRaw('entry_version < version');
    })
    .where('id', '>', after)
    .orderBy('id')
    .limit(limit)
    .pluck('id');

export async function markConverged(connection: Connection, id: string, version: number): Promise<void> {
  await connection('directory.service_accounts')
    .where({ id })
    .where('entry_version', '<', version)
    .update({ entry_version: version });
}
