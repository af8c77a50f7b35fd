/** Whether Postfix takes mail from outside: the port that it comes in by greets (RFC 5321 section 3.1). Unreachable is always `unavailable`. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { ServiceError } from '@congvu/errors';

export interface Postfix {
  /** Throws `unavailable` unless Postfix greets. */
  ping(): Promise<void>;
}

/** @param address `host:port` */
export function connectPostfix(address: string): Postfix {
  const [host, port] = address.split(':') as [string, string];
  return {
    ping: async () => {
      const socket = connect({ host, port: Number(port) });
      try {
        const [greeting] = (await once(socket, 'data', { signal: AbortSignal.timeout(5_000) })) as [Buffer];
        if (!greeting.toString('latin1').startsWith('220')) throw new Error('Postfix does not greet with 220');
        socket.end('QUIT\r\n');
      } catch (cause) {
        socket.destroy();
        throw new ServiceError({
          kind: 'unavailable',
          code: 'postfix_unavailable',
          detail: 'The mail server does not answer; try again shortly.',
          retryAfterSeconds: 5,
          cause,
        });
      }
      socket.on('error', () => undefined); // it greeted; how it parts does not matter
    },
  };
}
