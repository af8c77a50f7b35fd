/** Every query on directory.clients: the programs that may ask for tokens. */
import { randomUUID } from 'node:crypto';
import type { Client, Role } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

export interface ClientRow {
  id: string;
  name: string;
  agency_code: string;
  role: Role | null;
  permissions: string[];
  secret_hash: Buffer;
  /** Who was shown the secret last. */
  created_by: string | null;
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  disabled_at: Date | null;
  version: number;
}

const clients = (connection: Connection) => connection<ClientRow>('directory.clients');

export const findClient = (connection: Connection, id: string): Promise<ClientRow | undefined> =>
  clients(connection).where({ id }).first();

/** Clients of agencies in the subtree of `scope`, and those of `scope` itself while it is not imported yet. */
const inScope = `(c.agency_code = ? or c.agency_code in (
  select a.code from directory.agencies a where a.id in (select directory.agency_subtree(?))))`;

export async function requireClient(connection: Connection, id: string, scope: string): Promise<ClientRow> {
  return found(
    await connection('directory.clients as c').where('c.id', id).whereRaw(inScope, [scope, scope]).first('c.*'),
  );
}

/** Locks the client until the transaction ends. */
export async function requireClientForUpdate(transaction: Transaction, id: string, scope: string): Promise<ClientRow> {
  const query = transaction('directory.clients as c').where('c.id', id).whereRaw(inScope, [scope, scope]);
  return found(await query.forUpdate('c').first('c.*'));
}

function found(row: ClientRow | undefined): ClientRow {
  if (row) return row;
  const detail = 'There is no client of that id at or below your agency.';
  throw new ServiceError({ kind: 'not_found', code: 'client_not_found', detail });
}

export async function insertClient(
  transaction: Transaction,
  client: Pick<
    ClientRow,
    'id' | 'name' | 'agency_code' | 'role' | 'permissions' | 'secret_hash' | 'created_by' | 'expires_at'
  >,
): Promise<ClientRow> {
  const [row] = await clients(transaction).insert(client).returning('*');
  return row as ClientRow;
}

export async function updateClient(
  transaction: Transaction,
  id: string,
  changes: Partial<Omit<ClientRow, 'expires_at'>> & { expires_at?: string | null },
): Promise<ClientRow> {
  const [row] = await transaction('directory.clients')
    .where({ id })
    .update({ ...changes, version: transaction.raw('version + 1') })
    .returning('*');
  return row;
}

/** To the minute, so that a busy client does not rewrite its row at every token. */
export const markClientUsed = (connection: Connection, id: string): Promise<unknown> =>
  connection.raw(
    `update directory.clients set last_used_at = now()
     where id = ? and (last_used_at is null or last_used_at < now() - interval '1 minute')`,
    [id],
  );

/** Creates the client or brings an earlier one of that name to the same form; returns its id. */
export async function saveClient(
  transaction: Transaction,
  client: {
    name: string;
    agencyCode: string;
    role?: Role | undefined;
    permissions: readonly string[];
    secretHash: Buffer;
  },
): Promise<string> {
  const fields = {
    agency_code: client.agencyCode,
    role: client.role ?? null,
    permissions: [...client.permissions],
    secret_hash: client.secretHash,
    expires_at: null,
    disabled_at: null,
  };
  const [row] = await clients(transaction)
    .insert({ id: randomUUID(), name: client.name, ...fields })
    .onConflict('name')
    .merge(fields)
    .returning('id');
  return (row as ClientRow).id;
}

export async function disableClient(transaction: Transaction, id: string): Promise<boolean> {
  const disabled = await clients(transaction)
    .where({ id })
    .whereNull('disabled_at')
    .update({ disabled_at: new Date() });
  return disabled === 1;
}

/** By name. */
export async function listClients(
  connection: Connection,
  scope: string,
  limit: number,
  afterName: string | undefined,
): Promise<Client[]> {
  const rows: ClientRow[] = await connection('directory.clients as c')
    .select('c.*')
    .whereRaw(inScope, [scope, scope])
    .modify((query) => {
      if (afterName) query.where('c.name', '>', afterName);
    })
    .orderBy('c.name')
    .limit(limit + 1);
  return rows.map(toClient);
}

export const toClient = (row: ClientRow): Client => ({
  id: row.id,
  name: row.name,
  agencyCode: row.agency_code,
  role: row.role,
  permissions: row.permissions,
  createdAt: row.created_at.toISOString(),
  expiresAt: row.expires_at?.toISOString() ?? null,
  lastUsedAt: row.last_used_at?.toISOString() ?? null,
  disabledAt: row.disabled_at?.toISOString() ?? null,
  version: row.version,
});
