/** Who uses official mail: mailbox by mailbox and agency by agency. */
import { AgencyLevel, AgencyUsage, AgencyUsageDetail, MailboxUsage } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeSortCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import { listAgencyUsage, unranked } from './figures-store.ts';
import { readAgencyUsage, readMailboxUsage } from './read-usage.ts';

const day = z.iso.date().startsWith('2');
const agencyColumns = Object.keys(AgencyUsage.shape) as (keyof AgencyUsage)[];
const CodeKey = z.tuple([z.literal('code'), z.string().max(40)]);
const RankKey = z.tuple([z.literal('rank'), z.number().int().min(0).max(unranked), z.string().max(40)]);

export const usageRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/mailboxes/{accountId}/usage',
    summary: 'What a mailbox holds, and its messages day by day',
    description: 'Days in Việt Nam, the last 30 unless told, at most 366.',
    permission: 'mailboxes:read',
    params: z.object({ accountId: z.uuid() }),
    query: z.strictObject({ from: day.optional(), to: day.optional() }),
    response: MailboxUsage,
    handle: async (context) => ({
      body: await readMailboxUsage(database, context.params.accountId, client(context).agencyCode, context.query),
    }),
  }),
  route({
    method: 'get',
    path: '/v1/usage/agencies',
    summary: 'Who uses official mail, agency by agency, at and below your agency',
    description:
      'Figures of people. `of=subtree` adds to each agency all that lie below it; `sort=rank` puts first where most use it.',
    permission: 'mailboxes:read',
    query: PageQuery.extend({
      of: z.enum(['own', 'subtree']).default('own'),
      level: AgencyLevel.optional(),
      sort: z.enum(['code', 'rank']).default('code'),
    }),
    response: pageOf(AgencyUsage),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, sort, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const fetch = async (size: number, from: string | undefined) => {
        if (sort === 'rank') {
          const after = decodeSortCursor(from, RankKey, 3);
          const key = { sort, after: after && ([after[1], after[2]] as const) };
          const rows = await listAgencyUsage(database, filter, key, size + 1);
          return toPage(rows, size, (row) => ['rank', row.rank ?? unranked, row.agencyCode]);
        }
        const after = decodeSortCursor(from, CodeKey, 2)?.[1];
        const rows = await listAgencyUsage(database, filter, { sort, after }, size + 1);
        return toPage(rows, size, (row) => ['code', row.agencyCode]);
      };
      return listAnswer(context, '/v1/usage/agencies', agencyColumns, fetch);
    },
  }),
  route({
    method: 'get',
    path: '/v1/usage/agencies/{code}',
    summary: 'Who uses official mail in one agency, and in all that lie below it',
    permission: 'mailboxes:read',
    params: z.object({ code: z.string().max(40) }),
    response: AgencyUsageDetail,
    handle: async (context) => ({
      body: await readAgencyUsage(database, context.params.code, client(context).agencyCode),
    }),
  }),
];
