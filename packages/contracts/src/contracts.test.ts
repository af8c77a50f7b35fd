import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { connectApi, permissions, RequestInput, roles } from './index.ts';

describe('permissions', () => {
  test('who approves cannot submit, who submits cannot approve, an auditor changes nothing', () => {
    expect(roles.requester).not.toContain('requests:approve');
    expect(roles.administrator).not.toContain('requests:submit');
    expect(roles.auditor.filter((one) => !one.endsWith(':read'))).toEqual([]);
  });

  test('every permission is in some bundle, so that none is forgotten', () => {
    expect([...new Set(Object.values(roles).flat())].sort()).toEqual([...permissions].sort());
  });
});

describe('a request', () => {
  const person = { kind: 'person', fullName: 'Huỳnh Thanh Điền', birthDate: '1990-01-02', nationalId: '040190123456' };
  const request = { agencyCode: 'H41.12', lines: [person] };

  test('gets its defaults', () => {
    expect(RequestInput.parse({ ...request, lines: [person, { kind: 'agency' }] }).lines).toEqual([
      { ...person, certificate: 'server_key' },
      { kind: 'agency', certificate: 'none' },
    ]);
  });

  test.each<[string, object, (string | number)[]]>([
    ['no line', { ...request, lines: [] }, ['lines']],
    ['too many', { ...request, lines: Array.from({ length: 501 }, () => person) }, ['lines']],
    ['a word too much', { ...request, lines: [{ ...person, salary: 1 }] }, ['lines', 0]],
    ['another kind', { ...request, lines: [{ ...person, kind: 'robot' }] }, ['lines', 0, 'kind']],
    [
      'an agency with a key',
      { ...request, lines: [{ kind: 'agency', certificate: 'csr' }] },
      ['lines', 0, 'certificate'],
    ],
    ['no address', { ...request, contactAddress: 'here' }, ['contactAddress']],
    ['a day that is none', { ...request, decision: { number: '5/QĐ', date: '2026-02-30' } }, ['decision', 'date']],
    ['a title of spaces', { ...request, lines: [{ ...person, title: '  ' }] }, ['lines', 0, 'title']],
  ])('%s', (_what, input, path) => {
    const result = RequestInput.safeParse(input);
    expect(result.error?.issues.map((issue) => issue.path)).toEqual([path]);
  });
});

describe('a client', () => {
  let server: Server;
  let url: string;
  let tokensGiven: number;
  let expiresIn: number;
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  const json =
    (status: number, body: unknown, type = 'application/json') =>
    (_: unknown, response: ServerResponse) =>
      response.writeHead(status, { 'Content-Type': type }).end(JSON.stringify(body));

  beforeAll(async () => {
    server = createServer((request, response) => {
      if (request.url !== '/oauth/token') return answer(request, response);
      const [id, secret] = Buffer.from(request.headers.authorization!.slice(6), 'base64').toString().split(':');
      if (decodeURIComponent(secret!) !== 'bí mật:/%') return json(401, { error: 'invalid_client' })(0, response);
      tokensGiven++;
      return json(200, { access_token: `${id}-${tokensGiven}`, expires_in: expiresIn })(0, response);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  beforeEach(() => {
    tokensGiven = 0;
    expiresIn = 300;
    answer = (request, response) => json(200, { bearer: request.headers.authorization ?? null })(0, response);
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  const Bearer = z.object({ bearer: z.string().nullable() });
  const urls = () => ({ directory: url, mailbox: url, certificate: url });
  const connect = (clientSecret = 'bí mật:/%') => connectApi(urls(), { clientId: 'c', clientSecret });

  test('asks for a token once, and anew before it ends', async () => {
    const api = connect();
    expect(await api.call('mailbox', '/x', Bearer)).toEqual({ bearer: 'Bearer c-1' });
    expect(await api.call('certificate', '/x', Bearer)).toEqual({ bearer: 'Bearer c-1' });
    expiresIn = 31;
    const short = connect();
    expect(await short.call('mailbox', '/x', Bearer)).toEqual({ bearer: 'Bearer c-2' });
    await sleep(1_100);
    expect(await short.call('mailbox', '/x', Bearer)).toEqual({ bearer: 'Bearer c-3' });
  });

  test('a holder brings the own token, a stranger none', async () => {
    expect(await connectApi(urls(), { token: 'mine' }).call('mailbox', '/x', Bearer)).toEqual({
      bearer: 'Bearer mine',
    });
    expect(await connectApi(urls(), undefined).call('mailbox', '/x', Bearer)).toEqual({ bearer: null });
    expect(tokensGiven).toBe(0);
  });

  test('a refused secret is an error with the code of RFC 6749', async () => {
    await expect(connect('wrong').call('mailbox', '/x', Bearer)).rejects.toMatchObject({
      kind: 'unauthenticated',
      code: 'invalid_client',
    });
  });

  test('a problem document becomes the error that it was', async () => {
    const errors = [{ pointer: '/a', code: 'b', detail: 'c' }];
    answer = json(422, { code: 'request_invalid', detail: 'Bad.', errors }, 'application/problem+json');
    await expect(connect().call('mailbox', '/x', Bearer, { body: {} })).rejects.toMatchObject({
      kind: 'invalid',
      code: 'request_invalid',
      detail: 'Bad.',
      faults: errors,
    });
    answer = (_request, response) => void response.writeHead(502).end('<html>');
    await expect(connect().call('mailbox', '/x', Bearer)).rejects.toMatchObject({ code: 'http_error' });
  });

  test('no answer is unavailable, and so is one that is cut', async () => {
    const nowhere = connectApi({ ...urls(), mailbox: 'http://127.0.0.1:1' }, { token: 'mine' });
    await expect(nowhere.call('mailbox', '/x', Bearer)).rejects.toMatchObject({ code: 'service_unreachable' });
    answer = (_request, response) => {
      response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': '100' }).write('{"bear');
      setTimeout(() => response.destroy(), 20);
    };
    await expect(connect().call('mailbox', '/x', Bearer)).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'service_unreachable',
    });
  });
});
