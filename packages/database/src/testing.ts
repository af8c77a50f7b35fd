/**
 * For tests: a database of one's own per test file, copied from a migrated template in about a tenth of a second, and
 * dropped at the end. Where the servers are stands in the file that CONGVU_STACK names, written by the test runner.
 */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import pg from 'pg';
import { type Database, openDatabase } from './open.ts';

export {
  changeAccount,
  insertAccount,
  insertClient,
  insertProvince,
  insertRequest,
  type TestAccount,
} from './testing-records.ts';

export interface TestStack {
  postgres: { urls: Record<'superuser' | 'owner' | 'directory' | 'mailbox' | 'certificate', string>; template: string };
  ldap: { url: string; baseDn: string; identities: Record<string, { bindDn: string; password: string }> };
  [part: string]: unknown;
}

export function testStack(): TestStack {
  // biome-ignore lint/style/noProcessEnv: the test runner speaks to its tests through this one variable
  const path = process.env.CONGVU_STACK;
  if (!path) throw new Error('CONGVU_STACK is not set: run the tests by "npm test", which starts what they need');
  return JSON.parse(readFileSync(path, 'utf8')) as TestStack;
}

export interface TestDatabase {
  /** As the given service's runtime role, so that tests also prove its grants. */
  as: (role: 'owner' | 'directory' | 'mailbox' | 'certificate') => Database;
  urlAs: (role: 'owner' | 'directory' | 'mailbox' | 'certificate') => string;
  drop: () => Promise<void>;
}

export async function createTestDatabase(): Promise<TestDatabase> {
  const { postgres } = testStack();
  const name = `test_${randomUUID().replaceAll('-', '')}`;
  await asSuperuser(postgres.urls.superuser, `create database ${name} template ${postgres.template}`);
  // Schemas and their grants come with the template, the database's own do not.
  await asSuperuser(
    postgres.urls.superuser,
    `revoke all on database ${name} from public;
     grant connect, create on database ${name} to congvu_owner;
     grant connect on database ${name} to congvu_directory, congvu_mailbox, congvu_certificate`,
  );
  const opened: Database[] = [];
  const urlAs = (role: keyof typeof postgres.urls): string => {
    const url = new URL(postgres.urls[role]);
    url.pathname = `/${name}`;
    return url.href;
  };
  return {
    urlAs,
    as: (role) => {
      const database = openDatabase({ url: urlAs(role), name: `test ${role}`, poolSize: 5 });
      opened.push(database);
      return database;
    },
    drop: async () => {
      await Promise.all(opened.map((database) => database.destroy()));
      await asSuperuser(postgres.urls.superuser, `drop database ${name} with (force)`);
    },
  };
}

/** Waits until no other test file holds what they share, whatever `name` stands for; then it is this one's until `release`, or its end. */
export async function holdShared(name: string): Promise<{ release: () => Promise<void> }> {
  const client = new pg.Client({ connectionString: testStack().postgres.urls.superuser });
  await client.connect();
  await client.query('select pg_advisory_lock(hashtext($1))', [name]);
  return { release: () => client.end() };
}

async function asSuperuser(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
