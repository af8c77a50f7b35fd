/**
 * OCSP over HTTP (RFC 6960 appendix A, RFC 5019 sections 5 and 6): `POST /ocsp`, `GET /ocsp/{base64 of the request}`. A plain listener
 * of Node's in front of the app, because an answer costs less than the app's middleware would. Every request that can be read as
 * HTTP is answered by an OCSPResponse and status 200, errors of OCSP included.
 */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import type { Logger } from 'pino';
import { maximumRequestSize } from '../authority/ocsp.ts';
import { errorAnswer, type OcspAnswer, type OcspAnswers } from './answer-request.ts';

const path = '/ocsp';

export const isOcsp = (url = ''): boolean =>
  url.startsWith(path) && (url.length === path.length || url[path.length] === '/');

/** As for CRLs: shorter than the time within which a revocation has to be seen, also through a cache. */
const maxAgeSeconds = 60;

export function ocspListener(answers: Pick<OcspAnswers, 'answer'>, log: Logger): RequestListener {
  const failed = (error: unknown): OcspAnswer => {
    log.error({ err: error }, 'an OCSP request could not be answered');
    return errorAnswer('internalError');
  };
  const answer = (encoded: Buffer, request: IncomingMessage, response: ServerResponse): void => {
    answers.answer(encoded).then(
      (found) => send(request, response, found),
      (error: unknown) => send(request, response, failed(error)),
    );
  };
  return (request, response) => {
    const { method } = request;
    if (method === 'POST') {
      readBody(request, response, (body) => answer(body, request, response));
    } else if (method === 'GET' || method === 'HEAD') {
      const encoded = readPath(request.url ?? '');
      // What is no base64 is no request either; nothing at all is refused by the same words.
      answer(encoded ?? Buffer.alloc(0), request, response);
    } else {
      request.resume();
      response.writeHead(405, { Allow: 'GET, HEAD, POST', 'Content-Length': 0 }).end();
    }
  };
}

/** Base64 may hold `/` and `+` as they are, or escaped, or (what some clients do) be followed by nothing where `=` belongs. */
function readPath(url: string): Buffer | undefined {
  let text = url.slice(path.length + 1);
  if (text.includes('%')) {
    try {
      text = decodeURIComponent(text);
    } catch {
      return undefined;
    }
  }
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined;
}

function readBody(request: IncomingMessage, response: ServerResponse, take: (body: Buffer) => void): void {
  const parts: Buffer[] = [];
  let size = 0;
  request.on('data', (part: Buffer) => {
    size += part.length;
    if (size <= maximumRequestSize) parts.push(part);
    else if (!response.headersSent)
      // The rest is not waited for.
      response.writeHead(413, { 'Content-Length': 0, Connection: 'close' }).end();
  });
  request.on('end', () => {
    if (size <= maximumRequestSize) take(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
  });
}

/** Answers are of some thousands of seconds at most, and making a date is dear beside the rest. */
const httpDates = new Map<number, string>();
function httpDate(seconds: number): string {
  let date = httpDates.get(seconds);
  if (date === undefined) {
    if (httpDates.size >= 10_000) httpDates.clear();
    date = new Date(seconds * 1000).toUTCString();
    httpDates.set(seconds, date);
  }
  return date;
}

function send(request: IncomingMessage, response: ServerResponse, { body, cacheable }: OcspAnswer): void {
  const type = ['Content-Type', 'application/ocsp-response', 'Content-Length', String(body.length)];
  const withoutBody = request.method === 'HEAD';
  if (!cacheable) {
    response.writeHead(200, [...type, 'Cache-Control', 'no-store']).end(withoutBody ? undefined : body, 'latin1');
    return;
  }
  const { thisUpdate, nextUpdate, sha1 } = cacheable;
  const etag = `"${sha1}"`;
  const maxAge = Math.max(0, Math.min(maxAgeSeconds, nextUpdate - Math.floor(Date.now() / 1000)));
  const caching = [
    ...['Cache-Control', `max-age=${maxAge}, public, no-transform, must-revalidate`, 'ETag', etag],
    ...['Last-Modified', httpDate(thisUpdate)],
  ];
  if (request.method !== 'POST' && request.headers['if-none-match'] === etag) {
    response.writeHead(304, caching).end();
    return;
  }
  response.writeHead(200, [...type, ...caching]).end(withoutBody ? undefined : body, 'latin1');
}
