/** Tokens by client credentials (RFC 6749 section 4.4), the keys that verify them, and the clients themselves. */
import { Client, ClientChange, ClientInput, permissions, permissionsOf } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeCursor,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  type RouteAnswer,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { actorOf } from '../audit/audit-event.ts';
import { changeClient, renewSecret } from './change-client.ts';
import { hashClientSecret, isClientSecret } from './client-secret.ts';
import { findClient, listClients, markClientUsed, requireClient, toClient } from './client-store.ts';
import { createClient, revokeClient } from './create-client.ts';
import type { RateLimit } from './rate-limit.ts';
import type { TokenIssuer } from './token-issuer.ts';

export interface ClientDependencies {
  database: Database;
  tokens: TokenIssuer;
  limitTokens: RateLimit;
}

/** What cannot be read, such as a parameter given twice, becomes a request without a grant, which is refused in OAuth's own form. */
const TokenRequest = z
  .object({
    grant_type: z.string().optional(),
    client_id: z.string().max(200).optional(),
    client_secret: z.string().max(400).optional(),
    scope: z.string().max(2_000).optional(),
  })
  .catch({});

const ById = z.object({ id: z.uuid() });

export const clientRoutes = ({ database, tokens, limitTokens }: ClientDependencies): Route[] => [
  route({
    method: 'post',
    path: '/oauth/token',
    summary: 'Gives an access token for client credentials',
    permission: 'public',
    consumes: 'application/x-www-form-urlencoded',
    maxBodyBytes: 8 * 1024,
    body: TokenRequest,
    response: z.object({
      access_token: z.string(),
      token_type: z.literal('Bearer'),
      expires_in: z.number().int(),
      scope: z.string(),
    }),
    handle: async (context) => {
      const { body } = context;
      if (body.grant_type === undefined) {
        return oauthError(400, 'invalid_request', 'Send each parameter once, and grant_type=client_credentials.');
      }
      if (body.grant_type !== 'client_credentials') {
        return oauthError(400, 'unsupported_grant_type', 'The only grant_type here is client_credentials.');
      }
      if (context.authorization && body.client_secret) {
        return oauthError(400, 'invalid_request', 'Send the credentials one way only: by HTTP Basic or in the body.');
      }
      const credentials = readCredentials(context.authorization, body);
      if (!credentials) return oauthError(401, 'invalid_client', 'Send client id and secret, best by HTTP Basic.');
      // What is no UUID is no client's id, and may be anything: it must not become a key of its own.
      const id = z.uuid().safeParse(credentials.id).success ? credentials.id : undefined;
      await limitTokens(context.ip, id ?? 'no such client');
      const row = id === undefined ? undefined : await findClient(database, id);
      // The secret is compared even for a client that does not exist, so that the time taken tells nothing.
      const right = isClientSecret(credentials.secret, row?.secret_hash ?? hashClientSecret('nobody'));
      const isOver = row?.disabled_at || (row?.expires_at && row.expires_at.getTime() <= Date.now());
      if (!row || !right || isOver)
        return oauthError(
          401,
          'invalid_client',
          'The client id or secret is wrong, or the client is disabled or expired.',
        );
      const wanted = body.scope?.split(' ').filter(Boolean);
      if (wanted?.some((scope) => !row.permissions.includes(scope))) {
        return oauthError(400, 'invalid_scope', `This client has: ${row.permissions.join(' ')}.`);
      }
      const granted = wanted ?? row.permissions;
      await markClientUsed(database, row.id);
      const { token, expiresInSeconds } = await tokens.issue({
        kind: 'client',
        id: row.id,
        agencyCode: row.agency_code,
        permissions: granted,
      });
      return {
        headers: { 'Cache-Control': 'no-store' },
        body: { access_token: token, token_type: 'Bearer', expires_in: expiresInSeconds, scope: granted.join(' ') },
      };
    },
  }),
  route({
    method: 'get',
    path: '/.well-known/jwks.json',
    summary: 'The keys that verify access tokens',
    permission: 'public',
    response: z.object({ keys: z.array(z.record(z.string(), z.unknown())) }),
    handle: async () => ({ headers: { 'Cache-Control': 'public, max-age=300' }, body: tokens.keySet }),
  }),
  route({
    method: 'get',
    path: '/.well-known/oauth-authorization-server',
    summary: 'Authorization server metadata (RFC 8414)',
    permission: 'public',
    response: z.record(z.string(), z.unknown()),
    handle: async () => ({
      body: {
        issuer: tokens.issuer,
        token_endpoint: `${tokens.issuer}/oauth/token`,
        jwks_uri: `${tokens.issuer}/.well-known/jwks.json`,
        grant_types_supported: ['client_credentials'],
        token_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
        response_types_supported: [],
        scopes_supported: permissions,
      },
    }),
  }),
  route({
    method: 'post',
    path: '/v1/clients',
    summary: 'Makes a client; its secret is shown this once',
    permission: 'clients:write',
    body: ClientInput,
    status: 201,
    response: Client.extend({ clientSecret: z.string() }),
    handle: async (context) => {
      const { body } = context;
      const agencyCode = parseCode(body.agencyCode, '/agencyCode');
      const input = { ...body, agencyCode, permissions: permissionsOf(body) ?? [] };
      return {
        headers: { 'Cache-Control': 'no-store' },
        body: await createClient(database, input, client(context), actorOf(context)),
      };
    },
  }),
  route({
    method: 'get',
    path: '/v1/clients',
    summary: 'Lists the clients of agencies at and below yours',
    permission: 'clients:write',
    query: PageQuery,
    response: pageOf(Client),
    handle: async (context) => {
      const { limit, cursor } = context.query;
      const after = decodeCursor(cursor, 1)?.[0];
      const rows = await listClients(
        database,
        client(context).agencyCode,
        limit,
        after === undefined ? undefined : String(after),
      );
      return pageAnswer(
        toPage(rows, limit, (row) => [row.name]),
        '/v1/clients',
        context.query,
      );
    },
  }),
  route({
    method: 'get',
    path: '/v1/clients/{id}',
    summary: 'One client',
    permission: 'clients:write',
    params: ById,
    response: Client,
    handle: async (context) => {
      const found = toClient(await requireClient(database, context.params.id, client(context).agencyCode));
      return { headers: versionTag(found), body: found };
    },
  }),
  route({
    method: 'patch',
    path: '/v1/clients/{id}',
    summary:
      'Changes name, agency, role or end of a client; tokens that it has keep what they carry for ten minutes at most',
    permission: 'clients:write',
    params: ById,
    body: ClientChange,
    response: Client,
    handle: async (context) => {
      const { body } = context;
      const agencyCode = body.agencyCode && parseCode(body.agencyCode, '/agencyCode');
      const change = { ...body, agencyCode, version: context.ifMatchVersion };
      const changed = await changeClient(database, context.params.id, change, client(context), actorOf(context));
      return { headers: versionTag(changed), body: changed };
    },
  }),
  route({
    method: 'post',
    path: '/v1/clients/{id}/secret',
    summary: 'Gives a client a new secret, shown this once; the old one is void at once',
    permission: 'clients:write',
    params: ById,
    status: 201,
    response: Client.extend({ clientSecret: z.string() }),
    handle: async (context) => ({
      headers: { 'Cache-Control': 'no-store' },
      body: await renewSecret(database, context.params.id, client(context), actorOf(context)),
    }),
  }),
  route({
    method: 'delete',
    path: '/v1/clients/{id}',
    summary: 'Disables a client; its tokens end within ten minutes',
    permission: 'clients:write',
    params: ById,
    status: 204,
    handle: async (context) => {
      await revokeClient(database, context.params.id, client(context), actorOf(context));
      return {};
    },
  }),
];

/** RFC 6749 section 2.3.1: HTTP Basic with form-encoded parts, or both in the body. */
function readCredentials(
  authorization: string | undefined,
  body: z.infer<typeof TokenRequest>,
): { id: string; secret: string } | undefined {
  const basic = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(authorization ?? '')?.[1];
  if (!basic)
    return body.client_id && body.client_secret ? { id: body.client_id, secret: body.client_secret } : undefined;
  const [id, ...rest] = Buffer.from(basic, 'base64').toString('utf8').split(':');
  try {
    return id ? { id: decodeURIComponent(id), secret: decodeURIComponent(rest.join(':')) } : undefined;
  } catch {
    return undefined;
  }
}

/** RFC 6749 section 5.2 has a form of its own for errors, which OAuth libraries expect. */
const oauthError = (status: 400 | 401, error: string, description: string): RouteAnswer => ({
  status,
  headers: { 'Cache-Control': 'no-store', ...(status === 401 ? { 'WWW-Authenticate': 'Basic realm="congvu"' } : {}) },
  body: { error, error_description: description },
});
