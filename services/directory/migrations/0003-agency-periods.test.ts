/** An installation that has agencies already keeps them: each begins its history with what its row said. */
import { createTestDatabase, type TestDatabase } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { migrations } from './index.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

it('makes one period of each agency, closed where it was closed', async () => {
  const owner = database.as('owner');
  await owner.raw('drop schema directory cascade; create schema directory');
  await owner.transaction(async (transaction) => {
    for (const name of ['0001-initial', '0002-drafts-and-operations']) await migrations[name]?.(transaction);
    await transaction.raw(
      `insert into directory.agencies (code, name, level, short_name, mail_domain)
         values ('H41', 'UBND tỉnh Nghệ An', 'province', 'nghean', 'nghean.gov.vn');
       insert into directory.agencies (code, name, level, parent_id, short_name, mail_domain, valid_to)
         select 'H41.32', 'Ủy ban nhân dân huyện Đô Lương', 'district', id, 'doluong', 'nghean.gov.vn', '2025-07-01'
         from directory.agencies`,
    );
    await migrations['0003-agency-periods']?.(transaction);
  });
  const periods = owner('directory.agency_periods as p').join('directory.agencies as a', 'a.id', 'p.agency_id');
  expect(
    await periods.orderBy('a.code').select('a.code', 'p.name', 'p.valid_from', 'p.search_key', 'a.settled_status', {
      ends: owner.raw('p.valid_to::text'),
      same: owner.raw('p.parent_id is not distinct from a.parent_id and p.search_key = a.search_key'),
    }),
  ).toEqual([
    {
      code: 'H41',
      name: 'UBND tỉnh Nghệ An',
      valid_from: null,
      ends: null,
      settled_status: 'active',
      search_key: 'ubnd tinh nghe an h41 nghean',
      same: true,
    },
    {
      code: 'H41.32',
      name: 'Ủy ban nhân dân huyện Đô Lương',
      valid_from: null,
      ends: '2025-07-01',
      settled_status: 'closed',
      search_key: 'uy ban nhan dan huyen do luong h41.32 doluong',
      same: true,
    },
  ]);
});
