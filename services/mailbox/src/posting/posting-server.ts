/**
 * Postfix asks here, over SMTPD policy delegation (SMTPD_POLICY_README), whether a message may go to a list. Whatever goes wrong is
 * answered by "try again later": Postfix asks about lists alone, so all other mail flows.
 *
 * A request is lines `name=value` and an empty line; a connection carries many, one after the other.
 */
import { createServer, type Socket } from 'node:net';
import type { Logger } from 'pino';
import { type Decision, decidePosting, type PostingDependencies } from './decide-posting.ts';

export interface PostingServer {
  stop: () => Promise<void>;
}

/** Postfix sends some two dozen attributes; who sends more than this is not Postfix. */
const mostOctets = 64 * 1024;
const mostConnections = 500;
const idleMs = 10 * 60_000;

export async function startPostingServer(
  dependencies: PostingDependencies & { log: Logger },
  listen: { host: string; port: number },
): Promise<PostingServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    socket.setTimeout(idleMs, () => socket.destroy());
    void serve(socket, dependencies);
  });
  server.maxConnections = mostConnections;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(listen.port, listen.host, resolve);
  });
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function serve(socket: Socket, dependencies: PostingDependencies & { log: Logger }): Promise<void> {
  let pending = '';
  socket.setEncoding('utf8');
  try {
    for await (const chunk of socket) {
      pending += chunk;
      for (let end = pending.indexOf('\n\n'); end >= 0; end = pending.indexOf('\n\n')) {
        const request = pending.slice(0, end);
        pending = pending.slice(end + 2);
        socket.write(`action=${await answer(request, dependencies)}\n\n`);
      }
      if (pending.length > mostOctets) break;
    }
  } catch {
    // The connection broke: whoever asked asks again.
  }
  socket.destroy();
}

async function answer(
  request: string,
  { log, ...dependencies }: PostingDependencies & { log: Logger },
): Promise<string> {
  const attributes = new Map(
    request.split('\n').map((line) => {
      const equals = line.indexOf('=');
      return [line.slice(0, equals), line.slice(equals + 1)] as const;
    }),
  );
  try {
    const posting = {
      recipient: attributes.get('recipient') ?? '',
      sender: attributes.get('sasl_username') ?? '',
      sizeBytes: Number(attributes.get('size') ?? 0),
    };
    return toAction(await decidePosting(dependencies, posting));
  } catch (error) {
    log.warn({ err: error }, 'who may write to a list could not be found out; the message is put off');
    return '450 4.3.0 the list cannot be written to for the moment, try again shortly';
  }
}

const toAction = (decision: Decision): string => (decision === 'dunno' ? 'DUNNO' : decision.refuse);
