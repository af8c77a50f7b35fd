/** What LDAP entries are made of, how far they and the other parts of accounts are (directory.provisioning), and who is late. */
import type { Account } from '@congvu/contracts';
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
  version: number;
  entryVersion: number;
}

export async function listEntrySources(connection: Connection, ids: readonly string[]): Promise<EntrySource[]> {
  return connection('directory.accounts_v')
    .whereIn('id', ids)
    .select<EntrySource[]>(
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
}

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
