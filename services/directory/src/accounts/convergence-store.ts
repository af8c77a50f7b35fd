/** What LDAP entries are made of, how far they and the other parts of accounts are (directory.provisioning), and who is late. */
import type { Account, CertificatePath } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

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
  /** Codes of the agency and of all those above it. */
  agencyPath: string[];
  mobile: string | null;
  /** Who holds the position. */
  holderUsername: string | null;
  credentialEpoch: number;
  certificatePath: CertificatePath;
  version: number;
  entryVersion: number;
}

type SourceRow = Omit<EntrySource, 'agencyPath'> & { agencyId: string };

const sourceRows = (connection: Connection) =>
  connection('directory.accounts as c')
    .join('directory.agencies as a', 'a.id', 'c.agency_id')
    .leftJoin('directory.people as p', 'p.id', 'c.person_id')
    .leftJoin('directory.position_holdings as h', (join) => {
      join.on('h.position_id', 'c.id').andOnNull('h.held_to');
    })
    .leftJoin('directory.accounts as holder', 'holder.id', 'h.holder_id')
    .select<SourceRow[]>(
      'c.id',
      'c.kind',
      'c.state',
      'c.username',
      'c.surname',
      'c.title',
      'c.version',
      'c.display_name as displayName',
      'c.given_name as givenName',
      'c.agency_id as agencyId',
      'a.code as agencyCode',
      'a.name as agencyName',
      'p.mobile',
      'holder.username as holderUsername',
      'c.credential_epoch as credentialEpoch',
      'c.certificate_path as certificatePath',
      'c.entry_version as entryVersion',
    );

/** The ids as one array: a parameter each would cost more than the rows. */
export const listEntrySources = async (connection: Connection, ids: readonly string[]): Promise<EntrySource[]> =>
  withPaths(connection, await sourceRows(connection).whereRaw('c.id = any(?::uuid[])', [[...ids]]));

/** By agency: its code and those of all above it, as they were when first asked for. */
export type AgencyPaths = Map<string, string[]>;

/** The next by id, for who reads them all; `paths` is kept from page to page. */
export const listEntrySourcesAfter = async (
  connection: Connection,
  after: string,
  limit: number,
  paths: AgencyPaths,
): Promise<EntrySource[]> =>
  withPaths(connection, await sourceRows(connection).where('c.id', '>', after).orderBy('c.id').limit(limit), paths);

async function withPaths(
  connection: Connection,
  rows: readonly SourceRow[],
  paths: AgencyPaths = new Map(),
): Promise<EntrySource[]> {
  const unknown = new Set(rows.map((row) => row.agencyId).filter((id) => !paths.has(id)));
  if (unknown.size > 0) await addAgencyPaths(connection, [...unknown], paths);
  return rows.map(({ agencyId, ...source }) => ({ ...source, agencyPath: paths.get(agencyId) ?? [] }));
}

async function addAgencyPaths(connection: Connection, agencyIds: readonly string[], paths: AgencyPaths): Promise<void> {
  const { rows } = await connection.raw<{ rows: { id: string; codes: string[] }[] }>(
    `with recursive path as (
       select a.id, a.code, a.parent_id from directory.agencies a where a.id = any(?::uuid[])
       union
       select path.id, a.code, a.parent_id from path join directory.agencies a on a.id = path.parent_id)
     select id, array_agg(code order by code) as codes from path group by id`,
    [[...agencyIds]],
  );
  for (const { id, codes } of rows) paths.set(id, codes);
}

/**
 * The entry now says what `version` of the account says; a newer version, if there is one, still waits for its own job.
 * Returns those of which the password of an earlier epoch is now gone.
 */
export async function markEntryConverged(
  connection: Connection,
  converged: readonly { id: string; version: number; credentialEpoch: number }[],
): Promise<string[]> {
  if (converged.length === 0) return [];
  const json = JSON.stringify(converged.map(({ id, version, credentialEpoch }) => ({ id, version, credentialEpoch })));
  const { rows } = await connection.raw<{ rows: { id: string; epoch_before: number }[] }>(
    `with row as (
       select c.id, spec.version, spec."credentialEpoch" as epoch, c.entry_credential_epoch as epoch_before
       from json_to_recordset(?::json) as spec(id uuid, version int, "credentialEpoch" int)
       join directory.accounts c on c.id = spec.id where c.entry_version < spec.version
       order by c.id for update of c),
     marked as (
       update directory.accounts c set entry_version = row.version, entry_credential_epoch = row.epoch
       from row where c.id = row.id)
     select id, epoch_before from row where epoch_before < epoch`,
    [json],
  );
  return rows.filter((row) => row.epoch_before > 0).map((row) => row.id);
}

/** Those of the accounts that are at another version by now. */
export async function findChanged(
  connection: Connection,
  accounts: readonly { id: string; version: number }[],
): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `select c.id from unnest(?::uuid[], ?::int[]) as seen(id, version)
     join directory.accounts c on c.id = seen.id where c.version <> seen.version`,
    [accounts.map(({ id }) => id), accounts.map(({ version }) => version)],
  );
  return rows.map((row) => row.id);
}

/** Those of the accounts whose every part stands. */
export async function findWhole(connection: Connection, accountIds: readonly string[]): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `select id from unnest(?::uuid[]) as account(id)
     where not exists (select 1 from directory.provisioning p where p.account_id = account.id and p.state = 'waiting' offset 0)`,
    [[...accountIds]],
  );
  return rows.map((row) => row.id);
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

/** Of an account that ends: what still waits will never be brought, but its entry, which says that it ended. */
export const giveUpOtherParts = (connection: Connection, id: string): Promise<unknown> =>
  connection('directory.provisioning')
    .where({ account_id: id, state: 'waiting' })
    .whereNot('part', 'entry')
    .update({ state: 'done', updated_at: connection.fn.now() });

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
