/** Every query on directory.accounts but those of its convergence. */
import type { Account, CertificatePath } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';

/** An approved line that opens an account, with what its agency gives to it. */
export interface OpeningLine {
  lineNumber: number;
  kind: 'person' | 'agency' | 'position';
  agencyId: string;
  agencyName: string;
  mailDomain: string;
  shortName: string;
  fullName: string | null;
  birthDate: string | null;
  sex: 'male' | 'female' | null;
  title: string | null;
  mobile: string | null;
  nationalIdSealed: Buffer | null;
  nationalIdHash: Buffer | null;
  certificatePath: CertificatePath;
}

export interface NewAccount {
  id: string;
  kind: 'person' | 'agency' | 'position';
  username: string;
  address: string;
  agencyId: string;
  personId: string | null;
  displayName: string;
  surname: string;
  givenName: string;
  title: string | null;
  certificatePath: CertificatePath;
}

/** Accounts with the parts that each will consist of, all waiting. The search knows them at once, or by `queueSearch`. */
export async function insertAccounts(
  transaction: Transaction,
  accounts: readonly NewAccount[],
  { searchLater = false }: { searchLater?: boolean } = {},
): Promise<void> {
  await transaction.raw(
    `with later as materialized (select set_config('congvu.search_later', ?, true)),
     opened as (
       insert into directory.accounts (id, kind, username, address, agency_id, person_id, display_name, surname, given_name,
         title, certificate_path)
       select id, kind, username, address, "agencyId", "personId", "displayName", surname, "givenName", title,
         "certificatePath"
       from later cross join json_to_recordset(?::json) as row(id uuid, kind text, username text, address text, "agencyId" uuid,
         "personId" uuid, "displayName" text, surname text, "givenName" text, title text, "certificatePath" text)
       returning id, certificate_path)
     insert into directory.provisioning (account_id, part)
     select id, part from opened cross join unnest(array['entry', 'mailbox', 'certificate']) as part
     where part <> 'certificate' or certificate_path <> 'none'`,
    [searchLater ? 'on' : 'off', JSON.stringify(accounts)],
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
  suspended_until: Date | null;
  retained_until: string | null;
  holder: Account['holder'];
  request_id: string | null;
  created_at: Date;
  version: number;
  parts: Record<string, 'waiting' | 'done'> | null;
}

const everyAccount = (connection: Connection) =>
  connection('directory.accounts as c')
    .join('directory.agencies as a', 'a.id', 'c.agency_id')
    .leftJoin('directory.request_lines as l', 'l.account_id', 'c.id')
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
      'c.suspended_until',
      connection.raw("to_char(c.retained_until, 'YYYY-MM-DD') as retained_until"),
      connection.raw(
        `(select json_build_object('accountId', p.id, 'displayName', p.display_name, 'address', p.address)
          from directory.position_holdings h join directory.accounts p on p.id = h.holder_id
          where h.position_id = c.id and h.held_to is null) as holder`,
      ),
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
  suspendedUntil: row.suspended_until?.toISOString() ?? null,
  retainedUntil: row.retained_until,
  holder: row.holder,
  parts: row.parts ?? {},
  requestId: row.request_id,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

export async function requireAccount(connection: Connection, id: string, scope: string): Promise<Account> {
  const [row] = await everyAccount(connection).whereRaw(inSubtree('c.agency_id'), [scope]).where('c.id', id);
  if (!row) throw accountNotFound();
  return toAccount(row);
}

const accountNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'account_not_found',
    detail: 'There is no account of that id at or below your agency.',
  });

/** Of those ids that there are, in their order. */
export async function listAccountsById(connection: Connection, ids: readonly string[]): Promise<Account[]> {
  if (ids.length === 0) return [];
  const rows = await everyAccount(connection).whereIn('c.id', ids);
  const byId = new Map(rows.map((row) => [row.id, row]));
  return ids.flatMap((id) => byId.get(id) ?? []).map(toAccount);
}

export const findAccountIdByAddress = async (connection: Connection, address: string): Promise<string | undefined> =>
  (await connection('directory.accounts').where({ address: address.toLowerCase() }).first('id'))?.id;

/** With more agencies than this their accounts are met often enough in the list of all. */
const fewAgencies = 150;

/** Newest first, of the given agencies or of all; `after` is time and id of the last one seen. */
export async function listAccounts(
  connection: Connection,
  filter: {
    agencies: readonly { id: string }[] | undefined;
    id?: string | undefined;
    kind?: string | undefined;
    state?: string | undefined;
  },
  limit: number,
  after: readonly [time: string, id: string] | undefined,
): Promise<Account[]> {
  const agencyIds = filter.agencies?.map(({ id }) => id);
  const newest = [
    { column: 'c.created_at', order: 'desc' },
    { column: 'c.id', order: 'desc' },
  ] as const;
  const filtered = connection('directory.accounts as c')
    .select('c.id', 'c.created_at')
    .modify((query) => {
      if (filter.id) query.where('c.id', filter.id);
      if (filter.kind) query.where('c.kind', filter.kind);
      if (filter.state) query.where('c.state', filter.state);
      if (after) query.whereRaw('(c.created_at, c.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([...newest])
    .limit(limit + 1);
  if (agencyIds && agencyIds.length > fewAgencies) filtered.whereIn('c.agency_id', agencyIds);
  // The first ones of each agency by its own index, whatever its share of all accounts.
  const found: { id: string }[] =
    agencyIds && agencyIds.length <= fewAgencies
      ? await connection
          .select('c.id')
          .fromRaw('unnest(?::uuid[]) as agency(id) cross join lateral ? as c', [
            agencyIds,
            filtered.whereRaw('c.agency_id = agency.id'),
          ] as never)
          .orderBy([...newest])
          .limit(limit + 1)
      : await filtered;
  return listAccountsById(
    connection,
    found.map(({ id }) => id),
  );
}

export interface LockedAccount {
  id: string;
  kind: Account['kind'];
  state: Account['state'];
  username: string;
  address: string;
  display_name: string;
  title: string | null;
  agency_id: string;
  agency_code: string;
  agency_name: string;
  person_id: string | null;
  suspended_until: Date | null;
  retained_until: string | null;
  credential_epoch: number;
  version: number;
  request_id: string | null;
}

/** Locks the account until the transaction ends. `scope` null: wherever it is. */
export async function requireAccountForUpdate(
  transaction: Transaction,
  id: string,
  scope: string | null,
): Promise<LockedAccount> {
  // No join, and no subquery that becomes one: a row that was transferred while we waited for its lock would be looked for at the
  // agency that it left.
  const row = await transaction('directory.accounts as c')
    .modify((query) => {
      if (scope !== null) query.whereRaw('c.agency_id = any(array(select directory.agency_subtree(?)))', [scope]);
    })
    .where('c.id', id)
    .forUpdate('c')
    .first(
      'c.id',
      'c.kind',
      'c.state',
      'c.username',
      'c.address',
      'c.display_name',
      'c.title',
      'c.agency_id',
      transaction.raw('(select a.code from directory.agencies a where a.id = c.agency_id) as agency_code'),
      transaction.raw('(select a.name from directory.agencies a where a.id = c.agency_id) as agency_name'),
      'c.person_id',
      'c.suspended_until',
      transaction.raw("to_char(c.retained_until, 'YYYY-MM-DD') as retained_until"),
      'c.credential_epoch',
      'c.version',
      transaction.raw('(select l.request_id from directory.request_lines l where l.account_id = c.id) as request_id'),
    );
  if (!row) throw accountNotFound();
  return row;
}

/** A change of what the account is: its version grows with it. */
export async function updateAccount(
  transaction: Transaction,
  id: string,
  set: {
    state?: Account['state'];
    agency_id?: string;
    address?: string;
    display_name?: string;
    surname?: string;
    given_name?: string;
    title?: string | null;
    suspension_reason?: string | null;
    suspended_until?: Date | null;
    retained_until?: string | null;
    credential_epoch?: ReturnType<Transaction['raw']>;
  },
): Promise<void> {
  await transaction('directory.accounts')
    .where({ id })
    .update({ ...set, version: transaction.raw('version + 1'), updated_at: transaction.fn.now() });
}

const uuidForm = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

export interface NamedAccount {
  id: string;
  agency_id: string;
  title: string | null;
}

/** Accounts at and below an agency, by whichever of these small-lettered names they were asked for: id, username or address. */
export async function findAccountsByName(
  connection: Connection,
  names: readonly string[],
  scope: string,
): Promise<Map<string, NamedAccount>> {
  if (names.length === 0) return new Map();
  const { rows } = await connection.raw<{ rows: (NamedAccount & { name: string })[] }>(
    `select named.name, c.id, c.agency_id, c.title from (
       select c.username as name, c.id from directory.accounts c where c.username = any(:names::text[])
       union all select c.address, c.id from directory.accounts c where c.address = any(:names::text[])
       union all select c.id::text, c.id from directory.accounts c where c.id = any(:ids::uuid[])) named
     join directory.accounts c on c.id = named.id where c.agency_id in (select directory.agency_subtree(:scope))`,
    { names: [...names], ids: names.filter((name) => uuidForm.test(name)), scope },
  );
  return new Map(rows.map((row) => [row.name, row]));
}

/** Locks those whose suspension is over, but for those that somebody is just changing. */
export const takeSuspensionsOver = (transaction: Transaction, limit: number): Promise<string[]> =>
  transaction('directory.accounts')
    .where({ state: 'suspended' })
    .whereRaw('suspended_until <= now()')
    .orderBy('id')
    .limit(limit)
    .forUpdate()
    .skipLocked()
    .pluck('id');

export interface AccountName {
  id: string;
  display_name: string;
  address: string;
}

export const listAccountNames = (
  connection: Connection,
  ids: readonly string[],
  scope: string,
): Promise<AccountName[]> =>
  connection('directory.accounts as c')
    .whereIn('c.id', ids)
    .whereRaw(inSubtree('c.agency_id'), [scope])
    .select('c.id', 'c.display_name', 'c.address');

/** Accounts that the lines of a request opened, in the order of its lines, after the line `after`. */
export const listAccountsOfRequest = (
  connection: Connection,
  requestId: string,
  scope: string,
  after: number,
  limit: number,
): Promise<(AccountName & { line_number: number })[]> =>
  connection('directory.request_lines as l')
    .join('directory.accounts as c', 'c.id', 'l.account_id')
    .where('l.request_id', requestId)
    .where('l.line_number', '>', after)
    .whereRaw(inSubtree('c.agency_id'), [scope])
    .orderBy('l.line_number')
    .limit(limit)
    .select('c.id', 'c.display_name', 'c.address', 'l.line_number');

export interface SignInAccount {
  id: string;
  address: string;
  username: string;
  state: Account['state'];
  agency_id: string;
  agency_code: string;
  credential_epoch: number;
}

/** A holder's own account by address or username, for signing in. */
export async function findAccountByName(connection: Connection, name: string): Promise<SignInAccount | undefined> {
  const column = name.includes('@') ? 'address' : 'username';
  return connection('directory.accounts_v')
    .where(column, name.toLowerCase())
    .first('id', 'address', 'username', 'state', 'agency_id', 'agency_code', 'credential_epoch');
}
