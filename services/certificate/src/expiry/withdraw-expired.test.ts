/** LDAP holds exactly the valid ones: what ran out goes, however long nothing ran meanwhile, and is asked for once. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { withdrawExpired } from './withdraw-expired.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

test('a certificate that ran out a week ago, while nothing ran, is withdrawn; one in date stays', async () => {
  const [gone, valid] = [await service.accountWithEntry(), await service.accountWithEntry()];
  for (const account of [gone, valid]) await service.converge(account);
  expect(await service.published(gone)).toHaveLength(1);
  await service
    .owner('certificate.certificates')
    .where({ account_id: gone.id })
    .update({ not_after: new Date(Date.now() - 7 * 86_400_000) });
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
  await service
    .owner('certificate.certificates')
    .where({ account_id: account.id })
    .update({ not_after: new Date(0) });
  await service.owner.raw('revoke execute on all functions in schema certificate_jobs from congvu_certificate');
  await expect(withdrawExpired(service.database)).rejects.toThrow('permission denied');
  await service.owner.raw('grant execute on all functions in schema certificate_jobs to congvu_certificate');
  await withdrawExpired(service.database);
  expect(await service.queued()).toContain(`certificates:${account.id}`);
});
