/** Mailboxes, for agencies, administrators and auditors. */
import { Mailbox, MailboxInList, MailboxSort } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  type Page,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import { listMailboxesSorted, usageColumns, withUsage } from '../usage/list-mailboxes.ts';
import { listMailboxes, requireMailbox } from './mailbox-store.ts';

const csvColumns = Object.keys(Mailbox.shape) as (keyof Mailbox)[];

export const mailboxRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/mailboxes',
    summary: 'Lists mailboxes at and below your agency with request, approver and times, newest first unless told',
    permission: 'mailboxes:read',
    query: PageQuery.extend({
      state: Mailbox.shape.state.optional(),
      address: z.string().max(254).optional(),
      requestId: z.uuid().optional(),
      include: z.literal('usage').optional(),
      sort: MailboxSort.optional(),
    }),
    response: pageOf(MailboxInList),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, include, sort, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const fetch = async (size: number, from: string | undefined): Promise<Page<MailboxInList>> => {
        if (sort) return listMailboxesSorted(database, { ...filter, include }, sort, size, from);
        const rows = await listMailboxes(database, filter, size, decodeTimeCursor(from));
        const page = toPage(rows, size, (row) => [row.createdAt, row.accountId]);
        return include ? withUsage(database, page) : page;
      };
      const columns = include ? [...csvColumns, ...usageColumns] : csvColumns;
      return listAnswer<MailboxInList>(context, '/v1/mailboxes', columns, fetch);
    },
  }),
  route({
    method: 'get',
    path: '/v1/mailboxes/{accountId}',
    summary: 'The mailbox of one account',
    permission: 'mailboxes:read',
    params: z.object({ accountId: z.uuid() }),
    response: Mailbox,
    handle: async (context) => ({
      body: await requireMailbox(database, context.params.accountId, client(context).agencyCode),
    }),
  }),
];
