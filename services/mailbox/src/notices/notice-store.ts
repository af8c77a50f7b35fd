/** Every query on mailbox.notices: a notice is on record, under the Message-ID it will always have, before it is sent. */
import type { Notice } from '@congvu/contracts';
import type { Connection, JobSpec } from '@congvu/database';

export type NoticeKind = Notice['kind'];

export const noticeJob = (kind: NoticeKind, subjectId: string): JobSpec => ({
  task: 'send-notice',
  payload: { kind, subjectId },
  key: `notice:${kind}:${subjectId}`,
  priority: 10, // letters wait for mailboxes, not mailboxes for letters
});

export interface NoticeRow {
  id: string;
  kind: NoticeKind;
  subject_id: string;
  recipient: string | null;
  message_id: string;
  state: Notice['state'];
  created_at: Date;
  sent_at: Date | null;
}

/** The record of a notice: made now, or the one that there is. Its recipient is set once known. */
export async function saveNotice(
  connection: Connection,
  notice: { kind: NoticeKind; subjectId: string; recipient: string | null; messageId: string },
): Promise<NoticeRow> {
  const [row] = await connection<NoticeRow>('mailbox.notices')
    .insert({
      kind: notice.kind,
      subject_id: notice.subjectId,
      recipient: notice.recipient,
      message_id: notice.messageId,
      state: notice.recipient === null ? 'no_recipient' : 'waiting',
    })
    .onConflict(['kind', 'subject_id'])
    .merge({
      recipient: connection.raw('coalesce(notices.recipient, excluded.recipient)') as never,
      state: connection.raw(
        "case when notices.state = 'no_recipient' and excluded.recipient is not null then 'waiting' else notices.state end",
      ) as never,
    })
    .returning('*');
  return row as NoticeRow;
}

export const listWaitingFor = (connection: Connection, recipients: readonly string[]): Promise<NoticeRow[]> =>
  connection<NoticeRow>('mailbox.notices')
    .whereRaw('recipient = any(?)', [[...recipients]])
    .where({ state: 'waiting' })
    .select('*');

export async function markSent(connection: Connection, id: string): Promise<void> {
  await connection<NoticeRow>('mailbox.notices').where({ id }).update({ state: 'sent', sent_at: new Date() });
}

export interface DecisionSource {
  state: string;
  remark: string | null;
  recipient: string | null;
  agencyName: string;
  decidedAt: Date;
  decidedByName: string | null;
  submittedAt: Date;
  lineCount: number;
  /** The first of them; `openedCount` says how many there are or will be. */
  accounts: { name: string; address: string }[];
  openedCount: number;
  rejectedCount: number;
}

export const findDecision = (connection: Connection, requestId: string): Promise<DecisionSource | undefined> =>
  connection('directory.decisions_v')
    .where({ request_id: requestId })
    .first(
      'state',
      'remark',
      'recipient',
      'accounts',
      'agency_name as agencyName',
      'decided_at as decidedAt',
      'decided_by_name as decidedByName',
      'submitted_at as submittedAt',
      'line_count as lineCount',
      'opened_count as openedCount',
      'rejected_count as rejectedCount',
    );

export interface ReturnSource {
  recipient: string | null;
  agencyName: string;
  submittedAt: Date;
  returnedAt: Date;
  returnedByName: string;
  remark: string;
  lines: { lineNumber: number; remark: string }[];
  dueAt: Date | null;
}

export const findReturn = (connection: Connection, returnId: string): Promise<ReturnSource | undefined> =>
  connection('directory.returns_v')
    .where({ return_id: returnId })
    .first(
      'recipient',
      'remark',
      'lines',
      'agency_name as agencyName',
      'submitted_at as submittedAt',
      'returned_at as returnedAt',
      'returned_by_name as returnedByName',
      'due_at as dueAt',
    );

/** For those who see the whole province: the log of what was sent. */
export async function listNotices(
  connection: Connection,
  filter: { scope: string; recipient?: string | undefined; state?: string | undefined },
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<Notice[]> {
  const rows: NoticeRow[] = await connection('mailbox.notices as n')
    .select('n.*')
    .whereRaw(
      `(exists (select 1 from directory.accounts_v c where c.address = n.recipient and c.agency_id in (select directory.agency_subtree(?)))
       or exists (select 1 from directory.agencies_v a where a.code = ? and a.parent_code is null))`,
      [filter.scope, filter.scope],
    )
    .modify((query) => {
      if (filter.recipient) query.where('n.recipient', filter.recipient);
      if (filter.state) query.where('n.state', filter.state);
      if (after) query.whereRaw('(n.created_at, n.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'n.created_at', order: 'desc' },
      { column: 'n.id', order: 'desc' },
    ])
    .limit(limit + 1);
  return rows.map((row) => ({
    id: row.id,
    kind: row.kind,
    subjectId: row.subject_id,
    recipient: row.recipient,
    messageId: row.message_id,
    state: row.state,
    createdAt: row.created_at.toISOString(),
    sentAt: row.sent_at?.toISOString() ?? null,
  }));
}
