/** What notices tell, read from the directory's views. */
import type { NoticeKind } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import type { AccountFacts, DecisionFacts, FactsByKind, ReturnFacts } from './facts.ts';

/** What a notice tells, of which agency it is, and to whom it goes if that is known. */
export interface Subject<Kind extends NoticeKind> {
  facts: FactsByKind[Kind];
  agencyId: string;
  recipient: string | null;
}

export interface NoticeAccount {
  id: string;
  address: string;
  displayName: string;
  agencyId: string;
  agencyName: string;
  agencyAddress: string | null;
  suspensionReason: string | null;
  suspendedUntil: Date | null;
  /** The end of the last day on which its mail is kept. */
  retainedUntil: Date | null;
}

/** Mailboxes that are nobody's account among them. */
export const listNoticeAccounts = async (
  connection: Connection,
  accountIds: readonly string[],
): Promise<NoticeAccount[]> => [
  ...(await connection('directory.accounts_v as c')
    .leftJoin('directory.account_ends_v as e', 'e.account_id', 'c.id')
    .whereRaw('c.id = any(?::uuid[])', [[...accountIds]])
    .select<NoticeAccount[]>(
      'c.id',
      'c.address',
      'c.display_name as displayName',
      'c.agency_id as agencyId',
      'c.agency_name as agencyName',
      'c.agency_address as agencyAddress',
      'e.suspension_reason as suspensionReason',
      'e.suspended_until as suspendedUntil',
      connection.raw(`(${endOfDay('e.retained_until')}) as "retainedUntil"`),
    )),
  ...(await connection('mailbox.mailboxes as m')
    .join('directory.agencies_v as a', 'a.id', 'm.agency_id')
    .whereRaw('m.account_id = any(?::uuid[])', [[...accountIds]])
    .select<NoticeAccount[]>(
      'm.account_id as id',
      'm.address',
      'm.display_name as displayName',
      'm.agency_id as agencyId',
      'a.name as agencyName',
      'm.suspension_reason as suspensionReason',
      connection.raw(`${addressOfAgency} as "agencyAddress", null as "suspendedUntil",
        ${endOfDay('m.retained_until')} as "retainedUntil"`),
    )),
];

/** When a last day is over. */
function endOfDay(day: string): string {
  return `(${day} + 1)::timestamp at time zone 'Asia/Ho_Chi_Minh'`;
}
/** Where letters to the agency of a mailbox `m` that is nobody's account go. */
const addressOfAgency = `(select own.address from directory.accounts_v own
  where own.agency_id = m.agency_id and own.kind = 'agency' and own.state <> 'retired')`;

export const accountFacts = ({ displayName, address, agencyName }: NoticeAccount): AccountFacts => ({
  displayName,
  address,
  agencyName,
});

export async function findWelcome(connection: Connection, accountId: string): Promise<Subject<'welcome'> | undefined> {
  const [account] = await listNoticeAccounts(connection, [accountId]);
  return account && { facts: accountFacts(account), agencyId: account.agencyId, recipient: account.address };
}

interface DecisionRow {
  state: string;
  remark: string | null;
  recipient: string | null;
  agency_id: string;
  agency_name: string;
  decided_at: Date;
  decided_by_name: string | null;
  submitted_at: Date;
  line_count: number;
  accounts: DecisionFacts['accounts'];
  opened_count: number;
  rejected_count: number;
}

export async function findDecision(
  connection: Connection,
  requestId: string,
): Promise<Subject<'decision'> | undefined> {
  const row: DecisionRow | undefined = await connection('directory.decisions_v as d')
    .join('directory.agencies_v as a', 'a.code', 'd.agency_code')
    .where('d.request_id', requestId)
    .whereIn('d.state', ['approved', 'fulfilled', 'rejected'])
    .first('d.*', 'a.id as agency_id');
  if (!row) return undefined;
  const facts: DecisionFacts = {
    agencyName: row.agency_name,
    outcome: row.state === 'rejected' ? 'rejected' : 'approved',
    remark: row.remark,
    submittedAt: row.submitted_at.toISOString(),
    decidedAt: row.decided_at.toISOString(),
    decidedByName: row.decided_by_name,
    lineCount: row.line_count,
    rejectedCount: row.rejected_count,
    openedCount: row.opened_count,
    accounts: row.accounts,
    otherCount: Math.max(0, row.opened_count - row.accounts.length),
  };
  return { facts, agencyId: row.agency_id, recipient: row.recipient };
}

interface ReturnRow {
  recipient: string | null;
  agency_id: string;
  agency_name: string;
  submitted_at: Date;
  returned_at: Date;
  returned_by_name: string;
  remark: string;
  lines: ReturnFacts['lines'];
  due_at: Date | null;
}

/** So many remarks on single lines are in a letter; all are in the system. */
const mostLines = 50;

export async function findReturn(connection: Connection, returnId: string): Promise<Subject<'return'> | undefined> {
  const row: ReturnRow | undefined = await connection('directory.returns_v as r')
    .join('directory.agencies_v as a', 'a.code', 'r.agency_code')
    .where('r.return_id', returnId)
    .first('r.*', 'a.id as agency_id');
  if (!row) return undefined;
  const facts: ReturnFacts = {
    agencyName: row.agency_name,
    submittedAt: row.submitted_at.toISOString(),
    returnedAt: row.returned_at.toISOString(),
    returnedByName: row.returned_by_name,
    remark: row.remark,
    lines: row.lines.slice(0, mostLines),
    otherCount: Math.max(0, row.lines.length - mostLines),
    dueAt: row.due_at?.toISOString() ?? null,
  };
  return { facts, agencyId: row.agency_id, recipient: row.recipient };
}

export interface Agency {
  id: string;
  code: string;
  name: string;
}

/** By its code or its id; without either the agency above all. */
export const findAgency = (
  connection: Connection,
  by: { code?: string | undefined; id?: string },
): Promise<Agency | undefined> =>
  connection('directory.agencies_v')
    .modify((query) => {
      if (by.id !== undefined) query.where({ id: by.id });
      else if (by.code !== undefined) query.where({ code: by.code });
      else query.whereNull('parent_code').orderBy('code');
    })
    .first('id', 'code', 'name');

export const isInScope = async (connection: Connection, agencyId: string, scope: string): Promise<boolean> =>
  (
    await connection.select(
      connection.raw('?::uuid in (select directory.agency_subtree(?)) as within', [agencyId, scope]),
    )
  )[0].within;

/** Ends of one sort that are to be told of, each to one address. */
export interface DueExpiry {
  accountId: string;
  occasion: string;
  recipient: string;
  endsAt: Date;
  alias: string | null;
}

export interface ExpirySource {
  what: FactsByKind['expiry']['what'];
  /** Rows account_id, ends_at, alias; `ends_at` is compared with now and with the days before it. */
  rows: string;
  /** A column of directory.accounts_v. */
  recipient: 'address' | 'agency_address';
}

/** Whose end draws near. A further sort is a further row here. */
export const expirySources: readonly ExpirySource[] = [
  {
    what: 'suspension',
    recipient: 'agency_address', // its holder could not read it
    // Not where the letter of the suspension itself, with its end, is about as new.
    rows: `select e.account_id, e.suspended_until as ends_at, null as alias from directory.account_ends_v e
      where e.suspended_until is not null and not exists (
        select from mailbox.notices s where s.kind = 'suspension' and s.subject_id = e.account_id
          and s.created_at > e.suspended_until - make_interval(days => :days))`,
  },
  {
    what: 'retention',
    recipient: 'agency_address',
    rows: `select account_id, ${endOfDay('retained_until')} as ends_at, null as alias
      from mailbox.mailboxes where state = 'retained'`,
  },
  {
    what: 'alias',
    recipient: 'address',
    // Nothing ends for one whose mailbox takes no mail any more.
    rows: `select x.mailbox_id as account_id, x.valid_until::timestamp at time zone 'Asia/Ho_Chi_Minh' as ends_at, x.address as alias
      from mailbox.aliases x join mailbox.mailboxes m on m.account_id = x.mailbox_id and m.state in ('active', 'suspended')
      where x.valid_until is not null and x.ended_at is null`,
  },
];

/** Some of those that end within so many days and that no notice is on record of. */
export async function listDueExpiries(
  connection: Connection,
  { what, rows, recipient }: ExpirySource,
  days: number,
  limit: number,
): Promise<DueExpiry[]> {
  const answer = await connection.raw<{ rows: DueExpiry[] }>(
    `select due.account_id as "accountId", due.ends_at as "endsAt", due.alias, who.recipient, due.occasion
     from (select e.*, concat_ws(':', :what::text, e.alias, to_char(e.ends_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI')) as occasion
       from (${rows}) e where e.ends_at > now() and e.ends_at < now() + make_interval(days => :days)) due
     cross join lateral (
       select c.${recipient} as recipient from directory.accounts_v c where c.id = due.account_id
       union all
       select ${recipient === 'address' ? 'm.address' : addressOfAgency}
       from mailbox.mailboxes m where m.account_id = due.account_id and m.agency_id is not null) who
     where who.recipient is not null and not exists (select from mailbox.notices n
       where n.kind = 'expiry' and n.subject_id = due.account_id and n.occasion = due.occasion)
     order by due.ends_at limit :limit`,
    { what, days, limit },
  );
  return answer.rows;
}
