/** Requests: submit, read, list, approve, reject, cancel. */
import { AgencyCodeInput, RequestDetail, RequestInput, RequestState, RequestSummary } from '@congvu/contracts';
import {
  client,
  decodeTimeCursor,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { scopedActorOf } from '../audit/audit-event.ts';
import { decide } from './decide-request.ts';
import { listSummaries } from './request-store.ts';
import { readRequest, type SubmitDependencies, submitRequest } from './submit-request.ts';

const ById = z.object({ id: z.uuid() });
const Remark = z.string().trim().min(1, 'Say why.').max(2_000);

export function requestRoutes(dependencies: SubmitDependencies): Route[] {
  const { database, seal } = dependencies;
  const decided = async (
    context: RouteContext<{ id: string }>,
    state: 'approved' | 'rejected' | 'cancelled',
    remark?: string,
  ) => {
    const actor = scopedActorOf(context);
    await decide(database, context.params.id, { state, remark, version: context.ifMatchVersion }, actor);
    const request = await readRequest(database, context.params.id, actor.agencyCode, seal);
    return { headers: versionTag(request), body: request };
  };
  return [
    route({
      method: 'post',
      path: '/v1/requests',
      summary: 'Submits a request for accounts',
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
      permission: ['requests:read', 'requests:approve'],
      query: PageQuery.extend({ state: RequestState.optional(), agencyCode: AgencyCodeInput.optional() }),
      response: pageOf(RequestSummary),
      handle: async (context) => {
        const { limit, cursor, state, agencyCode } = context.query;
        const filter = {
          scope: client(context).agencyCode,
          state,
          agencyCode: agencyCode && parseCode(agencyCode, 'query/agencyCode'),
        };
        const after = decodeTimeCursor(cursor);
        const page = toPage(await listSummaries(database, filter, limit, after), limit, (row) => [
          row.submittedAt,
          row.id,
        ]);
        return pageAnswer(page, '/v1/requests', context.query);
      },
    }),
    route({
      method: 'get',
      path: '/v1/requests/{id}',
      summary: 'One request with its lines and how far each is',
      permission: ['requests:read', 'requests:approve'],
      params: ById,
      response: RequestDetail,
      handle: async (context) => {
        const request = await readRequest(database, context.params.id, client(context).agencyCode, seal);
        return { headers: versionTag(request), body: request };
      },
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/approve',
      summary: 'Approves a request; its accounts are opened at once',
      permission: 'requests:approve',
      params: ById,
      body: z.strictObject({ remark: Remark.optional() }),
      response: RequestDetail,
      handle: (context) => decided(context, 'approved', context.body.remark),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/reject',
      summary: 'Rejects a request, with the reason',
      permission: 'requests:approve',
      params: ById,
      body: z.strictObject({ remark: Remark }),
      response: RequestDetail,
      handle: (context) => decided(context, 'rejected', context.body.remark),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/cancel',
      summary: 'Takes back a request that is not decided yet',
      permission: 'requests:submit',
      params: ById,
      body: z.strictObject({ remark: Remark.optional() }),
      response: RequestDetail,
      handle: (context) => decided(context, 'cancelled', context.body.remark),
    }),
  ];
}
