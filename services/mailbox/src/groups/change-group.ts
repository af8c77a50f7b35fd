/** Changes or closes a list. A closed one takes no mail at once and is in no other list any more; its address stays taken for ever. */
import { type GroupChange, type Posting, postings } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { searchKey } from '@congvu/vietnamese';
import { codeOf } from '../agencies/agency-code.ts';
import type { Actor } from '../audit/audit-event.ts';
import { recordGroupEvents } from './group-event.ts';
import { type GroupRow, lockGroup, requireOpenAgency, updateGroup } from './group-store.ts';
import { deleteMember, listNested, listOuter, lockNesting, type NestedGroup } from './member-store.ts';

export interface GroupRef {
  id: string;
  version?: number | undefined;
}

export const changeGroup = (database: Database, ref: GroupRef, change: GroupChange, actor: Actor) =>
  database.transaction(async (transaction) => {
    // 1. The list as the caller last saw it. Who may write to it depends on the lists around it, which stay as they are meanwhile.
    await lockNesting(transaction);
    const group = await lockGroup(transaction, ref, actor.agencyCode);
    const { name = group.name, posting = group.posting, memberRule } = change;
    if (group.kind === 'agency' && (change.name !== undefined || memberRule !== undefined)) throw followsAgency();

    // 2. What it would be.
    if (posting !== group.posting) {
      for (const inner of await listNested(transaction, group.id)) refuseWidening(posting, inner);
      for (const outer of await listOuter(transaction, group.id)) refuseWidening(outer.posting, { ...group, posting });
    }
    const at = '/memberRule/agencyCode';
    const agency = memberRule
      ? await requireOpenAgency(transaction, codeOf(memberRule.agencyCode, at), actor.agencyCode, at)
      : undefined;
    const rule =
      memberRule === undefined ? {} : { rule_agency_id: agency?.id ?? null, rule_title: memberRule?.title ?? null };

    // 3. Write it, if it is anything new.
    const next = { name, posting, ...rule };
    const changed = Object.fromEntries(
      Object.entries(next).filter(([column, value]) => group[column as keyof GroupRow] !== value),
    );
    if (Object.keys(changed).length === 0) return;
    await updateGroup(transaction, group.id, { ...next, search_key: searchKey(`${name} ${group.address}`) });
    const before = Object.fromEntries(Object.keys(changed).map((column) => [column, group[column as keyof GroupRow]]));
    await recordGroupEvents(transaction, [{ action: 'group.changed', group, before, after: changed }], actor);
  });

export const closeGroup = (database: Database, ref: GroupRef, actor: Actor) =>
  database.transaction(async (transaction) => {
    await lockNesting(transaction);
    const group = await lockGroup(transaction, ref, actor.agencyCode);
    if (group.kind === 'agency') throw followsAgency();
    const outer = await listOuter(transaction, group.id);
    for (const { id } of outer) {
      await deleteMember(transaction, id, { groupId: group.id });
      await updateGroup(transaction, id);
    }
    await updateGroup(transaction, group.id, { state: 'closed' });
    const before = { address: group.address, inGroups: outer.map(({ id }) => id) };
    await recordGroupEvents(transaction, [{ action: 'group.closed', group, before }], actor);
  });

/**
 * Whoever may write to a list reaches those in it too: one that is more open than a list in it would lead around that list's rule.
 */
export function refuseWidening(outer: Posting, inner: Pick<NestedGroup, 'address' | 'posting'>): void {
  if (postings.indexOf(outer) >= postings.indexOf(inner.posting)) return;
  throw new ServiceError({
    kind: 'conflict',
    code: 'group_too_open',
    detail: `To ${inner.address} may write: ${inner.posting}. A list that it is in must not be more open (${outer}).`,
  });
}

const followsAgency = (): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'group_of_agency',
    detail: "An agency's own list follows the agency: its name, its members and its end; only posting can be changed.",
  });
