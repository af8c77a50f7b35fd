/** Reconciliations: start, watch, read what was found, approve, cancel. */
import {
  FindingKind,
  FindingState,
  Reconciliation,
  ReconciliationFinding,
  ReconciliationInput,
  ReconciliationState,
} from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeNumberCursor,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { scopedActorOf } from '../audit/audit-event.ts';
import { listFindings } from './finding-store.ts';
import { listReconciliations, requireReconciliation } from './reconciliation-store.ts';
import { approveReconciliation, cancelReconciliation, startReconciliation } from './start-reconciliation.ts';

const ById = z.object({ id: z.uuid() });
const csvColumns = Object.keys(ReconciliationFinding.shape) as (keyof ReconciliationFinding)[];

export const reconciliationRoutes = (database: Database): Route[] => [
  route({
    method: 'post',
    path: '/v1/reconciliations',
    summary: 'Compares the record with LDAP, and repairs what differs if told to',
    description:
      'Runs in the background; read it until it is completed. A repair of a large share of the entries waits for another client. Repeat safely with the same Idempotency-Key.',
    permission: 'reconciliations:write',
    idempotent: true,
    body: ReconciliationInput,
    status: 202,
    response: Reconciliation,
    handle: async (context) => {
      const { agencyCode, ...rest } = context.body;
      const input = agencyCode === undefined ? rest : { ...rest, agencyCode: parseCode(agencyCode, '/agencyCode') };
      const reconciliation = await startReconciliation(database, input, scopedActorOf(context), context.idempotencyKey);
      return {
        headers: { Location: `/v1/reconciliations/${reconciliation.id}`, ...versionTag(reconciliation) },
        body: reconciliation,
      };
    },
  }),
  route({
    method: 'get',
    path: '/v1/reconciliations',
    summary: 'Lists reconciliations of agencies at and below yours, newest first',
    permission: 'reconciliations:read',
    query: PageQuery.extend({
      state: ReconciliationState.optional(),
      mode: ReconciliationInput.shape.mode.optional(),
    }),
    response: pageOf(Reconciliation),
    handle: async (context) => {
      const { limit, cursor, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const rows = await listReconciliations(database, filter, limit, decodeTimeCursor(cursor));
      const page = toPage(rows, limit, (row) => [row.createdAt, row.id]);
      return pageAnswer(page, '/v1/reconciliations', context.query);
    },
  }),
  route({
    method: 'get',
    path: '/v1/reconciliations/{id}',
    summary: 'One reconciliation: how far it is, how much it found',
    permission: 'reconciliations:read',
    params: ById,
    response: Reconciliation,
    handle: async (context) => {
      const body = await requireReconciliation(database, context.params.id, client(context).agencyCode);
      return { headers: versionTag(body), body };
    },
  }),
  route({
    method: 'get',
    path: '/v1/reconciliations/{id}/findings',
    summary: 'What differs between record and LDAP, with the time and the DN of the change where LDAP knows them',
    permission: 'reconciliations:read',
    params: ById,
    query: PageQuery.extend({ kind: FindingKind.optional(), state: FindingState.optional() }),
    response: pageOf(ReconciliationFinding),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, ...filters } = context.query;
      const { id } = await requireReconciliation(database, context.params.id, client(context).agencyCode);
      const fetch = async (size: number, from: string | undefined) => {
        const rows = await listFindings(database, { runId: id, ...filters }, size, decodeNumberCursor(from));
        return toPage(rows, size, (finding) => [finding.id]);
      };
      return listAnswer(context, `/v1/reconciliations/${id}/findings`, csvColumns, fetch);
    },
  }),
  route({
    method: 'post',
    path: '/v1/reconciliations/{id}/approve',
    summary: 'Approves a large repair that another client started; it is then carried out as it was found',
    permission: 'reconciliations:write',
    params: ById,
    body: z.strictObject({ remark: z.string().trim().min(1).max(2_000).optional() }),
    response: Reconciliation,
    handle: async (context) => {
      const approval = { remark: context.body.remark, version: context.ifMatchVersion };
      const body = await approveReconciliation(database, context.params.id, approval, scopedActorOf(context));
      return { headers: versionTag(body), body };
    },
  }),
  route({
    method: 'post',
    path: '/v1/reconciliations/{id}/cancel',
    summary: 'Ends a reconciliation before its time; what was repaired stays repaired',
    permission: 'reconciliations:write',
    params: ById,
    body: z.strictObject({}),
    response: Reconciliation,
    handle: async (context) => {
      const body = await cancelReconciliation(
        database,
        context.params.id,
        context.ifMatchVersion,
        scopedActorOf(context),
      );
      return { headers: versionTag(body), body };
    },
  }),
];
