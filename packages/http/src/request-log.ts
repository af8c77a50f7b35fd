/**
 * One log line a request, when its answer has left or its connection broke. Bodies, headers and query strings are never logged; what is
 * logged is made here of four fields, so the line of a request goes past the search for fields with the names of secrets, which would
 * cost more than all else about it.
 */
import { randomUUID } from 'node:crypto';
import type { Request, RequestHandler } from 'express';
import type { Logger } from 'pino';

declare module 'http' {
  interface IncomingMessage {
    id: string;
  }
}

const unlogged = /^\/(healthz|readyz|metrics)$/;

export function requestLog(log: Logger): RequestHandler {
  const lines = log.child({}, { redact: [] });
  return (request, response, next) => {
    const began = Date.now();
    request.id = randomUUID();
    response.setHeader('X-Request-Id', request.id);
    if (!unlogged.test(request.url)) {
      response.once('close', () => {
        const { statusCode, writableFinished } = response;
        const line = { req: describeRequest(request), res: { statusCode }, responseTime: Date.now() - began };
        if (statusCode >= 500) lines.error(line, 'request errored');
        else lines.info(line, writableFinished ? 'request completed' : 'request aborted');
      });
    }
    next();
  };
}

export const describeRequest = (request: Request): object => ({
  id: request.id,
  method: request.method,
  url: request.originalUrl.split('?', 1)[0],
});
