/**
 * One connection for one statement that is asked thousands of times a second: planned once and never waiting for the pool. A
 * connection that was lost is made anew at the next read, after `onLost` was told: what was known from the old one may be the past of a
 * server that is no longer there.
 */
import pg from 'pg';

export interface Reader<Row> {
  /** Rejects when the database does not answer within `timeoutMs`. */
  read(values: readonly unknown[]): Promise<Row[]>;
  close(): Promise<void>;
}

export function openReader<Row>(options: {
  url: string;
  name: string;
  statement: string;
  timeoutMs: number;
  onLost: () => void;
}): Reader<Row> {
  const { url, name, statement, timeoutMs, onLost } = options;
  let open: Promise<pg.Client> | undefined;
  let closed = false;

  const connect = (): Promise<pg.Client> => {
    const client = new pg.Client({
      connectionString: url,
      application_name: name,
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
    });
    const connecting = client.connect().then(() => client);
    const lost = (): void => {
      if (open !== connecting) return;
      open = undefined;
      onLost();
    };
    client.on('error', lost).on('end', lost);
    connecting.catch(lost);
    return connecting;
  };

  return {
    read: async (values) => {
      if (closed) throw new Error(`the reader ${name} is closed`);
      open ??= connect();
      const connection = open;
      const client = await connection;
      try {
        return (await client.query<Row & object>({ name, text: statement, values: [...values] })).rows;
      } catch (error) {
        // Whatever went wrong, the next read begins afresh.
        if (open === connection) {
          open = undefined;
          onLost();
        }
        client.end().catch(() => undefined);
        throw error;
      }
    },
    close: async () => {
      closed = true;
      const client = await open?.catch(() => undefined);
      open = undefined;
      await client?.end();
    },
  };
}
