/** Every query on mailbox.mailboxes, and what the mailbox service reads of accounts through the directory's views. */
import type { Mailbox, MailboxKind, NoticeLanguage } from '@congvu/contracts';
import { type Connection, prepared, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { isAtOrBelow } from '../agencies/agency-store.ts';

/** What should be. */
export interface MailboxSource {
  id: string;
  kind: MailboxKind;
  state: 'pending' | 'active' | 'suspended' | 'retired';
  username: string;
  address: string;
  displayName: string;
  agencyId: string;
  agencyName: string;
  requestId: string | null;
  title: string | null;
  /** The last day on which the store of a retired one is kept. */
  retainedUntil: string | null;
  version: number;
  entryVersion: number;
  /** Grows when whoever held the account goes. */
  credentialEpoch: number;
  /** The epoch that the entry is at: the passwords of those before are gone. */
  entryCredentialEpoch: number;
}

export const listSources = (connection: Connection, accountIds: readonly string[]): Promise<MailboxSource[]> =>
  connection('directory.accounts_v')
    .leftJoin('directory.account_ends_v as ends', 'ends.account_id', 'id')
    .whereRaw('id = any(?::uuid[])', [[...accountIds]])
    .select<MailboxSource[]>(
      'id',
      'kind',
      'state',
      'username',
      'address',
      'title',
      'version',
      connection.raw(`to_char(ends.retained_until, 'YYYY-MM-DD') as "retainedUntil"`),
      'display_name as displayName',
      'agency_id as agencyId',
      'agency_name as agencyName',
      'request_id as requestId',
      'entry_version as entryVersion',
      'credential_epoch as credentialEpoch',
      'entry_credential_epoch as entryCredentialEpoch',
    );

/** Those of which the account, or what was said of the mailbox, is at another version by now. */
export async function findChanged(
  connection: Connection,
  seen: readonly { id: string; version: number; mailboxVersion: number }[],
): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `select seen.id from unnest(?::uuid[], ?::int[], ?::int[]) as seen(id, version, mailbox_version)
     join directory.account_versions_v c on c.account_id = seen.id
     cross join lateral (select version from mailbox.mailboxes where account_id = seen.id offset 0) m
     where c.version <> seen.version or m.version <> seen.mailbox_version`,
    [seen.map(({ id }) => id), seen.map(({ version }) => version), seen.map(({ mailboxVersion }) => mailboxVersion)],
  );
  return rows.map((row) => row.id);
}

export const findSource = async (connection: Connection, accountId: string): Promise<MailboxSource | undefined> =>
  (await listSources(connection, [accountId]))[0];

export interface MailboxRow {
  account_id: string;
  kind: MailboxKind;
  address: string;
  state: Mailbox['state'];
  /** What LDAP says of the state. */
  mail_status: 'active' | 'suspended' | 'disabled' | 'retained' | 'purged';
  suspended_mail: 'accept' | 'refuse' | null;
  retained_until: string | null;
  quota_bytes: string;
  quota_class: string | null;
  quota_bytes_by_hand: string | null;
  quota_class_by_hand: string | null;
  /** Of shared and service mailboxes; others take both from the account. */
  display_name: string | null;
  agency_id: string | null;
  provisioned_at: Date | null;
  /** Sessions of those who held the account before are ended up to this epoch. */
  credential_epoch: number;
  version: number;
}

const rowColumns = [
  'account_id',
  'kind',
  'address',
  'state',
  'mail_status',
  'suspended_mail',
  'quota_bytes',
  'quota_class',
  'quota_bytes_by_hand',
  'quota_class_by_hand',
  'display_name',
  'agency_id',
  'provisioned_at',
  'credential_epoch',
  'version',
] as const;
const selectRows = (connection: Connection) =>
  connection('mailbox.mailboxes').select<MailboxRow[]>(
    ...rowColumns,
    connection.raw(`to_char(retained_until, 'YYYY-MM-DD') as retained_until`),
  );

/**
 * Locks the rows in one order, so that of two jobs for one account only one writes its history. Not their keys, as in all locks of this
 * table: whoever puts a reference to one on record (a right, a forward) takes a share of it out of that order, and must not wait.
 */
export const lockMailboxes = (transaction: Transaction, accountIds: readonly string[]): Promise<MailboxRow[]> =>
  selectRows(transaction)
    .whereRaw('account_id = any(?::uuid[])', [[...accountIds]])
    .orderBy('account_id')
    .forNoKeyUpdate();

/** Locks the one, at or below `scope`, until the transaction ends; `agencyId` is that of its account, or its own. */
export async function lockMailboxWithin(
  transaction: Transaction,
  id: string,
  scope: string,
): Promise<{ row: MailboxRow; agencyId: string }> {
  const { rows } = await prepared<MailboxRow & { of_agency_id: string }>(
    transaction,
    'lock-mailbox-within',
    `select ${rowColumns.map((column) => `m.${column}`).join(', ')}, to_char(m.retained_until, 'YYYY-MM-DD') as retained_until,
       coalesce(c.agency_id, m.agency_id) as of_agency_id
     from mailbox.mailboxes m left join directory.account_facts_v c on c.id = m.account_id
     where m.account_id = ? and ${isAtOrBelow('coalesce(c.agency_id, m.agency_id)')} for no key update of m`,
    [id, scope],
  );
  const [found] = rows;
  if (!found) throw mailboxNotFound();
  const { of_agency_id: agencyId, ...row } = found;
  return { row, agencyId };
}

export const findMailboxRow = (connection: Connection, id: string): Promise<MailboxRow | undefined> =>
  selectRows(connection).where({ account_id: id }).first();

/** What follows from account, configuration and what was said by hand. */
export interface WantedMailbox {
  accountId: string;
  kind: MailboxKind;
  address: string;
  state: Mailbox['state'];
  mailStatus: MailboxRow['mail_status'];
  retainedUntil: string | null;
  quotaBytes: number;
  quotaClass: string | null;
}
const wantedRows = `json_to_recordset(?::json) as row("accountId" uuid, kind text, address text, state text, "mailStatus" text,
  "retainedUntil" date, "quotaBytes" bigint, "quotaClass" text)`;

/** The account ids of those that were not there before. */
export async function insertMailboxes(
  transaction: Transaction,
  mailboxes: readonly WantedMailbox[],
): Promise<Set<string>> {
  const { rows } = await transaction.raw<{ rows: { account_id: string }[] }>(
    `insert into mailbox.mailboxes (account_id, kind, address, state, mail_status, retained_until, quota_bytes, quota_class)
     select "accountId", kind, address, state, "mailStatus", "retainedUntil", "quotaBytes", "quotaClass" from ${wantedRows}
     order by "accountId" on conflict (account_id) do nothing returning account_id`,
    [JSON.stringify(mailboxes)],
  );
  return new Set(rows.map((row) => row.account_id));
}

export async function updateMailboxes(transaction: Transaction, mailboxes: readonly WantedMailbox[]): Promise<void> {
  if (mailboxes.length === 0) return;
  await transaction.raw(
    `update mailbox.mailboxes m set address = row.address, state = row.state, mail_status = row."mailStatus",
       retained_until = row."retainedUntil", quota_bytes = row."quotaBytes", quota_class = row."quotaClass",
       version = version + 1, updated_at = now()
     from ${wantedRows} where m.account_id = row."accountId"`,
    [JSON.stringify(mailboxes)],
  );
}

/** What an administrator said of one mailbox. */
export async function changeMailboxRow(
  transaction: Transaction,
  id: string,
  changes: Partial<Omit<MailboxRow, 'account_id' | 'version'>> & {
    suspension_reason?: string | null;
    secret_issued_at?: Date;
  },
): Promise<void> {
  await transaction('mailbox.mailboxes')
    .where({ account_id: id })
    .update({ ...changes, version: transaction.raw('version + 1'), updated_at: transaction.fn.now() });
}

/** A mailbox that is nobody's account. */
export async function insertOwnMailbox(
  transaction: Transaction,
  mailbox: {
    id: string;
    kind: MailboxKind;
    address: string;
    displayName: string;
    agencyId: string;
    quotaBytes: number;
    quotaClass: string | null;
    quotaBytesByHand: number | null;
    createdBy: string;
    idempotencyKey: string | null;
    bodyHash: Buffer;
  },
): Promise<void> {
  await transaction('mailbox.mailboxes').insert({
    account_id: mailbox.id,
    kind: mailbox.kind,
    address: mailbox.address,
    display_name: mailbox.displayName,
    agency_id: mailbox.agencyId,
    state: 'active',
    mail_status: 'active',
    quota_bytes: mailbox.quotaBytes,
    quota_class: mailbox.quotaClass,
    quota_bytes_by_hand: mailbox.quotaBytesByHand,
    created_by: mailbox.createdBy,
    idempotency_key: mailbox.idempotencyKey,
    body_hash: mailbox.bodyHash,
  });
}

export const findByIdempotencyKey = (
  connection: Connection,
  createdBy: string,
  key: string,
): Promise<{ account_id: string; body_hash: Buffer } | undefined> =>
  connection('mailbox.mailboxes')
    .where({ created_by: createdBy, idempotency_key: key })
    .first('account_id', 'body_hash');

export const listKinds = (
  connection: Connection,
  ids: readonly string[],
): Promise<{ id: string; kind: MailboxKind }[]> =>
  connection('mailbox.mailboxes')
    .whereRaw('account_id = any(?::uuid[])', [[...ids]])
    .orderBy('account_id')
    .select('account_id as id', 'kind');

/** Those that are nobody's account, and not gone. */
export const listOwnMailboxes = (connection: Connection): Promise<string[]> =>
  connection('mailbox.mailboxes')
    .whereNotNull('agency_id')
    .whereNotIn('state', ['purging', 'purged'])
    .pluck('account_id');

/** Suspended ones for which nothing was said, of which LDAP does not say what the configuration does. */
export async function listOtherwiseSuspended(connection: Connection, mailStatus: string): Promise<string[]> {
  const rows = await connection('mailbox.mailboxes')
    .where({ state: 'suspended' })
    .whereNull('suspended_mail')
    .whereNot({ mail_status: mailStatus })
    .select<{ account_id: string }[]>('account_id');
  return rows.map((row) => row.account_id);
}

/** The next whose retention is over, or whose purge began: by the clock of the database, an hour late so that no other clock is before it. */
export async function listOverdue(connection: Connection, after: string, limit: number): Promise<string[]> {
  const rows = await connection('mailbox.mailboxes')
    .whereRaw(`(state = 'purging' or state = 'retained' and retained_until < ${pastDay}) and account_id > ?::uuid`, [
      after,
    ])
    .orderBy('account_id')
    .limit(limit)
    .select<{ account_id: string }[]>('account_id');
  return rows.map((row) => row.account_id);
}
const pastDay = `((now() - interval '1 hour') at time zone 'Asia/Ho_Chi_Minh')::date`;

export async function isOverdue(connection: Connection, id: string): Promise<boolean> {
  const row = await connection('mailbox.mailboxes')
    .where({ account_id: id, state: 'retained' })
    .whereRaw(`retained_until < ${pastDay}`)
    .first('account_id');
  return row !== undefined;
}

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
export async function markProvisioned(connection: Connection, accountIds: readonly string[]): Promise<Set<string>> {
  const marked = await connection('mailbox.mailboxes')
    .whereRaw('account_id = any(?::uuid[])', [[...accountIds]])
    .whereNull('provisioned_at')
    .update({ provisioned_at: connection.fn.now() })
    .returning<{ account_id: string }[]>('account_id');
  return new Set(marked.map((row) => row.account_id));
}

/** Whether mail to `address` can be delivered: `outside` when it is no account's. */
export async function deliverability(
  connection: Connection,
  address: string,
): Promise<'ready' | 'not_yet' | 'outside'> {
  const account = await connection('directory.account_facts_v as c')
    .leftJoin('mailbox.mailboxes as m', 'm.account_id', 'c.id')
    .where('c.address', address)
    .first('c.id', 'm.provisioned_at');
  if (!account) return 'outside';
  return account.provisioned_at ? 'ready' : 'not_yet';
}

/** What was chosen for the mailbox that has this address. */
export const findLanguage = async (connection: Connection, address: string): Promise<NoticeLanguage | null> =>
  (await connection('mailbox.mailboxes').where({ address }).first('language'))?.language ?? null;

/** Answers what was chosen before. */
export async function updateLanguage(
  transaction: Transaction,
  accountId: string,
  language: NoticeLanguage | null,
): Promise<NoticeLanguage | null> {
  const row = await transaction('mailbox.mailboxes')
    .where({ account_id: accountId })
    .forNoKeyUpdate()
    .first('language');
  await transaction('mailbox.mailboxes').where({ account_id: accountId }).update({ language });
  return row.language;
}

interface ListRow {
  account_id: string;
  kind: MailboxKind;
  address: string;
  display_name: string;
  agency_code: string;
  agency_name: string;
  state: Mailbox['state'];
  quota_bytes: string;
  quota_class: string | null;
  quota_by_hand: boolean;
  suspended_mail: Mailbox['suspendedMail'];
  retained_until: string | null;
  created_at: Date;
  version: number;
  request_id: string | null;
  submitted_by_name: string | null;
  submitted_at: Date | null;
  approved_by_name: string | null;
  approved_at: Date | null;
  decision_number: string | null;
}

const listColumns = [
  'm.account_id',
  'm.kind',
  'm.address',
  'm.state',
  'm.quota_bytes',
  'm.quota_class',
  'm.suspended_mail',
  'm.created_at',
  'm.version',
  'c.request_id',
  'c.submitted_by_name',
  'c.submitted_at',
  'c.approved_by_name',
  'c.approved_at',
  'c.decision_number',
];
const shownColumns = `coalesce(c.display_name, m.display_name) as display_name, coalesce(c.agency_code, own.code) as agency_code,
  coalesce(c.agency_name, own.name) as agency_name, to_char(m.retained_until, 'YYYY-MM-DD') as retained_until,
  coalesce(m.quota_bytes_by_hand::text, m.quota_class_by_hand) is not null as quota_by_hand`;

/** Name and agency are the account's; of shared and service mailboxes (`own` is their agency), their own. */
const mailboxes = (connection: Connection, scope: string) =>
  connection('mailbox.mailboxes as m')
    .leftJoin('directory.accounts_v as c', 'c.id', 'm.account_id')
    .leftJoin('directory.agencies_v as own', 'own.id', 'm.agency_id')
    .whereRaw('coalesce(c.agency_id, m.agency_id) in (select directory.agency_subtree(?))', [scope])
    .select<ListRow[]>(...listColumns, connection.raw(shownColumns));

const toMailbox = (row: ListRow): Mailbox => ({
  accountId: row.account_id,
  kind: row.kind,
  address: row.address,
  displayName: row.display_name,
  agencyCode: row.agency_code,
  agencyName: row.agency_name,
  state: row.state,
  quotaBytes: Number(row.quota_bytes),
  quotaClass: row.quota_class,
  quotaByHand: row.quota_by_hand,
  suspendedMail: row.suspended_mail,
  retainedUntil: row.retained_until,
  createdAt: row.created_at.toISOString(),
  version: row.version,
  requestId: row.request_id,
  submittedBy: row.submitted_by_name,
  submittedAt: row.submitted_at?.toISOString() ?? null,
  approvedBy: row.approved_by_name,
  approvedAt: row.approved_at?.toISOString() ?? null,
  decisionNumber: row.decision_number,
});

export async function requireMailbox(connection: Connection, accountId: string, scope: string): Promise<Mailbox> {
  const { rows } = await prepared<ListRow>(
    connection,
    'find-mailbox',
    `select ${listColumns.join(', ')}, ${shownColumns}
     from mailbox.mailboxes m
     left join lateral (select * from directory.accounts_v c where c.id = m.account_id offset 0) c on true
     left join directory.agencies_v own on own.id = m.agency_id
     where m.account_id = ? and ${isAtOrBelow('coalesce(c.agency_id, m.agency_id)')}`,
    [accountId, scope],
  );
  const [row] = rows;
  if (!row) throw mailboxNotFound();
  return toMailbox(row);
}

const mailboxNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'mailbox_not_found',
    detail: 'There is no mailbox of that account at or below your agency.',
  });

/** Those of the mailboxes that are of the agencies (undefined means all), in any order. */
export async function listMailboxesById(
  connection: Connection,
  accountIds: readonly string[],
  agencyIds: readonly string[] | undefined,
): Promise<Mailbox[]> {
  const rows = await connection('mailbox.mailboxes as m')
    // Looked up one by one: joined as a whole, the view of so many tables is often made for all accounts first.
    .joinRaw('left join lateral (select * from directory.accounts_v c where c.id = m.account_id offset 0) c on true')
    .leftJoin('directory.agencies_v as own', 'own.id', 'm.agency_id')
    .whereRaw('m.account_id = any(?::uuid[])', [[...accountIds]])
    .modify((query) => {
      if (agencyIds) query.whereRaw('coalesce(c.agency_id, m.agency_id) = any(?::uuid[])', [[...agencyIds]]);
    })
    .select<ListRow[]>(...listColumns, connection.raw(shownColumns));
  return rows.map(toMailbox);
}

/** Of the account behind a mailbox. */
export async function findAgencyId(connection: Connection, accountId: string): Promise<string | null> {
  const account = await connection('directory.account_facts_v').where({ id: accountId }).first('agency_id');
  return account?.agency_id ?? null;
}

/** Of each, in their order, whether the name is the holder's from now on, or was before: false when somebody else has it, or had it. */
export async function takeMailNames(
  transaction: Transaction,
  wanted: readonly { name: string; holder: string }[],
): Promise<boolean[]> {
  const { rows } = await transaction.raw<{ rows: { taken: boolean }[] }>(
    `select directory.take_mail_name(name, holder) as taken
     from rows from (json_to_recordset(?::json) as (name text, holder uuid)) with ordinality as row(name, holder, nth) order by nth`,
    [JSON.stringify(wanted)],
  );
  return rows.map(({ taken }) => taken);
}

export async function takeMailName(transaction: Transaction, name: string, holder: string): Promise<boolean> {
  const [taken] = await takeMailNames(transaction, [{ name, holder }]);
  return taken === true;
}

export interface MailboxFilter {
  scope: string;
  state?: string | undefined;
  kind?: string | undefined;
  address?: string | undefined;
  requestId?: string | undefined;
  /** The agency and everything below it. */
  agencyCode?: string | undefined;
  /** Words, each at the beginning of the address or anywhere in the name; marks and capitals do not matter. */
  q?: string | undefined;
}

export async function listMailboxes(
  connection: Connection,
  filter: MailboxFilter,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Mailbox[]> {
  const rows = await mailboxes(connection, filter.scope)
    .modify((query) => {
      if (filter.state) query.where('m.state', filter.state);
      if (filter.kind) query.where('m.kind', filter.kind);
      if (filter.address) query.where('m.address', filter.address);
      if (filter.requestId) query.where('c.request_id', filter.requestId);
      if (filter.agencyCode) {
        const subtree = 'coalesce(c.agency_id, m.agency_id) in (select directory.agency_subtree(?))';
        query.whereRaw(subtree, [filter.agencyCode]);
      }
      for (const word of (filter.q ?? '').split(/\s+/).filter(Boolean)) {
        query.whereRaw(
          `(starts_with(m.address, lower(?)) or
            position(directory.search_text(?) in directory.search_text(coalesce(c.display_name, m.display_name))) > 0)`,
          [word, word],
        );
      }
      if (after) query.whereRaw('(m.created_at, m.account_id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'm.created_at', order: 'desc' },
      { column: 'm.account_id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map(toMailbox);
}
