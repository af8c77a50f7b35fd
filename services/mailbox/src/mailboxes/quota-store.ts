/** Every query on quota classes and on which mailboxes have which. */
import type { MailboxKind, QuotaClass } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';

export interface QuotaSubject {
  id: string;
  kind: MailboxKind;
  title: string | null;
  agencyId: string;
}
export interface AssignedQuota {
  classCode: string;
  quotaBytes: number;
}

/**
 * Of the assignments that fit the nearest: one with a title, then one of the nearer agency, then one with a kind. Chosen for each of
 * the subjects among the few assignments: sets of unknown size, joined, are compared each with each.
 */
const nearestOf = (subjects: string, join: 'cross join' | 'left join'): string => `
  (select subject.*, case when exists (select from mailbox.quota_assignments where agency_id is not null)
     then directory.agency_path(subject.agency_id) end as path from (${subjects}) subject offset 0) s
  ${join} lateral (
    select q.class_code, c.quota_bytes from mailbox.quota_assignments q join mailbox.quota_classes c on c.code = q.class_code
    where (q.kind is null or q.kind = s.kind) and (q.title is null or lower(q.title) = lower(s.title))
      and (q.agency_id is null or q.agency_id = any(s.path))
    order by (q.title is not null) desc, array_position(s.path, q.agency_id) nulls last, (q.kind is not null) desc limit 1) nearest
  ${join === 'left join' ? 'on true' : ''}`;

/** By mailbox; those that no assignment fits are not in it. */
export async function listAssignedQuotas(
  connection: Connection,
  subjects: readonly QuotaSubject[],
): Promise<Map<string, AssignedQuota>> {
  const given = `select id, kind, title, "agencyId" as agency_id
    from jsonb_to_recordset(?::jsonb) as s(id uuid, kind text, title text, "agencyId" uuid)`;
  const { rows } = await connection.raw<{ rows: { id: string; class_code: string; quota_bytes: string }[] }>(
    `select s.id, nearest.* from ${nearestOf(given, 'cross join')}`,
    [JSON.stringify(subjects.map(({ id, kind, title, agencyId }) => ({ id, kind, title, agencyId })))],
  );
  return new Map(
    rows.map((row) => [row.id, { classCode: row.class_code, quotaBytes: Number(row.quota_bytes) }] as const),
  );
}

/** What a mailbox on record has where nothing was said by hand; undefined when no assignment fits. */
export async function findAssignedQuota(connection: Connection, id: string): Promise<AssignedQuota | undefined> {
  const subject = await connection('mailbox.mailboxes as m')
    .leftJoin('directory.account_facts_v as c', 'c.id', 'm.account_id')
    .where('m.account_id', id)
    .first<QuotaSubject | undefined>(
      'm.account_id as id',
      'm.kind',
      'c.title',
      connection.raw('coalesce(c.agency_id, m.agency_id) as "agencyId"'),
    );
  return subject && (await listAssignedQuotas(connection, [subject])).get(id);
}

/** Mailboxes whose quota is another by the assignments and classes of now. */
export async function listOtherwiseSized(connection: Connection, defaultBytes: number): Promise<string[]> {
  const all = `select m.account_id as id, m.kind, c.title, coalesce(c.agency_id, m.agency_id) as agency_id, m.quota_bytes, m.quota_class
    from mailbox.mailboxes m left join directory.account_facts_v c on c.id = m.account_id
    where m.quota_bytes_by_hand is null and m.quota_class_by_hand is null and m.state not in ('purging', 'purged')`;
  const { rows } = await connection.raw<{ rows: { id: string }[] }>(
    `select s.id from ${nearestOf(all, 'left join')}
     where s.quota_bytes <> coalesce(nearest.quota_bytes, ?) or s.quota_class is distinct from nearest.class_code
     union all
     select m.account_id from mailbox.mailboxes m join mailbox.quota_classes c on c.code = m.quota_class_by_hand
     where m.quota_bytes <> c.quota_bytes
     order by 1`,
    [defaultBytes],
  );
  return rows.map((row) => row.id);
}

interface ClassRow {
  code: string;
  name: string;
  quota_bytes: string;
  version: number;
  mailboxes: number;
}
const toClass = (row: ClassRow): QuotaClass => ({
  code: row.code,
  name: row.name,
  quotaBytes: Number(row.quota_bytes),
  mailboxes: row.mailboxes,
  version: row.version,
});

const classes = (connection: Connection) =>
  connection('mailbox.quota_classes as c').select<ClassRow[]>(
    'c.*',
    connection.raw('(select count(*)::int from mailbox.mailboxes m where m.quota_class = c.code) as mailboxes'),
  );

export async function listClassSizes(connection: Connection): Promise<Map<string, number>> {
  const rows = await connection('mailbox.quota_classes').select<{ code: string; quota_bytes: string }[]>(
    'code',
    'quota_bytes',
  );
  return new Map(rows.map((row) => [row.code, Number(row.quota_bytes)]));
}

export const listQuotaClasses = async (connection: Connection): Promise<QuotaClass[]> =>
  (await classes(connection).orderBy('c.code')).map(toClass);

export async function findQuotaClass(connection: Connection, code: string): Promise<QuotaClass | undefined> {
  const [row] = await classes(connection).where('c.code', code);
  return row && toClass(row);
}

/** False when there is one of that code. */
export async function insertQuotaClass(
  transaction: Transaction,
  { code, name, quotaBytes }: { code: string; name: string; quotaBytes: number },
): Promise<boolean> {
  const made = await transaction('mailbox.quota_classes')
    .insert({ code, name, quota_bytes: quotaBytes })
    .onConflict('code')
    .ignore()
    .returning('code');
  return made.length > 0;
}

export const lockQuotaClass = async (transaction: Transaction, code: string): Promise<void> => {
  await transaction('mailbox.quota_classes').where({ code }).forUpdate().select('code');
};

export const updateQuotaClass = (
  transaction: Transaction,
  code: string,
  { name, quotaBytes }: { name: string; quotaBytes: number },
): Promise<unknown> =>
  transaction('mailbox.quota_classes')
    .where({ code })
    .update({ name, quota_bytes: quotaBytes, version: transaction.raw('version + 1') });

export const deleteQuotaClass = (transaction: Transaction, code: string): Promise<unknown> =>
  transaction('mailbox.quota_classes').where({ code }).delete();

export async function isClassAssigned(connection: Connection, code: string): Promise<boolean> {
  const assigned = await connection('mailbox.quota_assignments').where({ class_code: code }).first('class_code');
  const byHand = await connection('mailbox.mailboxes').where({ quota_class_by_hand: code }).first('account_id');
  return assigned !== undefined || byHand !== undefined;
}

export interface AssignmentRow {
  class_code: string;
  kind: MailboxKind | null;
  title: string | null;
  agency_id: string | null;
  agency_code: string | null;
}

export const listAssignments = (connection: Connection): Promise<AssignmentRow[]> =>
  connection('mailbox.quota_assignments as q')
    .leftJoin('directory.agencies_v as a', 'a.id', 'q.agency_id')
    .select<AssignmentRow[]>('q.class_code', 'q.kind', 'q.title', 'q.agency_id', 'a.code as agency_code')
    .orderByRaw('q.title nulls last, a.code nulls last, q.kind nulls last');

export async function replaceAssignments(
  transaction: Transaction,
  rows: readonly Omit<AssignmentRow, 'agency_code'>[],
): Promise<void> {
  await transaction.raw('lock table mailbox.quota_assignments in share row exclusive mode');
  await transaction('mailbox.quota_assignments').delete();
  if (rows.length > 0) await transaction('mailbox.quota_assignments').insert([...rows]);
}
