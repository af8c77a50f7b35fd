/**
 * Run once before the services of a version start: database, roles and grants (infra/postgres/roles.sql) as superuser, the
 * roles' passwords as their database URLs name them, then each service's migrations as owner. Harmless to run again.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import pg from 'pg';
import { scramVerifier } from '../local/password-hash.ts';

// biome-ignore lint/style/noProcessEnv: this is where a container's environment is read
const environment = process.env;
const repository = resolve(import.meta.dirname, '../..');
/** In the order in which they refer to each other. */
const services = ['directory', 'mailbox', 'certificate'];

/** What the file named by `NAME_FILE` holds. */
function secret(name: string): string {
  const file = environment[`${name}_FILE`];
  if (!file) throw new Error(`${name}_FILE is not set`);
  try {
    return readFileSync(file, 'utf8').trimEnd();
  } catch {
    throw new Error(`${name}_FILE: the file that it names cannot be read`);
  }
}

function databaseUrl(name: string): URL {
  const url = secret(name);
  if (!URL.canParse(url) || !new URL(url).password) throw new Error(`${name} must be a URL with a password`);
  return new URL(url);
}

async function withClient(url: URL, use: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client({ connectionString: url.href, connectionTimeoutMillis: 10_000 });
  client.on('notice', (notice) => {
    if (notice.severity === 'WARNING') process.stderr.write(`PostgreSQL: ${notice.message}\n`);
  });
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
  }
}

async function setUpDatabase(urls: readonly URL[]): Promise<void> {
  const owner = urls[0] as URL;
  const database = decodeURIComponent(owner.pathname.slice(1));
  const superuser = new URL(owner);
  superuser.username = 'postgres';
  superuser.password = encodeURIComponent(secret('POSTGRES_PASSWORD'));
  const maintenance = new URL('/postgres', superuser);
  maintenance.search = superuser.search;
  await withClient(maintenance, async (client) => {
    const found = await client.query('SELECT FROM pg_database WHERE datname = $1', [database]);
    if (found.rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(database)}`);
  });
  await withClient(superuser, async (client) => {
    await client.query(readFileSync(join(repository, 'infra/postgres/roles.sql'), 'utf8'));
    for (const url of urls) {
      const role = pg.escapeIdentifier(decodeURIComponent(url.username));
      const verifier = scramVerifier(decodeURIComponent(url.password));
      await client.query(`ALTER ROLE ${role} PASSWORD ${pg.escapeLiteral(verifier)}`);
    }
  });
}

try {
  await setUpDatabase([
    databaseUrl('OWNER_DATABASE_URL'),
    ...services.map((service) => databaseUrl(`${service.toUpperCase()}_DATABASE_URL`)),
  ]);
  process.stdout.write('database, roles and grants are in place\n');
  for (const service of services) {
    await import(`../../services/${service}/src/migrate.ts`); // Reads OWNER_DATABASE_URL_FILE itself.
    process.stdout.write(`the schema of the ${service} service is at its newest form\n`);
  }
} catch (error) {
  process.stderr.write(`congvu: ${(error as Error).message}\n`);
  process.exitCode = 1;
}
