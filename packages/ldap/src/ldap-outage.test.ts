import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { testStack } from '@congvu/database/testing';
import { afterAll, afterEach, beforeEach, expect, test } from '@jest/globals';
import { distinguishedName, EqualityFilter, type Ldap, openLdap } from './index.ts';
import { openWire, type Wire } from './testing.ts';

const { url, baseDn, identities } = testStack().ldap;
const identity = identities.directory as { bindDn: string; password: string };
const people = `ou=people,${baseDn}`;

let proxy: Wire;
let ldap: Ldap;
const direct = openLdap({ url, ...identity });
beforeEach(async () => {
  proxy = await openWire(url);
  ldap = openLdap({ url: proxy.url, ...identity, timeoutMs: 1_000 });
});
afterEach(async () => {
  await ldap.close();
  await proxy.close().catch(() => undefined);
});
afterAll(() => direct.close());

const unavailable = { kind: 'unavailable', code: 'ldap_unavailable', retryAfterSeconds: 5 };
const filter = new EqualityFilter({ attribute: 'uid', value: 'x' });
const calls: [string, (one: Ldap) => Promise<unknown>][] = [
  ['ping', (one) => one.ping()],
  ['find', (one) => one.find(`uid=${randomUUID()},${people}`, ['cn'])],
  ['search', (one) => one.search(people, { scope: 'one', filter, attributes: ['cn'] })],
  ['findBy', (one) => one.findBy(people, 'uid', ['x'], ['cn'])],
  ['add', (one) => one.add(`uid=${randomUUID()},${people}`, { objectClass: ['inetOrgPerson'] })],
  ['modify', (one) => one.modify(`uid=x,${people}`, [{ attribute: 'sn', operation: 'replace', values: ['x'] }])],
  [
    'applyAll',
    (one) =>
      one.applyAll(
        ['x', 'y'].map((uid) => ({
          kind: 'modify',
          dn: `uid=${uid},${people}`,
          changes: [{ attribute: 'sn', operation: 'replace', values: ['x'] }],
        })),
      ),
  ],
  ['rename', (one) => one.rename(`uid=x,${people}`, `uid=y,${people}`)],
  ['remove', (one) => one.remove(`uid=${randomUUID()},${people}`)],
  ['setPassword', (one) => one.setPassword(`uid=x,${people}`, 'mật khẩu đủ dài')],
  ['verifyPassword', (one) => one.verifyPassword(`uid=x,${people}`, 'mật khẩu đủ dài')],
];

test.each(calls)('%s on a server that is down is unavailable, and never "nothing there"', async (_name, call) => {
  await proxy.close();
  await expect(call(ldap)).rejects.toMatchObject(unavailable);
});

test.each(calls)('%s cut in the middle is unavailable, and the next call works', async (_name, call) => {
  await ldap.ping();
  proxy.swallow = true;
  const pending = call(ldap);
  setTimeout(() => proxy.cut(), 200);
  await expect(pending).rejects.toMatchObject(unavailable);
  proxy.swallow = false;
  await sleep(50); // a password is verified on a connection of its own; the other has to notice too
  await ldap.ping();
});

test.each(calls)('%s on a server that hangs ends in time', async (_name, call) => {
  proxy.swallow = true;
  const began = Date.now();
  await expect(call(ldap)).rejects.toMatchObject(unavailable);
  expect(Date.now() - began).toBeLessThan(4_000);
  proxy.swallow = false;
  await ldap.ping();
});

test('of many calls at once on a cut connection each is told, and all work afterwards on one new connection', async () => {
  await ldap.ping();
  proxy.swallow = true;
  const pending = Promise.allSettled(Array.from({ length: 20 }, () => ldap.ping()));
  setTimeout(() => proxy.cut(), 200);
  for (const outcome of await pending) expect(outcome).toMatchObject({ status: 'rejected', reason: unavailable });
  proxy.swallow = false;
  proxy.connections = 0;
  await Promise.all(Array.from({ length: 20 }, () => ldap.ping()));
  expect(proxy.connections).toBe(1);
});

test('a connection that the server closed while nothing was asked is replaced without anybody noticing', async () => {
  // What only our identity may see: a connection that came back as nobody's would find nothing.
  const look = () => ldap.search(people, { scope: 'base', attributes: ['ou'] });
  const seen = await look();
  proxy.cut();
  await sleep(100);
  expect(await look()).toEqual(seen);
});

test('the server comes back: so do we', async () => {
  await ldap.ping();
  await proxy.close();
  await expect(ldap.ping()).rejects.toMatchObject(unavailable);
  await proxy.reopen();
  await ldap.ping();
});

test('an identity that the server does not know (yet) is unavailable, without its password, and is tried anew', async () => {
  const username = `t${randomBytes(6).toString('hex')}`;
  const bindDn = distinguishedName({ uid: username }, people);
  const password = 'một mật khẩu dài';
  const late = openLdap({ url, bindDn, password });
  try {
    const error = await late.ping().catch((thrown: Error) => thrown);
    expect(error).toMatchObject(unavailable);
    expect((error as Error).message).not.toContain(password);
    await direct.add(bindDn, {
      objectClass: ['inetOrgPerson', 'congvuAccount'],
      uid: [username],
      cn: ['x'],
      sn: ['x'],
      congvuAccountId: [randomUUID()],
      congvuAccountStatus: ['active'],
    });
    await direct.setPassword(bindDn, password);
    await late.ping();
  } finally {
    await late.close();
    await direct.remove(bindDn);
  }
});

test('closing is harmless before, during and after an outage', async () => {
  await ldap.close();
  await ldap.ping();
  await proxy.close();
  await ldap.close();
  await ldap.close();
});
