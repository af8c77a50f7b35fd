/** What happened, for auditors. */
import { AgencyCodeInput, AuditEvent, auditActions } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeNumberCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { listSubtree } from '../agencies/agency-store.ts';
import { listEvents } from './audit-store.ts';

/** Years that PostgreSQL knows and an audit log can hold. */
const EventTime = z.iso.datetime().regex(/^2\d{3}-/, 'A time from the year 2000 on is needed.');
const actions = Object.entries(auditActions).map(([action, meaning]) => `${action}: ${meaning}`);

const Query = PageQuery.extend({
  actorId: z
    .string()
    .max(100)
    .optional()
    .describe('Id of the client, of the holder’s account, or name of the system part'),
  actorName: z.string().max(100).optional().describe('The name that a client has now'),
  action: z
    .string()
    .max(60)
    .optional()
    .describe(`One of\n${actions.join('\n')}`),
  subjectType: z.string().max(40).optional(),
  subjectId: z.string().max(100).optional(),
  agencyCode: AgencyCodeInput.optional().describe('Events of this agency and everything below it'),
  service: z.enum(['directory', 'mailbox', 'certificate']).optional(),
  requestId: z.uuid().optional(),
  decisionNumber: z.string().max(100).optional().describe('The whole number of the decision, e.g. 1247/UBND-VP'),
  from: EventTime.optional().describe('Events at or after'),
  to: EventTime.optional().describe('Events before'),
  order: z.enum(['desc', 'asc']).default('desc').describe('desc: newest first; asc: oldest first'),
});

const csvColumns = Object.keys(AuditEvent.shape) as (keyof AuditEvent)[];

export const auditRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/audit-events',
    summary: 'Lists audit events of all services',
    permission: 'audit:read',
    query: Query,
    response: pageOf(AuditEvent),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, order, agencyCode, ...filters } = context.query;
      const code = agencyCode && parseCode(agencyCode, 'query/agencyCode');
      // What belongs to no agency (clients, platform) is for those whose subtree is the whole province.
      const agencies = await listSubtree(database, client(context).agencyCode, code);
      const filter = { ...filters, agencyIds: agencies?.map(({ id }) => id) };
      return listAnswer(context, '/v1/audit-events', csvColumns, async (size, cursor) => {
        const rows = await listEvents(database, filter, order, size, decodeNumberCursor(cursor));
        return toPage(rows, size, (event) => [event.id]);
      });
    },
  }),
];
