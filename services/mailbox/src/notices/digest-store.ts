/** What the weekly digest tells of an agency and all below it, read from the record as it is now. */
import type { Connection } from '@congvu/database';
import type { DigestFacts } from './facts.ts';
import type { Agency } from './facts-store.ts';

export async function readDigest(
  connection: Connection,
  agency: Agency,
  week: { from: Date; to: Date },
): Promise<DigestFacts> {
  const query = async <Row extends object>(sql: string): Promise<Row[]> =>
    (
      await connection.raw<{ rows: Row[] }>(
        `with subtree as materialized (select directory.agency_subtree(:code) as id) ${sql}`,
        {
          code: agency.code,
          from: week.from,
          to: week.to,
        },
      )
    ).rows;
  const [requests] = await query<Omit<DigestFacts['requests'], 'agencies' | 'oldestAt'> & { oldest: Date | null }>(
    `select count(*) filter (where state = 'submitted')::int as waiting,
       count(*) filter (where state = 'submitted' and due_at < :to)::int as late,
       count(*) filter (where state = 'returned')::int as returned,
       count(*) filter (where state = 'returned' and due_at < :to)::int as "returnedLate",
       min(submitted_at) filter (where state = 'submitted') as oldest
     from directory.waiting_requests_v where agency_id in (select id from subtree)`,
  );
  const [accounts] = await query<Omit<DigestFacts['accounts'], 'agencies'>>(
    `select count(*)::int as total, count(*) filter (where c.created_at >= :from)::int as opened,
       count(*) filter (where c.state = 'suspended')::int as suspended, count(u.account_id)::int as "neverActivated"
     from directory.accounts_v c left join directory.unactivated_accounts_v u on u.account_id = c.id
     where c.state <> 'retired' and c.kind <> 'service' and c.agency_id in (select id from subtree)`,
  );
  const [coverage] = await query<{ headCount: number; accounts: number }>(
    `select coalesce(sum(head_count), 0)::int as "headCount", coalesce(sum(accounts), 0)::int as accounts from (${coverageByAgency}) a`,
  );
  const [failures] = await query<{ failed: number }>(
    `select count(*)::int as failed from mailbox.notices
     where state = 'failed' and last_attempt_at >= :from and agency_id in (select id from subtree)`,
  );
  const nearlyFull = await query<{ address: string; percent: number; count: number }>(
    `select m.address, (100 * u.quota_used_bytes / m.quota_bytes)::int as percent, count(*) over ()::int as count
     from mailbox.usage u join mailbox.mailboxes m on m.account_id = u.mailbox_id
     where u.quota_used_bytes >= 0.9 * m.quota_bytes and m.state in ('active', 'suspended')
       and u.agency_id in (select id from subtree)
     order by u.quota_used_bytes::numeric / m.quota_bytes desc, m.address limit 10`,
  );
  const { oldest, ...counts } = requests as NonNullable<typeof requests>;
  return {
    agencyName: agency.name,
    from: week.from.toISOString(),
    to: week.to.toISOString(),
    requests: {
      ...counts,
      oldestAt: oldest?.toISOString() ?? null,
      agencies: await query(
        `select a.code, a.name, count(*)::int as waiting, count(*) filter (where r.due_at < :to)::int as late
         from directory.waiting_requests_v r join directory.agencies_v a on a.id = r.agency_id
         where r.state = 'submitted' and r.agency_id in (select id from subtree)
         group by a.code, a.name order by late desc, waiting desc, a.code limit 10`,
      ),
    },
    accounts: {
      ...(accounts as NonNullable<typeof accounts>),
      agencies: await query(
        `select a.code, a.name, count(u.account_id)::int as "neverActivated", count(*)::int as total
         from directory.accounts_v c join directory.agencies_v a on a.id = c.agency_id
         left join directory.unactivated_accounts_v u on u.account_id = c.id
         where c.state <> 'retired' and c.kind <> 'service' and c.agency_id in (select id from subtree)
         group by a.code, a.name having count(u.account_id) > 0 order by count(u.account_id) desc, a.code limit 10`,
      ),
    },
    coverage: {
      ...(coverage as NonNullable<typeof coverage>),
      agencies: await query(
        `select code, name, head_count as "headCount", accounts from (${coverageByAgency}) a
         where accounts < head_count order by accounts::numeric / head_count, head_count desc, code limit 10`,
      ),
    },
    nearlyFull: nearlyFull[0]
      ? { count: nearlyFull[0].count, mailboxes: nearlyFull.map(({ address, percent }) => ({ address, percent })) }
      : null,
    failedNotices: (failures as NonNullable<typeof failures>).failed,
  };
}

/** Active personal mailboxes against the head count, of agencies that have told theirs. */
const coverageByAgency = `
  select a.code, a.name, a.head_count, count(c.id)::int as accounts
  from directory.agencies_v a
  left join directory.accounts_v c on c.agency_id = a.id and c.kind = 'person' and c.state = 'active'
  where a.head_count > 0 and a.status = 'active' and a.id in (select id from subtree)
  group by a.code, a.name, a.head_count`;
