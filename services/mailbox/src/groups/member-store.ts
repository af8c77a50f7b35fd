/** Every query on mailbox.group_members and mailbox.group_roles: who is in a list, and who runs it. */
import type { Group, GroupMember, Posting } from '@congvu/contracts';
import type { Connection, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { isAtOrBelow } from '../agencies/agency-store.ts';

export type GroupRole = 'owner' | 'moderator';

export interface AccountInGroup {
  id: string;
  username: string;
  address: string;
  display_name: string;
  state: string;
}
const accountColumns = ['c.id', 'c.username', 'c.address', 'c.display_name', 'c.state'] as const;

/** An account that is not retired, at or below `scope`. */
export async function requireAccounts(
  connection: Connection,
  ids: readonly string[],
  scope: string,
): Promise<AccountInGroup[]> {
  const found = await connection('directory.account_facts_v as c')
    .whereRaw('c.id = any(?::uuid[])', [[...ids]])
    .whereNot('c.state', 'retired')
    .whereRaw(isAtOrBelow('c.agency_id'), [scope])
    .select<AccountInGroup[]>(...accountColumns);
  const missing = ids.find((id) => !found.some((account) => account.id === id));
  if (missing === undefined) return found;
  throw new ServiceError({
    kind: 'not_found',
    code: 'account_not_found',
    detail: `There is no account ${missing} at or below your agency, or it is retired.`,
  });
}

/** `holds` is false of a last owner who was transferred away. */
export const listRole = (
  connection: Connection,
  groupId: string,
  role: GroupRole,
): Promise<(AccountInGroup & { holds: boolean })[]> =>
  connection('mailbox.group_roles as o')
    .join('directory.account_facts_v as c', 'c.id', 'o.account_id')
    .join('mailbox.groups as g', 'g.id', 'o.group_id')
    .where({ group_id: groupId, role })
    .orderBy('c.address')
    .select<(AccountInGroup & { holds: boolean })[]>(
      ...accountColumns,
      connection.raw('mailbox.role_holds(o.is_bound, g.agency_id, c.agency_id) as holds'),
    );

/** False when it was so already. */
export async function insertRole(
  transaction: Transaction,
  groupId: string,
  role: GroupRole,
  accountId: string,
): Promise<boolean> {
  const made = await transaction('mailbox.group_roles')
    .insert({
      group_id: groupId,
      role,
      account_id: accountId,
      is_bound: transaction.raw(
        `exists (select 1 from mailbox.groups g join directory.account_facts_v c on c.id = ?
           where g.id = ? and mailbox.role_holds(true, g.agency_id, c.agency_id))`,
        [accountId, groupId],
      ),
    })
    // Given again, to somebody who was transferred meanwhile, it holds where they are now.
    .onConflict(['group_id', 'role', 'account_id'])
    .merge(['is_bound'])
    .where('group_roles.is_bound', '<>', transaction.raw('excluded.is_bound'))
    .returning('account_id');
  return made.length === 1;
}

export interface LostRole {
  group_id: string;
  agency_id: string;
  role: GroupRole;
  account_id: string;
}

/**
 * Takes their roles from those who were transferred away from a list's agency, of these accounts or of all. The
 * last owner of a list made by hand stays on record, and has no say: that the list is without one is to be seen.
 */
export async function deleteLostRoles(
  transaction: Transaction,
  accountIds: readonly string[] | undefined,
): Promise<LostRole[]> {
  // 1. Their lists, locked in one order: whoever else changes owners has done so, or waits.
  const { rows: groups } = await transaction.raw<{ rows: { id: string }[] }>(
    // From the few roles of these accounts to their lists: of all lists, each would be looked through.
    `select id from mailbox.groups where id in (
       select g.id from ${
         accountIds
           ? `unnest(?::uuid[]) as account(id) cross join lateral (
         select * from mailbox.group_roles o where o.account_id = account.id offset 0) o`
           : 'mailbox.group_roles o'
       }
       cross join lateral (select agency_id from directory.account_facts_v c where c.id = o.account_id offset 0) c
       cross join lateral (select id, agency_id from mailbox.groups g where g.id = o.group_id and g.state = 'active' offset 0) g
       where not mailbox.role_holds(o.is_bound, g.agency_id, c.agency_id))
     order by id for update`,
    accountIds ? [[...accountIds]] : [],
  );
  if (groups.length === 0) return [];

  // 2. The roles.
  const { rows } = await transaction.raw<{ rows: LostRole[] }>(
    `delete from mailbox.group_roles o using mailbox.groups g, directory.account_facts_v c
     where g.id = o.group_id and c.id = o.account_id and o.group_id = any(:groups::uuid[])
       and not mailbox.role_holds(o.is_bound, g.agency_id, c.agency_id)
       and (o.role = 'moderator' or exists (
         select 1 from mailbox.group_roles other join directory.account_facts_v a on a.id = other.account_id
         where other.group_id = g.id and other.role = 'owner' and a.state <> 'retired'
           and mailbox.role_holds(other.is_bound, g.agency_id, a.agency_id)))
     returning o.group_id, g.agency_id, o.role, o.account_id`,
    { groups: groups.map(({ id }) => id) },
  );
  return rows;
}

export const deleteRole = async (
  transaction: Transaction,
  groupId: string,
  role: GroupRole,
  accountId: string,
): Promise<boolean> =>
  (await transaction('mailbox.group_roles').where({ group_id: groupId, role, account_id: accountId }).delete()) === 1;

export type Member = { accountId: string } | { groupId: string };
const toColumns = (member: Member) =>
  'accountId' in member ? { account_id: member.accountId } : { member_group_id: member.groupId };

/** False when it was in already. */
export async function insertMember(transaction: Transaction, groupId: string, member: Member): Promise<boolean> {
  const made = await transaction('mailbox.group_members')
    .insert({ group_id: groupId, ...toColumns(member) })
    .onConflict()
    .ignore()
    .returning('group_id');
  return made.length === 1;
}

export const deleteMember = async (transaction: Transaction, groupId: string, member: Member): Promise<boolean> =>
  (await transaction('mailbox.group_members')
    .where({ group_id: groupId, ...toColumns(member) })
    .delete()) === 1;

export async function countMembers(connection: Connection, groupId: string): Promise<number> {
  const [row] = await connection('mailbox.group_members').where({ group_id: groupId }).count('* as count');
  return Number(row?.count);
}

export type NestedGroup = Pick<Group, 'id' | 'address' | 'name' | 'posting'>;

/** The lists that are in a list by name. */
export const listNested = (connection: Connection, groupId: string): Promise<NestedGroup[]> =>
  connection('mailbox.group_members as m')
    .join('mailbox.groups as g', 'g.id', 'm.member_group_id')
    .where({ 'm.group_id': groupId, 'g.state': 'active' })
    .orderBy('g.address')
    .select<NestedGroup[]>('g.id', 'g.address', 'g.name', 'g.posting');

/** The lists that a list is in by name. */
export const listOuter = (connection: Connection, groupId: string): Promise<NestedGroup[]> =>
  connection('mailbox.group_members as m')
    .join('mailbox.groups as g', 'g.id', 'm.group_id')
    .where({ 'm.member_group_id': groupId, 'g.state': 'active' })
    .orderBy('g.id')
    .select<NestedGroup[]>('g.id', 'g.address', 'g.name', 'g.posting');

/** Changes of which list is in which are made one at a time: two at once could close a loop together. */
export const lockNesting = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('mailbox.groups.nesting', 0))");

export async function isWithin(connection: Connection, outer: string, inner: string): Promise<boolean> {
  const { rows } = await connection.raw('select ?::uuid in (select mailbox.groups_within(?)) as within', [
    inner,
    outer,
  ]);
  return rows[0].within;
}

/** How many lists lie one in the other, from the list outwards or inwards, itself counted. There is no loop. */
export async function nestingDepth(
  connection: Connection,
  groupId: string,
  direction: 'inwards' | 'outwards',
): Promise<number> {
  const [from, to] = direction === 'inwards' ? ['group_id', 'member_group_id'] : ['member_group_id', 'group_id'];
  const { rows } = await connection.raw(
    `with recursive line as (
       select ?::uuid as id, 1 as depth
       union
       select m.${to}, line.depth + 1 from line join mailbox.group_members m on m.${from} = line.id
       where m.member_group_id is not null and line.depth < 100)
     select max(depth) as depth from line`,
    [groupId],
  );
  return Number(rows[0].depth);
}

/** What makes up a list's entry: the names of people, the local parts of open lists. */
export async function listEntryMembers(
  connection: Connection,
  groupId: string,
): Promise<{ usernames: string[]; localParts: string[] }> {
  const usernames = await connection('mailbox.group_members as m')
    .join('directory.account_facts_v as c', 'c.id', 'm.account_id')
    .where({ 'm.group_id': groupId })
    .orderBy('c.username')
    .pluck('c.username');
  const localParts = await connection('mailbox.group_members as m')
    .join('mailbox.groups as g', 'g.id', 'm.member_group_id')
    .where({ 'm.group_id': groupId, 'g.state': 'active' })
    .orderBy('g.local_part')
    .pluck('g.local_part');
  return { usernames, localParts };
}

/** By whom a message reaches an account: as the searches in the lists' entries find it, one page by address. */
export async function listMembers(
  connection: Connection,
  groupId: string,
  limit: number,
  afterAddress: string | undefined,
): Promise<GroupMember[]> {
  const { rows } = await connection.raw<{ rows: GroupMember[] }>(
    `${membersOf}
     select c.id as "accountId", c.address, c.display_name as "displayName", a.code as "agencyCode",
       exists (select 1 from mailbox.group_members d where d.group_id = ? and d.account_id = c.id) as "isDirect"
     from directory.account_facts_v c join member on member.id = c.id join directory.agencies_v a on a.id = c.agency_id
     where c.address collate "C" > ?
     order by c.address collate "C" limit ?`,
    [groupId, groupId, afterAddress ?? '', limit + 1],
  );
  return rows;
}

const membersOf = `
  with inner_group as materialized (
    select g.* from mailbox.groups g where g.id in (select mailbox.groups_within(?))),
  member as (
    select c.id from inner_group g join mailbox.group_members m on m.group_id = g.id
      join directory.account_facts_v c on c.id = m.account_id and c.state = 'active'
    union
    select c.id from inner_group g join directory.agencies_v a on a.id = g.rule_agency_id
      cross join lateral directory.agency_subtree(a.code) as tree(id)
      join directory.account_facts_v c on c.agency_id = tree.id and c.kind = 'person' and c.state = 'active'
    where g.rule_title is null or lower(c.title) = lower(g.rule_title))`;

/**
 * Of a list and those in it, one for `members` or `moderators` to which that sender may not write, the list itself first. To one may write:
 * who runs it; the own account of the agency that it belongs to; where it is for members those, an office's account of the agencies
 * that it is of among them, though only people are written to.
 */
export async function findRefusing(
  connection: Connection,
  groupId: string,
  senderAddress: string,
): Promise<{ id: string; address: string; posting: Posting } | undefined> {
  const { rows } = await connection.raw<{ rows: { id: string; address: string; posting: Posting }[] }>(
    `with sender as materialized (
       select c.* from directory.account_facts_v c where c.address = :sender and c.state = 'active')
     select g.id, g.address, g.posting from mailbox.groups g
     where g.id in (select mailbox.groups_within(:groupId)) and g.posting in ('members', 'moderators')
       and not exists (
         select 1 from sender c
         where exists (select 1 from mailbox.group_roles o where o.group_id = g.id and o.account_id = c.id
             and mailbox.role_holds(o.is_bound, g.agency_id, c.agency_id))
           or (c.kind = 'agency' and c.agency_id = g.agency_id)
           or (g.posting = 'members' and exists (
             select 1 from mailbox.groups i where i.id in (select mailbox.groups_within(g.id)) and (
               exists (select 1 from mailbox.group_members m where m.group_id = i.id and m.account_id = c.id)
               or exists (select 1 from directory.agencies_v a where a.id = i.rule_agency_id
                 and c.agency_id in (select directory.agency_subtree(a.code))
                 and (i.rule_title is null or lower(c.title) = lower(i.rule_title)))))))
     order by g.id <> :groupId, g.address limit 1`,
    { groupId, sender: senderAddress },
  );
  return rows[0];
}
