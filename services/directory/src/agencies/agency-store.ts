/** Every query on directory.agencies and directory.agency_periods. */
import type { Agency } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Period } from './agency-periods.ts';

export interface AgencyRow {
  id: string;
  code: string;
  name: string;
  level: Agency['level'];
  parent_id: string | null;
  parent_code: string | null;
  short_name: string;
  mail_domain: string;
  gso_code: string | null;
  head_count: number | null;
  valid_from: string | null;
  valid_to: string | null;
  status: Agency['status'];
  successor_code: string | null;
  version: number;
}

/** As of today, whose facts the agencies' rows hold, or as of another day. */
function agencies(connection: Connection, day?: string) {
  const [facts, on] = day === undefined ? ['a', 'directory.today()'] : ['t', '?::date'];
  const bindings = day === undefined ? [] : [day];
  const query = connection('directory.agencies as a');
  if (day !== undefined) query.joinRaw('join directory.agencies_at(?::date) t on t.agency_id = a.id', bindings);
  return query
    .leftJoin('directory.agencies as p', 'p.id', `${facts}.parent_id`)
    .leftJoin('directory.agencies as s', 's.id', 'a.successor_id')
    .select<AgencyRow[]>(
      ...['a.id', 'a.code', 'a.short_name', 'a.gso_code', 'a.version'],
      ...['name', 'level', 'parent_id', 'mail_domain', 'head_count'].map((column) => `${facts}.${column}`),
      'p.code as parent_code',
      's.code as successor_code',
      connection.raw("to_char(a.valid_from, 'YYYY-MM-DD') as valid_from"),
      connection.raw("to_char(a.valid_to, 'YYYY-MM-DD') as valid_to"),
      connection.raw(`directory.agency_status(a.valid_from, a.valid_to, ${on}) as status`, bindings),
    );
}

/** Whether the agency of a column lies in the subtree of another: cheap for a few agencies, where `inSubtree` is for lists. */
const liesIn = (column: string): string => `directory.agency_lies_in(${column}, ?)`;

/** Keeps `query` to the subtree of the agency that the caller acts for. */
export const inSubtree = (column: string): string => `${column} in (select directory.agency_subtree(?))`;

/**
 * The agencies at and below `code` (else `scope`) that lie at or below `scope`; undefined for those of the whole province, which
 * nothing need be compared with.
 */
export async function listSubtree(
  connection: Connection,
  scope: string,
  code: string | undefined,
): Promise<{ id: string; code: string }[] | undefined> {
  const { rows } = await connection.raw<{ rows: { agencies: { id: string; code: string }[] | null }[] }>(
    `select case when parent_id is not null or code <> ? then (
       select coalesce(json_agg(json_build_object('id', a.id, 'code', a.code)), '[]') from directory.agencies a
       where a.id in (select directory.agency_subtree(?)) and a.id in (select directory.agency_subtree(?))) end as agencies
     from directory.agencies where code = ?`,
    [code ?? scope, code ?? scope, scope, scope],
  );
  return rows.length === 0 ? [] : (rows[0]?.agencies ?? undefined);
}

export const findAgenciesByCode = (
  connection: Connection,
  codes: readonly string[],
  scope: string,
): Promise<AgencyRow[]> => agencies(connection).whereIn('a.code', codes).whereRaw(liesIn('a.id'), [scope]);

export async function requireAgency(connection: Connection, code: string, scope: string): Promise<AgencyRow> {
  const [agency] = await findAgenciesByCode(connection, [code], scope);
  if (agency) return agency;
  throw agencyNotFound();
}

/** As it was on that day, or will be. Whether the caller may see it is asked of today's tree. */
export async function requireAgencyAt(
  connection: Connection,
  code: string,
  scope: string,
  day: string,
): Promise<AgencyRow> {
  const [agency] = await agencies(connection, day).where('a.code', code).whereRaw(liesIn('a.id'), [scope]);
  if (agency) return agency;
  throw agencyNotFound();
}

const agencyNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'agency_not_found',
    detail: 'There is no agency of that code at or below yours.',
  });

/** One that exists now, at or below `scope`. */
export async function requireOpenAgency(
  connection: Connection,
  id: string,
  scope: string | null,
): Promise<{ id: string; code: string; name: string; mail_domain: string }> {
  const agency = await connection('directory.agencies as a')
    .where('a.id', id)
    .modify((query) => {
      if (scope !== null) query.whereRaw(inSubtree('a.id'), [scope]);
    })
    .first(
      'a.id',
      'a.code',
      'a.name',
      'a.mail_domain',
      connection.raw("directory.agency_status(a.valid_from, a.valid_to, directory.today()) <> 'active' as closed"),
    );
  if (!agency) throw agencyNotFound();
  if (agency.closed) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'agency_closed',
      detail: `The agency ${agency.code} is closed, or does not exist yet; name one that exists today.`,
    });
  }
  return agency;
}

/** What addresses at the agency are made of. */
export const findNaming = (
  connection: Connection,
  id: string,
): Promise<{ short_name: string; mail_domain: string } | undefined> =>
  connection('directory.agencies').where({ id }).first('short_name', 'mail_domain');

export interface AgencyFilter {
  scope: string;
  /** Only this agency and what lies below it. */
  under?: string | undefined;
  parentCode?: string | undefined;
  level?: string | undefined;
  status?: string | undefined;
  /** Part of a search key, as it stands in one. */
  searchKey?: string | undefined;
}

/** The province; undefined before the first import. */
export const findRoot = (connection: Connection): Promise<{ id: string; code: string } | undefined> =>
  connection('directory.agencies').whereNull('parent_id').first('id', 'code');

export async function listAgencies(
  connection: Connection,
  filter: AgencyFilter,
  limit: number,
  afterCode: string | undefined,
): Promise<AgencyRow[]> {
  return agencies(connection)
    .whereRaw(inSubtree('a.id'), [filter.scope])
    .modify((query) => {
      if (filter.under) query.whereRaw(inSubtree('a.id'), [filter.under]);
      if (filter.parentCode) query.where('p.code', filter.parentCode);
      if (filter.level) query.where('a.level', filter.level);
      if (filter.status)
        query.whereRaw('directory.agency_status(a.valid_from, a.valid_to, directory.today()) = ?', [filter.status]);
      if (filter.searchKey) query.whereRaw('strpos(a.search_key, ?) > 0', [filter.searchKey]);
      if (afterCode) query.whereRaw('a.code collate "C" > ?', [afterCode]);
    })
    .orderByRaw('a.code collate "C"')
    .limit(limit + 1);
}

/** The codes of the agency and of all below it. */
export const subtreeCodes = (connection: Connection, code: string): Promise<string[]> =>
  connection('directory.agencies').whereRaw(inSubtree('id'), [code]).pluck('code');

/** The calendar day in Việt Nam. */
export async function today(connection: Connection): Promise<string> {
  const { rows } = await connection.raw("select to_char(directory.today(), 'YYYY-MM-DD') as day");
  return rows[0].day;
}

/** Changes of agencies are made one at a time: two at once could each find the other's parent missing, or close a cycle together. */
export const lockAgencies = (transaction: Transaction): Promise<unknown> =>
  transaction.raw('lock table directory.agencies in share row exclusive mode');

/** One agency with all that is known of it, as the record is read and written. */
export interface AgencyRecord {
  id: string;
  code: string;
  shortName: string;
  gsoCode: string | null;
  successorCode: string | null;
  periods: Period[];
}

/** All of them, or those of the given codes; the largest provinces have some ten thousand. */
export async function loadRecord(
  connection: Connection,
  codes?: readonly string[],
): Promise<Map<string, AgencyRecord & { version: number }>> {
  const { rows } = await connection.raw<{ rows: (AgencyRecord & { version: number })[] }>(
    `select a.id, a.code, a.short_name as "shortName", a.gso_code as "gsoCode", s.code as "successorCode", a.version,
       coalesce(life.periods, '[]') as periods
     from directory.agencies a
     left join directory.agencies s on s.id = a.successor_id
     left join lateral (
       select json_agg(json_build_object('validFrom', p.valid_from, 'validTo', p.valid_to, 'name', p.name, 'level', p.level,
         'parentCode', parent.code, 'mailDomain', p.mail_domain, 'headCount', p.head_count)
         order by p.valid_from nulls first) as periods
       from directory.agency_periods p
       left join directory.agencies parent on parent.id = p.parent_id
       where p.agency_id = a.id) life on true
     ${codes ? 'where a.code = any(?)' : ''}`,
    codes ? [[...codes]] : [],
  );
  return new Map(rows.map((row) => [row.code, row]));
}

/** How an agency is found: what of it stands in a period, and what stays. */
export type SearchKeyOf = (agency: AgencyRecord, period: Period) => string;

/** Inserts or replaces agencies with all their periods. `idOf` knows every code that they name. */
export async function saveAgencies(
  transaction: Transaction,
  saved: readonly AgencyRecord[],
  idOf: (code: string) => string,
  searchKeyOf: SearchKeyOf,
): Promise<void> {
  if (saved.length === 0) return;
  const idOrNull = (code: string | null): string | null => (code === null ? null : idOf(code));
  await transaction('directory.agency_periods')
    .whereIn(
      'agency_id',
      saved.map((agency) => agency.id),
    )
    .delete();
  const periods = saved.flatMap((agency) =>
    agency.periods.map((period) => ({
      ...period,
      agencyId: agency.id,
      parentId: idOrNull(period.parentCode),
      searchKey: searchKeyOf(agency, period),
    })),
  );
  await transaction.raw(
    `insert into directory.agency_periods
       (agency_id, valid_from, valid_to, name, level, parent_id, mail_domain, head_count, search_key)
     select "agencyId", "validFrom", "validTo", name, level, "parentId", "mailDomain", "headCount", "searchKey"
     from jsonb_to_recordset(?::jsonb) as row("agencyId" uuid, "validFrom" date, "validTo" date, name text, level text,
       "parentId" uuid, "mailDomain" text, "headCount" int, "searchKey" text)`,
    [JSON.stringify(periods)],
  );
  const rows = saved.map(({ periods: _, ...agency }) => ({ ...agency, successorId: idOrNull(agency.successorCode) }));
  await transaction.raw(
    `insert into directory.agencies (id, code, short_name, gso_code, successor_id, name, level, parent_id, mail_domain,
       head_count, search_key, valid_from, valid_to, settled_status)
     select row.id, row.code, row."shortName", row."gsoCode", row."successorId", t.name, t.level, t.parent_id, t.mail_domain,
       t.head_count, t.search_key, t.valid_from, t.valid_to,
       directory.agency_status(t.valid_from, t.valid_to, directory.today())
     from jsonb_to_recordset(?::jsonb) as row(id uuid, code text, "shortName" text, "gsoCode" text, "successorId" uuid)
     join directory.agencies_at(directory.today()) t on t.agency_id = row.id
     on conflict (id) do update set gso_code = excluded.gso_code, successor_id = excluded.successor_id,
       name = excluded.name, level = excluded.level, parent_id = excluded.parent_id, mail_domain = excluded.mail_domain,
       head_count = excluded.head_count, search_key = excluded.search_key, valid_from = excluded.valid_from,
       valid_to = excluded.valid_to, settled_status = excluded.settled_status,
       version = agencies.version + 1, updated_at = now()`,
    [JSON.stringify(rows)],
  );
}

/** What today says of an agency, beside what its row still says of an earlier day. */
export interface OverdueAgency {
  id: string;
  code: string;
  before: TodaysFacts;
  after: TodaysFacts;
}

interface TodaysFacts extends Omit<Period, 'validFrom' | 'validTo'> {
  status: Agency['status'];
}

const overdue = `
  from directory.agencies a
  join directory.agencies_at(directory.today()) t on t.agency_id = a.id
  left join directory.agencies was on was.id = a.parent_id
  left join directory.agencies will on will.id = t.parent_id
  where (a.name, a.level, a.parent_id, a.mail_domain, a.head_count, a.settled_status) is distinct from
    (t.name, t.level, t.parent_id, t.mail_domain, t.head_count,
     directory.agency_status(t.valid_from, t.valid_to, directory.today()))`;

export async function hasOverdueAgencies(connection: Connection): Promise<boolean> {
  const { rows } = await connection.raw(`select exists (select 1 ${overdue}) as found`);
  return rows[0].found;
}

/** Brings the rows of so many agencies to what their periods say of today. The caller holds the lock. */
export async function settleOverdueAgencies(transaction: Transaction, limit: number): Promise<OverdueAgency[]> {
  const { rows } = await transaction.raw<{ rows: OverdueAgency[] }>(
    `with overdue as (
       select a.id, a.code, t.name, t.level, t.parent_id, t.mail_domain, t.head_count, t.search_key,
         directory.agency_status(t.valid_from, t.valid_to, directory.today()) as status,
         json_build_object('name', a.name, 'level', a.level, 'parentCode', was.code, 'mailDomain', a.mail_domain,
           'headCount', a.head_count, 'status', a.settled_status) as before,
         json_build_object('name', t.name, 'level', t.level, 'parentCode', will.code, 'mailDomain', t.mail_domain,
           'headCount', t.head_count, 'status',
           directory.agency_status(t.valid_from, t.valid_to, directory.today())) as after
       ${overdue}
       order by a.code limit ?)
     update directory.agencies a set name = o.name, level = o.level, parent_id = o.parent_id, mail_domain = o.mail_domain,
       head_count = o.head_count, search_key = o.search_key, settled_status = o.status,
       version = a.version + 1, updated_at = now()
     from overdue o where o.id = a.id
     returning a.id, a.code, o.before, o.after`,
    [limit],
  );
  return rows;
}

/** Of each agency that has any, how many accounts are not retired. */
export async function countAccounts(connection: Connection, codes: readonly string[]): Promise<Map<string, number>> {
  const rows = await connection('directory.accounts as c')
    .join('directory.agencies as a', 'a.id', 'c.agency_id')
    .whereRaw('a.code = any(?)', [[...codes]])
    .whereNot('c.state', 'retired')
    .groupBy('a.code')
    .select<{ code: string; count: string }[]>('a.code', connection.raw('count(*)'));
  return new Map(rows.map(({ code, count }) => [code, Number(count)]));
}

/** Agencies whose LDAP entry is behind the record, by code. */
export async function listUnconvergedAgencies(
  connection: Connection,
  after: string,
  limit: number,
): Promise<AgencyRow[]> {
  return agencies(connection)
    .whereRaw('a.entry_version < a.version')
    .where('a.code', '>', after)
    .orderBy('a.code')
    .limit(limit);
}

export async function markAgencyConverged(connection: Connection, id: string, version: number): Promise<void> {
  await connection('directory.agencies')
    .where({ id })
    .where('entry_version', '<', version)
    .update({ entry_version: version });
}

/** The subtree, flat. */
export const listTree = (connection: Connection, code: string): Promise<AgencyRow[]> =>
  agencies(connection).whereRaw(inSubtree('a.id'), [code]).orderByRaw('a.code collate "C"');

/** The codes of the agencies that name this one as their successor. */
export const predecessorCodes = (connection: Connection, id: string): Promise<string[]> =>
  connection('directory.agencies').where({ successor_id: id }).orderByRaw('code collate "C"').pluck('code');

/** The agency that took over, then the one that took over from it, and so on. */
export async function successorCodes(connection: Connection, id: string): Promise<string[]> {
  const { rows } = await connection.raw<{ rows: { code: string }[] }>(
    `with recursive chain as (
       select id, successor_id, 0 as step from directory.agencies where id = ?
       union all
       select a.id, a.successor_id, step + 1 from directory.agencies a join chain on a.id = chain.successor_id)
     cycle id set is_cycle using path
     select a.code from chain join directory.agencies a on a.id = chain.id where step > 0 and not is_cycle order by step`,
    [id],
  );
  return rows.map((row) => row.code);
}
