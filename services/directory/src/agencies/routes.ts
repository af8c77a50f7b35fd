/** The agencies of the province: import, list, one. */
import { Agency, AgencyCodeInput, AgencyImportReport } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { client, decodeCursor, PageQuery, pageAnswer, pageOf, type Route, route, toPage } from '@congvu/http';
import { z } from 'zod';
import { scopedActorOf } from '../audit/audit-event.ts';
import { parseCode } from './agency-code-input.ts';
import { type AgencyRow, listAgencies, requireAgency } from './agency-store.ts';
import { importAgencies } from './import-agencies.ts';

const toWire = (row: AgencyRow): Agency => ({
  code: row.code,
  name: row.name,
  level: row.level,
  parentCode: row.parent_code,
  shortName: row.short_name,
  mailDomain: row.mail_domain,
  gsoCode: row.gso_code,
  validTo: row.valid_to,
});

export const agencyRoutes = (database: Database): Route[] => [
  route({
    method: 'post',
    path: '/v1/agencies/import',
    summary: 'Imports agencies from CSV, all or nothing',
    description: 'Columns: code, name, level, parent_code, mail_domain, and optionally valid_to, gso_code. UTF-8.',
    permission: 'agencies:write',
    consumes: 'text/csv',
    maxBodyBytes: 8 * 1024 * 1024,
    body: z.string(),
    response: AgencyImportReport,
    handle: async (context) => {
      return { body: await importAgencies(database, context.body, scopedActorOf(context)) };
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies',
    summary: 'Lists the agencies at and below yours, by code',
    permission: 'agencies:read',
    query: PageQuery.extend({
      parentCode: AgencyCodeInput.optional(),
      level: Agency.shape.level.optional(),
      q: z.string().min(1).max(100).optional().describe('Part of the name, code or short name'),
    }),
    response: pageOf(Agency),
    handle: async (context) => {
      const { limit, cursor, parentCode, ...filters } = context.query;
      const filter = {
        ...filters,
        scope: client(context).agencyCode,
        parentCode: parentCode && parseCode(parentCode, 'query/parentCode'),
      };
      const after = decodeCursor(cursor, 1)?.[0];
      const rows = await listAgencies(database, filter, limit, after === undefined ? undefined : String(after));
      const page = toPage(rows, limit, (row) => [row.code]);
      return pageAnswer({ ...page, items: page.items.map(toWire) }, '/v1/agencies', context.query);
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies/{code}',
    summary: 'One agency',
    permission: 'agencies:read',
    params: z.object({ code: AgencyCodeInput }),
    response: Agency,
    handle: async (context) => ({
      body: toWire(
        await requireAgency(database, parseCode(context.params.code, 'path/code'), client(context).agencyCode),
      ),
    }),
  }),
];
