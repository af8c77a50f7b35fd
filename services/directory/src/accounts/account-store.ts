/** Every query on directory.accounts but those of its convergence. */
import type { Account, CertificatePath } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';

export interface NewAccount {
  id: string;
  kind: 'person' | 'agency';
  username: string;
  address: string;
  agencyId: string;
  personId: string | null;
  displayName: string;
  surname: string;
  givenName: string;
  searchKey: string;
  title: string | null;
  certificatePath: CertificatePath;
}

/** Accounts with the parts that each will consist of, all waiting. */
export async function insertAccounts(transaction: Transaction, accounts: readonly NewAccount[]): Promise<void> {
  const json = JSON.stringify(accounts);
  await transaction.raw(
    `insert into directory.accounts (id, kind, username, address, agency_id, person_id, display_name, surname, given_name,
       search_key, title, certificate_path)
     select id, kind, username, address, "agencyId", "personId", "displayName", surname, "givenName", "searchKey", title,
       "certificatePath"
     from jsonb_to_recordset(?::jsonb) as row(id uuid, kind text, username text, address text, "agencyId" uuid,
       "personId" uuid, "displayName" text, surname text, "givenName" text, "searchKey" text, title text, "certificatePath" text)`,
    [json],
  );
  await transaction.raw(
    `insert into directory.provisioning (account_id, part)
     select id, part from jsonb_to_recordset(?::jsonb) as row(id uuid, "certificatePath" text)
     cross join unnest(array['entry', 'mailbox', 'certificate']) as part
     where part <> 'certificate' or "certificatePath" <> 'none'`,
    [json],
  );
}

interface AccountRow {
  id: string;
  kind: Account['kind'];
  state: Account['state'];
  username: string;
  address: string;
  agency_id: string;
  display_name: string;
  title: string | null;
  agency_code: string;
  agency_name: string;
  suspension_reason: string | null;
  request_id: string | null;
  created_at: Date;
  version: number;
  parts: Record<string, 'waiting' | 'done'> | null;
}

const accounts = (connection: Connection, scope: string) =>
  connection('directory.accounts as c')
    .join('directory.agencies as a', 'a.id', 'c.agency_id')
    .leftJoin('directory.request_lines as l', 'l.account_id', 'c.id')
    .whereRaw(inSubtree('c.agency_id'), [scope])
    .select<AccountRow[]>(
      'c.id',
      'c.kind',
      'c.state',
      'c.username',
      'c.address',
      'c.agency_id',
      'c.display_name',
      'c.title',
      'a.code as agency_code',
      'a.name as agency_name',
      'c.suspension_reason',
      'l.request_id',
      'c.created_at',
      'c.version',
      connection.raw(
        '(select json_object_agg(p.part, p.state) from directory.provisioning p where p.account_id = c.id) as parts',
      ),
    );

const toAccount = (row: AccountRow): Account => ({
  id: row.id,
  kind: row.kind,
  state: row.state,
  username: row.username,
  address: row.address,
  displayName: row.display_name,
  title: row.title,
  agencyCode: row.agency_code,
  agencyName: row.agency_name,
  suspensionReason: row.suspension_reason,
  parts: row.parts ?? {},
  requestId: row.request_id,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

export async function requireAccount(connection: Connection, id: string, scope: string): Promise<Account> {
  const [row] = await accounts(connection, scope).where('c.id', id);
  if (!row) throw accountNotFound();
  return toAccount(row);
}

const accountNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'account_not_found',
    detail: 'There is no account of that id at or below your agency.',
  });

export async function listAccounts(
  connection: Connection,
  filter: {
    scope: string;
    agencyCode?: string | undefined;
    state?: string | undefined;
    address?: string | undefined;
    searchKey?: string | undefined;
  },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Account[]> {
  const rows = await accounts(connection, filter.scope)
    .modify((query) => {
      if (filter.agencyCode) query.whereRaw(inSubtree('c.agency_id'), [filter.agencyCode]);
      if (filter.state) query.where('c.state', filter.state);
      if (filter.address) query.where('c.address', filter.address);
      if (filter.searchKey) query.whereRaw('strpos(c.search_key, ?) > 0', [filter.searchKey]);
      if (after) query.whereRaw('(c.created_at, c.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'c.created_at', order: 'desc' },
      { column: 'c.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toAccount);
}

/** Locks the account until the transaction ends. */
export async function requireAccountForUpdate(
  transaction: Transaction,
  id: string,
  scope: string,
): Promise<{ id: string; state: Account['state']; agency_id: string; version: number; request_id: string | null }> {
  const row = await transaction('directory.accounts as c')
    .whereRaw(inSubtree('c.agency_id'), [scope])
    .where('c.id', id)
    .forUpdate('c')
    .first(
      'c.id',
      'c.state',
      'c.agency_id',
      'c.version',
      transaction.raw('(select l.request_id from directory.request_lines l where l.account_id = c.id) as request_id'),
    );
  if (!row) throw accountNotFound();
  return row;
}

export async function setAccountState(
  transaction: Transaction,
  id: string,
  state: 'active' | 'suspended',
  reason: string | null,
): Promise<void> {
  await transaction('directory.accounts')
    .where({ id })
    .update({
      state,
      suspension_reason: reason,
      version: transaction.raw('version + 1'),
      updated_at: transaction.fn.now(),
    });
}

/** A person's own account by address or username, for signing in. */
export async function findAccountByName(
  connection: Connection,
  name: string,
): Promise<
  | { id: string; address: string; username: string; state: Account['state']; agency_id: string; agency_code: string }
  | undefined
> {
  const column = name.includes('@') ? 'address' : 'username';
  return connection('directory.accounts_v')
    .where(column, name.toLowerCase())
    .first('id', 'address', 'username', 'state', 'agency_id', 'agency_code');
}
