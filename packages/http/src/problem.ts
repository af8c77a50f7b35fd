/**
 * The only place where an error becomes an HTTP answer: RFC 9457 problem documents. A ServiceError shows its code,
 * detail and faults; anything else shows nothing but the request id, and goes to the log with its cause.
 */
import { type ErrorKind, httpStatus, ServiceError } from '@congvu/errors';
import type { ErrorRequestHandler } from 'express';
import type { Logger } from 'pino';
import { z } from 'zod';
import { describeRequest } from './request-log.ts';

const titles: Readonly<Record<ErrorKind, string>> = {
  malformed: 'The request cannot be read',
  invalid: 'The request holds faults',
  unauthenticated: 'Authentication is required',
  forbidden: 'Not permitted',
  not_found: 'Not found',
  conflict: 'In conflict with the present state',
  stale: 'The resource has changed meanwhile',
  too_large: 'The request is too large',
  rate_limited: 'Too many requests',
  unavailable: 'Temporarily unavailable',
};

export const Problem = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  code: z.string(),
  requestId: z.string(),
  errors: z.array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() })).optional(),
});
export type Problem = z.infer<typeof Problem>;

/** Translates what the HTTP layer itself throws (body parser, router) into our own words; leaves the rest alone. */
function translate(error: unknown): unknown {
  if (error instanceof ServiceError || !(error instanceof Error)) return error;
  const { type, status, limit } = error as Error & { type?: string; status?: number; limit?: number };
  if (type === 'entity.too.large') {
    return new ServiceError({
      kind: 'too_large',
      code: 'body_too_large',
      detail: `The body is larger than the ${limit ?? 'permitted'} bytes that this URL accepts; send less at a time.`,
    });
  }
  if (type === 'entity.parse.failed') {
    return new ServiceError({ kind: 'malformed', code: 'malformed_json', detail: 'The body is not well-formed JSON.' });
  }
  if (type === 'charset.unsupported' || type === 'encoding.unsupported') {
    return new ServiceError({ kind: 'malformed', code: 'encoding_unsupported', detail: 'Send the body as UTF-8.' });
  }
  if (status === 413) {
    return new ServiceError({
      kind: 'too_large',
      code: 'body_too_large',
      detail: 'The body holds more than is taken.',
    });
  }
  if (status !== undefined && status >= 400 && status < 500) {
    return new ServiceError({ kind: 'malformed', code: 'malformed_request', detail: 'The request cannot be read.' });
  }
  return error;
}

/** The problem document of any error; `status` is the HTTP status to send it with. */
export function toProblem(thrown: unknown, requestId: string): Problem {
  const error = translate(thrown);
  if (!(error instanceof ServiceError)) {
    return {
      type: 'urn:congvu:problem:internal',
      title: 'Internal fault',
      status: 500,
      detail: `Something went wrong on our side. Tell the administrator this request id: ${requestId}`,
      code: 'internal',
      requestId,
    };
  }
  return {
    type: `urn:congvu:problem:${error.code}`,
    title: titles[error.kind],
    status: httpStatus[error.kind],
    detail: error.detail,
    code: error.code,
    requestId,
    ...(error.faults.length > 0 ? { errors: [...error.faults] } : {}),
  };
}

/** `translateLibrary` says what a library's own errors mean to the caller. */
export const problemHandler =
  (translateLibrary: (error: unknown) => unknown, log: Logger): ErrorRequestHandler =>
  (error, request, response, next) => {
    const thrown = translateLibrary(error);
    const requestId = request.id;
    const req = describeRequest(request);
    const problem = toProblem(thrown, requestId);
    if (problem.status >= 500) log.error({ req, err: thrown }, 'request failed');
    else log.info({ req, code: problem.code, detail: problem.detail, cause: causeOf(thrown) }, 'request refused');
    if (response.headersSent) {
      next(thrown); // a stream broke half-way: Express closes the connection, so the reader sees a truncated answer
      return;
    }
    if (problem.status === 401) response.setHeader('WWW-Authenticate', `Bearer error="${bearerError(problem.code)}"`);
    if (thrown instanceof ServiceError && thrown.retryAfterSeconds !== undefined) {
      response.setHeader('Retry-After', String(Math.ceil(thrown.retryAfterSeconds)));
    }
    response.status(problem.status).type('application/problem+json').send(JSON.stringify(problem));
  };

/** RFC 6750 section 3.1. */
const bearerError = (code: string): string => (code === 'token_missing' ? 'invalid_request' : 'invalid_token');

const causeOf = (thrown: unknown): string | undefined =>
  thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : undefined;
