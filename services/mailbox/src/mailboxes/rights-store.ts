/** Every query on who else may read, write or send as a mailbox, and on what is answered while its holder is away. */
import type { Mailbox, MailboxKind, MailboxRight, MailboxRights, Vacation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { isAtOrBelow } from '../agencies/agency-store.ts';

interface RightsRow {
  mailbox_id: string;
  account_id: string;
  can_read: boolean;
  can_write: boolean;
  can_send_as: boolean;
  address: string;
  display_name: string;
  active: boolean;
}

const toRights = (row: RightsRow): MailboxRights & { mailboxId: string } => ({
  mailboxId: row.mailbox_id,
  accountId: row.account_id,
  address: row.address,
  displayName: row.display_name,
  rights: rightsOf(row),
  active: row.active,
});

const rightsOf = (row: Pick<RightsRow, 'can_read' | 'can_write' | 'can_send_as'>): MailboxRight[] => [
  ...(row.can_read ? (['read'] as const) : []),
  ...(row.can_write ? (['write'] as const) : []),
  ...(row.can_send_as ? (['send_as'] as const) : []),
];

/** Whoever may write may read. */
const flagsOf = (rights: readonly MailboxRight[]) => ({
  can_read: rights.includes('read') || rights.includes('write'),
  can_write: rights.includes('write'),
  can_send_as: rights.includes('send_as'),
});

/** On each of the mailboxes, by name. The address is the one that LDAP has, by which Postfix and Dovecot know who logs in. */
export async function listRights(
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<(MailboxRights & { mailboxId: string })[]> {
  const rows = await connection('mailbox.rights as r')
    .join('mailbox.mailboxes as m', 'm.account_id', 'r.mailbox_id')
    .join('mailbox.mailboxes as holder', 'holder.account_id', 'r.account_id')
    .join('directory.account_facts_v as c', 'c.id', 'r.account_id')
    .whereRaw('r.mailbox_id = any(?::uuid[])', [[...mailboxIds]])
    .select<RightsRow[]>(
      'r.*',
      'holder.address',
      'c.display_name',
      connection.raw(`(m.state = 'active' and holder.state = 'active') as active`),
    )
    .orderBy(['c.display_name', 'r.account_id']);
  return rows.map(toRights);
}

/** What the account may do with the mailbox; empty when nothing. */
export async function findRights(
  connection: Connection,
  mailboxId: string,
  accountId: string,
): Promise<MailboxRight[]> {
  const row = await connection('mailbox.rights')
    .where({ mailbox_id: mailboxId, account_id: accountId })
    .first('can_read', 'can_write', 'can_send_as');
  return row ? rightsOf(row) : [];
}

/** Answers what they are then. */
export async function saveRights(
  transaction: Transaction,
  mailboxId: string,
  accountId: string,
  rights: readonly MailboxRight[],
): Promise<MailboxRight[]> {
  if (rights.length === 0) {
    await transaction('mailbox.rights').where({ mailbox_id: mailboxId, account_id: accountId }).delete();
    return [];
  }
  const flags = flagsOf(rights);
  await transaction('mailbox.rights')
    .insert({
      mailbox_id: mailboxId,
      account_id: accountId,
      agency_id: transaction('directory.account_facts_v').where({ id: accountId }).select('agency_id'),
      ...flags,
    })
    .onConflict(['mailbox_id', 'account_id'])
    .merge();
  return rightsOf(flags);
}

/** On a mailbox that is new. Answers what each may do then. */
export async function insertRights(
  transaction: Transaction,
  mailboxId: string,
  given: readonly { accountId: string; rights: readonly MailboxRight[] }[],
): Promise<Map<string, MailboxRight[]>> {
  const rows = given.flatMap(({ accountId, rights }) =>
    rights.length > 0 ? [{ account_id: accountId, ...flagsOf(rights) }] : [],
  );
  if (rows.length > 0) {
    await transaction.raw(
      `insert into mailbox.rights (mailbox_id, account_id, agency_id, can_read, can_write, can_send_as)
       select ?, row.account_id, c.agency_id, can_read, can_write, can_send_as
       from json_to_recordset(?::json) as row(account_id uuid, can_read boolean, can_write boolean, can_send_as boolean)
       cross join lateral (select agency_id from directory.account_facts_v c where c.id = row.account_id offset 0) c`,
      [mailboxId, JSON.stringify(rows)],
    );
  }
  return new Map(rows.map((row) => [row.account_id, rightsOf(row)]));
}

/** Those of the mailboxes of accounts that are at or below `scope`, by account. */
export async function listHolders(
  connection: Connection,
  accountIds: readonly string[],
  scope: string,
): Promise<Map<string, Pick<Mailbox, 'kind' | 'state'>>> {
  if (accountIds.length === 0) return new Map();
  const { rows } = await connection.raw<{ rows: { account_id: string; kind: MailboxKind; state: Mailbox['state'] }[] }>(
    `select m.account_id, m.kind, m.state from mailbox.mailboxes m
     left join lateral (select agency_id from directory.account_facts_v c where c.id = m.account_id offset 0) c on true
     where m.account_id = any(?::uuid[]) and ${isAtOrBelow('coalesce(c.agency_id, m.agency_id)')}`,
    [[...accountIds], scope] as never,
  );
  return new Map(rows.map(({ account_id, ...holder }) => [account_id, holder]));
}

/** The mailboxes on which one of the accounts has rights, each at a new version: what is said of them is to be written anew. */
export async function touchShared(
  transaction: Transaction,
  accountIds: readonly string[],
): Promise<{ id: string; kind: string }[]> {
  const rows = await transaction('mailbox.rights')
    .whereRaw('account_id = any(?::uuid[])', [[...accountIds]])
    .distinct<{ mailbox_id: string }[]>('mailbox_id');
  return touchMailboxes(
    transaction,
    rows.map((row) => row.mailbox_id),
  );
}

/** In one order, so that of two transactions neither waits for the other. */
async function touchMailboxes(
  transaction: Transaction,
  mailboxIds: readonly string[],
): Promise<{ id: string; kind: string }[]> {
  if (mailboxIds.length === 0) return [];
  const { rows } = await transaction.raw<{ rows: { id: string; kind: string }[] }>(
    `update mailbox.mailboxes m set version = version + 1
     from (select account_id from mailbox.mailboxes where account_id = any(?::uuid[]) order by account_id for no key update) o
     where m.account_id = o.account_id returning m.account_id as id, m.kind`,
    [[...mailboxIds]],
  );
  return rows;
}

/** A right that ended; `agencyId` is that of the mailbox. */
export interface EndedRight {
  mailboxId: string;
  kind: MailboxKind;
  agencyId: string | null;
  holderId: string;
  rights: MailboxRight[];
}

interface LeftRow extends Omit<RightsRow, 'address' | 'display_name' | 'active'> {
  kind: MailboxKind;
  mailbox_agency_id: string | null;
  now_in: string;
  is_left: boolean;
}

/**
 * Takes from those of the accounts that went to another agency what they may do with mailboxes of the one they left and of those below
 * it, but for those of the agency that they are in now. The mailboxes are at a new version then.
 */
export async function deleteRightsLeft(transaction: Transaction, accountIds: readonly string[]): Promise<EndedRight[]> {
  const { rows } = await transaction.raw<{ rows: LeftRow[] }>(
    `select moved.*, mailbox_agency_id <> now_in and mailbox_agency_id in (select directory.agency_subtree(
         (select code from directory.agencies_v a where a.id = moved.agency_id))) as is_left
     from (select r.*, m.kind, coalesce(m.agency_id, own.agency_id) as mailbox_agency_id, holder.agency_id as now_in
       from mailbox.rights r
       cross join lateral (select agency_id from directory.account_facts_v c where c.id = r.account_id offset 0) holder
       join mailbox.mailboxes m on m.account_id = r.mailbox_id
       left join lateral (select agency_id from directory.account_facts_v c where c.id = m.account_id offset 0) own on true
       where r.account_id = any(?::uuid[]) and r.agency_id <> holder.agency_id) moved`,
    [[...accountIds]],
  );
  if (rows.length === 0) return [];
  const left = rows.filter(({ is_left }) => is_left);
  // The mailboxes before their rights, as whoever gives one locks them.
  await touchMailboxes(
    transaction,
    left.map((row) => row.mailbox_id),
  );
  const json = JSON.stringify(rows);
  const these = `json_to_recordset(?::json) as moved(mailbox_id uuid, account_id uuid, agency_id uuid, now_in uuid, is_left boolean)
    where r.mailbox_id = moved.mailbox_id and r.account_id = moved.account_id and r.agency_id = moved.agency_id`;
  await transaction.raw(`update mailbox.rights r set agency_id = moved.now_in from ${these} and not moved.is_left`, [
    json,
  ]);
  const gone = await transaction.raw<{ rows: { mailbox_id: string; account_id: string }[] }>(
    `delete from mailbox.rights r using ${these} and moved.is_left returning r.mailbox_id, r.account_id`,
    [json],
  );
  const keyOf = (row: { mailbox_id: string; account_id: string }) => `${row.mailbox_id} ${row.account_id}`;
  const ended = new Set(gone.rows.map(keyOf));
  return left
    .filter((row) => ended.has(keyOf(row)))
    .map((row) => ({
      mailboxId: row.mailbox_id,
      kind: row.kind,
      agencyId: row.mailbox_agency_id,
      holderId: row.account_id,
      rights: rightsOf(row),
    }));
}

/** Those of the mailboxes on which somebody has rights. */
export async function filterShared(connection: Connection, mailboxIds: readonly string[]): Promise<string[]> {
  const rows = await connection('mailbox.rights')
    .whereRaw('mailbox_id = any(?::uuid[])', [[...mailboxIds]])
    .distinct<{ mailbox_id: string }[]>('mailbox_id');
  return rows.map((row) => row.mailbox_id);
}

/** Every mailbox on which somebody has rights and that still has a store. */
export async function listShared(connection: Connection): Promise<string[]> {
  const rows = await connection('mailbox.rights as r')
    .join('mailbox.mailboxes as m', 'm.account_id', 'r.mailbox_id')
    .whereNotIn('m.state', ['purging', 'purged'])
    .distinct<{ mailbox_id: string }[]>('r.mailbox_id');
  return rows.map((row) => row.mailbox_id);
}

export interface AwayText extends Vacation {
  mailboxId: string;
}

export async function listVacations(connection: Connection, mailboxIds: readonly string[]): Promise<AwayText[]> {
  return connection('mailbox.vacations')
    .whereRaw('mailbox_id = any(?::uuid[])', [[...mailboxIds]])
    .select<AwayText[]>(
      'mailbox_id as mailboxId',
      'subject',
      'body as text',
      connection.raw(`to_char(first_day, 'YYYY-MM-DD') as "from", to_char(last_day, 'YYYY-MM-DD') as "until"`),
    );
}

/** The mailboxes that still have a store and for which an answer is on record. */
export const listAway = (connection: Connection): Promise<string[]> =>
  connection('mailbox.vacations as v')
    .join('mailbox.mailboxes as m', 'm.account_id', 'v.mailbox_id')
    .whereNotIn('m.state', ['purging', 'purged'])
    .pluck('v.mailbox_id');

export async function saveVacation(
  transaction: Transaction,
  mailboxId: string,
  vacation: Vacation | undefined,
): Promise<void> {
  if (!vacation) {
    await transaction('mailbox.vacations').where({ mailbox_id: mailboxId }).delete();
    return;
  }
  const { subject, text, from, until } = vacation;
  await transaction('mailbox.vacations')
    .insert({ mailbox_id: mailboxId, subject, body: text, first_day: from, last_day: until })
    .onConflict('mailbox_id')
    .merge();
}
