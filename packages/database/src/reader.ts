/**
 * One connection for a few statements that are asked thousands of times a second: planned once and never waiting for the pool; their
 * columns are not described each time, so they come as PostgreSQL writes them. A connection that was lost is made anew at the next
 * read, after `onLost` was told: what was known from the old one may be the past of a server that is no longer there.
 */
import pg from 'pg';

/** Its columns as text. */
export type ReadRow = readonly (string | null)[];

export interface Reader<Name extends string> {
  /** Values are text as well. Rejects when the database does not answer within `timeoutMs`. */
  read(statement: Name, values: (string | null)[]): Promise<readonly ReadRow[]>;
  close(): Promise<void>;
}

export function openReader<Name extends string>(options: {
  url: string;
  name: string;
  statements: Readonly<Record<Name, string>>;
  timeoutMs: number;
  onLost: () => void;
}): Reader<Name> {
  const { url, name, statements, timeoutMs, onLost } = options;
  let open: Promise<pg.Client> | undefined;
  /** The statements that each knows. */
  const prepared = new WeakMap<pg.Client, Set<Name>>();
  let closed = false;

  const connect = (): Promise<pg.Client> => {
    const client = new pg.Client({
      connectionString: url,
      application_name: name,
      connectionTimeoutMillis: timeoutMs,
      statement_timeout: timeoutMs,
      query_timeout: timeoutMs,
      keepAlive: true,
      // Left to itself PostgreSQL plans it anew for each read, which takes five times as long as the read; and a plan that was made
      // while a table was small goes by its indexes all the same.
      options: '-c plan_cache_mode=force_generic_plan -c enable_seqscan=off',
    });
    prepared.set(client, new Set());
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
    read: async (statement, values) => {
      if (closed) throw new Error(`the reader ${name} is closed`);
      open ??= connect();
      const connection = open;
      const client = await connection;
      try {
        return await new Promise<ReadRow[]>((resolve, reject) => {
          const known = prepared.get(client) as Set<Name>;
          const text = known.has(statement) ? undefined : statements[statement];
          known.add(statement);
          const done = (error: Error | null, rows: ReadRow[]): void => (error ? reject(error) : resolve(rows));
          client.query(plainQuery({ name: statement, text }, values, done));
        });
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

/**
 * What a client of pg sends and hands its answers to, in the place of its own query, which would ask for the columns each time. Nothing
 * is read after a fault: its connection is given up.
 */
function plainQuery(
  statement: { name: string; text: string | undefined },
  values: (string | null)[],
  callback: (error: Error | null, rows: ReadRow[]) => void,
) {
  const rows: ReadRow[] = [];
  return {
    /** The client puts another in its place, which knows of the time. */
    callback,
    submit(connection: pg.Connection): void {
      const { name, text } = statement;
      connection.stream.cork();
      if (text !== undefined) connection.parse({ name, text, types: [] }, false);
      connection.bind({ statement: name, values }, false);
      connection.execute(null, false);
      connection.sync();
      connection.stream.uncork();
    },
    handleDataRow: (message: { fields: (string | null)[] }): void => void rows.push(message.fields),
    handleCommandComplete: (): void => undefined,
    handleReadyForQuery(): void {
      this.callback(null, rows);
    },
    handleError(error: Error): void {
      this.callback(error, rows);
    },
  };
}
