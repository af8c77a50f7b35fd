/**
 * HTTP requests that are ready as octets, over connections that are kept alive, each with one request under way: what the asking
 * itself costs is little and the same for whoever answers.
 */
import { connect } from 'node:net';

export interface LoadAnswer {
  status: number;
  body: string;
}

/** The request of one POST of JSON. */
export function postOctets(url: string, body: object, headers: Readonly<Record<string, string>> = {}): Buffer {
  const { host, pathname } = new URL(url);
  const content = JSON.stringify(body);
  const lines = Object.entries({
    Host: host,
    'Content-Type': 'application/json',
    'Content-Length': String(Buffer.byteLength(content)),
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  return Buffer.from(`POST ${pathname} HTTP/1.1\r\n${lines.join('')}\r\n${content}`);
}

/** Sends all requests to the origin of `url`; seconds from the first octet to the last answer. */
export async function sendAll(
  url: string,
  requests: readonly Buffer[],
  connections: number,
  onAnswer: (answer: LoadAnswer, index: number) => void,
): Promise<number> {
  const { hostname, port } = new URL(url);
  let next = 0;
  const began = performance.now();
  await Promise.all(
    Array.from({ length: connections }, () => {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      let index = -1;
      let received = '';
      const ask = (): void => {
        index = next++;
        if (index < requests.length) socket.write(requests[index] as Buffer);
        else socket.end(resolve);
      };
      socket.setEncoding('latin1');
      socket.on('connect', ask);
      socket.on('data', (part: string) => {
        received += part;
        const answer = readAnswer(received);
        if (!answer) return;
        received = '';
        try {
          onAnswer(answer, index);
          ask();
        } catch (error) {
          socket.destroy();
          reject(error);
        }
      });
      socket.on('error', reject);
      socket.on('close', () => reject(new Error('the connection was closed before all was answered')));
      return promise;
    }),
  );
  return (performance.now() - began) / 1_000;
}

/** Undefined until it is complete (RFC 9112 section 6.3). */
function readAnswer(received: string): LoadAnswer | undefined {
  const end = received.indexOf('\r\n\r\n');
  if (end < 0) return undefined;
  const head = received.slice(0, end);
  const status = Number(head.slice(9, 12));
  const body = received.slice(end + 4);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return body.length >= Number(length) ? { status, body } : undefined;
  return body.endsWith('0\r\n\r\n') ? { status, body } : undefined;
}
