/** Usernames are given in line order, once, whatever runs beside; nothing reserved and no agency's name is given to a person. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Transaction } from '@congvu/database';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { startTestDirectory, type TestDirectory } from '../testing.ts';
import { takeUsernames, type UsernameWish } from './usernames.ts';

let directory: TestDirectory;

beforeAll(async () => {
  directory = await startTestDirectory();
  // Names are bound to accounts at commit; these tests are of names alone.
  await directory
    .owner('directory.agencies')
    .insert({ code: 'H41', name: 'Tỉnh', level: 'province', short_name: 'nghean', mail_domain: 'nghean.gov.vn' });
});
afterAll(() => directory.stop());
beforeEach(() => directory.owner('directory.usernames').delete());

const wish = (...candidates: string[]): UsernameWish => ({
  accountId: randomUUID(),
  candidates,
  mayTakeAgencyName: false,
});
const take = (wishes: readonly UsernameWish[], before?: (transaction: Transaction) => Promise<unknown>) =>
  directory.database.transaction(async (transaction) => {
    const given = await takeUsernames(transaction, wishes);
    await before?.(transaction);
    return wishes.map((one) => given.get(one.accountId));
  });
const inRecord = () => directory.owner('directory.usernames').orderBy('username').pluck('username');

describe('one at a time', () => {
  it('gives each the first that is free, in the order of the lines', async () => {
    expect(await take([wish('dienht', 'dienht.a'), wish('dienht', 'dienht.a'), wish('annv')])).toEqual([
      'dienht',
      'dienht.a',
      'annv',
    ]);
    expect(await take([wish('dienht', 'dienht.a', 'dienht2.a')])).toEqual(['dienht2.a']);
    expect(await inRecord()).toEqual(['annv', 'dienht', 'dienht.a', 'dienht2.a']);
  });

  it('goes on past any number of taken names', async () => {
    function* endless() {
      for (let number = 1; ; number += 1) yield `trung${number}`;
    }
    const many = Array.from({ length: 100 }, () => ({
      accountId: randomUUID(),
      candidates: endless(),
      mayTakeAgencyName: false,
    }));
    expect(await take(many)).toEqual(Array.from({ length: 100 }, (_, index) => `trung${index + 1}`));
  });

  it('passes over what is reserved, and over names of agencies for all but agencies', async () => {
    expect(await take([wish('postmaster', 'admin', 'nghean', 'hunga')])).toEqual(['hunga']);
    expect(await take([{ ...wish('nghean', 'nghean2'), mayTakeAgencyName: true }])).toEqual(['nghean']);
    expect(await take([{ ...wish('nghean', 'nghean2'), mayTakeAgencyName: true }])).toEqual(['nghean2']);
  });

  it('says so when the candidates end, and keeps nothing', async () => {
    await expect(take([wish('mota'), wish('mota', 'postmaster')])).rejects.toThrow('candidates');
    expect(await inRecord()).toEqual([]);
  });
});

describe('many at once', () => {
  it('never gives one name twice', async () => {
    const names = Array.from({ length: 40 }, (_, index) => `t${index}`);
    const given = await Promise.all(
      Array.from({ length: 4 }, () => take(Array.from({ length: 10 }, () => wish(...names)))),
    );
    expect(given.flat().sort()).toEqual([...names].sort());
  });

  it('lets the second have what the first gave back', async () => {
    const failing = take([wish('mota')], async () => {
      await sleep(100);
      throw new Error('given back');
    });
    const outcomes = await Promise.allSettled([failing, sleep(30).then(() => take([wish('mota', 'hai')]))]);
    expect(outcomes).toMatchObject([{ status: 'rejected', reason: { message: 'given back' } }, { value: ['mota'] }]);
  });

  it('never deadlocks, whichever names cross', async () => {
    // The first holds y for a while. The second has x and waits for y; when it loses y it wants a, which the third has, who
    // itself waits for x.
    const first = take([wish('y')], () => sleep(150));
    await sleep(50);
    const second = take([wish('x'), wish('y', 'a', 'a2')]);
    await sleep(50);
    const third = take([wish('a', 'a2'), wish('x', 'x2')]);
    const given = (await Promise.all([first, second, third])).flat();
    expect(given.sort()).toEqual(await inRecord());
    expect(given).toHaveLength(5);
  });
});
