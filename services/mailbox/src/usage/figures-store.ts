/** Every query that reads the counts for people: a mailbox, its days, and the agencies. */
import type { AgencyUsage, MailboxUsage, UsageFigures } from '@congvu/contracts';
import type { Connection } from '@congvu/database';

export interface FiguresRow {
  mailbox_id: string;
  quota_used_bytes: string | null;
  message_count: string | null;
  measured_at: Date | null;
  received_count: string;
  sent_count: string;
  last_received_at: Date | null;
  last_sent_at: Date | null;
  last_login_at: Date | null;
}

export async function findFigures(
  connection: Connection,
  mailboxIds: readonly string[],
): Promise<Map<string, UsageFigures>> {
  const rows = await connection<FiguresRow>('mailbox.usage').whereRaw('mailbox_id = any(?::uuid[])', [[...mailboxIds]]);
  return new Map(rows.map((row) => [row.mailbox_id, toFigures(row)]));
}

const numberOrNull = (value: string | null): number | null => (value === null ? null : Number(value));
const timeOrNull = (value: Date | null): string | null => value?.toISOString() ?? null;

export const toFigures = (row: FiguresRow): UsageFigures => ({
  quotaUsedBytes: numberOrNull(row.quota_used_bytes),
  messageCount: numberOrNull(row.message_count),
  measuredAt: timeOrNull(row.measured_at),
  receivedCount: Number(row.received_count),
  sentCount: Number(row.sent_count),
  lastReceivedAt: timeOrNull(row.last_received_at),
  lastSentAt: timeOrNull(row.last_sent_at),
  lastLoginAt: timeOrNull(row.last_login_at),
});

export async function listDays(
  connection: Connection,
  mailboxId: string,
  from: string,
  to: string,
): Promise<MailboxUsage['days']> {
  const rows = await connection('mailbox.usage_days')
    .where('mailbox_id', mailboxId)
    .whereBetween('day', [from, to])
    .orderBy('day')
    .select<MailboxUsage['days']>(connection.raw("to_char(day, 'YYYY-MM-DD') as day"), 'received', 'sent');
  return rows;
}

export interface AgencyFilter {
  /** Code of the agency at and below which the report is. */
  scope: string;
  /** What an agency's figures are those of: its own people, or with those of all agencies below. */
  of: 'own' | 'subtree';
  level?: string | undefined;
  code?: string | undefined;
}

type AgencyKey =
  | { sort: 'code'; after: string | undefined }
  | { sort: 'rank'; after: readonly [number, string] | undefined };

/** Those without a rank come last. */
export const unranked = 2_147_483_647;

/** Agencies that exist, and closed ones that people are still in. */
export async function listAgencyUsage(
  connection: Connection,
  filter: AgencyFilter,
  key: AgencyKey,
  limit: number,
): Promise<AgencyUsage[]> {
  const { rows } = await connection.raw<{ rows: AgencyUsage[] }>(
    `with recursive agency as materialized (
       select id, code, name, level, parent_code, head_count, status from directory.agencies_v
       where id in (select directory.agency_subtree(:scope))),
     -- Whose figures count for whom.
     part as (
       select id as of_id, id as in_id, parent_code from agency
       union all
       select part.of_id, above.id, above.parent_code from part join agency above on above.code = part.parent_code
       where :of = 'subtree'),
     people as materialized (
       select o.agency_id, count(*)::int as accounts,
         count(*) filter (where m.state = 'active')::int as covered,
         count(*) filter (where greatest(u.last_login_at, u.last_sent_at) > now() - interval '30 days')::int as active,
         count(*) filter (where v.account_id is null)::int as never_activated
       from directory.account_order_v o
       left join mailbox.mailboxes m on m.account_id = o.account_id
       left join mailbox.usage u on u.mailbox_id = o.account_id
       left join directory.activated_accounts_v v on v.account_id = o.account_id
       where o.kind = 'person' and o.state <> 'retired' and o.agency_id in (select id from agency)
       group by o.agency_id),
     mail as materialized (
       select agency_id, sum(received)::int as received, sum(sent)::int as sent from mailbox.agency_days
       where day > (now() at time zone 'Asia/Ho_Chi_Minh')::date - 30 and agency_id in (select id from agency)
       group by agency_id),
     figure as (
       select part.in_id as id, sum(of.head_count)::int as head_count,
         coalesce(sum(people.accounts), 0)::int as accounts, coalesce(sum(people.covered), 0)::int as covered,
         coalesce(sum(people.active), 0)::int as active, coalesce(sum(people.never_activated), 0)::int as never_activated,
         coalesce(sum(mail.received), 0)::int as received, coalesce(sum(mail.sent), 0)::int as sent
       from part join agency of on of.id = part.of_id
       left join people on people.agency_id = part.of_id left join mail on mail.agency_id = part.of_id
       group by part.in_id),
     report as (
       select a.code, a.name, a.level, a.parent_code, f.*,
         round(f.covered::numeric / nullif(f.head_count, 0), 4)::float8 as coverage,
         round(f.active::numeric / coalesce(nullif(f.head_count, 0), nullif(f.accounts, 0)), 4)::float8 as use_rate
       from figure f join agency a on a.id = f.id
       where (a.status = 'active' or f.accounts > 0)
         and (:level::text is null or a.level = :level) and (:code::text is null or a.code = :code)),
     ranked as (
       select report.*, case when use_rate is null then ${unranked}
         else rank() over (order by use_rate desc nulls last, coverage desc nulls last) end::int as place
       from report)
     select nullif(place, ${unranked}) as rank, code as "agencyCode", name as "agencyName", level, parent_code as "parentCode",
       head_count as "headCount", accounts, coverage, active as "activeIn30Days", never_activated as "neverActivated",
       use_rate as "useRate", received as "receivedIn30Days", sent as "sentIn30Days"
     from ranked
     where case when :byRank then (place, code collate "C") > (:place, :after) else code collate "C" > :after end
     order by case when :byRank then place else 0 end, code collate "C" limit :limit`,
    {
      scope: filter.scope,
      of: filter.of,
      level: filter.level ?? null,
      code: filter.code ?? null,
      byRank: key.sort === 'rank',
      place: key.sort === 'rank' ? (key.after?.[0] ?? 0) : 0,
      after: (key.sort === 'rank' ? key.after?.[1] : key.after) ?? '',
      limit,
    },
  );
  return rows;
}

/** Whether there is an agency of that code at or below another. */
export async function liesWithin(connection: Connection, code: string, scope: string): Promise<boolean> {
  const found = await connection('directory.agencies_v')
    .where({ code })
    .whereRaw('id in (select directory.agency_subtree(?))', [scope])
    .first('id');
  return found !== undefined;
}
