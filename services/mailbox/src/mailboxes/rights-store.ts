/** Every query on who else may read, write or send as a mailbox, and on what is answered while its holder is away. */
import type { MailboxRight, MailboxRights, Vacation } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

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
  rights: [
    ...(row.can_read ? (['read'] as const) : []),
    ...(row.can_write ? (['write'] as const) : []),
    ...(row.can_send_as ? (['send_as'] as const) : []),
  ],
  active: row.active,
});

/** On each of the mailboxes, by name. The address is the one that LDAP has, by which Postfix and Dovecot know who logs in. */
export async function listRights(
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<(MailboxRights & { mailboxId: string })[]> {
  const rows = await connection('mailbox.rights as r')
    .join('mailbox.mailboxes as m', 'm.account_id', 'r.mailbox_id')
    .join('mailbox.mailboxes as holder', 'holder.account_id', 'r.account_id')
    .join('directory.accounts_v as c', 'c.id', 'r.account_id')
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
  return row ? toRights(row).rights : [];
}

export async function saveRights(
  transaction: Transaction,
  mailboxId: string,
  accountId: string,
  rights: readonly MailboxRight[],
): Promise<void> {
  const key = { mailbox_id: mailboxId, account_id: accountId };
  if (rights.length === 0) {
    await transaction('mailbox.rights').where(key).delete();
    return;
  }
  await transaction('mailbox.rights')
    .insert({
      ...key,
      can_read: rights.includes('read') || rights.includes('write'),
      can_write: rights.includes('write'),
      can_send_as: rights.includes('send_as'),
    })
    .onConflict(['mailbox_id', 'account_id'])
    .merge();
}

/** The mailboxes on which one of the accounts has rights, each at a new version: what is said of them is to be written anew. */
export async function touchShared(
  transaction: Transaction,
  accountIds: readonly string[],
): Promise<{ id: string; kind: string }[]> {
  const { rows } = await transaction.raw<{ rows: { id: string; kind: string }[] }>(
    `update mailbox.mailboxes set version = version + 1
     where account_id in (select mailbox_id from mailbox.rights where account_id = any(?::uuid[]))
     returning account_id as id, kind`,
    [[...accountIds]],
  );
  return rows;
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
