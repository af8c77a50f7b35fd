/**
 * Puts people and lists into a list and takes them out, and names who runs it. No list comes to contain itself, whoever adds what at
 * the same moment, and a list that was made by hand never loses its last owner.
 */
import type { Database, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { refuseWidening } from './change-group.ts';
import { recordGroupEvents } from './group-event.ts';
import { type GroupRow, lockGroup, requireGroup, updateGroup } from './group-store.ts';
import {
  countMembers,
  deleteMember,
  deleteRole,
  type GroupRole,
  insertMember,
  insertRole,
  isWithin,
  listRole,
  lockNesting,
  type Member,
  nestingDepth,
  requireAccounts,
} from './member-store.ts';

/** So many by name keep the entry small; more are a rule, or lists in a list. */
const mostMembers = 1_000;
/** Postfix gives up beyond twenty (infra/postfix/groups.cf). */
const deepestNesting = 10;
const mostInRole = 50;

export const addMember = (database: Database, groupId: string, memberId: string, actor: Actor) =>
  database.transaction(async (transaction) => {
    await lockNesting(transaction);
    const group = await lockHandMade(transaction, groupId, actor);
    const member = await readMember(transaction, group, memberId, actor);
    if (!(await insertMember(transaction, groupId, member))) return;
    if ((await countMembers(transaction, groupId)) > mostMembers)
      throw refusal(
        'group_full',
        `A list has at most ${mostMembers} members by name; put lists into it, or use a rule.`,
      );
    await updateGroup(transaction, groupId);
    await recordGroupEvents(transaction, [{ action: 'group.member_added', group, after: member }], actor);
  });

export const removeMember = (database: Database, groupId: string, memberId: string, actor: Actor) =>
  database.transaction(async (transaction) => {
    const group = await lockHandMade(transaction, groupId, actor);
    for (const member of [{ accountId: memberId }, { groupId: memberId }]) {
      if (!(await deleteMember(transaction, groupId, member))) continue;
      await updateGroup(transaction, groupId);
      await recordGroupEvents(transaction, [{ action: 'group.member_removed', group, before: member }], actor);
    }
  });

/** A list or an account, by its id; a list must neither contain this one nor be less open than it. */
async function readMember(transaction: Transaction, group: GroupRow, memberId: string, actor: Actor): Promise<Member> {
  const inner = await requireGroup(transaction, memberId, actor.agencyCode).catch((error: unknown) => {
    if (error instanceof ServiceError && error.kind === 'not_found') return undefined;
    throw error;
  });
  if (!inner) {
    await requireAccounts(transaction, [memberId], actor.agencyCode);
    return { accountId: memberId };
  }
  if (inner.state === 'closed') throw refusal('group_closed', `The list ${inner.address} was closed.`);
  if (await isWithin(transaction, inner.id, group.id))
    throw refusal('group_loop', `${group.address} is in ${inner.address}, or is it: a list cannot contain itself.`);
  refuseWidening(group.posting, inner);
  const [above, below] = [
    await nestingDepth(transaction, group.id, 'outwards'),
    await nestingDepth(transaction, inner.id, 'inwards'),
  ];
  if (above + below > deepestNesting)
    throw refusal('group_too_deep', `At most ${deepestNesting} lists can lie one in the other.`);
  return { groupId: inner.id };
}

export const addToRole = (database: Database, groupId: string, role: GroupRole, accountId: string, actor: Actor) =>
  database.transaction(async (transaction) => {
    const group = await lockGroup(transaction, { id: groupId }, actor.agencyCode);
    if (role === 'owner') refuseAgencyList(group);
    await requireAccounts(transaction, [accountId], actor.agencyCode);
    if (!(await insertRole(transaction, groupId, role, accountId))) return;
    if ((await listRole(transaction, groupId, role)).length > mostInRole)
      throw refusal('group_full', `A list has at most ${mostInRole} ${role}s.`);
    await updateGroup(transaction, groupId);
    await recordGroupEvents(transaction, [{ action: `group.${role}_added`, group, after: { accountId } }], actor);
  });

export const removeFromRole = (database: Database, groupId: string, role: GroupRole, accountId: string, actor: Actor) =>
  database.transaction(async (transaction) => {
    const group = await lockGroup(transaction, { id: groupId }, actor.agencyCode);
    if (role === 'owner') refuseAgencyList(group);
    if (!(await deleteRole(transaction, groupId, role, accountId))) return;
    const left = role === 'owner' ? await listRole(transaction, groupId, role) : undefined;
    if (left && !left.some(({ state, holds }) => state !== 'retired' && holds))
      throw refusal('last_owner', 'This is the last owner of the list; name another first, or close the list.');
    await updateGroup(transaction, groupId);
    await recordGroupEvents(transaction, [{ action: `group.${role}_removed`, group, before: { accountId } }], actor);
  });

async function lockHandMade(transaction: Transaction, groupId: string, actor: Actor): Promise<GroupRow> {
  const group = await lockGroup(transaction, { id: groupId }, actor.agencyCode);
  refuseAgencyList(group);
  return group;
}

function refuseAgencyList(group: GroupRow): void {
  if (group.kind === 'hand_made') return;
  throw refusal(
    'group_of_agency',
    "The members of an agency's own list are its people, and it has no owners; make another list for anything else.",
  );
}

const refusal = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });
