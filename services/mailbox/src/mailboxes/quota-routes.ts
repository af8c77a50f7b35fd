/** Quota classes and their assignments: read by all who read mailboxes, changed by the province's administrators. */
import { QuotaAssignment, QuotaClass, QuotaClassChange, QuotaClassInput } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Route, route, versionTag } from '@congvu/http';
import { z } from 'zod';
import { actorOf } from '../audit/audit-event.ts';
import { assignQuotas, changeQuotaClass, createQuotaClass, removeQuotaClass } from './change-quotas.ts';
import { findQuotaClass, listAssignments, listQuotaClasses } from './quota-store.ts';

const ByCode = z.object({ code: z.string().max(40) });
const Assignments = z.object({ items: z.array(QuotaAssignment) });

export function quotaRoutes({ database }: { database: Database }): Route[] {
  const answer = async (code: string) => {
    const quotaClass = await findQuotaClass(database, code);
    if (quotaClass) return { headers: versionTag(quotaClass), body: quotaClass };
    throw new ServiceError({
      kind: 'not_found',
      code: 'quota_class_not_found',
      detail: 'There is no quota class of that code.',
    });
  };
  const assignments = async () => ({
    body: {
      items: (await listAssignments(database)).map((row) => ({
        quotaClass: row.class_code,
        ...(row.kind ? { kind: row.kind } : {}),
        ...(row.title ? { title: row.title } : {}),
        ...(row.agency_code ? { agencyCode: row.agency_code } : {}),
      })),
    },
  });
  return [
    route({
      method: 'get',
      path: '/v1/quota-classes',
      summary: 'Quota classes, and how many mailboxes have each',
      permission: 'mailboxes:read',
      response: z.object({ items: z.array(QuotaClass) }),
      handle: async () => ({ body: { items: await listQuotaClasses(database) } }),
    }),
    route({
      method: 'post',
      path: '/v1/quota-classes',
      summary: 'Makes a quota class',
      permission: 'mailboxes:write',
      body: QuotaClassInput,
      status: 201,
      response: QuotaClass,
      handle: async (context) => {
        await createQuotaClass(database, context.body, actorOf(context));
        return answer(context.body.code);
      },
    }),
    route({
      method: 'patch',
      path: '/v1/quota-classes/{code}',
      summary: 'Changes name or size of a quota class; its mailboxes follow',
      permission: 'mailboxes:write',
      params: ByCode,
      body: QuotaClassChange,
      response: QuotaClass,
      handle: async (context) => {
        const { code } = context.params;
        await changeQuotaClass(database, { code, version: context.ifMatchVersion }, context.body, actorOf(context));
        return answer(code);
      },
    }),
    route({
      method: 'delete',
      path: '/v1/quota-classes/{code}',
      summary: 'Removes a quota class that nothing uses',
      permission: 'mailboxes:write',
      params: ByCode,
      status: 204,
      handle: async (context) => {
        await removeQuotaClass(database, context.params.code, actorOf(context));
        return {};
      },
    }),
    route({
      method: 'get',
      path: '/v1/quota-assignments',
      summary: 'Which mailboxes have which quota class',
      permission: 'mailboxes:read',
      response: Assignments,
      handle: assignments,
    }),
    route({
      method: 'put',
      path: '/v1/quota-assignments',
      summary: 'Says anew which mailboxes have which quota class; all of them follow',
      permission: 'mailboxes:write',
      body: z.array(QuotaAssignment).max(1_000),
      response: Assignments,
      handle: async (context) => {
        await assignQuotas(database, context.body, actorOf(context));
        return assignments();
      },
    }),
  ];
}
