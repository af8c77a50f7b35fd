/** Every query on mailbox.mailboxes, and what the mailbox service reads of accounts through the directory's views. */
import type { Mailbox } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

/** What should be. */
export interface MailboxSource {
  id: string;
  kind: string;
  state: 'pending' | 'active' | 'suspended' | 'retired';
  username: string;
  address: string;
  displayName: string;
  agencyId: string;
  agencyName: string;
  requestId: string | null;
  version: number;
  entryVersion: number;
  /** Grows when whoever held the account goes. */
  credentialEpoch: number;
  /** The epoch that the entry is at: the passwords of those before are gone. */
  entryCredentialEpoch: number;
}

export const listSources = (connection: Connection, accountIds: readonly string[]): Promise<MailboxSource[]> =>
  connection('directory.accounts_v')
    .whereRaw('id = any(?::uuid[])', [[...accountIds]])
    .select<MailboxSource[]>(
      'id',
      'kind',
      'state',
      'username',
      'address',
      'version',
      'display_name as displayName',
      'agency_id as agencyId',
      'agency_name as agencyName',
      'request_id as requestId',
      'entry_version as entryVersion',
      'credential_epoch as credentialEpoch',
      'entry_credential_epoch as entryCredentialEpoch',
    );

/** Those of the accounts that are at another version by now. */
export async function findChanged(
  connection: Connection,
  accounts: readonly { id: string; version: number }[],
): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `select c.id from unnest(?::uuid[], ?::int[]) as seen(id, version)
     join directory.accounts_v c on c.id = seen.id where c.version <> seen.version`,
    [accounts.map(({ id }) => id), accounts.map(({ version }) => version)],
  );
  return rows.map((row) => row.id);
}

export const findSource = async (connection: Connection, accountId: string): Promise<MailboxSource | undefined> =>
  (await listSources(connection, [accountId]))[0];

export interface MailboxRow {
  account_id: string;
  address: string;
  state: Mailbox['state'];
  quota_bytes: string;
  provisioned_at: Date | null;
  /** Sessions of those who held the account before are ended up to this epoch. */
  credential_epoch: number;
}

/** Locks the rows in one order, so that of two jobs for one account only one writes its history. */
export const lockMailboxes = (transaction: Transaction, accountIds: readonly string[]): Promise<MailboxRow[]> =>
  transaction<MailboxRow>('mailbox.mailboxes')
    .whereRaw('account_id = any(?::uuid[])', [[...accountIds]])
    .orderBy('account_id')
    .forUpdate()
    .select('*');

/** The account ids of those that were not there before. */
export async function insertMailboxes(
  transaction: Transaction,
  mailboxes: readonly { accountId: string; address: string; state: Mailbox['state']; quotaBytes: number }[],
): Promise<Set<string>> {
  const { rows } = await transaction.raw<{ rows: { account_id: string }[] }>(
    `insert into mailbox.mailboxes (account_id, address, state, quota_bytes)
     select "accountId", address, state, "quotaBytes"
     from jsonb_to_recordset(?::jsonb) as row("accountId" uuid, address text, state text, "quotaBytes" bigint)
     order by "accountId" on conflict (account_id) do nothing returning account_id`,
    [JSON.stringify(mailboxes)],
  );
  return new Set(rows.map((row) => row.account_id));
}

export const updateMailbox = (
  transaction: Transaction,
  accountId: string,
  mailbox: { address: string; state: Mailbox['state'] },
): Promise<unknown> =>
  transaction('mailbox.mailboxes')
    .where({ account_id: accountId })
    .update({ ...mailbox, updated_at: transaction.fn.now() });

/** Whoever held the account before `credentialEpoch` has no session any more. */
export const markSessionsEnded = (
  connection: Connection,
  accountId: string,
  credentialEpoch: number,
): Promise<unknown> =>
  connection('mailbox.mailboxes')
    .where({ account_id: accountId })
    .where('credential_epoch', '<', credentialEpoch)
    .update({ credential_epoch: credentialEpoch });

/** Those of which it is the first time. */
export async function markProvisioned(transaction: Transaction, accountIds: readonly string[]): Promise<Set<string>> {
  const marked = await transaction('mailbox.mailboxes')
    .whereRaw('account_id = any(?::uuid[])', [[...accountIds]])
    .whereNull('provisioned_at')
    .update({ provisioned_at: transaction.fn.now() })
    .returning<{ account_id: string }[]>('account_id');
  return new Set(marked.map((row) => row.account_id));
}

/** Whether mail to `address` can be delivered: `outside` when it is no account's. */
export async function deliverability(
  connection: Connection,
  address: string,
): Promise<'ready' | 'not_yet' | 'outside'> {
  const account = await connection('directory.accounts_v as c')
    .leftJoin('mailbox.mailboxes as m', 'm.account_id', 'c.id')
    .where('c.address', address)
    .first('c.id', 'm.provisioned_at');
  if (!account) return 'outside';
  return account.provisioned_at ? 'ready' : 'not_yet';
}

interface ListRow {
  account_id: string;
  address: string;
  display_name: string;
  agency_code: string;
  agency_name: string;
  state: Mailbox['state'];
  quota_bytes: string;
  created_at: Date;
  request_id: string | null;
  submitted_by_name: string | null;
  submitted_at: Date | null;
  approved_by_name: string | null;
  approved_at: Date | null;
  decision_number: string | null;
}

const listColumns = [
  'm.account_id',
  'm.address',
  'c.display_name',
  'c.agency_code',
  'c.agency_name',
  'm.state',
  'm.quota_bytes',
  'm.created_at',
  'c.request_id',
  'c.submitted_by_name',
  'c.submitted_at',
  'c.approved_by_name',
  'c.approved_at',
  'c.decision_number',
];

const mailboxes = (connection: Connection, scope: string) =>
  connection('mailbox.mailboxes as m')
    .join('directory.accounts_v as c', 'c.id', 'm.account_id')
    .whereRaw('c.agency_id in (select directory.agency_subtree(?))', [scope])
    .select<ListRow[]>(listColumns);

const toMailbox = (row: ListRow): Mailbox => ({
  accountId: row.account_id,
  address: row.address,
  displayName: row.display_name,
  agencyCode: row.agency_code,
  agencyName: row.agency_name,
  state: row.state,
  quotaBytes: Number(row.quota_bytes),
  createdAt: row.created_at.toISOString(),
  requestId: row.request_id,
  submittedBy: row.submitted_by_name,
  submittedAt: row.submitted_at?.toISOString() ?? null,
  approvedBy: row.approved_by_name,
  approvedAt: row.approved_at?.toISOString() ?? null,
  decisionNumber: row.decision_number,
});

export async function requireMailbox(connection: Connection, accountId: string, scope: string): Promise<Mailbox> {
  const [row] = await mailboxes(connection, scope).where('m.account_id', accountId);
  if (row) return toMailbox(row);
  throw new ServiceError({
    kind: 'not_found',
    code: 'mailbox_not_found',
    detail: 'There is no mailbox of that account at or below your agency.',
  });
}

/** Those of the mailboxes that are of the agencies (undefined means all), in any order. */
export async function listMailboxesById(
  connection: Connection,
  accountIds: readonly string[],
  agencyIds: readonly string[] | undefined,
): Promise<Mailbox[]> {
  const rows = await connection('mailbox.mailboxes as m')
    // Looked up one by one: joined as a whole, the view of so many tables is often made for all accounts first.
    .joinRaw('join lateral (select * from directory.accounts_v c where c.id = m.account_id offset 0) c on true')
    .whereRaw('m.account_id = any(?::uuid[])', [[...accountIds]])
    .modify((query) => agencyIds && query.whereRaw('c.agency_id = any(?::uuid[])', [[...agencyIds]]))
    .select<ListRow[]>(listColumns);
  return rows.map(toMailbox);
}

export async function listMailboxes(
  connection: Connection,
  filter: { scope: string; state?: string | undefined; address?: string | undefined; requestId?: string | undefined },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Mailbox[]> {
  const rows = await mailboxes(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('m.state', filter.state);
      if (filter.address) query.where('m.address', filter.address);
      if (filter.requestId) query.where('c.request_id', filter.requestId);
      if (after) query.whereRaw('(m.created_at, m.account_id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'm.created_at', order: 'desc' },
      { column: 'm.account_id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toMailbox);
}
