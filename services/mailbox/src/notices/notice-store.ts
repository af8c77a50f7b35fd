/** Every query on mailbox.notices: a notice is on record, under the Message-ID it will always have, before it is sent. */
import type { Notice, NoticeKind } from '@congvu/contracts';
import type { Connection, JobSpec, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

/** What a notice is known by. */
export interface NoticeIdentity {
  kind: NoticeKind;
  subjectId: string;
  /** Tells notices of one kind about one subject apart; empty where there is only one. */
  occasion?: string;
  /** Of several who are told the same; empty where it is one. */
  addressee?: string;
}

export interface NewNotice extends NoticeIdentity {
  recipient: string | null;
  agencyId: string;
  facts: object;
}

export function noticeJob({ kind, subjectId, occasion = '', addressee = '' }: NoticeIdentity): JobSpec {
  const key = [kind, subjectId, occasion, addressee].filter((part) => part !== '');
  return {
    task: 'send-notice',
    payload: { kind, subjectId, occasion, addressee },
    key: `notice:${key.join(':')}`,
    priority: 10, // letters wait for mailboxes, not mailboxes for letters
  };
}

export interface NoticeRow {
  id: string;
  kind: NoticeKind;
  subject_id: string;
  occasion: string;
  addressee: string;
  agency_id: string | null;
  recipient: string | null;
  /** Gone once it is sent. */
  facts: object | null;
  message_id: string | null;
  state: Notice['state'];
  attempts: number;
  first_attempt_at: Date | null;
  last_attempt_at: Date | null;
  last_error: string | null;
  created_at: Date;
  sent_at: Date | null;
}

export const identityOf = (row: NoticeRow): NoticeIdentity => ({
  kind: row.kind,
  subjectId: row.subject_id,
  occasion: row.occasion,
  addressee: row.addressee,
});

export const findNotice = (
  connection: Connection,
  { kind, subjectId, occasion = '', addressee = '' }: NoticeIdentity,
): Promise<NoticeRow | undefined> =>
  connection<NoticeRow>('mailbox.notices').where({ kind, subject_id: subjectId, occasion, addressee }).first();

/**
 * Puts notices on record; those that are there stay as they are, but that one without a recipient gets it once known. Answers those
 * that were not there before.
 */
export async function saveNotices(connection: Connection, notices: readonly NewNotice[]): Promise<NoticeRow[]> {
  if (notices.length === 0) return [];
  const { rows } = await connection.raw<{ rows: (NoticeRow & { is_new: boolean })[] }>(
    `insert into mailbox.notices as n (kind, subject_id, occasion, addressee, agency_id, recipient, facts, state)
     select kind, "subjectId", coalesce(occasion, ''), coalesce(addressee, ''), "agencyId", recipient, facts,
       case when recipient is null then 'no_recipient' else 'waiting' end
     from jsonb_to_recordset(?::jsonb) as given(kind text, "subjectId" uuid, occasion text, addressee text, "agencyId" uuid,
       recipient text, facts jsonb)
     on conflict on constraint notices_once do update set
       agency_id = excluded.agency_id, facts = excluded.facts, recipient = coalesce(n.recipient, excluded.recipient),
       state = case when coalesce(n.recipient, excluded.recipient) is null then 'no_recipient' else 'waiting' end
       where n.state = 'no_recipient' or (n.state = 'waiting' and n.facts is null)
     returning *, (xmax = 0) as is_new`,
    [JSON.stringify(notices)],
  );
  return rows.filter((row) => row.is_new);
}

export const listWaitingFor = (connection: Connection, recipients: readonly string[]): Promise<NoticeRow[]> =>
  connection<NoticeRow>('mailbox.notices')
    .whereRaw('recipient = any(?)', [[...recipients]])
    .where({ state: 'waiting' })
    .select('*');

/**
 * Some of those that could be sent and that nobody has tried for long: their jobs ended in an outage that took days. The next page begins
 * after an id.
 */
export const listStranded = (connection: Connection, limit: number, after: string | undefined): Promise<NoticeRow[]> =>
  connection<NoticeRow>('mailbox.notices as n')
    .where({ state: 'waiting' })
    .whereNotNull('recipient')
    .whereRaw("coalesce(last_attempt_at, created_at) < now() - interval '12 hours'")
    .whereRaw(
      `not exists (select from directory.accounts_v c left join mailbox.mailboxes m on m.account_id = c.id
         where c.address = n.recipient and m.provisioned_at is null)`,
    )
    .modify((query) => {
      if (after) query.where('id', '>', after);
    })
    .orderBy('id')
    .limit(limit)
    .select('*');

/** Counts the attempt and gives the notice its Message-ID, if it has none, before anything is sent; undefined when it no longer waits. */
export async function beginAttempt(
  connection: Connection,
  id: string,
  messageId: string,
): Promise<(NoticeRow & { message_id: string; first_attempt_at: Date }) | undefined> {
  const [row] = await connection<NoticeRow>('mailbox.notices')
    .where({ id, state: 'waiting' })
    .update({
      attempts: connection.raw('attempts + 1') as never,
      message_id: connection.raw('coalesce(message_id, ?)', [messageId]) as never,
      first_attempt_at: connection.raw('coalesce(first_attempt_at, now())') as never,
      last_attempt_at: connection.fn.now() as never,
    })
    .returning('*');
  return row as (NoticeRow & { message_id: string; first_attempt_at: Date }) | undefined;
}

/** A success holds whatever another attempt at the same time came to. */
export async function markSent(connection: Connection, id: string): Promise<void> {
  await connection<NoticeRow>('mailbox.notices')
    .where({ id })
    .update({ state: 'sent', sent_at: connection.fn.now() as never, facts: null });
}

/** `state`: whether it is tried again. */
export async function recordFailure(
  connection: Connection,
  id: string,
  state: 'waiting' | 'failed',
  error: string,
): Promise<void> {
  await connection<NoticeRow>('mailbox.notices').where({ id, state: 'waiting' }).update({ state, last_error: error });
}

/**
 * Notices about agencies at and below `scope`; for the agency above all simply all, also those of before notices knew their agency. The
 * agencies are looked up first: with their number PostgreSQL chooses well between walking the log and gathering theirs.
 */
async function noticesWithin(connection: Connection, scope: string) {
  const { rows } = await connection.raw<{ rows: { is_root: boolean; agencies: string[] }[] }>(
    `select exists (select from directory.agencies_v where code = :scope and parent_code is null) as is_root,
       array(select directory.agency_subtree(:scope)) as agencies`,
    { scope },
  );
  const [{ is_root, agencies }] = rows as [{ is_root: boolean; agencies: string[] }];
  const notices = connection<NoticeRow>('mailbox.notices as n');
  return { notices: is_root ? notices : notices.whereRaw('n.agency_id = any(?::uuid[])', [agencies]) };
}

/** Locks a notice about an agency at or below `scope`. */
export async function lockNotice(transaction: Transaction, id: string, scope: string): Promise<NoticeRow> {
  const { notices } = await noticesWithin(transaction, scope);
  const [row] = await notices.where('n.id', id).forUpdate('n').select('n.*');
  if (row) return row as NoticeRow;
  throw new ServiceError({
    kind: 'not_found',
    code: 'notice_not_found',
    detail: 'There is no notice with that id about an agency at or below yours.',
  });
}

/** Waits again, with a new series of attempts. */
export async function resetNotice(transaction: Transaction, id: string): Promise<Notice> {
  const [row] = await transaction<NoticeRow>('mailbox.notices')
    .where({ id })
    .update({ state: 'waiting', first_attempt_at: null })
    .returning('*');
  return toNotice(row as NoticeRow);
}

export interface NoticeFilter {
  scope: string;
  kind?: string | undefined;
  recipient?: string | undefined;
  state?: string | undefined;
  subjectId?: string | undefined;
  from?: string | undefined;
  before?: string | undefined;
}

/** The log. */
export async function listNotices(
  connection: Connection,
  { scope, from, before, ...equal }: NoticeFilter,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Notice[]> {
  const { notices } = await noticesWithin(connection, scope);
  const rows = await notices
    .modify((query) => {
      if (equal.kind) query.where('n.kind', equal.kind);
      if (equal.recipient) query.where('n.recipient', equal.recipient);
      if (equal.state) query.where('n.state', equal.state);
      if (equal.subjectId) query.where('n.subject_id', equal.subjectId);
      if (from) query.where('n.created_at', '>=', from);
      if (before) query.where('n.created_at', '<', before);
      if (after) query.whereRaw('(n.created_at, n.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'n.created_at', order: 'desc' },
      { column: 'n.id', order: 'desc' },
    ])
    .limit(limit + 1)
    .select('n.*');
  return (rows as NoticeRow[]).map(toNotice);
}

const toNotice = (row: NoticeRow): Notice => ({
  id: row.id,
  kind: row.kind,
  subjectId: row.subject_id,
  occasion: row.occasion,
  recipient: row.recipient,
  messageId: row.message_id,
  state: row.state,
  attempts: row.attempts,
  lastAttemptAt: row.last_attempt_at?.toISOString() ?? null,
  lastError: row.last_error,
  createdAt: row.created_at.toISOString(),
  sentAt: row.sent_at?.toISOString() ?? null,
});
