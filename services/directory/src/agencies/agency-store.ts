/** Every query on directory.agencies. */
import type { Agency } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';

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
  valid_to: string | null;
}

const columns = [
  'a.id',
  'a.code',
  'a.name',
  'a.level',
  'a.parent_id',
  'p.code as parent_code',
  'a.short_name',
  'a.mail_domain',
  'a.gso_code',
] as const;

const agencies = (connection: Connection) =>
  connection('directory.agencies as a')
    .leftJoin('directory.agencies as p', 'p.id', 'a.parent_id')
    .select<AgencyRow[]>(...columns, connection.raw("to_char(a.valid_to, 'YYYY-MM-DD') as valid_to"));

/** Keeps `query` to the subtree of the agency that the caller acts for. */
export const inSubtree = (column: string): string => `${column} in (select directory.agency_subtree(?))`;

export const findAgenciesByCode = (
  connection: Connection,
  codes: readonly string[],
  scope: string,
): Promise<AgencyRow[]> => agencies(connection).whereIn('a.code', codes).whereRaw(inSubtree('a.id'), [scope]);

export async function requireAgency(connection: Connection, code: string, scope: string): Promise<AgencyRow> {
  const [agency] = await findAgenciesByCode(connection, [code], scope);
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
): Promise<{ id: string; code: string; name: string }> {
  const agency = await connection('directory.agencies as a')
    .where('a.id', id)
    .modify((query) => {
      if (scope !== null) query.whereRaw(inSubtree('a.id'), [scope]);
    })
    .first(
      'a.id',
      'a.code',
      'a.name',
      connection.raw("coalesce(a.valid_to <= (now() at time zone 'Asia/Ho_Chi_Minh')::date, false) as closed"),
    );
  if (!agency) throw agencyNotFound();
  if (agency.closed) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'agency_closed',
      detail: `The agency ${agency.code} was closed; name its successor.`,
    });
  }
  return agency;
}

export async function listAgencies(
  connection: Connection,
  filter: { scope: string; parentCode?: string | undefined; level?: string | undefined; q?: string | undefined },
  limit: number,
  afterCode: string | undefined,
): Promise<AgencyRow[]> {
  return agencies(connection)
    .whereRaw(inSubtree('a.id'), [filter.scope])
    .modify((query) => {
      if (filter.parentCode) query.where('p.code', filter.parentCode);
      if (filter.level) query.where('a.level', filter.level);
      if (filter.q)
        query.whereRaw("strpos(lower(a.name || ' ' || a.code || ' ' || a.short_name), lower(?)) > 0", [filter.q]);
      if (afterCode) query.whereRaw('a.code collate "C" > ?', [afterCode]);
    })
    .orderByRaw('a.code collate "C"')
    .limit(limit + 1);
}

/** All of them, by code; a province has some 850. */
export const allAgencies = (connection: Connection): Promise<AgencyRow[]> => agencies(connection);

/** Imports run one at a time: two at once could each find the other's parent missing. */
export const lockAgencies = (transaction: Transaction): Promise<unknown> =>
  transaction.raw('lock table directory.agencies in share row exclusive mode');

export interface AgencyFields {
  code: string;
  name: string;
  level: Agency['level'];
  parentCode: string | null;
  shortName: string;
  mailDomain: string;
  gsoCode: string | null;
  validTo: string | null;
}

/** Inserts or updates by code in one statement each. Parents must be in the table or earlier in `rows`. */
export async function saveAgencies(transaction: Transaction, rows: readonly AgencyFields[]): Promise<void> {
  for (const depth of byDepth(rows)) {
    await transaction.raw(
      `insert into directory.agencies (code, name, level, parent_id, short_name, mail_domain, gso_code, valid_to)
       select row.code, row.name, row.level, parent.id, row."shortName", row."mailDomain", row."gsoCode", row."validTo"
       from jsonb_to_recordset(?::jsonb) as row(code text, name text, level text, "parentCode" text, "shortName" text,
         "mailDomain" text, "gsoCode" text, "validTo" date)
       left join directory.agencies parent on parent.code = row."parentCode"
       on conflict (code) do update set name = excluded.name, level = excluded.level, parent_id = excluded.parent_id,
         mail_domain = excluded.mail_domain, gso_code = excluded.gso_code, valid_to = excluded.valid_to,
         version = agencies.version + 1, updated_at = now()`,
      [JSON.stringify(depth)],
    );
  }
}

/** Parents before children, one list per generation. */
function byDepth(rows: readonly AgencyFields[]): AgencyFields[][] {
  const codes = new Set(rows.map((row) => row.code));
  const done = new Set<string>();
  const generations: AgencyFields[][] = [];
  let rest = [...rows];
  while (rest.length > 0) {
    const ready = rest.filter(
      (row) => row.parentCode === null || !codes.has(row.parentCode) || done.has(row.parentCode),
    );
    if (ready.length === 0) throw new Error('the agencies form a cycle; the import should have refused them');
    for (const row of ready) done.add(row.code);
    generations.push(ready);
    rest = rest.filter((row) => !done.has(row.code));
  }
  return generations;
}

/** Agencies whose LDAP entry is behind the record. */
export async function listUnconvergedAgencies(
  connection: Connection,
  limit: number,
): Promise<(AgencyRow & { version: number })[]> {
  return agencies(connection)
    .select('a.version')
    .whereRaw('a.entry_version < a.version')
    .orderBy('a.code')
    .limit(limit) as unknown as Promise<(AgencyRow & { version: number })[]>;
}

export async function markAgencyConverged(connection: Connection, id: string, version: number): Promise<void> {
  await connection('directory.agencies')
    .where({ id })
    .where('entry_version', '<', version)
    .update({ entry_version: version });
}
