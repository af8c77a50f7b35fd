/** Every query on directory.clients: the programs that may ask for tokens. */
import { randomUUID } from 'node:crypto';
import type { Client } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

export interface ClientRow {
  id: string;
  name: string;
  agency_code: string;
  permissions: string[];
  secret_hash: Buffer;
  created_by: string | null;
  created_at: Date;
  disabled_at: Date | null;
}

const clients = (connection: Connection) => connection<ClientRow>('directory.clients');

export const findClient = (connection: Connection, id: string): Promise<ClientRow | undefined> =>
  clients(connection).where({ id }).first();

export async function insertClient(
  transaction: Transaction,
  client: Omit<ClientRow, 'created_at' | 'disabled_at'>,
): Promise<void> {
  await clients(transaction).insert(client);
}

/** Creates the client or brings an earlier one of that name to the same form; returns its id. */
export async function saveClient(
  transaction: Transaction,
  client: { name: string; agencyCode: string; permissions: readonly string[]; secretHash: Buffer },
): Promise<string> {
  const fields = {
    agency_code: client.agencyCode,
    permissions: [...client.permissions],
    secret_hash: client.secretHash,
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

/** Clients of agencies in the subtree of `scope`. */
export async function listClients(
  connection: Connection,
  scope: string,
  limit: number,
  afterName: string | undefined,
): Promise<Client[]> {
  const rows: ClientRow[] = await connection('directory.clients as c')
    .select('c.*')
    .whereRaw(
      `(c.agency_code = ? or c.agency_code in (select a.code from directory.agencies a where a.id in (select directory.agency_subtree(?))))`,
      [scope, scope],
    )
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
  permissions: row.permissions,
  createdAt: row.created_at.toISOString(),
  disabledAt: row.disabled_at?.toISOString() ?? null,
});
