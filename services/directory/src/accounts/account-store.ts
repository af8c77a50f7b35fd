/** Every query on directory.accounts, directory.people, directory.provisioning and directory.activation_codes. */
import type { Account, CertificatePath } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { inSubtree } from '../agencies/agency-store.ts';

export interface NewPerson {
  id: string;
  fullName: string;
  surname: string;
  middleNames: string;
  givenName: string;
  searchKey: string;
  birthDate: string;
  sex: 'male' | 'female' | null;
  mobile: string | null;
  nationalIdSealed: Buffer;
  nationalIdHash: Buffer;
}

/** Inserts people, or finds those who are in the record by their identity number; returns id by wished id. */
export async function savePeople(transaction: Transaction, people: readonly NewPerson[]): Promise<Map<string, string>> {
  if (people.length === 0) return new Map();
  const rows = people.map(({ nationalIdSealed, nationalIdHash, ...person }) => ({
    ...person,
    sealed: nationalIdSealed.toString('hex'),
    hash: nationalIdHash.toString('hex'),
  }));
  const source = `jsonb_to_recordset(?::jsonb) as row(id uuid, "fullName" text, surname text, "middleNames" text, "givenName" text,
    "searchKey" text, "birthDate" date, sex text, mobile text, sealed text, hash text)`;
  const json = JSON.stringify(rows);
  await transaction.raw(
    `insert into directory.people (id, full_name, surname, middle_names, given_name, search_key, birth_date, sex, mobile,
       national_id_sealed, national_id_hash)
     select id, "fullName", surname, "middleNames", "givenName", "searchKey", "birthDate", sex, mobile, decode(sealed, 'hex'),
       decode(hash, 'hex') from ${source} order by hash
     on conflict (national_id_hash) do nothing`,
    [json],
  );
  const { rows: found } = await transaction.raw<{ rows: { wished: string; id: string }[] }>(
    `select row.id as wished, p.id from ${source} join directory.people p on p.national_id_hash = decode(row.hash, 'hex')`,
    [json],
  );
  return new Map(found.map((row) => [row.wished, row.id]));
}

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

/** What the LDAP entry of an account is made of. */
export interface EntrySource {
  id: string;
  kind: string;
  state: Account['state'];
  username: string;
  displayName: string;
  surname: string;
  givenName: string;
  title: string | null;
  agencyCode: string;
  agencyName: string;
  version: number;
  entryVersion: number;
}

const entrySources = (connection: Connection) =>
  connection('directory.accounts_v').select<EntrySource[]>(
    'id',
    'kind',
    'state',
    'username',
    'surname',
    'title',
    'version',
    'display_name as displayName',
    'given_name as givenName',
    'agency_code as agencyCode',
    'agency_name as agencyName',
    'entry_version as entryVersion',
  );

export const listEntrySources = (connection: Connection, ids: readonly string[]): Promise<EntrySource[]> =>
  entrySources(connection).whereRaw('id = any(?::uuid[])', [[...ids]]); // a parameter each would cost more than the rows

/** The next by id, for who reads them all. */
export const listEntrySourcesAfter = (connection: Connection, after: string, limit: number): Promise<EntrySource[]> =>
  entrySources(connection).where('id', '>', after).orderBy('id').limit(limit);

/** The entry now says what `version` of the account says; a newer version, if there is one, still waits for its own job. */
export async function markEntryConverged(
  connection: Connection,
  converged: readonly { id: string; version: number }[],
): Promise<void> {
  if (converged.length === 0) return;
  const json = JSON.stringify(converged);
  await connection.raw(
    `with row as (
       select c.id, spec.version from jsonb_to_recordset(?::jsonb) as spec(id uuid, version int)
       join directory.accounts c on c.id = spec.id where c.entry_version < spec.version
       order by c.id for update of c)
     update directory.accounts c set entry_version = row.version from row where c.id = row.id`,
    [json],
  );
}

/** Marks the entry part done for those where it was not; returns their ids. */
export async function markEntryPartDone(connection: Connection, ids: readonly string[]): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { account_id: string }[] }>(
    `update directory.provisioning set state = 'done', updated_at = now()
     where account_id = any(?::uuid[]) and part = 'entry' and state <> 'done' returning account_id`,
    [[...ids]],
  );
  return rows.map((row) => row.account_id);
}

/**
 * Accounts of which something should have been done and was not: the net under the jobs. What waits for its holder's CSR or
 * belongs to an account that is not active waits by right. Those found are put at the end of the line.
 */
export async function takeOverdue(transaction: Transaction, limit: number): Promise<string[]> {
  const { rows } = await transaction.raw<{ rows: { id: string }[] }>(
    `with late as (
       select c.id from directory.accounts c
       where c.updated_at < now() - interval '1 minute' and (
         c.entry_version < c.version
         or c.state = 'active' and exists (
           select 1 from directory.provisioning p where p.account_id = c.id and p.state = 'waiting'
             and p.updated_at < now() - interval '1 minute' and not (p.part = 'certificate' and c.certificate_path = 'csr')))
       order by c.updated_at limit ? for update skip locked)
     update directory.accounts c set updated_at = now() from late where c.id = late.id returning c.id`,
    [limit],
  );
  return rows.map((row) => row.id);
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

/** Replaces the open code of the account, if there is one, so that a lost slip is void as soon as a new one is made. */
export async function replaceActivationCode(
  transaction: Transaction,
  code: { accountId: string; codeHash: Buffer; issuedBy: string; expiresAt: Date },
): Promise<void> {
  await transaction.raw(
    `insert into directory.activation_codes (account_id, code_hash, issued_by, expires_at) values (?, ?, ?, ?)
     on conflict (account_id) where used_at is null do update set code_hash = excluded.code_hash,
       issued_by = excluded.issued_by, issued_at = now(), expires_at = excluded.expires_at, claimed_until = null`,
    [code.accountId, code.codeHash, code.issuedBy, code.expiresAt],
  );
}

/**
 * Claims the open code for a minute, so that of two who send it at once one goes on. False when there is no such code,
 * it has expired or was used, or another has it claimed.
 */
export async function claimActivationCode(
  connection: Connection,
  accountId: string,
  codeHash: Buffer,
): Promise<boolean> {
  const claimed = await connection('directory.activation_codes')
    .where({ account_id: accountId, code_hash: codeHash })
    .whereNull('used_at')
    .whereRaw('expires_at > now() and (claimed_until is null or claimed_until < now())')
    .update({ claimed_until: connection.raw("now() + interval '1 minute'") });
  return claimed === 1;
}

/** Whether the holder has set a password before. */
export const wasActivated = async (connection: Connection, accountId: string): Promise<boolean> =>
  (await connection('directory.activation_codes')
    .where({ account_id: accountId })
    .whereNotNull('used_at')
    .first('id')) !== undefined;

export const releaseActivationCode = async (connection: Connection, codeHash: Buffer): Promise<void> => {
  await connection('directory.activation_codes').where({ code_hash: codeHash }).update({ claimed_until: null });
};

export const markActivationCodeUsed = async (transaction: Transaction, codeHash: Buffer): Promise<void> => {
  await transaction('directory.activation_codes')
    .where({ code_hash: codeHash })
    .update({ used_at: transaction.fn.now() });
};
