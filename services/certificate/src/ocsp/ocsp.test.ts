import { execFile } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { readCertificate, toPem } from '../authority/certificate.ts';
import { buildOcspRequest, certificateIdOf, errorResponse, issuerIds } from '../authority/ocsp.ts';
import type { RevocationReason } from '../certificates/certificate-store.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { prepareAll } from './keep-prepared.ts';
import { ocspListener } from './listener.ts';
import { type Ocsp, openOcsp } from './ocsp.ts';
import { openResponders } from './responders.ts';

const silent = pino({ level: 'silent' });
let service: TestCertificates;
let server: Server;
/** Of a second process, as it were, on the same database. */
let other: Ocsp;
let otherServer: Server;
let url: string;
let otherUrl: string;

const listen = async (listener: Server): Promise<string> => {
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(listener.address() as AddressInfo).port}/ocsp`;
};
const openOther = (): Promise<Ocsp> =>
  openOcsp({
    ...service,
    databaseUrl: service.testDatabase.urlAs('certificate'),
    ocspHours: 12,
    ocspPrepared: 1_000,
    log: silent,
  });

beforeAll(async () => {
  service = await startTestCertificates();
  other = await openOther();
  server = createServer(service.app);
  otherServer = createServer(other.listener);
  url = await listen(server);
  otherUrl = await listen(otherServer);
});
afterAll(async () => {
  for (const one of [server, otherServer]) {
    one.closeAllConnections();
    one.close();
  }
  await other.close();
  await service.stop();
});

interface Issued {
  account: TestAccount;
  serialNumber: Buffer;
  request: Buffer;
}
async function issued(): Promise<Issued> {
  const account = await service.account();
  await service.converge(account);
  const [row] = await service.certificates(account);
  return { account, serialNumber: row!.serial_number, request: about(row!.serial_number) };
}
const usual = () => issuerIds(service.authority.issuer.certificate)[0]!;
const about = (serialNumber: Buffer, nonce?: Buffer) => buildOcspRequest(certificateIdOf(usual(), serialNumber), nonce);
const revoke = (serialNumber: Buffer, reason: RevocationReason = 'superseded') => service.revoke(serialNumber, reason);

async function post(request: Buffer, to = url): Promise<Buffer> {
  const answer = await fetch(to, {
    method: 'POST',
    headers: { 'Content-Type': 'application/ocsp-request' },
    body: new Uint8Array(request),
  });
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/ocsp-response']);
  return Buffer.from(await answer.arrayBuffer());
}
const get = (request: Buffer, headers: Record<string, string> = {}) =>
  fetch(`${url}/${encodeURIComponent(request.toString('base64'))}`, { headers });

/** certStatus of a response about one certificate, by its tag: for tests that ask often. */
function statusIn(response: Buffer): string {
  const id = response.indexOf(service.authority.issuer.subjectKeyIdentifier);
  const serialLength = response[id + 21]!;
  const tag = response[id + 22 + serialLength];
  return ({ 128: 'good', 161: 'revoked', 130: 'unknown' } as Record<number, string>)[tag ?? 0] ?? 'error';
}

const run = promisify(execFile);
/** The openssl or ocsptool command beside the server, which runs in this process; what it said, on whichever channel. */
async function judged(command: string, ...args: string[]): Promise<string> {
  const { stdout, stderr } = await run(command, args, { cwd: service.judge.directory });
  return stdout + stderr;
}
const openssl = (...args: string[]) =>
  judged(
    'openssl',
    ...['ocsp', '-issuer', 'authorities/issuing.crt.pem', '-CAfile', 'authorities/root.crt.pem'],
    ...['-verify_other', 'authorities/issuing.crt.pem', '-url', url, '-resp_text', ...args],
  );
function writeLeaf(name: string, { serialNumber }: Issued): Promise<void> {
  return service
    .owner('certificate.certificates')
    .where({ serial_number: serialNumber })
    .first('certificate')
    .then((row) => service.judge.write(name, toPem('CERTIFICATE', row.certificate)));
}

describe('judged by others', () => {
  test.each([
    ['SHA-1, nonce', []],
    ['SHA-1', ['-no_nonce']],
    ['SHA-256', ['-sha256']],
    ['SHA-512', ['-sha512', '-no_nonce']],
  ])('openssl: good, then held, then revoked (%s)', async (_name, options) => {
    const one = await issued();
    await writeLeaf('leaf.pem', one);
    const ask = () => openssl(...options, '-cert', 'leaf.pem');
    const good = await ask();
    for (const part of ['leaf.pem: good', 'Response verify OK', 'OCSP Response Status: successful'])
      expect(good).toContain(part);
    expect(good.includes('WARNING: no nonce')).toBe(false);
    await changeAccount(service.owner, one.account.id, { state: 'suspended' });
    await service.converge(one.account);
    expect(await ask()).toMatch(/leaf.pem: revoked[\s\S]*Reason: certificateHold/);
    await changeAccount(service.owner, one.account.id, { state: 'active' });
    await service.converge(one.account);
    expect(await ask()).toContain('leaf.pem: good');
    await revoke(one.serialNumber, 'keyCompromise');
    expect(await ask()).toMatch(/leaf.pem: revoked[\s\S]*Reason: keyCompromise/);
  });

  test('openssl: unknown for a number that was not issued, and for a certificate of another issuer', async () => {
    const never = await openssl('-serial', `0x${randomBytes(16).toString('hex')}`);
    expect(never).toContain(': unknown');
    expect(never).toContain('Response verify OK');
    const foreign = await judged(
      'openssl',
      ...['ocsp', '-issuer', 'authorities/root.crt.pem', '-serial', '0x1234', '-url', url, '-noverify', '-resp_text'],
    );
    expect(foreign).toContain('0x1234: unknown');
  });

  test('openssl: several at once', async () => {
    const [first, second] = [await issued(), await issued()];
    await revoke(second.serialNumber);
    await writeLeaf('first.pem', first);
    await writeLeaf('second.pem', second);
    const said = await openssl('-cert', 'first.pem', '-cert', 'second.pem', '-serial', '0x1234');
    for (const part of ['first.pem: good', 'second.pem: revoked', '0x1234: unknown', 'Response verify OK'])
      expect(said).toContain(part);
  });

  test('ocsptool (GnuTLS): good and revoked, with a nonce and without', async () => {
    const one = await issued();
    await writeLeaf('gnutls.pem', one);
    const ask = (...options: string[]) =>
      judged(
        'ocsptool',
        ...[`--ask=${url}`, '--load-cert', 'gnutls.pem', '--load-issuer', 'authorities/issuing.crt.pem'],
        ...['--load-trust', 'chain.pem', ...options],
      );
    for (const options of [[], ['--nonce']]) {
      const said = await ask(...options);
      expect(said).toContain('Verifying OCSP Response: Success');
      expect(said).toContain('Certificate Status: good');
    }
    await revoke(one.serialNumber, 'cessationOfOperation');
    // It ends with an error when a certificate was revoked, and says so.
    const said = await ask().catch((error: { stdout: string; stderr: string }) => error.stdout + error.stderr);
    expect(said).toContain('Certificate Status: revoked');
  });
});

describe('a revocation is visible at the next request', () => {
  test('though the answer was prepared, in this process and in every other', async () => {
    const one = await issued();
    for (let round = 0; round < 3; round++) {
      for (const to of [url, otherUrl]) expect(statusIn(await post(one.request, to))).toBe('good');
      await changeAccount(service.owner, one.account.id, { state: 'suspended' });
      await service.converge(one.account);
      for (const to of [otherUrl, url]) expect(statusIn(await post(one.request, to))).toBe('revoked');
      await changeAccount(service.owner, one.account.id, { state: 'active' });
      await service.converge(one.account);
    }
  });

  test('whoever changed it, by whatever statement', async () => {
    const one = await issued();
    expect(statusIn(await post(one.request))).toBe('good');
    await service
      .owner('certificate.certificates')
      .where({ serial_number: one.serialNumber })
      .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' });
    expect(statusIn(await post(one.request))).toBe('revoked');
  });

  test('of transactions that begin in one order and end in another', async () => {
    const [slow, fast] = [await issued(), await issued()];
    for (const { request } of [slow, fast]) await post(request);
    const set = { state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' };
    const transaction = await service.owner.transaction();
    await transaction('certificate.certificates').where({ serial_number: slow.serialNumber }).update(set);
    await service.owner('certificate.certificates').where({ serial_number: fast.serialNumber }).update(set);
    // The later one is seen, the earlier one not yet; and then that as well, though the reader has been past its number.
    for (const to of [url, otherUrl]) {
      expect(statusIn(await post(fast.request, to))).toBe('revoked');
      expect(statusIn(await post(slow.request, to))).toBe('good');
    }
    await transaction.commit();
    for (const to of [url, otherUrl]) expect(statusIn(await post(slow.request, to))).toBe('revoked');
  });

  test('one that was taken back before its commit never was', async () => {
    const one = await issued();
    await post(one.request);
    const transaction = await service.owner.transaction();
    await transaction('certificate.certificates')
      .where({ serial_number: one.serialNumber })
      .update({ state: 'revoked', revoked_at: new Date(), revocation_reason: 'superseded' });
    await transaction.rollback();
    expect(statusIn(await post(one.request))).toBe('good');
  });

  test('under load: no answer that was asked for after the commit says good', async () => {
    const some = await Promise.all(Array.from({ length: 20 }, issued));
    const committed = new Set<Issued>();
    let asked = 0;
    const wrong: string[] = [];
    let done = false;
    const client = async (to: string, own: number) => {
      for (let turn = own; !done; turn += 7) {
        const one = some[turn % some.length]!;
        const wasRevoked = committed.has(one);
        const status = statusIn(await post(one.request, to));
        if (wasRevoked && status !== 'revoked') wrong.push(`${status} after it was revoked`);
        if (status !== 'good' && status !== 'revoked') wrong.push(status);
        asked += 1;
      }
    };
    const clients = Array.from({ length: 12 }, (_, index) => client(index % 2 ? url : otherUrl, index));
    for (const one of some) {
      await revoke(one.serialNumber);
      committed.add(one);
    }
    done = true;
    await Promise.all(clients);
    expect(wrong).toEqual([]);
    expect(asked).toBeGreaterThan(100);
  });

  test('and issued is visible too: unknown is kept nowhere', async () => {
    const account = await service.account();
    const allow = await service.forbid('insert', 'certificate.certificates');
    await service.converge(account).catch(() => undefined);
    const [row] = await service.intents(account); // on record, but nothing was signed
    expect(statusIn(await post(about(row!.serial_number)))).toBe('unknown');
    await allow();
    await service.converge(account);
    expect(statusIn(await post(about(row!.serial_number)))).toBe('good');
  });
});

describe('answers that are prepared', () => {
  const nothing = new AbortController().signal;
  test('of everything that was issued, in one round; the next round has nothing to do', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, issued));
    const fresh = await openOther();
    try {
      const options = { database: service.database, answers: fresh.answers, capacity: 1_000, signal: nothing };
      expect(await prepareAll(options)).toBeGreaterThanOrEqual(5);
      expect(fresh.answers.prepared()).toBeGreaterThanOrEqual(5);
      expect(await prepareAll(options)).toBe(0);
      await revoke(all[0]!.serialNumber);
      // Seen at the next read, for whichever certificate.
      await fresh.answers.answer(all[1]!.request);
      expect(await prepareAll(options)).toBe(1);
      const { body } = await fresh.answers.answer(all[0]!.request);
      expect(statusIn(Buffer.from(body, 'latin1'))).toBe('revoked');
    } finally {
      await fresh.close();
    }
  });

  test('are sent as they are: the same octets again, signed once', async () => {
    const one = await issued();
    const first = await post(one.request);
    expect(await post(one.request)).toEqual(first);
    expect(Buffer.from(await (await get(one.request)).arrayBuffer())).toEqual(first);
  });

  test('with a nonce each is signed on demand', async () => {
    const one = await issued();
    const asked = [randomBytes(32), randomBytes(32)].map((nonce) => ({
      nonce,
      request: about(one.serialNumber, nonce),
    }));
    for (const { nonce, request } of asked) {
      const answer = await post(request);
      expect(answer.includes(nonce)).toBe(true);
      expect(statusIn(answer)).toBe('good');
    }
  });
});

describe('HTTP', () => {
  test('GET: the caching headers of RFC 5019, and 304 for who has it', async () => {
    const one = await issued();
    const answer = await get(one.request);
    const body = Buffer.from(await answer.arrayBuffer());
    expect(answer.status).toBe(200);
    const etag = `"${hash('sha1', body, 'hex')}"`;
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      'content-type': 'application/ocsp-response',
      'content-length': String(body.length),
      'cache-control': 'max-age=60, public, no-transform, must-revalidate',
      etag,
      'last-modified': expect.stringMatching(/GMT$/),
    });
    const again = await get(one.request, { 'If-None-Match': etag });
    expect([again.status, await again.text()]).toEqual([304, '']);
    expect(again.headers.get('etag')).toBe(etag);
    await revoke(one.serialNumber);
    const changed = await get(one.request, { 'If-None-Match': etag });
    expect(changed.status).toBe(200);
    expect(statusIn(Buffer.from(await changed.arrayBuffer()))).toBe('revoked');
  });

  test.each([
    ['as it is', (text: string) => text],
    ['escaped', encodeURIComponent],
    ['with the padding alone escaped', (text: string) => text.replaceAll('=', '%3D')],
    [
      'escaped in lower case',
      (text: string) => encodeURIComponent(text).replace(/%../g, (escaped) => escaped.toLowerCase()),
    ],
  ])('GET: base64 %s', async (_name, spell) => {
    // Octets of 0xff give slashes and pluses.
    const request = about(Buffer.concat([Buffer.of(0x7f), Buffer.alloc(9, 0xff), Buffer.alloc(9, 0xfb)]));
    const base64 = request.toString('base64');
    expect(base64).toMatch(/\/.*\+|\+.*\//);
    const answer = await fetch(`${url}/${spell(base64)}`);
    expect(statusIn(Buffer.from(await answer.arrayBuffer()))).toBe('unknown');
    expect(answer.headers.get('cache-control')).toBe('no-store');
  });

  test.each([
    ['GET', ''],
    ['GET', '/'],
    ['GET', '/%'],
    ['GET', '/%ff'],
    ['GET', '/not base64'],
    ['GET', '/AAAA'],
    ['GET', `/${'A'.repeat(8_000)}`],
    ['POST', ''],
  ])('%s /ocsp%s cannot be read: malformedRequest', async (method, path) => {
    const answer = await fetch(url + path, method === 'POST' ? { method, body: 'nothing of the kind' } : { method });
    expect([answer.status, answer.headers.get('cache-control')]).toEqual([200, 'no-store']);
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(errorResponse('malformedRequest'));
  });

  test('a body that is too large, another method, HEAD, and URLs that only look alike', async () => {
    expect((await fetch(url, { method: 'POST', body: 'x'.repeat(20_000) })).status).toBe(413);
    const put = await fetch(url, { method: 'PUT', body: 'x' });
    expect([put.status, put.headers.get('allow')]).toEqual([405, 'GET, HEAD, POST']);
    const one = await issued();
    const head = await fetch(`${url}/${encodeURIComponent(one.request.toString('base64'))}`, { method: 'HEAD' });
    expect([head.status, head.headers.get('etag')?.length, await head.text()]).toEqual([200, 42, '']);
    expect((await fetch(`${url}x`)).status).toBe(404);
  });

  test('what goes wrong inside is told by internalError, and nothing more', async () => {
    const broken = createServer(
      ocspListener(
        {
          answer: () => Promise.reject(new Error('a secret')),
        },
        silent,
      ),
    );
    const to = await listen(broken);
    try {
      expect(await post(about(Buffer.of(1)), to)).toEqual(errorResponse('internalError'));
    } finally {
      broken.closeAllConnections();
      broken.close();
    }
  });
});

describe('without the database', () => {
  test('no answer is given, however well prepared; when it is back they are', async () => {
    const one = await issued();
    expect(statusIn(await post(one.request, otherUrl))).toBe('good');
    const { rows } = await service.database.raw(
      `select pg_terminate_backend(pid) as ended from pg_stat_activity
       where datname = current_database() and application_name = 'certificate ocsp'`,
    );
    expect(rows.length).toBeGreaterThan(0);
    // Whether it finds the connection closed or its statement fails: the next one after that is answered.
    const first = await post(one.request, otherUrl);
    expect(['good', 'error']).toContain(statusIn(first));
    expect(statusIn(await post(one.request, otherUrl))).toBe('good');
  });
});

describe('responders', () => {
  const rows = () => service.owner('certificate.ocsp_responders').orderBy('created_at').select('*');
  const ofAuthority = async () => (await rows()).filter((row) => row.authority_id === service.authority.id);
  const open = () => openResponders(service);
  const age = (days: number) =>
    service.owner.raw(
      `update certificate.ocsp_responders set not_before = not_before - ? * interval '1 day', not_after = not_after - ? * interval '1 day'`,
      [days, days],
    );
  beforeEach(async () => {
    await service.owner('certificate.ocsp_responders').delete();
  });

  test('one for each authority, on record, shared by all processes, with its event', async () => {
    const [first, second] = await Promise.all([open(), open()]);
    expect(await rows()).toHaveLength(service.authorities.all.length);
    for (const { id } of service.authorities.all)
      expect(first!.of(id).certificate.der).toEqual(second!.of(id).certificate.der);
    const [row] = await ofAuthority();
    expect(row.certificate).toEqual(first!.of(service.authority.id).certificate.der);
    const events = await service
      .owner('directory.audit_events')
      .where({ action: 'authority.responder_certified', subject_id: service.authority.id });
    expect(events.at(-1)?.after.serialNumber).toBe(row.serial_number.toString('hex'));
  });

  test('lives a week, is renewed by itself when three days are left, and not sooner', async () => {
    const responders = await open();
    const before = responders.of(service.authority.id).certificate;
    expect(before.notAfter.getTime() - before.notBefore.getTime()).toBe(7 * 86_400_000 - 1_000);
    await age(3.5);
    await responders.renew();
    expect(responders.of(service.authority.id).certificate.der).toEqual(before.der);
    await age(0.7);
    await responders.renew();
    const after = responders.of(service.authority.id).certificate;
    expect(after.der).not.toEqual(before.der);
    expect(await ofAuthority()).toHaveLength(2);
  });

  test('the key of one that has ended is destroyed, its certificate stays on record', async () => {
    const responders = await open();
    await age(8);
    await responders.renew();
    const [ended, present] = await ofAuthority();
    expect([ended.wrapped_private_key, ended.certificate !== null]).toEqual([null, true]);
    expect(present.wrapped_private_key).not.toBeNull();
    expect(responders.of(service.authority.id).certificate.der).toEqual(present.certificate);
  });

  test('an intent is committed before it is signed, and one whose process died is signed by the next', async () => {
    let committed = 0;
    const failing = service.signingWith(async () => {
      committed = (await ofAuthority()).length;
      throw new Error('killed');
    });
    await expect(openResponders({ ...service, authorities: failing })).rejects.toThrow('killed');
    expect(committed).toBe(1);
    const [intent] = await ofAuthority();
    expect(intent.certificate).toBeNull();
    await open();
    const [signed, ...more] = await ofAuthority();
    expect(more).toEqual([]);
    expect(readCertificate(signed.certificate).serialNumber).toEqual(intent.serial_number);
  });

  test('under another wrapping key another is made', async () => {
    await open();
    const wrappingKey = { id: 'other', key: randomBytes(32) };
    await openResponders({ ...service, wrappingKey });
    expect(await ofAuthority()).toHaveLength(2);
  });

  test('what was signed stays; the key is in no row in the clear', async () => {
    await open();
    const [row] = await ofAuthority();
    for (const change of [{ certificate: Buffer.of(0) }, { tbs: Buffer.of(0) }, { serial_number: Buffer.of(1) }])
      await expect(
        service.database('certificate.ocsp_responders').where({ id: row.id }).update(change),
      ).rejects.toThrow('what was signed');
    expect(() => service.judge.run('asn1parse', '-inform', 'DER', '-in', write(row.wrapped_private_key))).toThrow();
  });
  const write = (octets: Buffer): string => {
    service.judge.write('wrapped.bin', octets);
    return 'wrapped.bin';
  };

  test('is itself good', async () => {
    await open();
    const [{ serial_number }] = await ofAuthority();
    expect(statusIn(await post(about(serial_number)))).toBe('good');
  });
});
