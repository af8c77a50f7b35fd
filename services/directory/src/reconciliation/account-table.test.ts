import { randomBytes, randomUUID } from 'node:crypto';
import { expect, it } from '@jest/globals';
import fc from 'fast-check';
import { AccountTable } from './account-table.ts';

it('says what a plain comparison of two maps says, in whatever order the sides come', () => {
  const side = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 2 })), { maxLength: 60 });
  const ids = Array.from({ length: 41 }, () => randomUUID());
  const digests = [0, 1, 2].map(() => randomBytes(8).toString('latin1'));
  fc.assert(
    fc.property(side, side, fc.integer(), (record, ldap, seed) => {
      // Of each id the first of its side; digest 0 of the record means that it has nothing to say.
      const [inRecord, inLdap] = [record, ldap].map((pairs) => new Map([...pairs].reverse())) as [
        Map<number, number>,
        Map<number, number>,
      ];
      const steps = [
        ...[...inRecord].map(([id, state]) => ({ id, state, record: true })),
        ...[...inLdap].map(([id, state]) => ({ id, state, record: false })),
      ].sort((one, other) => ((one.id * 31 + seed) % 7) - ((other.id * 31 + seed) % 7));
      const table = new AccountTable(0);
      for (const { id, state, record: isRecord } of steps) {
        if (isRecord) table.addFromRecord(ids[id] as string, state === 0 ? undefined : digests[state]);
        else expect(table.addFromLdap(ids[id] as string, digests[state] as string)).toBe(true);
      }
      const wanted = ids.flatMap((id, index) => {
        const [recorded, found] = [inRecord.get(index), inLdap.get(index)];
        if (recorded === 0 || recorded === found) return [];
        return [{ id, kind: recorded === undefined ? 'extra' : found === undefined ? 'missing' : 'changed' }];
      });
      const sorted = (list: Iterable<{ id: string }>) => [...list].sort((one, other) => one.id.localeCompare(other.id));
      expect(sorted(table.disagreements())).toEqual(sorted(wanted));
    }),
  );
});

it('grows beyond what was expected, and knows a second entry of one id', () => {
  const table = new AccountTable(10);
  const ids = Array.from({ length: 20_000 }, () => randomUUID());
  const digest = randomBytes(20).toString('latin1');
  for (const id of ids) expect(table.addFromLdap(id, digest)).toBe(true);
  for (const id of ids.slice(1)) table.addFromRecord(id, digest);
  expect(table.addFromLdap(ids[5] as string, digest)).toBe(false);
  expect([...table.disagreements()]).toEqual([{ id: ids[0], kind: 'extra' }]);
});
