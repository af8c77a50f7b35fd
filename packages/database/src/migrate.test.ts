import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type Migrations, migrate } from './migrate.ts';
import type { Database } from './open.ts';
import { createTestDatabase, type TestDatabase } from './testing.ts';

let testDatabase: TestDatabase;
let owner: Database;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  owner = testDatabase.as('owner');
  past = await recorded();
  for (const name of past) done[name] = alreadyRun;
});
afterAll(() => testDatabase.drop());

/** What the template has run; whoever runs it again is told. */
let past: string[] = [];
const alreadyRun: Migrations[string] = async () => {
  throw new Error('a migration that is on record was run again');
};
const done: Record<string, Migrations[string]> = {};
const run = (migrations: Migrations) =>
  migrate({ ownerUrl: testDatabase.urlAs('owner'), schema: 'mailbox', runtimeRole: 'congvu_mailbox', migrations });
const recorded = async (): Promise<string[]> =>
  (await owner('mailbox.migrations').orderBy('id').select('name')).map((row) => row.name as string);

test('running again changes nothing', async () => {
  await run(done);
  await run(done);
  expect(past).toContain('0001-initial');
  expect(await recorded()).toEqual(past);
});

test('a lock that a killed migrator left behind does not stop the next', async () => {
  await owner('mailbox.migrations_lock').update({ is_locked: 1 });
  await run({ ...done, '9002-after-lock': (transaction) => transaction.raw('create table mailbox.after_lock ()') });
  expect(await owner.schema.withSchema('mailbox').hasTable('after_lock')).toBe(true);
  expect(await owner('mailbox.migrations_lock').first('is_locked')).toEqual({ is_locked: 0 });
});

test('three migrators at once run each migration once', async () => {
  const migrations: Migrations = {
    ...done,
    '9002-after-lock': alreadyRun,
    '9003-slow': async (transaction) => {
      await transaction.raw('create table mailbox.slow (n int)');
      await transaction.raw('select pg_sleep(0.3)');
      await transaction.raw('insert into mailbox.slow values (1)');
    },
  };
  await Promise.all([run(migrations), run(migrations), run(migrations)]);
  expect(await owner('mailbox.slow').select('n')).toEqual([{ n: 1 }]);
  expect(await recorded()).toEqual([...past, '9002-after-lock', '9003-slow']);
});

test('a migration that fails half-way leaves nothing, and the next run does it whole', async () => {
  const before = Object.fromEntries((await recorded()).map((name) => [name, alreadyRun]));
  let broken = true;
  const migrations: Migrations = {
    ...before,
    '9004-fragile': async (transaction) => {
      await transaction.raw('create table mailbox.fragile ()');
      if (broken) throw new Error('killed here');
    },
  };
  await expect(run(migrations)).rejects.toThrow('killed here');
  expect(await owner.schema.withSchema('mailbox').hasTable('fragile')).toBe(false);
  broken = false;
  await run(migrations);
  expect(await owner.schema.withSchema('mailbox').hasTable('fragile')).toBe(true);
});

test('a migration of an unknown past is refused: an old release does not touch a newer schema', async () => {
  await expect(run(done)).rejects.toThrow(/9003-slow/);
});
