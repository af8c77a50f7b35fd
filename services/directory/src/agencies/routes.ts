/** The agencies of the province: import, list, tree, one, its history, single changes. */
import {
  Agency,
  AgencyChange,
  AgencyCodeInput,
  AgencyHistory,
  AgencyImportReport,
  AgencyTree,
} from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeCursor,
  FileBody,
  listAnswer,
  PageQuery,
  pageOf,
  type Route,
  route,
  spreadsheetType,
  toPage,
  versionTag,
} from '@congvu/http';
import { formatLegacyAgencyCode, searchKey } from '@congvu/vietnamese';
import { z } from 'zod';
import { scopedActorOf } from '../audit/audit-event.ts';
import { parseCode } from './agency-code-input.ts';
import {
  type AgencyRow,
  listAgencies,
  loadRecord,
  predecessorCodes,
  requireAgency,
  requireAgencyAt,
  successorCodes,
} from './agency-store.ts';
import { agencyTree } from './agency-tree.ts';
import { changeAgency } from './change-agency.ts';
import { importAgencies } from './import-agencies.ts';

const toWire = (row: AgencyRow): Agency => ({
  code: row.code,
  legacyCode: formatLegacyAgencyCode(row.code) ?? null,
  name: row.name,
  level: row.level,
  parentCode: row.parent_code,
  shortName: row.short_name,
  mailDomain: row.mail_domain,
  gsoCode: row.gso_code,
  headCount: row.head_count,
  validFrom: row.valid_from,
  validTo: row.valid_to,
  status: row.status,
  successorCode: row.successor_code,
  version: row.version,
});

const ByCode = z.object({ code: AgencyCodeInput });
const flag = z.stringbool().default(false);

export const agencyRoutes = (database: Database): Route[] => [
  route({
    method: 'post',
    path: '/v1/agencies/import',
    summary: 'Imports agencies from CSV or XLSX',
    description:
      'All or nothing, with every fault named by its cell (row/14/D14); with skipRefused the sound rows are taken and the others ' +
      'listed. Columns: code, name, level, parent_code, mail_domain; optionally valid_from, valid_to, successor_code, head_count, ' +
      'gso_code, short_name; Vietnamese headings are known too. A changed name, level, parent, mail domain or number of people ' +
      'holds from valid_from on, else from today; from the very date on which a period began it corrects that period. Several rows ' +
      'of one code with different dates are its history. An empty cell of an optional column leaves what is known.',
    permission: 'agencies:write',
    consumes: ['text/csv', spreadsheetType],
    maxBodyBytes: 8 * 1024 * 1024,
    query: z.strictObject({
      dryRun: flag.describe('Writes nothing and answers the same'),
      skipRefused: flag.describe('Takes the sound rows although others are refused'),
    }),
    body: FileBody,
    response: AgencyImportReport,
    handle: async (context) => {
      const file = { content: context.body, mediaType: context.contentType ?? '' };
      return { body: await importAgencies(database, file, context.query, scopedActorOf(context)) };
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies',
    summary: 'Lists the agencies at and below yours, by code',
    permission: 'agencies:read',
    query: PageQuery.extend({
      q: z
        .string()
        .min(1)
        .max(100)
        .optional()
        .describe('Part of the name, code (of either form) or short name; marks do not matter'),
      parentCode: AgencyCodeInput.optional().describe('Directly below this agency'),
      under: AgencyCodeInput.optional().describe('This agency and everything below it'),
      level: Agency.shape.level.optional(),
      status: Agency.shape.status.optional(),
    }),
    response: pageOf(Agency),
    produces: ['application/json', 'text/csv'],
    handle: (context) => {
      const { q, parentCode, under, level, status } = context.query;
      const filter = {
        scope: client(context).agencyCode,
        under: under && parseCode(under, 'query/under'),
        parentCode: parentCode && parseCode(parentCode, 'query/parentCode'),
        level,
        status,
        searchKey: q && searchKey(q),
      };
      const columns = Object.keys(Agency.shape) as (keyof Agency)[];
      return listAnswer<Agency>(context, '/v1/agencies', columns, async (limit, cursor) => {
        const after = decodeCursor(cursor, 1)?.[0];
        const rows = await listAgencies(database, filter, limit, after === undefined ? undefined : String(after));
        const page = toPage(rows, limit, (row) => [row.code]);
        return { ...page, items: page.items.map(toWire) };
      });
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies/{code}',
    summary: 'One agency, as it is or as it was on a day',
    permission: 'agencies:read',
    params: ByCode,
    query: z.strictObject({ at: z.iso.date().optional() }),
    response: Agency,
    handle: async (context) => {
      const code = parseCode(context.params.code, 'path/code');
      const scope = client(context).agencyCode;
      const { at } = context.query;
      if (at !== undefined) return { body: toWire(await requireAgencyAt(database, code, scope, at)) };
      const agency = toWire(await requireAgency(database, code, scope));
      return { headers: versionTag(agency), body: agency };
    },
  }),
  route({
    method: 'patch',
    path: '/v1/agencies/{code}',
    summary: 'Changes facts of one agency from a date on',
    description:
      'The change holds from validFrom on, else from today; from the date on which a period began, or with validFrom null from the ' +
      'beginning, it corrects that period. Past periods otherwise stay.',
    permission: 'agencies:write',
    params: ByCode,
    body: AgencyChange,
    response: Agency,
    handle: async (context) => {
      const code = parseCode(context.params.code, 'path/code');
      const row = await changeAgency(database, code, context.body, context.ifMatchVersion, scopedActorOf(context));
      const agency = toWire(row);
      return { headers: versionTag(agency), body: agency };
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies/{code}/history',
    summary: 'What held of an agency, and when; what it took over, and what took it over',
    permission: 'agencies:read',
    params: ByCode,
    response: AgencyHistory,
    handle: async (context) => {
      const { id, code } = await requireAgency(
        database,
        parseCode(context.params.code, 'path/code'),
        client(context).agencyCode,
      );
      const record = await loadRecord(database, [code]);
      return {
        body: {
          code,
          periods: record.get(code)?.periods ?? [],
          predecessorCodes: await predecessorCodes(database, id),
          successorCodes: await successorCodes(database, id),
        },
      };
    },
  }),
  route({
    method: 'get',
    path: '/v1/agencies/{code}/tree',
    summary: 'An agency and all below it, nested, with numbers of accounts',
    permission: 'agencies:read',
    params: ByCode,
    query: z.strictObject({ depth: z.coerce.number().int().min(0).max(20).default(20) }),
    response: AgencyTree,
    handle: async (context) => ({
      body: await agencyTree(
        database,
        parseCode(context.params.code, 'path/code'),
        client(context).agencyCode,
        context.query.depth,
      ),
    }),
  }),
];
