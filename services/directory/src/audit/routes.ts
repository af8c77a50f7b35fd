/** What happened, for auditors. */
import { AuditEvent } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid } from '@congvu/errors';
import { client, decodeCursor, listAnswer, PageQuery, pageOf, type Route, route, toPage } from '@congvu/http';
import { z } from 'zod';
import { listEvents } from './audit-store.ts';

/** Years that PostgreSQL knows and an audit log can hold. */
const EventTime = z.iso.datetime().regex(/^2\d{3}-/, 'A time from the year 2000 on is needed.');

const Query = PageQuery.extend({
  subjectType: z.string().max(40).optional(),
  subjectId: z.string().max(100).optional(),
  action: z.string().max(60).optional(),
  requestId: z.uuid().optional(),
  from: EventTime.optional().describe('Events at or after'),
  to: EventTime.optional().describe('Events before'),
});

const csvColumns = [
  'id',
  'occurredAt',
  'service',
  'actorKind',
  'actorId',
  'actorName',
  'sourceIp',
  'action',
  'subjectType',
  'subjectId',
  'agencyCode',
  'requestId',
  'before',
  'after',
] as const;

export const auditRoutes = (database: Database): Route[] => [
  route({
    method: 'get',
    path: '/v1/audit-events',
    summary: 'Lists audit events of all services, newest first',
    permission: 'audit:read',
    query: Query,
    response: pageOf(AuditEvent),
    produces: ['application/json', 'text/csv'],
    handle: async (context) => {
      const { limit: _, cursor: __, ...filters } = context.query;
      const fetch = async (size: number, from: string | undefined) => {
        const filter = { scope: client(context).agencyCode, ...filters };
        const rows = await listEvents(database, filter, size, eventCursor(from));
        return toPage(rows, size, (event) => [event.id]);
      };
      return listAnswer(context, '/v1/audit-events', csvColumns, fetch);
    },
  }),
];

/** Id of the last event seen. What anybody may write into a cursor must not reach the database as a number. */
function eventCursor(cursor: string | undefined): string | undefined {
  const id = decodeCursor(cursor, 1)?.[0];
  if (id === undefined || /^\d{1,18}$/.test(String(id))) return id === undefined ? undefined : String(id);
  const detail = 'The cursor is not one that this list gave; begin again without it.';
  throw invalid('cursor_invalid', [{ pointer: 'query/cursor', code: 'cursor_invalid', detail }]);
}
