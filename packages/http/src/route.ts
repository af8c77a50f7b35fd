/**
 * A route as one value: method, path, permission, schemas, handler. Mounting checks them in this order: token →
 * permission → input (every fault of path, query, header and body at once) → handler. The same values make the OpenAPI
 * document, so what is written is what is enforced.
 */
import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import express, { type Request, type RequestHandler, type Response, Router } from 'express';
import { z } from 'zod';
import type { Authenticate, Principal } from './authentication.ts';
import { isStorableText } from './text.ts';

/** `public` needs no token; `holder` is a person's own token; any other value is a client's permission. */
export type RoutePermission = 'public' | 'holder' | (string & {});

export interface RouteContext<P = unknown, Q = unknown, B = unknown> {
  params: P;
  query: Q;
  body: B;
  /** Absent on `public` routes alone; use `client(context)` where one is needed. */
  principal: Principal | undefined;
  requestId: string;
  ip: string;
  idempotencyKey: string | undefined;
  /** Version named by `If-Match: "n"` (RFC 9110 section 13.1.1); `*` and absence are undefined: any version. */
  ifMatchVersion: number | undefined;
  authorization: string | undefined;
  /** Media type of the body, without parameters. */
  contentType: string | undefined;
  accepts: (type: string) => boolean;
  /** Of the types the one that `Accept` likes best; the first when it likes none. */
  prefers: <T extends string>(types: readonly [T, ...T[]]) => T;
}

export interface RouteAnswer {
  status?: number;
  headers?: Record<string, string>;
  /** JSON by default; a Buffer or an async iterable of text is sent as it is, under `headers['Content-Type']`. */
  body?: unknown;
}

type MediaType =
  | 'application/json'
  | 'text/csv'
  | 'application/x-www-form-urlencoded'
  | 'application/pkcs10'
  | 'application/x-ndjson'
  | typeof spreadsheetType;

/** Office Open XML workbook (.xlsx). */
export const spreadsheetType = 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet';
/** A body that is a file, as octets. */
export const FileBody = z
  .custom<Buffer>(Buffer.isBuffer, 'Send the file as the body.')
  .meta({ type: 'string', format: 'binary' });

interface RouteOptions<P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType> {
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** OpenAPI form: `/v1/requests/{id}` */
  path: string;
  summary: string;
  description?: string;
  permission: RoutePermission | readonly RoutePermission[];
  params?: P;
  query?: Q;
  body?: B;
  /** What the body is; JSON unless told. One of several types, and a spreadsheet, arrive as a Buffer. */
  consumes?: MediaType | readonly MediaType[];
  /** Whether the same Idempotency-Key and body give the same answer. */
  idempotent?: boolean;
  /** Octets; 1 MiB unless told, 8 KiB for strangers. */
  maxBodyBytes?: number;
  status?: number;
  response?: z.ZodType;
  produces?: readonly string[];
  handle: (context: RouteContext<z.infer<P>, z.infer<Q>, z.infer<B>>) => Promise<RouteAnswer>;
}

export type Route = RouteOptions<z.ZodType, z.ZodType, z.ZodType>;

export const route = <P extends z.ZodType, Q extends z.ZodType, B extends z.ZodType>(
  options: RouteOptions<P, Q, B>,
): Route => options as unknown as Route;

export function mountRoutes(routes: readonly Route[], authenticate: Authenticate): Router {
  const router = Router({ caseSensitive: true });
  for (const one of routes) {
    router[one.method](
      one.path.replaceAll(/\{(\w+)\}/g, ':$1'),
      identify(one, authenticate),
      ...parsers(one),
      run(one),
    );
  }
  return router;
}

/** Before the body is read: a stranger must not make us parse megabytes. */
function identify(one: Route, authenticate: Authenticate): RequestHandler {
  const permissions = [one.permission].flat();
  return async (request, response, next) => {
    if (!permissions.includes('public')) {
      const principal = await authenticate(request.headers.authorization);
      const allowed = permissions.some((permission) =>
        permission === 'holder'
          ? principal.kind === 'holder'
          : principal.kind === 'client' && principal.permissions.has(permission),
      );
      if (!allowed) {
        throw new ServiceError({
          kind: 'forbidden',
          code: 'permission_missing',
          detail: `This needs the permission ${permissions.join(' or ')}, which the token does not carry.`,
        });
      }
      response.locals.principal = principal;
    }
    next();
  };
}

function parsers(one: Route): RequestHandler[] {
  if (!one.body) return [];
  const types = [one.consumes ?? 'application/json'].flat();
  const [type] = types;
  const limit = one.maxBodyBytes ?? ([one.permission].flat().includes('public') ? 8 * 1024 : 1024 * 1024);
  const mayBeAbsent = isBodyOptional(one);
  const requireType: RequestHandler = (request, _response, next) => {
    // RFC 9112 section 6.3: neither header, or a length of 0
    const isAbsent = !request.get('Transfer-Encoding') && Number(request.get('Content-Length') ?? 0) === 0;
    if (!request.is([...types]) && !(isAbsent && mayBeAbsent)) {
      throw new ServiceError({
        kind: 'malformed',
        code: 'content_type',
        detail: `Send a body with Content-Type: ${types.join(' or ')}.`,
      });
    }
    next();
  };
  if (type === 'application/json') return [requireType, express.json({ limit, strict: true })];
  if (type === 'application/x-www-form-urlencoded')
    return [requireType, express.urlencoded({ limit, extended: false })];
  if (types.length > 1 || type === spreadsheetType) return [requireType, express.raw({ type: types, limit })];
  return [requireType, express.text({ type: types, limit, defaultCharset: 'utf-8' })];
}

/** Where an empty object says enough, no body says the same. */
export const isBodyOptional = ({ body, consumes = 'application/json' }: Pick<Route, 'body' | 'consumes'>): boolean =>
  consumes === 'application/json' && body?.safeParse({}).success === true;

function run(one: Route): RequestHandler {
  return async (request, response) => {
    const faults: Fault[] = [];
    const parse = (part: Part): unknown => {
      const schema = one[part];
      if (!schema) return {};
      const result = schema.safeParse(request[part] ?? {});
      if (result.success) {
        faults.push(...textFaults(part, result.data, []));
        return result.data;
      }
      faults.push(...result.error.issues.flatMap((issue) => toFaults(part, issue)));
      return undefined;
    };
    const context: RouteContext = {
      params: parse('params'),
      query: parse('query'),
      body: parse('body'),
      principal: response.locals.principal as Principal | undefined,
      requestId: request.id,
      // Behind a proxy this is what a header says, which may be anything.
      ip: isIP(request.ip ?? '') ? (request.ip as string) : '',
      idempotencyKey: idempotencyKey(request, faults),
      ifMatchVersion: ifMatchVersion(request, faults),
      authorization: request.get('Authorization'),
      contentType: request.get('Content-Type')?.split(';', 1)[0]?.trim().toLowerCase(),
      accepts: (type) => request.accepts(['application/json', type]) === type,
      prefers: (types) => types.find((type) => type === request.accepts([...types])) ?? types[0],
    };
    if (faults.length > 0) throw invalid('request_invalid', withinReason(faults));
    await send(response, one, await one.handle(context));
  };
}

function idempotencyKey(request: Request, faults: Fault[]): string | undefined {
  const key = request.get('Idempotency-Key');
  if (key !== undefined && !/^[\x21-\x7e]{1,128}$/.test(key)) {
    const detail = 'Idempotency-Key must be 1 to 128 printable ASCII characters, best a UUID.';
    faults.push({ pointer: 'header/Idempotency-Key', code: 'format', detail });
  }
  return key;
}

function ifMatchVersion(request: Request, faults: Fault[]): number | undefined {
  const value = request.get('If-Match');
  if (value === undefined || value === '*') return undefined;
  const version = /^"(\d{1,9})"$/.exec(value)?.[1];
  if (version !== undefined) return Number(version);
  const detail = 'If-Match must be the ETag that reading this gave, quotes included.';
  faults.push({ pointer: 'header/If-Match', code: 'format', detail });
  return undefined;
}

const mostFaults = 1_000;

/** An answer must not be many times the size of what was sent. */
function withinReason(faults: readonly Fault[]): Fault[] {
  const listed = faults.slice(0, mostFaults).map((fault) => ({ ...fault, pointer: fault.pointer.slice(0, 200) }));
  if (faults.length <= mostFaults) return listed;
  const detail = `${faults.length - mostFaults} more faults were found and are not listed.`;
  return [...listed, { pointer: '', code: 'more_faults', detail }];
}

/** The ETag of a version, as `If-Match` takes it back. */
export const versionTag = (resource: { version: number }): { ETag: string } => ({ ETag: `"${resource.version}"` });

type Part = 'params' | 'query' | 'body';

/** A JSON Pointer for the body, `query/x` and `path/x` for the rest. */
function pointerTo(part: Part, path: readonly PropertyKey[]): string {
  const base = part === 'body' ? '' : part === 'params' ? 'path' : 'query';
  return [base, ...path.map((step) => String(step).replaceAll('~', '~0').replaceAll('/', '~1'))].join('/');
}

function textFaults(part: Part, value: unknown, path: readonly PropertyKey[]): Fault[] {
  if (typeof value === 'string') {
    if (isStorableText(value)) return [];
    const detail = 'A NUL character or half of a surrogate pair stands here; take it out.';
    return [{ pointer: pointerTo(part, path), code: 'character', detail }];
  }
  if (typeof value !== 'object' || value === null || Buffer.isBuffer(value)) return [];
  return Object.entries(value).flatMap(([key, inner]) => textFaults(part, inner, [...path, key]));
}

/** A zod issue as our fault. */
function toFaults(part: Part, issue: z.core.$ZodIssue): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      pointer: pointerTo(part, [...issue.path, key]),
      code: 'unknown_field',
      detail: `There is no field "${key.slice(0, 60)}" here; look for a misspelling.`,
    }));
  }
  const code = issue.code === 'custom' ? String(issue.params?.code ?? 'invalid') : issue.code;
  return [{ pointer: pointerTo(part, issue.path), code, detail: issue.message }];
}

async function send(response: Response, one: Route, answer: RouteAnswer): Promise<void> {
  response.status(answer.status ?? one.status ?? 200);
  for (const [name, value] of Object.entries(answer.headers ?? {})) response.setHeader(name, value);
  const { body } = answer;
  // A file that the asker has already (RFC 9110 section 13.2.2).
  if (Buffer.isBuffer(body) && response.hasHeader('ETag') && response.req.fresh) response.status(304).end();
  else if (body === undefined) response.end();
  else if (Buffer.isBuffer(body)) response.setHeader('Content-Length', body.length).end(body);
  else if (typeof body === 'object' && body !== null && Symbol.asyncIterator in body) {
    await pipeline(Readable.from(body as AsyncIterable<string>), response);
  } else if (/^(GET|HEAD)$/.test(response.req.method)) response.json(body);
  // Without the ETag that Express makes of every body: nobody asks again for what was written.
  else response.type('application/json').end(JSON.stringify(body));
}

/** The client that asks; for routes whose permission is a client's. */
export function client(context: RouteContext): Principal {
  if (!context.principal) throw new Error('a route without a permission asked who its client is');
  return context.principal;
}
