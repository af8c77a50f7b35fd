/** Lists, for administrators; agencies see their own. */
import { AgencyCodeInput, Group, GroupChange, GroupDetail, GroupInput, GroupMember } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeCursor,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { searchKey } from '@congvu/vietnamese';
import { z } from 'zod';
import { codeOf } from '../agencies/agency-code.ts';
import { actorOf } from '../audit/audit-event.ts';
import { changeGroup, closeGroup } from './change-group.ts';
import { addMember, addToRole, removeFromRole, removeMember } from './change-members.ts';
import { createGroup } from './create-group.ts';
import { listGroups, requireGroup, toGroup } from './group-store.ts';
import { listMembers } from './member-store.ts';
import { readGroup } from './read-group.ts';

const ById = z.object({ id: z.uuid() });
const ByAccount = ById.extend({ accountId: z.uuid() });
const columnsOf = <T extends object>(schema: { shape: T }) => Object.keys(schema.shape) as (keyof T & string)[];

export function groupRoutes({ database, domain }: { database: Database; domain: string }): Route[] {
  const answer = async (context: RouteContext, id: string) => {
    const group = await readGroup(database, id, client(context).agencyCode);
    return { headers: versionTag(group), body: group };
  };
  const ref = (context: RouteContext<{ id: string }>) => ({ id: context.params.id, version: context.ifMatchVersion });
  const [read, write] = ['mailboxes:read', 'mailboxes:write'] as const;

  /** Repeating it changes nothing. */
  const changed = async (context: RouteContext<{ id: string }>, change: Promise<unknown>) => {
    await change;
    return answer(context, context.params.id);
  };

  return [
    route({
      method: 'get',
      path: '/v1/groups',
      summary: 'Lists the mailing lists of agencies at and below yours, newest first',
      permission: read,
      query: PageQuery.extend({
        q: z.string().trim().min(1).max(100).optional().describe('Part of the name or of the address'),
        agency: AgencyCodeInput.optional().describe('Only lists of this agency and of those below it'),
        kind: Group.shape.kind.optional(),
        state: Group.shape.state.optional(),
        address: z.string().max(254).optional(),
        ownerless: z
          .enum(['true', 'false'])
          .transform((text) => text === 'true')
          .optional(),
      }),
      response: pageOf(Group),
      produces: listTypes,
      handle: async (context) => {
        const { q, agency, ownerless, limit: _, cursor: __, ...same } = context.query;
        const filter = {
          ...same,
          scope: client(context).agencyCode,
          under: agency && codeOf(agency, 'query/agency'),
          isOwnerless: ownerless,
          searchKey: q && searchKey(q),
        };
        const fetch = async (size: number, from: string | undefined) => {
          const rows = await listGroups(database, filter, size, decodeTimeCursor(from));
          return toPage(rows.map(toGroup), size, (row) => [row.createdAt, row.id]);
        };
        return listAnswer(context, '/v1/groups', columnsOf(Group), fetch);
      },
    }),
    route({
      method: 'post',
      path: '/v1/groups',
      summary: 'Makes a mailing list',
      permission: write,
      idempotent: true,
      body: GroupInput,
      status: 201,
      response: GroupDetail,
      handle: async (context) => {
        const made = await createGroup({ database, domain }, context.body, actorOf(context), context.idempotencyKey);
        return { status: made.created ? 201 : 200, ...(await answer(context, made.id)) };
      },
    }),
    route({
      method: 'get',
      path: '/v1/groups/{id}',
      summary: 'One mailing list, with its owners, its moderators and the lists in it',
      permission: read,
      params: ById,
      response: GroupDetail,
      handle: (context) => answer(context, context.params.id),
    }),
    route({
      method: 'patch',
      path: '/v1/groups/{id}',
      summary: 'Changes name, rule of members or who may write; of an agency’s own list only who may write',
      permission: write,
      params: ById,
      body: GroupChange,
      response: GroupDetail,
      handle: async (context) => {
        await changeGroup(database, ref(context), context.body, actorOf(context));
        return answer(context, context.params.id);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}',
      summary: 'Closes a mailing list for good; its address is never given again',
      permission: write,
      params: ById,
      response: GroupDetail,
      handle: async (context) => {
        await closeGroup(database, ref(context), actorOf(context));
        return answer(context, context.params.id);
      },
    }),
    route({
      method: 'get',
      path: '/v1/groups/{id}/members',
      summary: 'Everybody whom mail to the list reaches now, whether by name, by rule or through a list in it',
      permission: read,
      params: ById,
      query: PageQuery,
      response: pageOf(GroupMember),
      produces: listTypes,
      handle: async (context) => {
        const { id } = context.params;
        await requireGroup(database, id, client(context).agencyCode);
        const fetch = async (size: number, from: string | undefined) => {
          const after = decodeCursor(from, 1)?.[0];
          const rows = await listMembers(database, id, size, after === undefined ? undefined : String(after));
          return toPage(rows, size, (row) => [row.address]);
        };
        return listAnswer(context, `/v1/groups/${id}/members`, columnsOf(GroupMember), fetch);
      },
    }),
    route({
      method: 'put',
      path: '/v1/groups/{id}/members/{memberId}',
      summary: 'Puts an account, or another list, into the list',
      permission: write,
      params: ById.extend({ memberId: z.uuid() }),
      response: GroupDetail,
      handle: (context) =>
        changed(context, addMember(database, context.params.id, context.params.memberId, actorOf(context))),
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}/members/{memberId}',
      summary: 'Takes an account or a list out of the list',
      permission: write,
      params: ById.extend({ memberId: z.uuid() }),
      response: GroupDetail,
      handle: (context) =>
        changed(context, removeMember(database, context.params.id, context.params.memberId, actorOf(context))),
    }),
    route({
      method: 'put',
      path: '/v1/groups/{id}/owners/{accountId}',
      summary: 'Names another owner',
      permission: write,
      params: ByAccount,
      response: GroupDetail,
      handle: (context) => {
        const { id, accountId } = context.params;
        return changed(context, addToRole(database, id, 'owner', accountId, actorOf(context)));
      },
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}/owners/{accountId}',
      summary: 'Takes the role of owner away',
      permission: write,
      params: ByAccount,
      response: GroupDetail,
      handle: (context) => {
        const { id, accountId } = context.params;
        return changed(context, removeFromRole(database, id, 'owner', accountId, actorOf(context)));
      },
    }),
    route({
      method: 'put',
      path: '/v1/groups/{id}/moderators/{accountId}',
      summary: 'Names another moderator',
      permission: write,
      params: ByAccount,
      response: GroupDetail,
      handle: (context) => {
        const { id, accountId } = context.params;
        return changed(context, addToRole(database, id, 'moderator', accountId, actorOf(context)));
      },
    }),
    route({
      method: 'delete',
      path: '/v1/groups/{id}/moderators/{accountId}',
      summary: 'Takes the role of moderator away',
      permission: write,
      params: ByAccount,
      response: GroupDetail,
      handle: (context) => {
        const { id, accountId } = context.params;
        return changed(context, removeFromRole(database, id, 'moderator', accountId, actorOf(context)));
      },
    }),
  ];
}
