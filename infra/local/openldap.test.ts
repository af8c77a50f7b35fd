/** slapd beside clients that vanish, on one of its own: what it survives, that it comes back, and that nothing is lost or doubled. */
import { randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ServiceError } from '@congvu/errors';
import { isAlreadyThere, type Ldap, type Operation, openLdap } from '@congvu/ldap';
import { openWire } from '@congvu/ldap/testing';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type OpenLdap, startOpenLdap } from './openldap.ts';
import { run } from './process.ts';
import { openState, type State } from './state.ts';

let port: number;
const baseDn = 'dc=nghean,dc=gov,dc=vn';
const people = `ou=people,${baseDn}`;
const home = mkdtempSync(join(tmpdir(), 'congvu-openldap-'));
chmodSync(home, 0o755);
let state: State;
let server: OpenLdap;
let direct: Ldap;

beforeAll(async () => {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  port = (probe.address() as AddressInfo).port;
  probe.close();
  await once(probe, 'close');
  state = openState(join(home, '.congvu/openldap'));
  server = await startOpenLdap({ state, port, baseDn, domain: 'nghean.gov.vn', log: () => undefined });
  direct = openLdap({ url: server.url, ...identity() });
});
afterAll(async () => {
  await direct?.close();
  await server?.stop();
  state?.close();
  rmSync(home, { recursive: true, force: true });
});

const identity = () => {
  const { dn, password } = server.credentials('directory');
  return { bindDn: dn, password };
};
const addition = (uid = `t${randomBytes(6).toString('hex')}`): Operation => ({
  kind: 'add',
  dn: `uid=${uid},${people}`,
  attributes: {
    objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'],
    uid: [uid],
    congvuAccountId: [randomUUID()],
    cn: ['Huỳnh Thanh Điền'],
    sn: ['Huỳnh'],
    congvuAccountStatus: ['active'],
  },
});
const crowdOf = (count: number): Operation[] => Array.from({ length: count }, () => addition());
const all = () => direct.search(people, { scope: 'one', attributes: ['uid', 'congvuAccountId'] });

async function untilItAnswers(): Promise<void> {
  for (const deadline = Date.now() + 15_000; ; await sleep(100)) {
    const answered = await direct.ping().then(
      () => true,
      () => false,
    );
    if (answered) return;
    if (Date.now() > deadline) throw new Error('slapd does not come back');
  }
}

test('killed, it comes back by itself with all that was committed', async () => {
  const [one] = crowdOf(1);
  await direct.applyAll([one as Operation]);
  await server.kill();
  await untilItAnswers();
  expect(await direct.find((one as Operation).dn, ['uid'])).toBeDefined();
});

test('a client that vanishes in the middle leaves all of a transaction or none, and asks again', async () => {
  const expected = (await all()).length;
  let restarts = 0;
  const rounds = 12;
  for (let round = 0; round < rounds; round += 1) {
    await untilItAnswers();
    const { pid } = server;
    const wire = await openWire(server.url);
    const ldap = openLdap({ url: wire.url, ...identity() });
    await ldap.ping();
    const crowd = crowdOf(300);
    const cutting = sleep(15 + round * 12).then(() => wire.cut());
    const outcome = await ldap.applyAll(crowd).catch((error: unknown) => error);
    await cutting;
    if (!Array.isArray(outcome)) expect(outcome).toMatchObject({ kind: 'unavailable' } satisfies Partial<ServiceError>);
    await ldap.close();
    await wire.close();
    await sleep(300);
    await untilItAnswers();
    if (server.pid !== pid) restarts += 1;

    const before = (await all()).length - expected - round * 300;
    expect([0, 300]).toContain(before);
    const again = await direct.applyAll(crowd);
    expect(again.map((error) => error && isAlreadyThere(error))).toEqual(
      crowd.map(() => (before === 300 ? true : undefined)),
    );
  }
  process.stderr.write(`    ${rounds} clients vanished, slapd was started again ${restarts} times\n`);
  const entries = await all();
  expect(entries).toHaveLength(expected + rounds * 300);
  const ids = new Set(entries.map(({ attributes }) => String(attributes.congvuAccountId?.[0])));
  expect(ids.size).toBe(entries.length);
}, 180_000);

test('single changes of what has to be unique, beside transactions, never bring it to a standstill', async () => {
  const { pid } = server;
  let done = false;
  const singles = (async () => {
    for (let count = 0; ; count += 1) {
      if (done && count > 200) return;
      const { dn, attributes } = addition() as Extract<Operation, { kind: 'add' }>;
      expect(await direct.add(dn, attributes)).toBe(true);
    }
  })();
  for (let round = 0; round < 8; round += 1) {
    const outcomes = await Promise.all([direct.applyAll(crowdOf(500)), direct.applyAll(crowdOf(100))]);
    expect(outcomes.flat().filter((error) => error)).toEqual([]);
  }
  done = true;
  await singles;
  expect(server.pid).toBe(pid);
}, 120_000);

test('a tree that an older version made gets the nodes that it lacks, before slapd starts; what is there stays', async () => {
  const [one] = crowdOf(1) as [Operation];
  await direct.applyAll([one]);
  await server.stop();
  const account = state.account('openldap');
  const config = join(state.directory, 'openldap/slapd.conf');
  const data = join(state.directory, 'openldap/data');
  const missing = ['ou=domains', 'ou=mailboxes', 'cn=systems,ou=policies'].map((rdn) => `dn: ${rdn},${baseDn}\n`);
  const now = await run('/usr/sbin/slapcat', ['-f', config, '-n', '1', '-o', 'ldif-wrap=no'], { account });
  const older = now.split('\n\n').filter((entry) => !missing.some((dn) => `${entry}\n`.startsWith(dn)));
  expect(now.split('\n\n').length - older.length).toBe(missing.length);
  rmSync(data, { recursive: true });
  mkdirSync(data, { mode: 0o700 });
  state.makeDirectory('openldap/data', account);
  const file = state.writeFile('openldap/older.ldif', older.join('\n\n'), account);
  await run('/usr/sbin/slapadd', ['-q', '-f', config, '-l', file], { account });
  state.writeFile('openldap/tree-loaded', '');

  server = await startOpenLdap({ state, port, baseDn, domain: 'nghean.gov.vn', log: () => undefined });
  expect(await direct.find(one.dn, ['uid'])).toBeDefined();
  expect(await direct.search(`ou=domains,${baseDn}`, { scope: 'base', attributes: ['ou'] })).toMatchObject([
    { attributes: { ou: ['domains'] } },
  ]);
  await server.stop();
  const after = await run('/usr/sbin/slapcat', ['-f', config, '-n', '1', '-o', 'ldif-wrap=no'], { account });
  for (const dn of missing) expect(after).toContain(dn);
  expect(after.split('\n\n')).toHaveLength(now.split('\n\n').length);
  server = await startOpenLdap({ state, port, baseDn, domain: 'nghean.gov.vn', log: () => undefined });
});

test('closing lets what was begun end', async () => {
  const { pid } = server;
  const ldap = openLdap({ url: server.url, ...identity() });
  const crowd = crowdOf(500);
  const pending = ldap.applyAll(crowd);
  await sleep(60);
  await ldap.close();
  expect((await pending).filter((error) => error)).toEqual([]);
  await direct.ping();
  expect(server.pid).toBe(pid);
});

test('a server that does not name transactions gets the same changes one by one', async () => {
  const line = 'access to dn.base="" attrs=supportedExtension by * none';
  const file = join(state.directory, 'openldap/slapd.conf');
  const config = readFileSync(file, 'utf8');
  const place = 'access to dn.base="" by * read';
  state.writeFile('openldap/slapd.conf', config.replace(place, `${line}\n${place}`), state.account('openldap'));
  await server.restart();
  try {
    const wire = await openWire(server.url);
    const ldap = openLdap({ url: wire.url, ...identity() });
    const crowd = crowdOf(120);
    crowd[50] = crowd[10] as Operation;
    const outcomes = await ldap.applyAll(crowd);
    expect(outcomes.flatMap((error, index) => (error ? [[index, isAlreadyThere(error)]] : []))).toEqual([[50, true]]);
    expect(wire.sent).not.toContain('1.3.6.1.1.21');
    await ldap.close();
    await wire.close();
  } finally {
    state.writeFile('openldap/slapd.conf', config, state.account('openldap'));
    await server.restart();
  }
});
