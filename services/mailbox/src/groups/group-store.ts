/** Every query on mailbox.groups: the lists themselves. Who is in them and runs them stands in member-store.ts. */
import type { Group, Posting } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { isAtOrBelow } from '../agencies/agency-store.ts';

export interface GroupRow {
  id: string;
  kind: Group['kind'];
  local_part: string;
  address: string;
  name: string;
  agency_id: string;
  agency_code: string;
  posting: Posting;
  rule_agency_id: string | null;
  rule_agency_code: string | null;
  rule_title: string | null;
  state: Group['state'];
  is_ownerless: boolean;
  version: number;
  entry_version: number;
  created_at: Date;
}

const groups = (connection: Connection) =>
  connection('mailbox.groups as g')
    .join('directory.agencies_v as a', 'a.id', 'g.agency_id')
    .leftJoin('directory.agencies_v as r', 'r.id', 'g.rule_agency_id')
    .select<GroupRow[]>(
      ...['id', 'kind', 'local_part', 'address', 'name', 'agency_id', 'posting', 'rule_agency_id', 'rule_title'].map(
        (column) => `g.${column}`,
      ),
      ...['g.state', 'g.version', 'g.entry_version', 'g.created_at', 'a.code as agency_code'],
      'r.code as rule_agency_code',
      connection.raw(`${isOwnerless} as is_ownerless`),
    );

const isOwnerless = `(g.kind = 'hand_made' and not exists (
  select 1 from mailbox.group_roles o join directory.account_facts_v c on c.id = o.account_id
  where o.group_id = g.id and o.role = 'owner' and c.state = 'active' and mailbox.role_holds(o.is_bound, g.agency_id, c.agency_id)))`;

const inScope = (column: string): string => `${column} in (select directory.agency_subtree(?))`;

export const toGroup = (row: GroupRow): Group => ({
  id: row.id,
  kind: row.kind,
  address: row.address,
  name: row.name,
  agencyCode: row.agency_code,
  posting: row.posting,
  memberRule: row.rule_agency_code === null ? null : { agencyCode: row.rule_agency_code, title: row.rule_title },
  state: row.state,
  isOwnerless: row.is_ownerless,
  createdAt: row.created_at.toISOString(),
  version: row.version,
});

export async function requireGroup(connection: Connection, id: string, scope: string): Promise<GroupRow> {
  const [row] = await groups(connection).where('g.id', id).whereRaw(isAtOrBelow('g.agency_id'), [scope]);
  if (row) return row;
  throw groupNotFound();
}

/** Locked until the transaction ends, at the version that the caller read, and open. */
export async function lockGroup(
  transaction: Transaction,
  { id, version }: { id: string; version?: number | undefined },
  scope: string,
): Promise<GroupRow> {
  await transaction('mailbox.groups').where({ id }).forUpdate().select('id');
  const row = await requireGroup(transaction, id, scope);
  if (version !== undefined && version !== row.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The list is now at version ${row.version}; read it again before changing it.`,
    });
  }
  if (row.state === 'closed') {
    throw new ServiceError({
      kind: 'conflict',
      code: 'group_closed',
      detail: 'This list was closed; its address is not given again. Make another.',
    });
  }
  return row;
}

const groupNotFound = (): ServiceError =>
  new ServiceError({
    kind: 'not_found',
    code: 'group_not_found',
    detail: 'There is no such list at or below your agency.',
  });

export type PostedTo = Pick<GroupRow, 'id' | 'posting'>;

/** The open list with that before the @. */
export const findPostedTo = (connection: Connection, localPart: string): Promise<PostedTo | undefined> =>
  connection('mailbox.groups').where({ local_part: localPart, state: 'active' }).first('id', 'posting');

/** Whether any agency has its addresses in that domain. */
export async function isAgencyDomain(connection: Connection, domain: string): Promise<boolean> {
  const agency = await connection('directory.agencies_v').where({ mail_domain: domain }).first('id');
  return agency !== undefined;
}

export interface GroupFilter {
  scope: string;
  under?: string | undefined;
  kind?: string | undefined;
  state?: string | undefined;
  address?: string | undefined;
  isOwnerless?: boolean | undefined;
  /** Part of a search key. */
  searchKey?: string | undefined;
}

/** Newest first. */
export const listGroups = (
  connection: Connection,
  filter: GroupFilter,
  limit: number,
  after: readonly [string, string] | undefined,
): Promise<GroupRow[]> =>
  groups(connection)
    .whereRaw(inScope('g.agency_id'), [filter.scope])
    .modify((query) => {
      if (filter.under) query.whereRaw(inScope('g.agency_id'), [filter.under]);
      if (filter.kind) query.where('g.kind', filter.kind);
      if (filter.state) query.where('g.state', filter.state);
      if (filter.address) query.where('g.address', filter.address);
      if (filter.isOwnerless !== undefined) query.whereRaw(`${isOwnerless} = ?`, [filter.isOwnerless]);
      if (filter.searchKey) query.whereRaw('strpos(g.search_key, ?) > 0', [filter.searchKey]);
      if (after) query.whereRaw('(g.created_at, g.id) < (?::timestamptz, ?::uuid)', [...after]);
    })
    .orderBy([
      { column: 'g.created_at', order: 'desc' },
      { column: 'g.id', order: 'desc' },
    ])
    .limit(limit + 1);

export interface NewGroup {
  id: string;
  kind: Group['kind'];
  localPart: string;
  address: string;
  name: string;
  searchKey: string;
  agencyId: string;
  posting: Posting;
  ruleAgencyId: string | null;
  ruleTitle: string | null;
  repeat?: { clientId: string; idempotencyKey: string | null; bodyHash: Buffer };
}

export const insertGroup = (transaction: Transaction, group: NewGroup): Promise<unknown> =>
  transaction('mailbox.groups').insert({
    id: group.id,
    kind: group.kind,
    local_part: group.localPart,
    address: group.address,
    name: group.name,
    search_key: group.searchKey,
    agency_id: group.agencyId,
    posting: group.posting,
    rule_agency_id: group.ruleAgencyId,
    rule_title: group.ruleTitle,
    client_id: group.repeat?.clientId ?? null,
    idempotency_key: group.repeat?.idempotencyKey ?? null,
    body_hash: group.repeat?.bodyHash ?? null,
  });

/** The list that this key made before, with the fingerprint of its body. */
export const findByIdempotencyKey = (
  connection: Connection,
  clientId: string,
  idempotencyKey: string,
): Promise<{ id: string; body_hash: Buffer } | undefined> =>
  connection('mailbox.groups').where({ client_id: clientId, idempotency_key: idempotencyKey }).first('id', 'body_hash');

/** Any change of what LDAP says of it, its members among that, is another version. */
export const updateGroup = (
  transaction: Transaction,
  id: string,
  changes: Partial<{
    name: string;
    search_key: string;
    address: string;
    posting: Posting;
    rule_agency_id: string | null;
    rule_title: string | null;
    state: Group['state'];
  }> = {},
): Promise<unknown> =>
  transaction('mailbox.groups')
    .where({ id })
    .update({ ...changes, version: transaction.raw('version + 1'), updated_at: transaction.fn.now() });

/** An agency as lists see it. */
export interface ListAgency {
  id: string;
  code: string;
  name: string;
  parent_code: string | null;
  short_name: string;
  mail_domain: string;
  status: 'active' | 'closed' | 'future';
}

const agencyColumns = ['id', 'code', 'name', 'parent_code', 'short_name', 'mail_domain', 'status'] as const;

/** Those that exist today, at or below `scope`. */
export async function requireOpenAgency(
  connection: Connection,
  code: string,
  scope: string,
  pointer: string,
): Promise<ListAgency> {
  const agency: ListAgency | undefined = await connection('directory.agencies_v as a')
    .where('a.code', code)
    .whereRaw(isAtOrBelow('a.id'), [scope])
    .first(...agencyColumns);
  if (agency?.status === 'active') return agency;
  const [kind, detail] = agency
    ? (['agency_closed', `The agency ${code} is closed, or does not exist yet; name one that exists today.`] as const)
    : (['agency_not_found', 'There is no agency of that code at or below yours.'] as const);
  throw new ServiceError({ kind: 'invalid', code: kind, detail, faults: [{ pointer, code: kind, detail }] });
}

/** Agencies by code, of the given ids or of all. */
export const listListAgencies = (
  connection: Connection,
  ids: readonly string[] | undefined,
  afterCode: string,
  limit: number,
): Promise<ListAgency[]> =>
  connection('directory.agencies_v')
    .modify((query) => {
      if (ids) query.whereRaw('id = any(?::uuid[])', [[...ids]]);
    })
    .whereRaw('code collate "C" > ?', [afterCode])
    .orderByRaw('code collate "C"')
    .limit(limit)
    .select<ListAgency[]>(...agencyColumns);

/** The agencies' own lists, locked in one order. */
export const lockAgencyLists = (transaction: Transaction, agencyIds: readonly string[]): Promise<OwnList[]> =>
  transaction('mailbox.groups')
    .where({ kind: 'agency' })
    .whereRaw('agency_id = any(?::uuid[])', [[...agencyIds]])
    .orderBy('id')
    .forUpdate()
    .select<OwnList[]>('id', 'agency_id', 'local_part', 'address', 'name', 'state');
export type OwnList = Pick<GroupRow, 'id' | 'agency_id' | 'local_part' | 'address' | 'name' | 'state'>;

/** One at a time per agency, also before it has a list whose row could be locked. */
export const lockAgencyListing = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('mailbox.agency-lists', 0))");

/** Lists whose LDAP entry is behind the record, or all, by id. */
export const listToConverge = (
  connection: Connection,
  which: 'behind' | 'all',
  after: string,
  limit: number,
): Promise<GroupRow[]> =>
  groups(connection)
    .modify((query) => {
      if (which === 'behind') query.whereRaw('g.entry_version < g.version');
    })
    .where('g.id', '>', after)
    .orderBy('g.id')
    .limit(limit);

export const findGroups = (connection: Connection, ids: readonly string[]): Promise<GroupRow[]> =>
  groups(connection).whereRaw('g.id = any(?::uuid[])', [[...ids]]);

/** False when the list changed meanwhile. */
export async function markConverged(connection: Connection, id: string, version: number): Promise<boolean> {
  const marked = await connection('mailbox.groups').where({ id, version }).update({ entry_version: version });
  return marked === 1;
}
