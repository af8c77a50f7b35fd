/** Searching accounts: found by whatever is known of them, in Vietnamese order, page by page, within the asker's agencies. */
import { type Account, roles } from '@congvu/contracts';
import { compareNames, parseFullName } from '@congvu/vietnamese';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import fc from 'fast-check';
import supertest from 'supertest';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { findAccounts } from './search-store.ts';
import type { Frequencies } from './word-frequencies.ts';

let directory: TestDirectory;
let admin: TestClient;
let district: TestClient;
const names = {
  'H41.32': ['Huỳnh Thanh Điền', 'Trần Thị Bình', 'Nguyễn Văn An', 'Nguyễn Văn Ân', 'Nguyễn Văn Ẩn', 'Bùi Thị Đào'],
  'H41.32.05': ['Đặng Văn Lượng', 'Lê Thị Ngọc', 'Lê Thị Dung', 'Trần Văn An', 'Nguyễn Hòa An', 'Nguyễn Hóa An'],
  'H41.33': ['Phạm Đức Điền', 'Hồ Văn Ước', 'Võ Văn Cừ', 'Tôn Nữ Thị Ninh'],
} as const;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  admin = await directory.client('H41', roles.platform_administrator);
  district = await directory.client('H41.32', ['accounts:read']);
  const submitter = await directory.client('H41', ['requests:submit']);
  for (const [code, people] of Object.entries(names)) {
    const { id } = await directory.submit(submitter, code, [
      ...people.map((name, index) => personLine(name, { title: index % 2 ? 'Chuyên viên' : 'Phó Chánh Văn phòng' })),
      { kind: 'agency', certificate: 'none' },
    ]);
    await directory.approve(admin, id);
  }
});
afterAll(() => directory.stop());

const get = (query: Record<string, string | number>, by = admin, accept = 'application/json') =>
  supertest(directory.app).get('/v1/accounts').query(query).set('Authorization', by.bearer).set('Accept', accept);
async function every(query: Record<string, string | number>, by = admin): Promise<Account[]> {
  const items: Account[] = [];
  for (let cursor: string | null | undefined; cursor !== null; ) {
    const { body } = await get({ ...query, ...(cursor ? { cursor } : {}) }, by).expect(200);
    items.push(...body.items);
    cursor = body.nextCursor;
  }
  return items;
}
const found = async (q: string, by = admin, more: Record<string, string> = {}) =>
  (await every({ q, limit: 2, ...more }, by)).map((account) => account.displayName);

describe('accounts are found by', () => {
  it.each([
    ['a name with marks', 'Điền', ['Huỳnh Thanh Điền', 'Phạm Đức Điền']],
    ['a name without', 'dien', ['Huỳnh Thanh Điền', 'Phạm Đức Điền']],
    ['a name decomposed (NFD)', 'Điền'.normalize('NFD'), ['Huỳnh Thanh Điền', 'Phạm Đức Điền']],
    ['a name with a look-alike of Đ', 'Ðức', ['Phạm Đức Điền']],
    ['capitals', 'ĐIỀN HUỲNH', ['Huỳnh Thanh Điền']],
    ['a part of a word', 'luon', ['Đặng Văn Lượng']],
    ['two letters that begin a word', 'ni', ['Tôn Nữ Thị Ninh']],
    ['several words in any order and field', 'bình trần chuyên quỳnh', ['Trần Thị Bình']],
    ['a username', 'dienht', ['Huỳnh Thanh Điền']],
    ['the beginning of an address', 'binhtt@ngh', ['Trần Thị Bình']],
    ['a position', 'chánh văn phòng ninh', []],
    ['words that are nowhere', 'zzz dien', []],
    ['nothing but signs', '%%%', []],
    ['a sign of LIKE', 'd_en', []],
  ])('%s', async (_, q, wanted) => {
    expect(await found(q)).toEqual(wanted);
  });

  it('agency: name, code in both forms, short name', async () => {
    const sorted = [...names['H41.32.05']].sort();
    const { name, short_name } = await directory.owner('directory.agencies').where({ code: 'H41.32.05' }).first();
    for (const q of [name, 'H41.32.05', '000.05.32.H41', short_name]) {
      const people = (await every({ q, kind: 'person' })).map((account) => account.displayName);
      expect({ q, people: people.sort() }).toEqual({ q, people: sorted });
    }
  });

  it('account id, and address as a filter', async () => {
    const [account] = await every({ q: 'dienht' });
    expect(await every({ q: account?.id as string })).toEqual([account]);
    expect(await every({ address: 'dienht@nghean.gov.vn' })).toEqual([account]);
    expect(await every({ address: 'dienht@nghean' })).toEqual([]);
    expect(await every({ q: account?.id as string }, await directory.client('H41.33', ['accounts:read']))).toEqual([]);
  });
});

describe('a search keeps to', () => {
  it('the asker’s agencies', async () => {
    expect(await found('dien', district)).toEqual(['Huỳnh Thanh Điền']);
    expect(await found('H41.33', district)).toEqual([]);
    expect(await found('dien', await directory.client('H41.34', ['accounts:read']))).toEqual([]);
    expect(await found('dien', admin, { agencyCode: 'H41.33' })).toEqual(['Phạm Đức Điền']);
    expect(await found('dien', district, { agencyCode: 'H41.33' })).toEqual([]);
    expect(await found('dien', district, { agencyCode: 'H41' })).toEqual(['Huỳnh Thanh Điền']);
  });

  it('kind, state and position', async () => {
    expect((await every({ kind: 'agency' })).map((account) => account.agencyCode).sort()).toEqual(Object.keys(names));
    expect((await every({ q: 'ubnd', kind: 'agency', agencyCode: 'H41.33' })).length).toBe(1);
    expect((await every({ title: 'văn phòng', q: 'an' })).map((account) => account.displayName)).toEqual([
      'Nguyễn Hòa An',
      'Nguyễn Văn An',
      'Nguyễn Văn Ẩn',
    ]);
    expect(await every({ title: 'nguyễn' })).toEqual([]);
    const [one] = await every({ q: 'cừ' });
    const suspend = (verb: string) =>
      supertest(directory.app)
        .post(`/v1/accounts/${one?.id}/${verb}`)
        .set('Authorization', admin.bearer)
        .send({ reason: 'x' })
        .expect(200);
    await suspend('suspend');
    expect(await found('võ', admin, { state: 'suspended' })).toEqual(['Võ Văn Cừ']);
    expect((await every({ state: 'suspended' })).map((account) => account.id)).toEqual([one?.id]);
    expect(await found('võ', admin, { state: 'active' })).toEqual([]);
    await suspend('resume');
    expect(await found('võ', admin, { state: 'suspended' })).toEqual([]);
  });
});

it('what is called otherwise is found by the new name and no more by the old', async () => {
  const agency = await directory.owner('directory.agencies').where({ code: 'H41.33' }).first();
  await directory.database('directory.agencies').where({ id: agency.id }).update({ name: 'UBND huyện Tân Phúc Xyz' });
  expect(await found('điền tân phúc xyz')).toEqual(['Phạm Đức Điền']);
  await directory.database('directory.agencies').where({ id: agency.id }).update({ name: agency.name });
  expect(await found('xyz')).toEqual([]);
  const account = () => directory.database('directory.accounts').where({ display_name: 'Lê Thị Dung' });
  const [{ id }] = await account().select('id');
  await account().update({ display_name: 'Đậu Thị Hằng', surname: 'Đậu', given_name: 'Hằng', title: 'Chủ tịch' });
  expect(await found('hằng chủ tịch')).toEqual(['Đậu Thị Hằng']);
  expect(await found('lê hằng')).toEqual([]);
  expect((await found('dunglt'))[0]).toBe('Đậu Thị Hằng'); // the address stays
  await directory.database('directory.accounts').where({ id }).update({ agency_id: agency.id });
  expect(await found('hằng', district)).toEqual([]);
  expect(await found('hằng', admin, { agencyCode: 'H41.33' })).toEqual(['Đậu Thị Hằng']);
});

it('an account that comes to an agency while that gets another name is found by the new one', async () => {
  const agencies = () => directory.database('directory.agencies').where({ code: 'H41.34' });
  const agency = await agencies().first();
  const coming = await directory.database.transaction();
  await coming('directory.accounts').where({ username: 'cuvv' }).update({ agency_id: agency.id });
  const renamed = agencies().update({ name: 'UBND huyện Wxyz' }).then();
  await new Promise((resolve) => setTimeout(resolve, 300));
  await coming.commit();
  await renamed;
  expect(await found('wxyz')).toEqual(['Võ Văn Cừ']);
  await agencies().update({ name: agency.name });
});

describe('the order', () => {
  it('is that of Vietnamese lists, each account once, whatever the size of the page', async () => {
    const people = await every({ sort: 'name', limit: 500, kind: 'person' });
    const keyed = people.map(({ displayName }) => parseFullName(displayName));
    const sortable = keyed.map((name) => (name.ok ? name : { givenName: '', surname: '', middleNames: '' }));
    expect(sortable).toEqual([...sortable].sort(compareNames));
    for (const limit of [1, 3, 7]) {
      expect((await every({ sort: 'name', limit, kind: 'person' })).map(({ id }) => id)).toEqual(
        people.map(({ id }) => id),
      );
      expect((await every({ q: 'nguyen', limit })).map(({ displayName }) => displayName)).toEqual(
        ['Nguyễn Hòa An', 'Nguyễn Hóa An', 'Nguyễn Văn An', 'Nguyễn Văn Ân', 'Nguyễn Văn Ẩn'].sort(
          (a, b) => people.findIndex((one) => one.displayName === a) - people.findIndex((one) => one.displayName === b),
        ),
      );
    }
  });

  it('of the database is that of compareNames, for every name that Vietnamese can write', async () => {
    const vowels = [...'aăâeêioôơuưy'];
    const tones = ['', '\u0300', '\u0309', '\u0303', '\u0301', '\u0323'];
    const syllable = fc
      .tuple(
        fc.constantFrom('', 'b', 'c', 'd', 'đ', 'h', 'ng', 't', 'x'),
        fc.array(fc.constantFrom(...vowels), { minLength: 1, maxLength: 2 }),
        fc.constantFrom(...tones),
        fc.constantFrom('', 'c', 'n', 'ng'),
      )
      .map(([start, middle, tone, end]) => {
        const word = (start + middle.join('') + tone + end).normalize('NFC');
        return word.charAt(0).toUpperCase() + word.slice(1);
      });
    const name = fc.record({
      givenName: syllable,
      surname: syllable,
      middleNames: fc.array(syllable, { maxLength: 2 }).map((words) => words.join(' ')),
    });
    const sampled = fc.sample(name, { numRuns: 3_000, seed: 41 });
    const { rows } = await directory.owner.raw(
      `select "givenName", surname, "middleNames" from jsonb_to_recordset(?::jsonb)
         as row("givenName" text, surname text, "middleNames" text)
       order by (directory.sort_part("givenName") || directory.sort_part(surname) || directory.sort_part("middleNames")) collate "C"`,
      [JSON.stringify(sampled)],
    );
    expect(rows).toEqual([...sampled].sort(compareNames));
  });
});

describe('whichever way a search goes', () => {
  /** Statistics that send it along the list, to the inverted index at once, and there part after part. */
  const ways: Record<string, Frequencies> = {
    'along the list': { of: () => 1, accounts: 1 },
    'by the inverted index': { of: () => 0, accounts: 0 },
    'part after part': { of: (tokens) => (tokens.length > 0 ? 0.014 : 0), accounts: 1e9 },
    'along the list, then part after part': { of: () => 0.02, accounts: 1e9 },
  };
  const queries = [
    'nguyen',
    'an',
    'v',
    'nguyen an',
    'dien',
    'quynh luu',
    'ubnd',
    'binhtt',
    'hoa',
    'le h41.32',
    'thi',
    '',
  ];

  it.each(Object.entries(ways))('%s, the answer is the same', async (_, frequencies) => {
    for (const q of queries) {
      for (const code of [undefined, 'H41.32.05']) {
        const agencies = code
          ? await directory.owner('directory.agencies').where({ code }).select('id', 'code')
          : undefined;
        const terms = q === '' ? [] : q.split(' ');
        const wanted = await directory
          .owner('directory.account_search')
          .modify((rows) => {
            for (const term of terms) {
              const pattern = term.length < 3 ? `% ${term}%` : `%${term}%`;
              rows.whereRaw("(document like ? or length(?) > 2 and address like ? || '%')", [pattern, term, term]);
            }
            if (agencies)
              rows.whereIn(
                'agency_id',
                agencies.map(({ id }) => id),
              );
          })
          .orderByRaw('sort_key, account_id')
          .pluck('account_id');
        for (const limit of [1, 3, 50]) {
          const seen: string[] = [];
          for (let after: [string, string] | undefined; ; ) {
            const filter = { terms, titleTerms: [], agencies };
            const hits = await findAccounts(directory.database, frequencies, filter, limit, after);
            seen.push(...hits.map((hit) => hit.account_id));
            const last = hits.at(-1);
            if (!last || hits.length < limit) break;
            after = [last.sort_key, last.account_id];
          }
          expect({ q, code, limit, seen }).toEqual({ q, code, limit, seen: wanted });
        }
      }
    }
  });
});

describe('as a file', () => {
  it('has everything that was searched for', async () => {
    const csv = await get({ q: 'nguyen', limit: 1 }, admin, 'text/csv').expect(200);
    expect((parse(csv.text, { columns: true, bom: true }) as { displayName: string }[]).length).toBe(5);
    const read = get({ sort: 'name' }, admin, 'application/jsonl').buffer(true);
    const jsonl = await read.parse((response, done) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => done(null, text));
    });
    const lines = (jsonl.body as string).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line))).toEqual(await every({ sort: 'name' }));
  });
});

it.each([
  'cursor=x',
  `cursor=${Buffer.from('["x","y"]').toString('base64url')}`,
  'sort=colour',
  'kind=x',
  'agencyCode=x',
])('refuses ?q=an&%s', async (query) => {
  const answer = await supertest(directory.app).get(`/v1/accounts?q=an&${query}`).set('Authorization', admin.bearer);
  expect([answer.status, answer.body.errors?.[0].pointer]).toEqual([422, `query/${query.split('=')[0]}`]);
});

it('is kept by the database alone: no service writes what accounts are found by', async () => {
  const denied = { code: '42501' };
  for (const table of ['account_search', 'search_words']) {
    await expect(directory.database(`directory.${table}`).delete()).rejects.toMatchObject(denied);
    await expect(directory.database.raw(`truncate directory.${table}`)).rejects.toMatchObject(denied);
  }
  await expect(directory.database.raw("select directory.refresh_account_search('{}')")).rejects.toMatchObject(denied);
});

it('that takes too long is given up with a word on what to do, and the service goes on', async () => {
  const blocked = await directory.owner.transaction();
  await blocked.raw('lock table directory.search_words in access exclusive mode');
  const { status, body } = await get({ q: 'dien' });
  await blocked.rollback();
  expect([status, body.code]).toEqual([503, 'search_too_slow']);
  expect(directory.logged()).not.toContain('%dien%');
  expect(await found('dien')).toHaveLength(2);
});
