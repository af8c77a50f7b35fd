/** Accounts of connected systems: made, read, given other read scopes and secrets, retired. */
import { AgencyCodeInput, lineOfText, ReadScope, ServiceAccount, ServiceSecret } from '@congvu/contracts';
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
import { changeReadScopes, retireServiceAccount } from './change-service-account.ts';
import { type ServiceEntryDependencies, serviceDn } from './converge-service-accounts.ts';
import { createServiceAccount } from './create-service-account.ts';
import { issueSecret } from './issue-secret.ts';
import { listServiceAccounts, requireServiceAccount, type ServiceAccountRow } from './service-account-store.ts';

const ById = z.object({ id: z.uuid() });
const readScopes = z.array(ReadScope).max(50);

export function serviceAccountRoutes(dependencies: ServiceEntryDependencies): Route[] {
  const { database, baseDn } = dependencies;
  const toWire = (row: ServiceAccountRow): ServiceAccount => ({
    id: row.id,
    name: row.name,
    displayName: row.display_name,
    agencyCode: row.agency_code,
    state: row.state,
    readScopes: row.read_scopes,
    distinguishedName: serviceDn(row.name, baseDn),
    secretIssuedAt: row.secret_issued_at?.toISOString() ?? null,
    createdAt: row.created_at.toISOString(),
    version: row.version,
  });
  const answer = async (context: RouteContext, id: string) => {
    const account = await requireServiceAccount(database, id, client(context).agencyCode);
    return { headers: versionTag(account), body: toWire(account) };
  };
  const ref = (context: RouteContext<{ id: string }>) => ({ id: context.params.id, version: context.ifMatchVersion });
  const permission = 'service-accounts:write';
  return [
    route({
      method: 'post',
      path: '/v1/service-accounts',
      summary: 'Makes the account of a connected system; its secret is issued separately',
      permission,
      body: z.strictObject({
        name: z.string().regex(/^[a-z][a-z0-9-]{1,38}[a-z0-9]$/, {
          error: '3 to 40 small letters, digits and hyphens, a letter first and no hyphen last.',
        }),
        displayName: lineOfText(200),
        agencyCode: AgencyCodeInput,
        readScopes,
      }),
      status: 201,
      response: ServiceAccount,
      handle: async (context) => {
        const input = { ...context.body, agencyCode: parseCode(context.body.agencyCode, '/agencyCode') };
        return answer(context, await createServiceAccount(database, input, scopedActorOf(context)));
      },
    }),
    route({
      method: 'get',
      path: '/v1/service-accounts',
      summary: 'Lists the accounts of connected systems at and below your agency, newest first',
      permission,
      query: PageQuery,
      response: pageOf(ServiceAccount),
      handle: async (context) => {
        const { limit, cursor } = context.query;
        const rows = await listServiceAccounts(database, client(context).agencyCode, limit, decodeTimeCursor(cursor));
        const page = toPage(rows.map(toWire), limit, (row) => [row.createdAt, row.id]);
        return pageAnswer(page, '/v1/service-accounts', context.query);
      },
    }),
    route({
      method: 'get',
      path: '/v1/service-accounts/{id}',
      summary: 'One service account',
      permission,
      params: ById,
      response: ServiceAccount,
      handle: (context) => answer(context, context.params.id),
    }),
    route({
      method: 'put',
      path: '/v1/service-accounts/{id}/read-scopes',
      summary: 'Says anew what the system may read; holds at once, also for open connections',
      permission,
      params: ById,
      body: z.strictObject({ readScopes }),
      response: ServiceAccount,
      handle: async (context) => {
        await changeReadScopes(database, ref(context), context.body.readScopes, scopedActorOf(context));
        return answer(context, context.params.id);
      },
    }),
    route({
      method: 'post',
      path: '/v1/service-accounts/{id}/secret',
      summary: 'Issues a new secret, shown this once; the one before is void',
      description:
        'A connection that is bound already stays so until it ends. On 503 the old secret may still be good: repeat.',
      permission,
      params: ById,
      status: 201,
      response: ServiceSecret,
      handle: async (context) => ({
        headers: { 'Cache-Control': 'no-store' },
        body: await issueSecret(dependencies, ref(context), scopedActorOf(context)),
      }),
    }),
    route({
      method: 'post',
      path: '/v1/service-accounts/{id}/retire',
      summary: 'Ends a service account for good: its entry is removed, its name is never given again',
      permission,
      params: ById,
      body: z.strictObject({ reason: lineOfText(500) }),
      response: ServiceAccount,
      handle: async (context) => {
        await retireServiceAccount(database, ref(context), context.body.reason, scopedActorOf(context));
        return answer(context, context.params.id);
      },
    }),
  ];
}
