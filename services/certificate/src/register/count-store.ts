/** How many certificates were issued, revoked and ran out, by agency and month in Việt Nam. An agency is counted when its page comes. */
import type { CertificateCount } from '@congvu/contracts';
import type { Connection } from '@congvu/database';

export interface CountFilter {
  scope: string;
  agencyCode?: string | undefined;
  source?: 'own' | 'external' | undefined;
  profile?: string | undefined;
  from?: string | undefined;
  to?: string | undefined;
}

const monthOf = (time: string): string => `to_char(${time} at time zone 'Asia/Ho_Chi_Minh', 'YYYY-MM')`;

/** Of one agency `a`: what became of each certificate, and when. */
const kinds = {
  own: `select x.profile, x.issued_at, x.revoked_at, case when x.state = 'valid' and x.not_after < now() then x.not_after end as expired_at
    from certificate.certificates x where x.agency_id = a.id and x.issued_at is not null`,
  external: `select 'external-' || q.kind as profile, q.registered_at as issued_at, q.revoked_at,
      case when q.state = 'issued' and q.not_after < now() then q.not_after end as expired_at
    from certificate.external_credentials q where q.agency_id = a.id and q.registered_at is not null`,
} as const;

/** So many agencies are counted at a time. */
const agenciesAtOnce = 50;

export async function listCounts(
  connection: Connection,
  filter: CountFilter,
  limit: number,
  after: readonly [agencyCode: string, month: string] | undefined,
): Promise<CertificateCount[]> {
  const { scope, agencyCode } = filter;
  // Agencies are few, certificates are not: whose turn it is is found out first.
  const agencies: { id: string; code: string }[] = await connection('directory.agencies_v')
    .whereRaw('id in (select directory.agency_subtree(?))', [scope])
    .modify((query) => {
      if (agencyCode) query.whereRaw('id in (select directory.agency_subtree(?))', [agencyCode]);
      if (after) query.where('code', '>=', after[0]);
    })
    .orderBy('code')
    .select('id', 'code');
  const counts: CertificateCount[] = [];
  for (let start = 0; start < agencies.length && counts.length < limit; start += agenciesAtOnce) {
    const some = agencies.slice(start, start + agenciesAtOnce).map(({ id }) => id);
    counts.push(...(await countAgencies(connection, some, filter, limit - counts.length, after)));
  }
  return counts;
}

async function countAgencies(
  connection: Connection,
  agencyIds: readonly string[],
  { source, profile, from, to }: CountFilter,
  limit: number,
  after: readonly [agencyCode: string, month: string] | undefined,
): Promise<CertificateCount[]> {
  const facts = (source ? [kinds[source]] : Object.values(kinds)).join(' union all ');
  const { rows } = await connection.raw<{ rows: CertificateCount[] }>(
    `select a.code as "agencyCode", a.name as "agencyName", m.*
     from directory.agencies_v a
     cross join lateral (
       select month, count(*) filter (where what = 'issued')::int as issued,
         count(*) filter (where what = 'revoked')::int as revoked, count(*) filter (where what = 'expired')::int as expired
       from (${facts}) f
       cross join lateral (values ('issued', ${monthOf('f.issued_at')}), ('revoked', ${monthOf('f.revoked_at')}),
         ('expired', ${monthOf('f.expired_at')})) event (what, month)
       where month is not null ${profile === undefined ? '' : 'and f.profile = :profile'}
         ${from === undefined ? '' : 'and month >= :from'} ${to === undefined ? '' : 'and month <= :to'}
       group by month) m
     where a.id = any(:agencyIds::uuid[])
       ${after === undefined ? '' : 'and (a.code, m.month) > (:afterCode, :afterMonth)'}
     order by a.code, m.month limit :limit`,
    { agencyIds: [...agencyIds], profile, from, to, afterCode: after?.[0], afterMonth: after?.[1], limit } as never,
  );
  return rows;
}
