import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { brokenConstraint, byteaArray, type Database, openDatabase, pingDatabase } from './open.ts';
import { createTestDatabase, type TestDatabase } from './testing.ts';

let testDatabase: TestDatabase;
let database: Database;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  database = testDatabase.as('directory');
});
afterAll(() => testDatabase.drop());

test('the error of a statement holds the statement and none of its values', async () => {
  const error = await database('directory.clients')
    .insert({
      id: 'no uuid',
      name: 'thirty secrets',
      agency_code: 'H41',
      permissions: [],
      secret_hash: Buffer.from('kept'),
    })
    .then(
      () => undefined,
      (thrown: Error) => thrown,
    );
  expect(error?.message).toContain('insert into');
  expect(`${error?.message}${error?.stack}`).not.toMatch(/thirty secrets|X'6b657074'|kept/);
});

test('brokenConstraint names the constraint, and nothing for other faults', async () => {
  const client = () =>
    database('directory.clients').insert({
      id: crypto.randomUUID(),
      name: 'one',
      agency_code: 'H41',
      permissions: [],
      secret_hash: Buffer.alloc(32),
    });
  await client();
  const failure = (work: PromiseLike<unknown>) => Promise.resolve(work).catch((error: unknown) => error);
  expect(brokenConstraint(await failure(client()))).toBe('clients_name_unique');
  expect(brokenConstraint(await failure(database.raw('select 1/0')))).toBeUndefined();
  expect(brokenConstraint(new Error('x'))).toBeUndefined();
});

test.each([
  [[]],
  [[Buffer.alloc(0)]],
  [[Buffer.from([0, 92, 34, 255]), Buffer.alloc(70_000, 44), Buffer.from('{NULL}')]],
])('octet strings arrive as an array: %#', async (octets: Buffer[]) => {
  const { rows } = await database.raw('select ?::bytea[] as sent, cardinality(?::bytea[]) as count', [
    byteaArray(octets),
    byteaArray(octets),
  ]);
  expect(rows).toEqual([{ sent: octets, count: octets.length }]);
});

test('a database that is not there is unavailable, soon, and the reason stays inside', async () => {
  const url = new URL(testDatabase.urlAs('directory'));
  url.port = '1';
  const absent = openDatabase({ url: url.href, name: 'test absent', poolSize: 1 });
  try {
    const began = Date.now();
    await expect(pingDatabase(absent)).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'database_unavailable',
      retryAfterSeconds: 5,
      detail: expect.not.stringContaining('ECONNREFUSED'),
    });
    expect(Date.now() - began).toBeLessThan(12_000);
  } finally {
    await absent.destroy();
  }
});

test('a transaction left open by a client is ended by the server', async () => {
  expect((await database.raw('show idle_in_transaction_session_timeout')).rows).toEqual([
    { idle_in_transaction_session_timeout: '30s' },
  ]);
  expect((await database.raw('show statement_timeout')).rows).toEqual([{ statement_timeout: '1min' }]);
});
