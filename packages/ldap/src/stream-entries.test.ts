/** All entries, each once and as the server has it, or an error: never an end that is none. */
import { randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { testStack } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Attributes, distinguishedName, EqualityFilter, type Ldap, NoSuchObjectError, openLdap } from './index.ts';

const { url, baseDn, identities } = testStack().ldap;
const as = (name: string, at = url) =>
  openLdap({ url: at, ...(identities[name] as { bindDn: string; password: string }) });
const people = `ou=people,${baseDn}`;
const word = `s${randomBytes(5).toString('hex')}`;
const filter = new EqualityFilter({ attribute: 'sn', value: word });
/** More than a reader may be given, and some hundreds of kilobytes. */
const count = 600;
const dnOf = (index: number) => distinguishedName({ uid: `${word}.${index}` }, people);
const certificate = new X509Certificate(readFileSync(String(testStack().certificateFile))).raw;
const names = ['uid', 'cn', 'title', 'description', 'congvuAccountId', 'userCertificate;binary'];

let directory: Ldap;
const ids = Array.from({ length: count }, () => randomUUID());

beforeAll(async () => {
  directory = as('directory');
  await directory.applyAll(
    ids.map((id, index) => ({
      kind: 'add',
      dn: dnOf(index),
      attributes: {
        objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'],
        uid: [`${word}.${index}`],
        cn: [`Nguyễn Văn Ánh ${index}`, `Ánh ${index}`],
        description: ['x'.repeat(400 + index)],
        sn: [word],
        congvuAccountId: [id],
      },
    })),
  );
  const other = as('certificate');
  await other.modify(dnOf(7), [{ attribute: 'userCertificate;binary', operation: 'add', values: [certificate] }]);
  await other.close();
});
afterAll(async () => {
  for (let start = 0; start < count; start += 50)
    await Promise.all(ids.slice(start, start + 50).map((_, index) => directory.remove(dnOf(start + index))));
  await directory.close();
});

async function all(ldap = directory, base = people): Promise<Map<string, Attributes>> {
  const entries = new Map<string, Attributes>();
  for await (const batch of ldap.stream(base, { scope: 'one', filter, attributes: names })) {
    for (const { dn, attributes } of batch) {
      expect(entries.has(dn)).toBe(false);
      entries.set(dn, attributes);
    }
  }
  return entries;
}

describe('a stream', () => {
  test('gives what a search gives, in batches of about the size asked for', async () => {
    const found = await directory.search(people, { scope: 'one', filter, attributes: names });
    expect(found).toHaveLength(count);
    expect(await all()).toEqual(new Map(found.map(({ dn, attributes }) => [dn, withoutEmpty(attributes)])));
    expect((await all()).get(dnOf(7))).toMatchObject({ 'userCertificate;binary': [certificate] });
    const sizes: number[] = [];
    for await (const batch of directory.stream(people, { scope: 'one', filter, attributes: names, batchSize: 100 }))
      sizes.push(batch.length);
    expect(sizes.length).toBeGreaterThan(1);
  });

  test('that nobody goes on taking ends its connection', async () => {
    const proxy = await openProxy();
    const through = as('directory', proxy.url);
    for await (const _ of through.stream(people, { scope: 'one', filter, attributes: names, batchSize: 10 })) break;
    await proxy.ended;
    await proxy.close();
  });

  test('through which octets come one by one is the same', async () => {
    const proxy = await openProxy({ pieces: 977 });
    expect((await all(as('directory', proxy.url))).size).toBe(count);
    await proxy.close();
  });
});

const withoutEmpty = (attributes: Attributes): Attributes =>
  Object.fromEntries(Object.entries(attributes).filter(([, values]) => values.length > 0));

describe('is an error, and no end:', () => {
  const unavailable = { kind: 'unavailable', code: 'ldap_unavailable' };

  test('nobody listens', () => expect(all(as('directory', 'ldap://127.0.0.1:1'))).rejects.toMatchObject(unavailable));

  test('a password that is wrong', () =>
    expect(
      all(openLdap({ url, bindDn: String(identities.directory?.bindDn), password: 'wrong' })),
    ).rejects.toMatchObject(unavailable));

  test('a base that is not there', () =>
    expect(all(directory, `ou=nowhere,${baseDn}`)).rejects.toThrow(NoSuchObjectError));

  test("a server's limit on the size of the answer", () =>
    expect(all(as('reader'))).rejects.toMatchObject(unavailable));

  test.each([1_000, 70_000, 200_000])('a connection that ends after %i octets', async (octets) => {
    const proxy = await openProxy({ cutAfter: octets });
    await expect(all(as('directory', proxy.url))).rejects.toMatchObject(unavailable);
    await proxy.close();
  });
});

/** A wire to the real server, cut after so many octets, or carrying them in small pieces. */
async function openProxy(options: { cutAfter?: number; pieces?: number } = {}) {
  const target = new URL(url);
  const sockets = new Set<Socket>();
  const ended = Promise.withResolvers<void>();
  const server = createServer((inner) => {
    const outer = connect(Number(target.port), target.hostname);
    let passed = 0;
    for (const socket of [inner, outer]) sockets.add(socket.on('error', () => undefined));
    inner
      .on('data', (data) => outer.write(data))
      .on('close', () => {
        outer.destroy();
        ended.resolve();
      });
    outer
      .on('data', (data: Buffer) => {
        const room = (options.cutAfter ?? Number.POSITIVE_INFINITY) - passed;
        passed += data.length;
        const part = data.subarray(0, Math.min(room, data.length));
        for (let start = 0; start < part.length; start += options.pieces ?? part.length)
          inner.write(part.subarray(start, start + (options.pieces ?? part.length)));
        if (passed >= (options.cutAfter ?? Number.POSITIVE_INFINITY)) inner.end(() => outer.destroy());
      })
      .on('close', () => inner.destroy());
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `ldap://127.0.0.1:${(server.address() as AddressInfo).port}`,
    ended: ended.promise,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

describe('in a thread of its own', () => {
  const map = new URL('./testing-stream.ts', import.meta.url);
  const options = { scope: 'one', attributes: ['uid'], batchSize: 20 } as const;

  test('hands over what the module makes of each batch, all of it, however slowly it is taken', async () => {
    const names: string[] = [];
    for await (const batch of directory.streamMapped<string>(people, map, options)) {
      names.push(...batch);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const ours = names.filter((name) => name.startsWith(word));
    expect(ours.sort()).toEqual(ids.map((_, index) => `${word}.${index}`).sort());
  });

  test('fails as the stream does, and ends with its taker', async () => {
    const read = async (stream: AsyncIterable<unknown>) => {
      for await (const _ of stream);
    };
    await expect(read(directory.streamMapped(`ou=nobody,${baseDn}`, map, options))).rejects.toThrow(NoSuchObjectError);
    const nowhere = as('directory', 'ldap://127.0.0.1:1');
    await expect(read(nowhere.streamMapped(people, map, options))).rejects.toMatchObject({ code: 'ldap_unavailable' });
    await expect(read(directory.streamMapped(people, new URL('file:///no/such.ts'), options))).rejects.toThrow(/such/);
    for await (const batch of directory.streamMapped<string>(people, map, options)) {
      expect(batch.length).toBeGreaterThan(0);
      break;
    }
  });
});
