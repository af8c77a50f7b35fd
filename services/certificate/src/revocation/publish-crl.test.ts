import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { TestAccount } from '@congvu/database/testing';
import { changeAccount } from '@congvu/database/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { type Authorities, authoritiesOf, crlNameOf } from '../authorities/authorities.ts';
import { toPem } from '../authority/certificate.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { lockAuthority } from './crl-store.ts';
import { readCrl } from './held-crl.ts';
import { type CrlDependencies, publishCrl, publishCrls } from './publish-crl.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
const forget = async (...tables: string[]) => {
  for (const table of tables) await service.owner(`certificate.${table}`).delete();
};
beforeEach(() => forget('crls', 'published_crls', 'crl_chunks', 'crl_changes'));
afterAll(() => service.stop());

const publish = (changes: Partial<CrlDependencies> = {}, partition = 0) =>
  publishCrl({ ...service, ...changes }, service.authority.id, partition);
const hours = (count: number) => new Date(Date.now() + count * 3_600_000);
/** Once more, though nothing changed. */
const publishLater = () => publish({ now: () => hours(4) });
const history = () => service.owner('certificate.crls').orderBy('crl_number').select('*');
const newest = async (partition = 0) => {
  const found = await readCrl(service.database, { authorityId: service.authority.id, partition });
  if (!found) throw new Error('there is no list');
  return found;
};
const inLdap = async (partition = 0) => {
  const dn = distinguishedName(
    { cn: crlNameOf(service.authority.name, partition) },
    `ou=authorities,${service.baseDn}`,
  );
  const attributes = ['certificateRevocationList;binary', 'deltaRevocationList;binary', 'cACertificate;binary'];
  const found = (await service.ldap.find(dn, attributes))?.attributes ?? {};
  return Object.fromEntries(Object.entries(found).filter(([, values]) => values.length > 0));
};
/** What OpenSSL reads in a list, its signature verified. */
function saidOf(name: string, crl: Buffer): string {
  service.judge.write(`${name}.crl`, toPem('X509 CRL', crl));
  service.judge.run('crl', '-in', `${name}.crl`, '-CAfile', 'authorities/issuing.crt.pem', '-noout');
  service.judge.run('crl', '-in', `${name}.crl`, '-noout', '-text', '-out', `${name}.txt`);
  return readFileSync(join(service.judge.directory, `${name}.txt`), 'utf8');
}
const said = async (partition = 0) => saidOf('newest', (await newest(partition)).crl);
const saidInDelta = async () => saidOf('delta', (await newest()).delta!);
async function issued(): Promise<{ account: TestAccount; serialNumber: Buffer; certificate: Buffer }> {
  const account = await service.account();
  await service.converge(account);
  const [row] = await service.certificates(account);
  return { account, serialNumber: row!.serial_number, certificate: row!.certificate! };
}
async function revoked(reason: Parameters<TestCertificates['revoke']>[1] = 'unspecified') {
  const one = await issued();
  await service.revoke(one.serialNumber, reason);
  return one;
}
async function suspend(account: TestAccount, state: 'suspended' | 'active') {
  await changeAccount(service.owner, account.id, { state });
  await service.converge(account);
}
const spoken = (serialNumber: Buffer) => `Serial Number: ${serialNumber.toString('hex').toUpperCase()}`;
const entryIn = (text: string, serialNumber: Buffer) =>
  text.slice(text.indexOf(spoken(serialNumber))).split('Serial Number')[1] ?? '';
const endsAt = (serialNumber: Buffer, notAfter: Date) =>
  service.owner('certificate.certificates').where({ serial_number: serialNumber }).update({ not_after: notAfter });

describe('a list', () => {
  test('the first one: number 1, empty, signed, in LDAP beside the certificate', async () => {
    await publishCrls(service);
    const text = await said();
    for (const part of [
      'X509v3 CRL Number: \n                1',
      'No Revoked Certificates',
      'X509v3 Authority Key Identifier',
    ])
      expect(text).toContain(part);
    for (const part of ['Issuing Distribution Point', 'Freshest']) expect(text).not.toContain(part);
    const { crl, thisUpdate, nextUpdate } = await newest();
    expect(nextUpdate.getTime() - thisUpdate.getTime()).toBe(48 * 3_600_000);
    expect(nextUpdate.getTime()).toBeGreaterThan(hours(47).getTime());
    expect(await inLdap()).toEqual({
      'certificateRevocationList;binary': [crl],
      'cACertificate;binary': [service.authority.issuer.certificate.der],
    });
    const root = await service.ldap.find(`cn=root,ou=authorities,${service.baseDn}`, ['cACertificate;binary']);
    expect(root?.attributes['cACertificate;binary']).toHaveLength(1);
  });

  test('every certificate that is revoked, with its reason; OpenSSL refuses it then', async () => {
    const reasons = {
      unspecified: undefined,
      keyCompromise: 'Key Compromise',
      affiliationChanged: 'Affiliation Changed',
      superseded: 'Superseded',
      cessationOfOperation: 'Cessation Of Operation',
      privilegeWithdrawn: 'Privilege Withdrawn',
    } as const;
    const good = await issued();
    const all = new Map<string, Awaited<ReturnType<typeof revoked>>>();
    for (const reason of Object.keys(reasons) as (keyof typeof reasons)[]) all.set(reason, await revoked(reason));
    await publish();
    const text = await said();
    expect((await history()).at(-1)).toMatchObject({ entry_count: 6 });
    for (const [reason, { serialNumber }] of all) {
      const entry = entryIn(text, serialNumber);
      const name = reasons[reason as keyof typeof reasons];
      if (name) expect(entry).toContain(name);
      else expect(entry).not.toContain('Reason Code');
    }
    const options = ['-crl_check', '-CRLfile', 'newest.crl'];
    expect(service.verify(good.certificate, ...options)).toContain('OK');
    expect(() => service.verify(all.get('superseded')!.certificate, ...options)).toThrow(/certificate revoked/);
  });

  test('a hold is on it, and gone from the next after its release', async () => {
    const { account, serialNumber } = await issued();
    await suspend(account, 'suspended');
    await publish();
    expect(entryIn(await said(), serialNumber)).toContain('Certificate Hold');
    await suspend(account, 'active');
    await publish();
    expect(await said()).not.toContain(spoken(serialNumber));
  });

  test('one that has expired is on one list more, and then no longer (RFC 5280 section 3.3)', async () => {
    const { serialNumber } = await revoked();
    const other = await revoked();
    await endsAt(serialNumber, hours(1));
    await publish();
    await publish({ now: () => hours(4) });
    expect(await said()).toContain(spoken(serialNumber));
    await publish({ now: () => hours(8) });
    expect(await said()).not.toContain(spoken(serialNumber));
    expect(await said()).toContain(spoken(other.serialNumber));
  });

  test('whoever changes what is revoked: the next list says it', async () => {
    const [one, other] = [await issued(), await issued()];
    await publish();
    for (const { serialNumber } of [one, other])
      await service
        .owner('certificate.certificates')
        .where({ serial_number: serialNumber })
        .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'certificateHold' });
    await publish();
    await service
      .owner('certificate.certificates')
      .where({ serial_number: one.serialNumber })
      .update({ revocation_reason: 'keyCompromise' });
    await publish();
    expect(entryIn(await said(), one.serialNumber)).toContain('Key Compromise');
    expect(entryIn(await said(), other.serialNumber)).toContain('Certificate Hold');
  });

  test('a change whose transaction is under way waits for the next list', async () => {
    const { serialNumber } = await issued();
    await publish();
    const open = await service.owner.transaction();
    await open('certificate.certificates')
      .where({ serial_number: serialNumber })
      .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' });
    await revoked();
    await publish();
    await open.commit();
    expect(await said()).not.toContain(spoken(serialNumber));
    await publish();
    expect(await said()).toContain(spoken(serialNumber));
  });
});

describe('a delta', () => {
  const verify = (certificate: Buffer, ...files: string[]) =>
    service.verify(
      certificate,
      ...['-crl_check', '-extended_crl', '-use_deltas'],
      ...files.flatMap((file) => ['-CRLfile', file]),
    );

  test('tells whoever has an older list what changed since; OpenSSL believes both together', async () => {
    const [early, good, late] = [await revoked(), await issued(), await issued()];
    const held = await issued();
    await suspend(held.account, 'suspended');
    await publish({ now: () => hours(-8) });
    await publish({ now: () => hours(-4) });
    saidOf('base', (await newest()).crl);
    await service.revoke(late.serialNumber, 'keyCompromise');
    await suspend(held.account, 'active');
    await publish();

    const text = await saidInDelta();
    expect(text).toMatch(/Delta CRL Indicator: critical\s+1\n/);
    expect(text).toMatch(/CRL Number: \s+3\n/);
    expect(text).not.toContain(spoken(early.serialNumber));
    expect(entryIn(text, late.serialNumber)).toContain('Key Compromise');
    expect(entryIn(text, held.serialNumber)).toContain('Remove From CRL');
    expect(await said()).toContain(`URI:http://pki.example.vn/crl/${service.authority.name}-delta.crl`);

    expect(service.verify(late.certificate, '-crl_check', '-CRLfile', 'base.crl')).toContain('OK');
    expect(() => verify(late.certificate, 'base.crl', 'delta.crl')).toThrow(/certificate revoked/);
    expect(() => verify(early.certificate, 'base.crl', 'delta.crl')).toThrow(/certificate revoked/);
    expect(verify(held.certificate, 'base.crl', 'delta.crl')).toContain('OK');
    expect(verify(good.certificate, 'base.crl', 'delta.crl')).toContain('OK');
  });

  test('lives shorter than its list, and lies in LDAP and beside it', async () => {
    await publish();
    expect((await inLdap())['deltaRevocationList;binary']).toBeUndefined();
    const url = `/crl/${service.authority.name}-delta.crl`;
    expect((await supertest(service.app).get(url)).status).toBe(404);
    await publishLater();
    const { delta, deltaNextUpdate, thisUpdate } = await newest();
    expect(deltaNextUpdate!.getTime() - thisUpdate.getTime()).toBe(6 * 3_600_000);
    expect(await saidInDelta()).toContain('No Revoked Certificates');
    expect((await inLdap())['deltaRevocationList;binary']).toEqual([delta]);
    const answer = await supertest(service.app).get(url).buffer(true).parse(octets);
    expect([answer.status, answer.body]).toEqual([200, delta]);
  });

  test('builds on the oldest list that is still in date, and forgets those before it', async () => {
    await publish();
    const { serialNumber } = await revoked();
    await publish({ now: () => hours(20) });
    await publish({ now: () => hours(40) });
    expect(await saidInDelta()).toMatch(/Delta CRL Indicator: critical\s+1\n/);
    expect(await saidInDelta()).toContain(spoken(serialNumber));
    await publish({ now: () => hours(49) });
    expect(await saidInDelta()).toMatch(/Delta CRL Indicator: critical\s+2\n/);
    expect(await saidInDelta()).not.toContain(spoken(serialNumber));
    expect((await history()).map((row) => row.crl_number)).toEqual(['2', '3', '4']);
  });

  test('there is none where too much changed; the next builds on that list', async () => {
    await publish();
    await service.owner.raw(
      `insert into certificate.crl_changes select ?, 0, decode(lpad(to_hex(n), 32, '4'), 'hex') from generate_series(1, 5001) n`,
      [service.authority.id],
    );
    await publish();
    expect((await newest()).delta).toBeNull();
    expect(await said()).not.toContain('Freshest');
    await publishLater();
    expect(await saidInDelta()).toMatch(/Delta CRL Indicator: critical\s+2\n/);
  });
});

describe('partitions', () => {
  /** The same authority, its certificates spread over so many lists. */
  const spread = (crlPartitions: number): Authorities => {
    const { root, all, profiles } = service.authorities;
    return authoritiesOf(
      root,
      all.map((one) => (one.id === service.authority.id ? { ...one, crlPartitions } : one)),
      profiles,
    );
  };
  /** As if it had been issued there. */
  const moved = async (partition: number) => {
    const [one, authorities] = [await issued(), spread(3)];
    const account = await service.account();
    for (let tries = 0; tries < 200; tries++) {
      const other = tries === 0 ? account : await service.account();
      await service.converge(other, { authorities });
      const [row] = await service.certificates(other);
      if ((row as unknown as { crl_partition: number }).crl_partition === partition)
        return { ...one, account: other, serialNumber: row!.serial_number, certificate: row!.certificate! };
    }
    throw new Error(`nothing was issued in partition ${partition}`);
  };

  test('each list has its own certificates, its number and its place; OpenSSL goes by the place', async () => {
    const authorities = spread(3);
    const [first, second, good] = [await revoked(), await moved(1), await moved(1)];
    await service.revoke(second.serialNumber, 'superseded');
    await publishCrls({ ...service, authorities });
    const text = await said(1);
    expect(text).toMatch(
      new RegExp(
        `Issuing Distribution Point: critical\\s+Full Name:\\s+URI:http://pki.example.vn/crl/${service.authority.name}-1.crl`,
      ),
    );
    expect(text).toContain(spoken(second.serialNumber));
    expect(text).not.toContain(spoken(first.serialNumber));
    saidOf('p1', (await newest(1)).crl);
    const other = saidOf('p0', (await newest(0)).crl);
    expect(other).toContain(spoken(first.serialNumber));
    expect(other).not.toContain(spoken(second.serialNumber));
    expect(await said(2)).toContain('No Revoked Certificates');

    const options = (list: string) => ['-crl_check', '-extended_crl', '-CRLfile', list];
    expect(() => service.verify(second.certificate, ...options('p1.crl'))).toThrow(/certificate revoked/);
    expect(service.verify(good.certificate, ...options('p1.crl'))).toContain('OK');
    // The list of another partition says nothing of it, and does not pretend to.
    expect(() => service.verify(good.certificate, ...options('p0.crl'))).toThrow(
      /unable to get certificate CRL|Different CRL scope/i,
    );

    expect(await inLdap(1)).toEqual({ 'certificateRevocationList;binary': [(await newest(1)).crl] });
    const answer = await supertest(service.app).get(`/crl/${service.authority.name}-1.crl`).buffer(true).parse(octets);
    expect(answer.body).toEqual((await newest(1)).crl);
    for (const partition of [1, 2])
      await service.ldap.remove(`cn=${service.authority.name}-${partition},ou=authorities,${service.baseDn}`);
  });

  test('fewer partitions than before: those that were are kept up', async () => {
    const one = await moved(2);
    await publishCrls({ ...service, authorities: spread(3) });
    await service.revoke(one.serialNumber);
    await publishCrls(service);
    expect(await said(2)).toContain(spoken(one.serialNumber));
    expect(await said(0)).toContain('Issuing Distribution Point');
    for (const partition of [1, 2])
      await service.ldap.remove(`cn=${service.authority.name}-${partition},ou=authorities,${service.baseDn}`);
  });
});

describe('what a list costs', () => {
  const chunks = () =>
    service.owner('certificate.crl_chunks').orderBy('first_serial').select('id', 'entry_count', 'first_serial');
  /** Rows alone: their certificates are nobody's. */
  const fill = (count: number) =>
    service.owner.raw(
      `with made as (
         insert into certificate.enrolments (account_id, profile, path, state)
         select gen_random_uuid(), 'person-signature', 'csr', 'revoked' from generate_series(1, ?) returning id, account_id)
       insert into certificate.certificates (authority_id, serial_number, enrolment_id, account_id, agency_id, address, profile, key_kind,
         state, certificate, not_before, not_after, revoked_at, revocation_reason)
       select ?, set_byte(uuid_send(gen_random_uuid()), 0, 64), id, account_id, account_id, 'x@y', 'person-signature', 'ec-p256', 'revoked',
         '\\x30', now(), now() + interval '1 year', now(), 'superseded' from made`,
      [count, service.authority.id],
    );
  afterEach(async () => {
    await service.owner.raw("delete from certificate.certificates where address = 'x@y'");
  });

  test('one more revocation encodes one chunk anew, and nothing else is touched', async () => {
    await fill(5_000);
    await publish();
    const before = await chunks();
    expect(before.length).toBeGreaterThan(4);
    expect(before.reduce((sum, one) => sum + one.entry_count, 0)).toBeGreaterThanOrEqual(5_000);
    const { serialNumber } = await revoked('keyCompromise');
    await publish();
    const after = await chunks();
    const anew = after.filter(({ id }) => !before.some((one) => one.id === id));
    expect(anew.length).toBeLessThanOrEqual(2); // two when it was full
    expect(after.length - anew.length).toBe(before.length - 1);
    expect(entryIn(await said(), serialNumber)).toContain('Key Compromise');
    expect((await history()).at(-1).entry_count).toBe(after.reduce((sum, one) => sum + one.entry_count, 0));
  });

  test('the list is the same as one made from nothing, whatever came and went before', async () => {
    const held = await issued();
    await fill(3_000);
    await publish();
    for (let round = 0; round < 3; round++) {
      await fill(700);
      await suspend(held.account, round % 2 === 0 ? 'suspended' : 'active');
      await publish();
    }
    await service.owner.raw(
      `update certificate.certificates set state = 'valid', revoked_at = null, revocation_reason = null where id in
         (select id from certificate.certificates where address = 'x@y' order by serial_number limit 1500)`,
    );
    await publish();
    const serials = (text: string) => text.match(/Serial Number: [0-9A-F]+/g);
    const [incremental, sizes] = [await said(), await chunks()];
    expect(sizes.every(({ entry_count }) => entry_count <= 1024)).toBe(true);
    await forget('crl_chunks');
    await service.owner.raw(
      "insert into certificate.crl_changes select authority_id, 0, serial_number from certificate.certificates where state = 'revoked'",
    );
    await publish();
    expect(serials(incremental)).toEqual(serials(await said()));
    expect(new Set(serials(incremental)).size).toBe(serials(incremental)!.length);
  });

  test('rolled back or killed before the commit: the changes still wait', async () => {
    const { serialNumber } = await revoked();
    const authorities = service.signingWith(async () => {
      throw new Error('no token');
    });
    await expect(publish({ authorities })).rejects.toThrow('no token');
    expect(await history()).toEqual([]);
    await publish();
    expect(await said()).toContain(spoken(serialNumber));
    expect((await newest()).crlNumber).toBe(1n);
  });
});

describe('when', () => {
  test('numbers only grow, also when many are made at once', async () => {
    await Promise.all([1, 2, 3, 4].map((n) => publish({ now: () => hours(4 * n) })));
    for (let n = 5; n < 9; n++) await publish({ now: () => hours(4 * n) });
    const numbers = (await history()).map((crl) => Number(crl.crl_number));
    expect(numbers).toEqual(numbers.map((_, index) => index + 1));
    expect(numbers.length).toBeGreaterThanOrEqual(5);
    expect((await inLdap())['certificateRevocationList;binary']).toEqual([(await newest()).crl]);
  });

  test('without a cause a new one comes when the delta has lived half its time', async () => {
    await publish();
    await publish();
    await publish({ now: () => hours(2.9) });
    expect((await newest()).crlNumber).toBe(1n);
    await publish({ now: () => hours(3.1) });
    const { crlNumber, nextUpdate } = await newest();
    expect(crlNumber).toBe(2n);
    expect(nextUpdate.getTime()).toBeGreaterThan(hours(50).getTime());
  });

  test('after months of rest the next is not born old', async () => {
    await publish();
    await publish({ now: () => hours(5_000) });
    expect((await newest()).thisUpdate.getTime()).toBeGreaterThan(hours(4_999).getTime());
  });

  test('a clock that jumps back makes no list that is older than the last', async () => {
    await publish({ now: () => hours(5) });
    const { thisUpdate } = await newest();
    const { serialNumber } = await revoked();
    await publish();
    const now = await newest();
    expect([now.crlNumber, now.thisUpdate]).toEqual([2n, thisUpdate]);
    expect(now.nextUpdate.getTime() - thisUpdate.getTime()).toBe(48 * 3_600_000);
    expect(await said()).toContain(spoken(serialNumber));
  });

  test('nothing is said to be revoked later than the list was made, though the clocks disagree', async () => {
    await publish({ now: () => hours(-3) });
    const { serialNumber } = await revoked();
    await publish({ now: () => hours(-2) });
    const { thisUpdate } = await newest();
    const said = (date: Date) => date.toISOString().slice(11, 19);
    for (const text of [saidOf('newest', (await newest()).crl), await saidInDelta()])
      expect(entryIn(text, serialNumber)).toContain(`${said(thisUpdate)} ${thisUpdate.getUTCFullYear()} GMT`);
  });

  test('LDAP down: the list is on record and over HTTP; the next run puts it into LDAP, without another number', async () => {
    const down = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(publish({ ldap: down })).rejects.toMatchObject({ kind: 'unavailable' });
    const { crl } = await newest();
    expect((await supertest(service.app).get(`/crl/${service.authority.name}.crl`)).status).toBe(200);
    await publish();
    expect(await history()).toHaveLength(1);
    expect((await inLdap())['certificateRevocationList;binary']).toEqual([crl]);
  });

  test('a slow publisher never leaves an older list in LDAP', async () => {
    await publish();
    let overtaken = false;
    const slow: Ldap = {
      ...service.ldap,
      modify: async (...parameters) => {
        if (!overtaken) {
          overtaken = true;
          await publish({ now: () => hours(8) });
        }
        return service.ldap.modify(...parameters);
      },
    };
    await publish({ ldap: slow, now: () => hours(4) });
    const { crlNumber, crl } = await newest();
    expect(crlNumber).toBe(3n);
    expect((await inLdap())['certificateRevocationList;binary']).toEqual([crl]);
  });

  test('issuing does not wait for a list that is being made', async () => {
    const waiting = await service.database.transaction();
    await lockAuthority(waiting, service.authority.id);
    try {
      expect((await issued()).serialNumber).toBeInstanceOf(Buffer);
      await waiting.raw('select 1'); // it is still held, and was not ended by the server for being idle
    } finally {
      await waiting.rollback().catch(() => undefined);
    }
  });

  test('a hundred revocations ask for one list', async () => {
    for (const { serialNumber } of [await issued(), await issued(), await issued()]) await service.revoke(serialNumber);
    const key = `crl:${service.authority.id}:0`;
    expect((await service.queued()).filter((one) => one === key)).toEqual([key]);
  });
});

describe('over HTTP', () => {
  const url = () => `/crl/${service.authority.name}.crl`;

  test('caches are told how long, and are told when nothing is new', async () => {
    await publish();
    const first = await supertest(service.app).get(url()).buffer(true).parse(octets);
    expect(first.headers).toMatchObject({
      'content-type': 'application/pkix-crl',
      'cache-control': 'public, max-age=60',
      etag: `"${(await newest()).version}"`,
      'last-modified': (await newest()).thisUpdate.toUTCString(),
      'content-length': String(first.body.length),
    });
    for (const header of [
      { 'If-None-Match': first.headers.etag as string },
      { 'If-Modified-Since': first.headers['last-modified'] as string },
    ])
      expect((await supertest(service.app).get(url()).set(header)).status).toBe(304);
    expect((await supertest(service.app).head(url())).headers['content-length']).toBe(String(first.body.length));
    await revoked();
    await publish();
    const next = await supertest(service.app)
      .get(url())
      .set('If-None-Match', first.headers.etag as string)
      .buffer(true)
      .parse(octets);
    expect([next.status, next.body]).toEqual([200, (await newest()).crl]);
    expect(next.headers.etag).not.toBe(first.headers.etag);
  });
});

test('another process serves the same lists, each as soon as it is made, and never half of one', async () => {
  await publish();
  const other = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', reader],
    {
      cwd: import.meta.dirname,
      env: {
        URL: service.testDatabase.urlAs('certificate'),
        LIST: JSON.stringify({ authorityId: service.authority.id, partition: 0 }),
      },
      stdio: ['pipe', 'pipe', 'inherit'],
    },
  );
  try {
    const answers = createInterface({ input: other.stdout })[Symbol.asyncIterator]();
    const there = async (): Promise<Buffer> => {
      other.stdin.write('\n');
      return Buffer.from(String((await answers.next()).value), 'base64');
    };
    expect(await there()).toEqual((await newest()).crl);
    const made = new Set<string>([(await newest()).crl.toString('hex')]);
    const served: Buffer[] = [];
    for (let round = 0; round < 5; round++) {
      await revoked();
      const making = publish();
      served.push(await there());
      await making;
      const { crl } = await newest();
      made.add(crl.toString('hex'));
      expect(await there()).toEqual(crl);
    }
    for (const crl of served) expect(made).toContain(crl.toString('hex'));
  } finally {
    other.kill();
  }
});
/** Answers each line by the list as it would serve it. */
const reader = `
  import { createInterface } from 'node:readline';
  import { openDatabase } from '@congvu/database';
  import { readCrl } from './held-crl.ts';
  const database = openDatabase({ url: process.env.URL, name: 'another process' });
  for await (const line of createInterface({ input: process.stdin })) {
    const { crl } = await readCrl(database, JSON.parse(process.env.LIST));
    console.log(crl.toString('base64'));
  }`;

function octets(response: NodeJS.EventEmitter, done: (error: Error | null, body: Buffer) => void): void {
  const parts: Buffer[] = [];
  response.on('data', (part: Buffer) => parts.push(part));
  response.on('end', () => done(null, Buffer.concat(parts)));
}
