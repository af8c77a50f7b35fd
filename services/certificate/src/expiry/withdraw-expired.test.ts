/** LDAP holds exactly the valid ones: what ran out goes, however long nothing ran meanwhile, and is asked for once. */
import { randomBytes, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { withdrawExpired } from './withdraw-expired.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());
beforeEach(async () => {
  await service.owner.raw('delete from certificate_jobs._private_jobs');
  await service.owner('certificate.withdrawals').update({ until: new Date(Date.now() - 30 * 86_400_000) });
});
const expire = (accountId: string, ago: number): Promise<unknown> =>
  service
    .owner('certificate.certificates')
    .where({ account_id: accountId })
    .update({ not_after: new Date(Date.now() - ago) });

test('a certificate that ran out a week ago, while nothing ran, is withdrawn; one in date stays', async () => {
  const [gone, valid] = [await service.accountWithEntry(), await service.accountWithEntry()];
  for (const account of [gone, valid]) await service.converge(account);
  expect(await service.published(gone)).toHaveLength(1);
  await expire(gone.id, 7 * 86_400_000);
  await service.owner.raw('delete from certificate_jobs._private_jobs');
  await Promise.all([1, 2].map(() => withdrawExpired(service.database)));
  expect(await service.queued()).toEqual([`certificates:${gone.id}`]);
  await service.converge(gone);
  expect(await service.published(gone)).toEqual([]);
  expect(await service.published(valid)).toHaveLength(1);

  await service.owner.raw('delete from certificate_jobs._private_jobs');
  await withdrawExpired(service.database);
  expect(await service.queued()).toEqual([]);
});

test('what could not be queued is found again', async () => {
  const account = await service.account();
  await service.converge(account);
  await expire(account.id, 1_000);
  await service.owner.raw('revoke execute on all functions in schema certificate_jobs from congvu_certificate');
  await expect(withdrawExpired(service.database)).rejects.toThrow('permission denied');
  await service.owner.raw('grant execute on all functions in schema certificate_jobs to congvu_certificate');
  await withdrawExpired(service.database);
  expect(await service.queued()).toContain(`certificates:${account.id}`);
});

test('more than a batch, many of them ending at one moment, is taken whole', async () => {
  const account = await service.account();
  await service.converge(account);
  const [row] = await service.owner('certificate.certificates').where({ account_id: account.id });
  const others = Array.from({ length: 1_200 }, () => ({
    id: randomUUID(),
    account: randomUUID(),
    serial: randomBytes(16),
  }));
  await service.owner.batchInsert(
    'certificate.enrolments',
    others.map((one) => ({
      id: one.id,
      account_id: one.account,
      profile: row.profile,
      path: 'csr',
      state: 'issued',
    })),
  );
  await service.owner.batchInsert(
    'certificate.certificates',
    others.map((one, place) => ({
      ...row,
      id: one.id,
      enrolment_id: one.id,
      account_id: one.account,
      serial_number: one.serial,
      fingerprint_sha256: randomBytes(32),
      not_after: new Date(Date.now() - (place < 700 ? 5_000_000 : 1_000 * place)),
    })),
    200,
  );
  await withdrawExpired(service.database);
  expect(await service.queued()).toEqual(expect.arrayContaining(others.map((one) => `certificates:${one.account}`)));
});
