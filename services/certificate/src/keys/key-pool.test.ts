import { createPrivateKey, createPublicKey } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { unwrapPrivateKey } from '../authority/key-wrap.ts';
import { keyKindOf } from '../authority/public-key.ts';
import { putOnDuty } from '../escrow/testing-officers.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { openKeyPool } from './key-pool.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());
beforeEach(async () => {
  await service.owner('certificate.key_pool').delete();
});

const failures: unknown[] = [];
const pool = (parts: Partial<Parameters<typeof openKeyPool>[0]> = {}) =>
  openKeyPool({
    database: service.database,
    wrappingKey: service.wrappingKey,
    keyKind: 'rsa-2048',
    size: 3,
    onFailure: (error) => failures.push(error),
    ...parts,
  });
const kept = () => service.owner('certificate.key_pool').orderBy('created_at');

test('is filled with keys, each wrapped under its own id and nowhere else', async () => {
  await pool().fill();
  const rows = await kept();
  expect(rows.length).toBeGreaterThanOrEqual(3);
  expect(rows.length).toBeLessThanOrEqual(4 + 3); // each thread may be at one more
  for (const row of rows) {
    expect(keyKindOf(row.subject_public_key_info)).toBe('rsa-2048');
    const key = unwrapPrivateKey(row.wrapped_private_key, [service.wrappingKey], row.id);
    const opened = createPrivateKey({ key, format: 'der', type: 'pkcs8' });
    expect(createPublicKey(opened).export({ type: 'spki', format: 'der' })).toEqual(row.subject_public_key_info);
    expect(() => unwrapPrivateKey(row.wrapped_private_key, [service.wrappingKey], crypto.randomUUID())).toThrow();
  }
  expect(new Set(rows.map((row) => row.subject_public_key_info.toString('hex'))).size).toBe(rows.length);
  await pool().fill(); // full
  expect(await kept()).toEqual(rows);
});

test('keys of another kind, or under another wrapping key, are thrown away and not given', async () => {
  const row = (key_kind: string, wrapping_key_id: string) => ({
    id: crypto.randomUUID(),
    key_kind,
    wrapping_key_id,
    wrapped_private_key: Buffer.from('no key'),
    subject_public_key_info: Buffer.from('no key'),
  });
  const other = row('rsa-3072', service.wrappingKey.id);
  const older = row('rsa-2048', 'an older one');
  await service.owner('certificate.key_pool').insert([other, older]);
  const one = pool({ size: 1 });
  one.stop();
  expect(await service.database.transaction((transaction) => one.take(transaction, 'rsa-2048'))).toBeUndefined();
  await pool({ size: 1 }).fill();
  const ids = (await kept()).map((row) => row.id);
  expect(ids.length).toBeGreaterThanOrEqual(1);
  expect(ids).not.toContain(other.id);
  expect(ids).not.toContain(older.id);
});

test('a key is given once; one whose taking is undone comes back', async () => {
  const keys = pool();
  await keys.fill();
  const count = (await kept()).length;
  await expect(
    service.database.transaction(async (transaction) => {
      await keys.take(transaction, 'rsa-2048');
      throw new Error('undone');
    }),
  ).rejects.toThrow('undone');
  await keys.fill();
  expect((await kept()).length).toBeGreaterThanOrEqual(count);
  keys.stop();
  const taken = await Promise.all(
    Array.from({ length: count }, () => service.database.transaction((one) => keys.take(one, 'rsa-2048'))),
  );
  const ids = taken.flatMap((key) => key?.id ?? []);
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids.length).toBeGreaterThanOrEqual(3);
});

test('an account whose turn comes before a key is ready waits, and then gets one of its own', async () => {
  const account = await service.account();
  const keys = pool({ size: 1 });
  await service.converge(account, { keys, serverKeyKind: 'rsa-2048' });
  expect(await service.enrolments(account)).toEqual([]);
  expect(await service.queued()).toContain(`server-key:${account.id}`);
  await keys.waitForKey(AbortSignal.timeout(60_000));
  await keys.fill();
  const ready = new Map((await kept()).map((row) => [row.id, row.subject_public_key_info]));
  keys.stop();
  await service.converge(account, { keys, serverKeyKind: 'rsa-2048' });
  const [enrolment] = await service.enrolments(account);
  expect(enrolment).toMatchObject({ path: 'server_key', state: 'awaiting_pickup' });
  expect(enrolment!.subject_public_key_info).toEqual(ready.get(enrolment!.id));
  expect(
    unwrapPrivateKey(enrolment!.wrapped_private_key!, [service.wrappingKey], enrolment!.id).length,
  ).toBeGreaterThan(1_000);
  expect(await service.certificates(account)).toMatchObject([{ state: 'valid' }]);
  expect((await kept()).map((row) => row.id)).not.toContain(enrolment!.id);
});

test('an enrolment that was asked for takes a key too: bound to it anew, and escrowed in the same moment', async () => {
  for (const name of ['first', 'second']) await putOnDuty(service, name);
  const account = await service.account({ certificatePath: 'csr' });
  const asked = await supertest(service.app)
    .post('/v1/enrolments')
    .set('Authorization', await service.tokens.bearer({ permissions: ['certificates:enrol'] }))
    .send({ accountId: account.id, profile: 'person-encryption', path: 'server_key' });
  const { id } = asked.body;
  const enrolment = () => service.owner('certificate.enrolments').where({ id }).first();
  const keys = pool({ size: 1 });
  await service.converge(account, { keys, serverKeyKind: 'rsa-2048' });
  expect(await enrolment()).toMatchObject({ state: 'awaiting_pickup', subject_public_key_info: null });
  expect(await service.queued()).toContain(`server-key:${account.id}`);
  await keys.waitForKey(AbortSignal.timeout(60_000));
  await keys.fill();
  const ready = (await kept()).map((row) => row.subject_public_key_info.toString('hex'));
  keys.stop();
  await service.converge(account, { keys, serverKeyKind: 'rsa-2048' });
  const { wrapped_private_key: wrapped, subject_public_key_info: taken } = await enrolment();
  expect(ready).toContain(taken.toString('hex'));
  const key = unwrapPrivateKey(wrapped, [service.wrappingKey], id);
  expect(
    createPublicKey(createPrivateKey({ key, format: 'der', type: 'pkcs8' })).export({ type: 'spki', format: 'der' }),
  ).toEqual(taken);
  expect(await service.owner('certificate.escrowed_keys').where({ enrolment_id: id })).toHaveLength(1);
  expect((await kept()).map((row) => row.subject_public_key_info.toString('hex'))).not.toContain(taken.toString('hex'));
  expect((await service.certificates(account)).map((row) => [row.enrolment_id, row.state])).toEqual([[id, 'valid']]);
});

test('while keys are made, signatures are, many of them', async () => {
  let isFilled = false;
  const filled = pool({ size: 4 })
    .fill()
    .finally(() => {
      isFilled = true;
    });
  let signatures = 0;
  for (; !isFilled; signatures += 1) {
    await service.authority.issuer.sign(Buffer.from('something'));
    await turn();
  }
  await filled;
  expect(signatures).toBeGreaterThan(20);
  expect(failures).toEqual([]);
});
