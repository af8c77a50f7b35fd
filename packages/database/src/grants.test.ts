import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Database } from './open.ts';
import { createTestDatabase, type TestDatabase } from './testing.ts';

type Role = 'directory' | 'mailbox' | 'certificate';
const roles: Role[] = ['directory', 'mailbox', 'certificate'];

let testDatabase: TestDatabase;
const as = {} as Record<Role, Database>;
beforeAll(async () => {
  testDatabase = await createTestDatabase();
  for (const role of roles) as[role] = testDatabase.as(role);
});
afterAll(() => testDatabase.drop());

const denied = '42501'; // insufficient_privilege
const sqlState = (role: Role, statement: string): Promise<string> =>
  as[role].raw(statement).then(
    () => 'done',
    (error: { code: string }) => error.code,
  );

describe.each(roles)('%s defines nothing', (role) => {
  test.each([
    `create table ${role}.mine (n int)`,
    'create table public.mine (n int)',
    'create schema mine',
    'create temporary table mine (n int)',
    `create function ${role}.mine() returns int language sql as 'select 1'`,
    `alter table ${role}.migrations add column n int`,
    `drop table ${role}.migrations`,
    `truncate ${role}.migrations`,
    `create table ${role}_jobs.mine (n int)`,
    'create extension dblink',
    'set role congvu_owner',
  ])('%s', async (statement) => {
    expect(await sqlState(role, statement)).toBe(denied);
  });
});

describe('what is on record stays', () => {
  test.each<[Role, string]>([
    ['directory', 'delete from directory.audit_events'],
    ['directory', "update directory.audit_events set action = 'x'"],
    ['directory', 'truncate directory.audit_events'],
    [
      'directory',
      "insert into directory.audit_events (service, actor_kind, actor_id, action, subject_type, subject_id) values ('certificate', 'system', 'x', 'x', 'x', 'x')",
    ],
    ['directory', 'delete from directory.usernames'],
    ['directory', "update directory.usernames set username = 'x'"],
    ['directory', 'delete from directory.accounts'],
    ['directory', 'delete from directory.position_holdings'],
    ['directory', 'delete from directory.service_accounts'],
    ['directory', "update directory.people set national_id_hash = ''"],
    ['directory', 'delete from directory.requests'],
    ['mailbox', 'delete from mailbox.mailboxes'],
    ['mailbox', 'delete from mailbox.notices'],
    ['certificate', 'delete from certificate.certificates'],
    ['certificate', 'insert into certificate.certificates (id) values (gen_random_uuid())'],
    ['certificate', "update certificate.certificates set certificate = ''"],
    ['certificate', 'delete from certificate.intents'],
    ['certificate', "update certificate.intents set tbs = ''"],
    ['certificate', 'delete from certificate.enrolments'],
    ['certificate', 'delete from certificate.enrolled_keys'],
    ['certificate', "update certificate.crls set changed = '{}'"],
    ...roles.map((role): [Role, string] => [role, `delete from ${role}.migrations`]),
  ])('%s: %s', async (role, statement) => {
    expect(await sqlState(role, statement)).toBe(denied);
  });
});

describe("nobody touches another's tables", () => {
  test('every table of every schema', async () => {
    const owner = testDatabase.as('owner');
    const { rows } = await owner.raw<{ rows: { schema: string; name: string }[] }>(
      `select schemaname as schema, tablename as name from pg_tables
       where schemaname in ('directory', 'mailbox', 'certificate', 'directory_jobs', 'mailbox_jobs', 'certificate_jobs')`,
    );
    expect(rows.length).toBeGreaterThan(20);
    const reached: string[] = [];
    for (const { schema, name } of rows) {
      for (const role of roles.filter((one) => !schema.startsWith(one))) {
        const state = await sqlState(role, `select 1 from ${schema}.${name}`);
        if (state !== denied) reached.push(`${role} reads ${schema}.${name}: ${state}`);
      }
    }
    expect(reached).toEqual([]);
  });

  test.each<[Role, string]>([
    ['certificate', 'select * from directory.decisions_v'],
    ['mailbox', 'select certificate.request_convergence(array[]::uuid[])'],
    ['certificate', 'select mailbox.request_convergence(array[]::uuid[])'],
    ['mailbox', "select directory_jobs.add_job('settle-requests', '{}')"],
    ['directory', "select mailbox_jobs.add_job('send-notice', '{}')"],
  ])('%s: %s', async (role, statement) => {
    expect(await sqlState(role, statement)).toBe(denied);
  });
});

describe('what was granted works', () => {
  test.each<[Role, string]>([
    ...roles.map((role): [Role, string] => [role, 'select count(*) from directory.accounts_v, directory.agencies_v']),
    ...roles.map((role): [Role, string] => [role, "select directory.agency_subtree('H41')"]),
    ['mailbox', 'select count(*) from directory.decisions_v'],
    ['directory', 'select mailbox.request_convergence(array[gen_random_uuid()])'],
    ['directory', 'select certificate.request_convergence(array[gen_random_uuid()])'],
    ['directory', 'select mailbox.request_decision_notice(gen_random_uuid())'],
    ...(['mailbox', 'certificate'] as const).map((role): [Role, string] => [
      role,
      'select directory.report_provisioned(array[gen_random_uuid()])',
    ]),
  ])('%s: %s', async (role, statement) => {
    expect(await sqlState(role, statement)).toBe('done');
  });

  test('an audit event names the service that is logged in, whatever it says of itself', async () => {
    for (const role of roles)
      await as[role].raw(
        "select directory.record_event('system', 'x', null, 'test.done', 'test', ?, null, null, null, null)",
        [role],
      );
    expect(
      await as
        .directory('directory.audit_events')
        .where({ action: 'test.done' })
        .orderBy('id')
        .select('service', 'subject_id'),
    ).toEqual(roles.map((role) => ({ service: role, subject_id: role })));
  });
});

test('a new function is callable by nobody until a migration says so', async () => {
  await testDatabase.as('owner').raw("create function directory.fresh() returns int language sql as 'select 1'");
  for (const role of roles) expect(await sqlState(role, 'select directory.fresh()')).toBe(denied);
});
