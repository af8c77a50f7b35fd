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

export async function listCounts(
  connection: Connection,
  { scope, agencyCode, source, profile, from, to }: CountFilter,
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
     where a.id in (select directory.agency_subtree(:scope))
       ${agencyCode === undefined ? '' : 'and a.id in (select directory.agency_subtree(:agencyCode))'}
       ${after === undefined ? '' : 'and a.code >= :afterCode and (a.code, m.month) > (:afterCode, :afterMonth)'}
     order by a.code, m.month limit :limit`,
    { scope, agencyCode, profile, from, to, afterCode: after?.[0], afterMonth: after?.[1], limit } as never,
  );
  return rows;
}
