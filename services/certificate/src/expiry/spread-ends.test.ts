/** No day carries more than its share of what was issued together, and no certificate lives longer than its profile says. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { daysOfSpread, openEndSpread } from './spread-ends.ts';

describe('turns', () => {
  test('a crowd is dealt out evenly, whatever its size and in whatever order the profiles come', () => {
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom('person-signature', 'person-encryption', 'tls-server'), { maxLength: 400 }),
        fc.integer({ min: 1, max: 1_500 }),
        (crowd, validityDays) => {
          const spread = openEndSpread();
          const share = new Map<string, number>();
          for (const id of crowd) {
            const key = `${id} ${spread({ id, validityDays })}`;
            share.set(key, (share.get(key) ?? 0) + 1);
          }
          const days = daysOfSpread(validityDays);
          for (const [key, count] of share) {
            const [id, day] = key.split(' ');
            expect(Number(day)).toBeLessThan(days);
            expect(count).toBeLessThanOrEqual(Math.ceil(crowd.filter((one) => one === id).length / days));
          }
        },
      ),
    );
  });

  test.each([
    [730, 30],
    [365, 30],
    [90, 7],
    [7, 1],
    [1, 1],
  ])('of %d days the last %d are spread over', (validityDays, days) => {
    expect(daysOfSpread(validityDays)).toBe(days);
  });
});

describe('certificates of one day', () => {
  let service: TestCertificates;
  beforeAll(async () => {
    service = await startTestCertificates();
  });
  afterAll(() => service.stop());

  test('end on thirty days, at most two of forty on any, none later than its profile says', async () => {
    for (let count = 0; count < 40; count += 1) await service.converge(await service.account());
    const rows = await service.owner('certificate.certificates').select('not_before', 'not_after', 'certificate');
    const { validityDays } = service.authorities.profile('person-signature');
    const lives = rows.map(
      ({ not_before, not_after }) => (not_after.getTime() + 1_000 - not_before.getTime()) / 86_400_000,
    );
    for (const days of lives) {
      expect(days).toBeLessThanOrEqual(validityDays);
      expect(days).toBeGreaterThan(validityDays - 30);
    }
    const share = Object.values(Object.groupBy(lives, String)).map((some) => some?.length ?? 0);
    expect(share).toHaveLength(30);
    expect(Math.max(...share)).toBe(2);
  });
});
