/**
 * LDAP transactions (RFC 5805): many requests at the price of one commit; all are done or none is.
 *
 * slapd keeps the requests in memory and carries them out, in one database transaction, when it is told to end. slapd 2.5.13 is
 * careless with that memory, and what is done here keeps out of its way:
 * - a connection of its own, on which the begin is answered before the first request is sent, and the last request before the end;
 * - a pause before the end: slapd answers a request before the request's thread has let go of it, and the end frees it;
 * - what was begun is ended, also after a fault: slapd crashes when a client leaves in the middle. A client that is killed cannot
 *   help that; the server then has to be started again, and LMDB, as after any crash, holds what was committed and no more.
 */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { type ConnectionOptions, connect as connectTls } from 'node:tls';
import { BerWriter, Client, Control, InsufficientAccessError, NoSuchObjectError, ResultCodeError } from 'ldapts';

/** Sends one change; with the control, as part of the connection's transaction. */
export type Request = (client: Client, control?: Control) => Promise<void>;

/** A client whose connection is known, so that requests can leave in one packet. */
export interface TransactionClient {
  client: Client;
  socket: () => Socket | undefined;
}

const startOid = '1.3.6.1.1.21.1';
const specificationOid = '1.3.6.1.1.21.2';
const endOid = '1.3.6.1.1.21.3';

const pauseBeforeEndMs = 25;
/** slapd takes 1,000 (conn_max_pending_auth) before it hangs up. */
const requestsAtOnce = 125;
/** Long, because giving up in the middle is what must not be. */
const timeoutMs = 60_000;

/** slapd's transaction has an empty identifier: a connection has one at a time. */
const specification = new (class extends Control {
  protected override writeControl(writer: BerWriter): void {
    writer.writeString('', 4);
  }
})(specificationOid, { critical: true });

/** Whether the server's root DSE, where it is shown, offers transactions; slapd names the two operations there and not the control. */
export async function offersTransactions(client: Client): Promise<boolean> {
  const { searchEntries } = await client
    .search('', { scope: 'base', attributes: ['supportedExtension'] })
    .catch((error: unknown) => {
      if (error instanceof NoSuchObjectError || error instanceof InsufficientAccessError) return { searchEntries: [] };
      throw error;
    });
  const offered = [searchEntries[0]?.supportedExtension ?? []].flat();
  return offered.includes(startOid) && offered.includes(endOid);
}

export function createTransactionClient(url: string): TransactionClient {
  let socket: Socket | undefined;
  const keep = <T extends Socket>(made: T): T => {
    socket = made;
    return made;
  };
  const client = new Client({
    url,
    timeout: timeoutMs,
    connectTimeout: 3_000,
    createConnection: ((port: number, host: string) => keep(connect(port, host))) as typeof connect,
    createSecureConnection: ((port: number, host: string, options: ConnectionOptions) =>
      keep(connectTls(port, host, options))) as typeof connectTls,
  });
  return { client, socket: () => socket };
}

/**
 * Commits the requests together: what became of each, in their order, undefined when done, else the server's refusal; a request that
 * is refused when it is sent costs the others nothing. Undefined when the transaction was refused: then nothing was done. Throws
 * when there was no answer: all was done or nothing. They reach slapd at one time and may be done in any order.
 */
export async function commitTogether(
  { client, socket }: TransactionClient,
  requests: readonly Request[],
): Promise<(ResultCodeError | undefined)[] | undefined> {
  if (await refusalOf(client.exop(startOid))) return undefined;
  const outcomes: (ResultCodeError | undefined)[] = [];
  for (let start = 0; start < requests.length; start += requestsAtOnce) {
    requireConnected(client);
    socket()?.cork();
    const sent = requests
      .slice(start, start + requestsAtOnce)
      .map((request) => refusalOf(request(client, specification)));
    await turn(); // the library writes to the socket only after some promises
    socket()?.uncork();
    const settled = await Promise.allSettled(sent);
    const failed = settled.find((one) => one.status === 'rejected');
    if (failed) {
      if (client.isConnected) await end(client, false).catch(() => undefined);
      throw failed.reason;
    }
    outcomes.push(...(await Promise.all(sent)));
  }
  const isEmpty = outcomes.every((refusal) => refusal !== undefined);
  const refusal = await refusalOf(end(client, !isEmpty));
  return refusal === undefined ? outcomes : undefined;
}

export const refusalOf = (request: Promise<unknown>): Promise<ResultCodeError | undefined> =>
  request.then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof ResultCodeError) return error;
      throw error;
    },
  );

async function end(client: Client, commit: boolean): Promise<void> {
  await sleep(pauseBeforeEndMs);
  requireConnected(client);
  const writer = new BerWriter();
  writer.startSequence();
  if (!commit) writer.writeBoolean(false); // true unless said (RFC 5805 section 2.3)
  writer.writeString('', 4);
  writer.endSequence();
  await client.exop(endOid, writer.buffer);
}

/** The library would connect anew, unbound and outside the transaction. */
function requireConnected(client: Client): void {
  if (!client.isConnected) throw new Error('The connection was lost in the middle of a transaction.');
}
