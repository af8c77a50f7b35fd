/** Requests: submit, correct, read, list, decide. */
import {
  AgencyCodeInput,
  BulkApproval,
  BulkApprovalResult,
  LateSummary,
  LineNumber,
  LineRemark,
  maxRequestLines,
  RequestDetail,
  RequestInput,
  RequestLine,
  RequestLineState,
  RequestRemark,
  RequestState,
  RequestSummary,
  UsernamePreview,
  WaitsFor,
} from '@congvu/contracts';
import { invalid } from '@congvu/errors';
import {
  client,
  decodeCursor,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toCsv,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { scopedActorOf } from '../audit/audit-event.ts';
import { approveRequests } from './approve-requests.ts';
import { correctRequest } from './correct-request.ts';
import { type DecideDependencies, type Decision, decide } from './decide-request.ts';
import { listLines } from './line-store.ts';
import { previewPage, previewUsernames } from './preview-usernames.ts';
import { listLateness, listSummaries, requireSummary } from './request-store.ts';
import { readRequest, type SubmitDependencies, submitDraft, submitRequest } from './submit-request.ts';

const ById = z.object({ id: z.uuid() });
const lineRemarks = z.array(LineRemark).max(maxRequestLines).optional();
const summaryColumns = Object.keys(RequestSummary.shape) as (keyof RequestSummary)[];
/** A sheet may have so many lines, and each may be named; the body's own limit comes first. */
const maxNamedLines = 200_000;
const readers = ['requests:read', 'requests:approve'] as const;

const lineNumbers = z.array(LineNumber).min(1).max(maxNamedLines).optional();

/** The number of the last line seen. */
function lineCursor(cursor: string | undefined): number {
  const key = decodeCursor(cursor, 1)?.[0] ?? 0;
  if (key === 0 || LineNumber.safeParse(key).success) return key as number;
  const detail = 'The cursor is not one that this list gave; begin again without it.';
  throw invalid('cursor_invalid', [{ pointer: 'query/cursor', code: 'cursor_invalid', detail }]);
}

export function requestRoutes(dependencies: SubmitDependencies & DecideDependencies): Route[] {
  const { database, seal } = dependencies;
  const decided = async (context: RouteContext<{ id: string }>, decision: Decision) => {
    const actor = scopedActorOf(context);
    await decide(dependencies, context.params.id, { ...decision, version: context.ifMatchVersion }, actor);
    const request = await readRequest(database, context.params.id, actor.agencyCode, seal);
    return { headers: versionTag(request), body: request };
  };
  return [
    route({
      method: 'post',
      path: '/v1/requests',
      summary: 'Submits a request: accounts to open, close, transfer, rename; certificates to issue or revoke',
      description: 'Taken whole or refused with every fault. Repeat safely with the same Idempotency-Key.',
      permission: 'requests:submit',
      idempotent: true,
      body: RequestInput,
      status: 201,
      response: RequestDetail,
      handle: async (context) => {
        const { created, request } = await submitRequest(
          dependencies,
          context.body,
          scopedActorOf(context),
          context.idempotencyKey,
        );
        return {
          status: created ? 201 : 200,
          headers: { Location: `/v1/requests/${request.id}`, ...versionTag(request) },
          body: request,
        };
      },
    }),
    route({
      method: 'get',
      path: '/v1/requests',
      summary: 'Lists requests at and below your agency, newest first',
      permission: readers,
      query: PageQuery.extend({
        state: RequestState.optional(),
        agencyCode: AgencyCodeInput.optional(),
        late: z.stringbool().optional(),
        waitsFor: WaitsFor.optional(),
      }),
      response: pageOf(RequestSummary),
      produces: listTypes,
      handle: async (context) => {
        const { limit: _, cursor: __, agencyCode, ...filters } = context.query;
        const filter = {
          ...filters,
          scope: client(context).agencyCode,
          agencyCode: agencyCode && parseCode(agencyCode, 'query/agencyCode'),
        };
        const fetch = async (size: number, from: string | undefined) => {
          const rows = await listSummaries(database, filter, size, decodeTimeCursor(from));
          return toPage(rows, size, (row) => [row.submittedAt, row.id]);
        };
        return listAnswer(context, '/v1/requests', summaryColumns, fetch);
      },
    }),
    route({
      method: 'get',
      path: '/v1/requests/late-summary',
      summary: 'By agency: how many requests wait for whom, how many of them are late, and since when',
      permission: readers,
      response: LateSummary,
      handle: async (context) => ({ body: { items: await listLateness(database, client(context).agencyCode) } }),
    }),
    route({
      method: 'post',
      path: '/v1/requests/approve',
      summary: 'Approves many requests, each by itself',
      description: 'The answer says of each whether it was approved, and why not.',
      permission: 'requests:approve',
      body: BulkApproval,
      response: BulkApprovalResult,
      handle: async ({ body, ...context }) => ({
        body: await approveRequests(dependencies, body.requests, body.remark, scopedActorOf({ body, ...context })),
      }),
    }),
    route({
      method: 'get',
      path: '/v1/requests/{id}',
      summary: 'One request with its first lines and how far each is',
      permission: readers,
      params: ById,
      response: RequestDetail,
      handle: async (context) => {
        const request = await readRequest(database, context.params.id, client(context).agencyCode, seal);
        return { headers: versionTag(request), body: request };
      },
    }),
    route({
      method: 'put',
      path: '/v1/requests/{id}',
      summary: 'Replaces the lines of a request that is a draft or was returned',
      description: 'Taken whole or refused with every fault; then submit it.',
      permission: 'requests:submit',
      params: ById,
      body: RequestInput,
      response: RequestDetail,
      handle: async (context) => {
        const { params, body, ifMatchVersion } = context;
        const request = await correctRequest(dependencies, params.id, body, ifMatchVersion, scopedActorOf(context));
        return { headers: versionTag(request), body: request };
      },
    }),
    route({
      method: 'get',
      path: '/v1/requests/{id}/lines',
      summary: 'The lines of a request, by number',
      permission: readers,
      params: ById,
      query: PageQuery.extend({ state: RequestLineState.optional() }),
      response: pageOf(RequestLine),
      produces: ['application/json', 'text/csv'],
      handle: async (context) => {
        const { id } = context.params;
        await requireSummary(database, id, client(context).agencyCode);
        const filter = { requestId: id, state: context.query.state };
        return listAnswer<RequestLine>(context, `/v1/requests/${id}/lines`, lineColumns, async (limit, cursor) =>
          toPage(await listLines(database, filter, limit, lineCursor(cursor), seal.open), limit, (line) => [
            line.lineNumber,
          ]),
        );
      },
    }),
    route({
      method: 'get',
      path: '/v1/requests/{id}/usernames',
      summary: 'The usernames that the accounts would get now',
      description:
        'Nothing is taken: a name may change if others are approved first. A page costs as much as all lines before it; read a large request as CSV.',
      permission: readers,
      params: ById,
      query: PageQuery,
      response: pageOf(UsernamePreview),
      produces: ['application/json', 'text/csv'],
      handle: async (context) => {
        const { id } = context.params;
        const { limit, cursor } = context.query;
        const previews = previewUsernames(dependencies, id, client(context).agencyCode);
        if (context.accepts('text/csv')) {
          await requireSummary(database, id, client(context).agencyCode);
          return { headers: { 'Content-Type': 'text/csv; charset=utf-8' }, body: toCsv(previewColumns, previews) };
        }
        const rows = await previewPage(previews, limit, lineCursor(cursor));
        const page = toPage(rows, limit, (row) => [row.lineNumber]);
        return pageAnswer(page, `/v1/requests/${id}/usernames`, context.query);
      },
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/submit',
      summary: 'Submits a draft, or a returned request again',
      permission: 'requests:submit',
      params: ById,
      body: z.strictObject({
        leaveOutRefused: z.boolean().default(false).describe('Submit the others although lines were refused'),
      }),
      response: RequestDetail,
      handle: async (context) => {
        const submission = { leaveOutRefused: context.body.leaveOutRefused, version: context.ifMatchVersion };
        const request = await submitDraft(dependencies, context.params.id, submission, scopedActorOf(context));
        return { headers: versionTag(request), body: request };
      },
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/return',
      summary: 'Returns a request to its agency to be corrected',
      permission: 'requests:approve',
      params: ById,
      body: z.strictObject({ remark: RequestRemark, lines: lineRemarks }),
      response: RequestDetail,
      handle: (context) =>
        decided(context, { action: 'return', remark: context.body.remark, lineRemarks: context.body.lines }),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/approve',
      summary: 'Approves a request, whole or by line',
      description:
        'Its first 500 lines are carried out with the approval, the others within seconds. With `lines`, those alone are approved and the others rejected; with `exceptLines`, those alone are rejected.',
      permission: 'requests:approve',
      params: ById,
      body: z
        .strictObject({
          remark: RequestRemark.optional(),
          lines: lineNumbers,
          exceptLines: lineNumbers,
          lineRemarks,
        })
        .refine((body) => !body.lines || !body.exceptLines, {
          path: ['exceptLines'],
          error: 'Name the lines to approve or those to reject, not both.',
        }),
      response: RequestDetail,
      handle: (context) => decided(context, { action: 'approve', ...context.body }),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/reject',
      summary: 'Rejects a request, with the reason',
      permission: 'requests:approve',
      params: ById,
      body: z.strictObject({ remark: RequestRemark }),
      response: RequestDetail,
      handle: (context) => decided(context, { action: 'reject', remark: context.body.remark }),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/cancel',
      summary: 'Takes back a request that is not decided yet',
      permission: 'requests:submit',
      params: ById,
      body: z.strictObject({ remark: RequestRemark.optional() }),
      response: RequestDetail,
      handle: (context) => decided(context, { action: 'cancel', remark: context.body.remark }),
    }),
  ];
}

const lineColumns = [
  'lineNumber',
  'sheetRow',
  'operation',
  'kind',
  'agencyCode',
  'state',
  'fullName',
  'birthDate',
  'title',
  'nationalId',
  'certificate',
  'reason',
  'target',
  'account',
  'findings',
  'remark',
  'failure',
] as const;

const previewColumns = ['lineNumber', 'name', 'agencyCode', 'username', 'address', 'taken'] as const;
