/** The log of notices: what was sent to whom, and what waits. */
import { Notice } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { client, decodeTimeCursor, PageQuery, pageAnswer, pageOf, type Route, route, toPage } from '@congvu/http';
import { z } from 'zod';
import { listNotices } from './notice-store.ts';

export const noticeRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/notices',
    summary: 'Lists notices, newest first',
    permission: 'mailboxes:read',
    query: PageQuery.extend({ recipient: z.string().max(254).optional(), state: Notice.shape.state.optional() }),
    response: pageOf(Notice),
    handle: async (context) => {
      const { limit, cursor, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const rows = await listNotices(database, filter, limit, decodeTimeCursor(cursor));
      return pageAnswer(
        toPage(rows, limit, (row) => [row.createdAt, row.id]),
        '/v1/notices',
        context.query,
      );
    },
  }),
];
