/** For tests: a wire to the server that can be listened to and cut. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** A wire to the real server that can be cut, or that carries requests and swallows every answer. */
export interface Wire {
  url: string;
  /** Ends every connection; new ones are taken as before. */
  cut(): void;
  /** Ends every connection and takes no more. */
  close(): Promise<void>;
  reopen(): Promise<void>;
  swallow: boolean;
  /** What becomes of a packet of a client's on its way. */
  alter: (data: Buffer) => Buffer;
  /** All that clients have sent. */
  sent: string;
  connections: number;
}

export async function openWire(serverUrl: string): Promise<Wire> {
  const target = new URL(serverUrl);
  const sockets = new Set<Socket>();
  let port = 0;
  let server: Server;
  const listen = async () => {
    server = createServer((inner) => {
      wire.connections++;
      const outer = connect(Number(target.port), target.hostname);
      for (const [from, to] of [
        [inner, outer],
        [outer, inner],
      ] as const) {
        sockets.add(from);
        from.on('data', (data) => {
          if (from === inner) wire.sent += data.toString('latin1');
          if (!(from === outer && wire.swallow)) to.write(from === inner ? wire.alter(data) : data);
        });
        from.on('close', () => to.destroy());
        from.on('error', () => to.destroy());
      }
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
    port = (server.address() as AddressInfo).port;
  };
  const wire: Wire = {
    url: '',
    swallow: false,
    alter: (data) => data,
    sent: '',
    connections: 0,
    cut: () => {
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
    close: async () => {
      const closed = once(server, 'close');
      server.close();
      wire.cut();
      await closed;
    },
    reopen: () => listen(),
  };
  await listen();
  wire.url = `ldap://127.0.0.1:${port}`;
  return wire;
}
