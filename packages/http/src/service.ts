/**
 * A service as a process: configuration read once with every fault listed, a logger that cannot print a secret, and a
 * shutdown that first stops taking work, then finishes what runs, then lets go of what it holds.
 */
import { readFileSync } from 'node:fs';
import { createServer, IncomingMessage, type RequestListener, type Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { type DestinationStream, type Logger, pino } from 'pino';
import { z } from 'zod';

/** What every service is told; each adds its own. */
export const serviceConfig = {
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(1).max(65_535),
  /** Whose X-Forwarded-For is believed, e.g. `uniquelocal` behind a reverse proxy; nobody's unless told. */
  TRUST_PROXY: z.string().optional(),
  DATABASE_URL: z.string().startsWith('postgres'),
  LDAP_URL: z.string().regex(/^ldaps?:\/\//, 'must begin with ldap:// or ldaps://'),
  LDAP_BASE_DN: z.string().min(3),
  LDAP_BIND_DN: z.string().min(3),
  LDAP_PASSWORD: z.string().min(1),
  /** Public URL of the directory service: the issuer of every token. */
  ISSUER_URL: z.url(),
};

/**
 * Reads the environment by `schema`. A variable NAME may be given as NAME_FILE, the path of a file that holds it (a
 * container's secret). Throws an Error that lists every fault, by variable name, without any value.
 */
export function parseConfig<T extends z.ZodObject>(schema: T, environment: NodeJS.ProcessEnv): Readonly<z.infer<T>> {
  const faults: string[] = [];
  const values: Record<string, string> = {};
  for (const name of Object.keys(schema.shape)) {
    const file = environment[`${name}_FILE`];
    const value = environment[name];
    if (value !== undefined && value !== '') values[name] = value;
    else if (file) {
      try {
        values[name] = readFileSync(file, 'utf8').trimEnd();
      } catch {
        faults.push(`${name}_FILE: the file that it names cannot be read`);
      }
    }
  }
  const result = schema.safeParse(values);
  if (!result.success) {
    faults.push(
      ...result.error.issues
        .filter((issue) => !faults.some((fault) => fault.startsWith(`${issue.path[0]?.toString()}_FILE`)))
        .map(
          (issue) =>
            `${issue.path.join('.')}: ${values[String(issue.path[0])] === undefined ? 'is not set' : issue.message}`,
        ),
    );
  }
  if (faults.length > 0) throw new Error(`the configuration holds faults:\n  ${faults.join('\n  ')}`);
  return Object.freeze(result.data as z.infer<T>);
}

const secretNames = [
  'password',
  'passphrase',
  'secret',
  'clientSecret',
  'activationCode',
  'nationalId',
  'csr',
  'privateKey',
  'token',
  'accessToken',
  'authorization',
  'pkcs12',
];

/**
 * JSON lines on standard output unless told; fields with the names of secrets are removed wherever they stand up to three
 * deep.
 */
export const createLog = (name: string, level: string, destination?: DestinationStream): Logger =>
  pino(
    {
      name,
      level,
      redact: { paths: secretNames.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]), censor: '[redacted]' },
      serializers: { err: describeError },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    destination ?? pino.destination(1),
  );

/** What nobody caught ends the process, on one log line instead of a bare stack; whoever watches over it starts it anew. */
export function exitOnFault(log: Logger): void {
  process.on('uncaughtException', (error) => {
    log.fatal({ err: error }, 'the process ends on a fault');
    process.exit(1);
  });
}

/** PostgreSQL's `detail` and `where` quote rows and input, and with them people; the constraint and the statement are enough. */
export const describeError = (error: Error): object => withoutRow(pino.stdSerializers.err(error));

function withoutRow(described: object): object {
  const kept = Object.entries(described).filter(
    ([name]) => !(name === 'detail' || name === 'where') || !('severity' in described),
  );
  return Object.fromEntries(kept.map(([name, value]) => [name, isDescribedError(value) ? withoutRows(value) : value]));
}

const isDescribedError = (value: unknown): value is object | object[] =>
  Array.isArray(value)
    ? value.length > 0 && value.every(isDescribedError)
    : typeof value === 'object' && value !== null && 'stack' in value;
const withoutRows = (value: object | object[]): object =>
  Array.isArray(value) ? value.map(withoutRow) : withoutRow(value);

export interface RunningService {
  server: Server;
  stop: () => Promise<void>;
}

/**
 * Listens, and on SIGTERM or SIGINT stops: no new connections, running requests get 10 s, then `release` (workers,
 * pools). Resolves when it listens; rejects when the port is taken.
 */
export async function serve(
  app: RequestListener,
  options: { host: string; port: number; log: Logger; release: () => Promise<void> },
): Promise<RunningService> {
  const { log } = options;
  settleShapes();
  const server = createServer(
    {
      requestTimeout: 60_000,
      headersTimeout: 15_000,
      keepAliveTimeout: 5_000,
      // A request without a body costs a third of a bare answer only to end its empty stream.
      optimizeEmptyRequests: true,
    },
    app,
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, resolve);
  });
  log.info({ host: options.host, port: options.port }, 'listening');
  let stopping: Promise<void> | undefined;
  const stop = (): Promise<void> => {
    stopping ??= (async () => {
      log.info('stopping');
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // A connection that is kept alive is idle only after its request: it is looked for until the last has gone.
      const sweep = setInterval(() => server.closeIdleConnections(), 50);
      const late = setTimeout(() => server.closeAllConnections(), 10_000);
      await closed;
      clearInterval(sweep);
      clearTimeout(late);
      await options.release();
      log.info('stopped');
    })();
    return stopping;
  };
  stopOnSignal(log, stop);
  return { server, stop };
}

/**
 * V8 decides by the first objects of a class how much room all later ones have. Collects it garbage between the first requests of a
 * process, as it does where they are minutes apart, it finds too little, and from then on each request and response is a dictionary,
 * which makes a plain one dearer by several microseconds. So the first are made at once.
 */
function settleShapes(): void {
  for (let count = 0; count < 16; count += 1) new ServerResponse(new IncomingMessage(new Socket()));
}

/** Ends the process on SIGTERM or SIGINT, when `stop` has done its work. */
export function stopOnSignal(log: Logger, stop: () => Promise<void>): void {
  let stopping: Promise<void> | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      stopping ??= stop();
      stopping.then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: error }, 'stopping failed');
          process.exit(1);
        },
      );
    });
  }
}
