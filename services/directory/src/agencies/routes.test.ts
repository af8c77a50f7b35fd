/** Lists of agencies are whole, in order and confined to the client's subtree; what was imported reaches LDAP, and only what changed. */

import type { Agency, AgencyTree } from '@congvu/contracts';
import { insertAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import supertest from 'supertest';
import { startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeAgencies } from './converge-agencies.ts';

let directory: TestDirectory;
let province: TestClient;
let district: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  province = await directory.client('H41', ['agencies:read']);
  district = await directory.client('H41.32', ['agencies:read']);
});
afterAll(() => directory.stop());

const get = (path: string, by = province) => supertest(directory.app).get(path).set('Authorization', by.bearer);

async function everyItem(path: string, by = province): Promise<{ items: Agency[]; pages: number }> {
  const items: Agency[] = [];
  let pages = 0;
  for (let next: string | undefined = path; next; ) {
    const { body, headers }: supertest.Response = await get(next, by).expect(200);
    items.push(...body.items);
    pages += 1;
    const link: string | undefined = /^<(.+)>; rel="next"$/.exec(headers.link ?? '')?.[1];
    expect(link === undefined).toBe(body.nextCursor === null);
    next = link;
  }
  return { items, pages };
}
const codes = (agencies: readonly Agency[]) => agencies.map((agency) => agency.code);
const inRecord = (where = 'true') =>
  directory.owner('directory.agencies').whereRaw(where).orderByRaw('code collate "C"').pluck('code');

describe('the list', () => {
  it.each([1, 7, 100, 500])('gives each of the 845 exactly once, %i at a time', async (limit) => {
    const path = `/v1/agencies?limit=${limit}`;
    // One at a time would take 845 calls; the last twenty are enough to cross the end.
    const from = limit === 1 ? (await inRecord()).at(-21) : undefined;
    const cursor = from ? `&cursor=${Buffer.from(JSON.stringify([from])).toString('base64url')}` : '';
    const { items, pages } = await everyItem(path + cursor);
    const expected = (await inRecord()).slice(from ? -20 : 0);
    expect(codes(items)).toEqual(expected);
    expect(pages).toBe(Math.ceil(expected.length / limit));
  });

  it('keeps its filters from page to page', async () => {
    const { items, pages } = await everyItem('/v1/agencies?limit=100&level=commune');
    expect(pages).toBe(5);
    expect(codes(items)).toEqual(await inRecord("level = 'commune'"));
  });

  it('filters by the agency above, in both forms of its code', async () => {
    const expected = await inRecord("parent_id = (select id from directory.agencies where code = 'H41.32')");
    expect(expected.length).toBeGreaterThan(30);
    expect(codes((await everyItem('/v1/agencies?parentCode=H41.32')).items)).toEqual(expected);
    expect(codes((await everyItem('/v1/agencies?parentCode=000.00.32.H41')).items)).toEqual(expected);
    expect(codes((await everyItem('/v1/agencies?parentCode=H41.32&level=public_unit')).items)).toEqual(
      expected.filter((code) => code.includes('.S')),
    );
  });

  it('finds a part of the name, code or short name, and takes wildcards as they are', async () => {
    const found = codes((await everyItem('/v1/agencies?q=quỳnh%20lưu')).items);
    expect(found).toEqual(expect.arrayContaining(['H41.32', 'H41.17.10', 'H41.32.S04']));
    expect(codes((await everyItem('/v1/agencies?q=ttyt.quynhluu')).items)).toEqual(['H41.32.S01']);
    expect((await everyItem('/v1/agencies?q=%25')).items).toEqual([]);
    expect((await everyItem("/v1/agencies?q=';--")).items).toEqual([]);
  });

  it.each([
    ['quynh luu', 'quỳnh lưu'],
    ['QUỲNH LƯU', 'quỳnh lưu'],
    ['quỳnh lưu'.normalize('NFD'), 'quỳnh lưu'],
    ['00.32.h41', 'H41.32'],
    ['h41.32.s0', 'H41.32.S0'],
  ])('finds %s without regard to marks, case and the form of the code', async (q, same) => {
    const found = (await everyItem(`/v1/agencies?q=${encodeURIComponent(q)}`)).items;
    const expected = await inRecord(
      same.startsWith('H41')
        ? `position('${same}' in code) = 1 and ('${q}' <> '00.32.h41' or code = 'H41.32')`
        : `name ilike '%${same}%'`,
    );
    expect(expected.length).toBeGreaterThan(0);
    expect(codes(found)).toEqual(expect.arrayContaining(expected));
    if (same.startsWith('H41')) expect(codes(found)).toEqual(expected);
  });

  it('gives a subtree, and what has one status', async () => {
    const expected = await inRecord("code ~ '^H41[.]32([.]|$)'");
    expect(codes((await everyItem('/v1/agencies?limit=500&under=000.00.32.H41')).items)).toEqual(expected);
    expect((await everyItem('/v1/agencies?under=H41.33', district)).items).toEqual([]);
    expect((await everyItem('/v1/agencies?limit=500&status=active')).items).toHaveLength(845);
    expect((await everyItem('/v1/agencies?status=closed')).items).toEqual([]);
  });

  it('is exported whole as CSV, and the export is taken back as saying nothing new', async () => {
    const writer = await directory.client('H41', ['agencies:read', 'agencies:write']);
    const { text, headers } = await get('/v1/agencies?limit=1', writer).set('Accept', 'text/csv').expect(200);
    expect(headers['content-type']).toBe('text/csv; charset=utf-8');
    const rows: Record<string, string>[] = parse(text, { columns: true, bom: true });
    expect(rows.map((row) => row.code)).toEqual(await inRecord());
    expect(rows.find((row) => row.code === 'H41.32')).toMatchObject({ legacyCode: '000.00.32.H41', status: 'active' });
    const back = supertest(directory.app).post('/v1/agencies/import').set('Authorization', writer.bearer);
    const { body } = await back.type('text/csv').send(text).expect(200);
    expect(body).toMatchObject({ added: 0, changed: 0, unchanged: 845, warnings: [], corrections: [] });
  });

  it('shows a district what lies below it and nothing else', async () => {
    const expected = await inRecord("code ~ '^H41[.]32([.]|$)'");
    expect(codes((await everyItem('/v1/agencies?limit=500', district)).items)).toEqual(expected);
    expect((await everyItem('/v1/agencies?parentCode=H41.33', district)).items).toEqual([]);
    expect(codes((await everyItem('/v1/agencies?parentCode=H41', district)).items)).toEqual(['H41.32']);
  });

  it.each([
    ['limit=0', 'query/limit'],
    ['limit=501', 'query/limit'],
    ['limit=x', 'query/limit'],
    ['level=ministry', 'query/level'],
    ['parentCode=nowhere', 'query/parentCode'],
    ['cursor=garbage', 'query/cursor'],
    [`cursor=${Buffer.from('[1,2]').toString('base64url')}`, 'query/cursor'],
    ['sort=name', 'query/sort'],
  ])('refuses ?%s by name', async (query, pointer) => {
    const { body } = await get(`/v1/agencies?${query}`).expect(422);
    expect(body.errors.map((fault: { pointer: string }) => fault.pointer)).toEqual([pointer]);
  });
});

describe('one agency', () => {
  it('is read by either form of its code', async () => {
    const { body } = await get('/v1/agencies/H41.32').expect(200);
    expect(body).toEqual({
      code: 'H41.32',
      name: 'UBND huyện Quỳnh Lưu',
      level: 'district',
      parentCode: 'H41',
      shortName: 'quynhluu',
      mailDomain: 'nghean.gov.vn',
      gsoCode: '421',
      legacyCode: '000.00.32.H41',
      headCount: null,
      validFrom: null,
      validTo: null,
      status: 'active',
      successorCode: null,
      version: 1,
    });
    expect((await get('/v1/agencies/000.00.32.h41').expect(200)).body).toEqual(body);
  });

  it('is absent when it is not there, and when it lies outside', async () => {
    expect((await get('/v1/agencies/H41.99').expect(404)).body.code).toBe('agency_not_found');
    const outside = await get('/v1/agencies/H41.33', district).expect(404);
    expect(outside.body.code).toBe('agency_not_found');
    expect((await get('/v1/agencies/nowhere').expect(422)).body.errors[0].pointer).toBe('path/code');
  });
});

describe('the tree', () => {
  beforeAll(async () => {
    for (const agencyCode of ['H41', 'H41.32', 'H41.32', 'H41.32.01'])
      await insertAccount(directory.owner, { agencyCode });
    await insertAccount(directory.owner, { agencyCode: 'H41.32.01', state: 'retired' });
  });

  const tree = async (path: string, by = province): Promise<AgencyTree> => (await get(path, by).expect(200)).body;
  const size = (node: AgencyTree): number => node.children.reduce((sum, child) => sum + size(child), 1);

  it('nests all agencies, and counts accounts of each and below', async () => {
    const whole = await tree('/v1/agencies/H41/tree');
    expect(whole).toMatchObject({
      code: 'H41',
      level: 'province',
      accounts: 1,
      accountsInSubtree: 4,
      agenciesInSubtree: 844,
    });
    expect(size(whole)).toBe(845);
    expect(whole.children.map((child) => child.code)).toEqual(
      await inRecord("parent_id = (select id from directory.agencies where code = 'H41')"),
    );
    const luu = whole.children.find((child) => child.code === 'H41.32');
    expect(luu).toMatchObject({ name: 'UBND huyện Quỳnh Lưu', accounts: 2, accountsInSubtree: 3, status: 'active' });
    expect(luu?.children.find((child) => child.code === 'H41.32.01')).toMatchObject({ accounts: 1, children: [] });
  });

  it('ends at a depth and still counts what lies deeper', async () => {
    const cut = await tree('/v1/agencies/000.00.00.H41/tree?depth=1');
    expect(cut.children.every((child) => child.children.length === 0)).toBe(true);
    const luu = cut.children.find((child) => child.code === 'H41.32');
    const below = await inRecord("code ~ '^H41[.]32[.]'");
    expect(luu).toMatchObject({ accountsInSubtree: 3, agenciesInSubtree: below.length });
    expect((await tree('/v1/agencies/H41/tree?depth=0')).children).toEqual([]);
  });

  it('begins no higher than the agency of the client', async () => {
    expect((await tree('/v1/agencies/H41.32/tree', district)).accountsInSubtree).toBe(3);
    expect((await get('/v1/agencies/H41/tree', district).expect(404)).body.code).toBe('agency_not_found');
    await get('/v1/agencies/H41.33/history', district).expect(404);
    await get('/v1/agencies/H41.33?at=2020-01-01', district).expect(404);
    expect((await get('/v1/agencies/H41/tree?depth=-1').expect(422)).body.errors[0].pointer).toBe('query/depth');
    expect((await get('/v1/agencies/H41?at=2020-13-01').expect(422)).body.errors[0].pointer).toBe('query/at');
  });
});

describe('in LDAP', () => {
  // Codes of a province that no other file uses: the LDAP server is shared.
  const code = (suffix = '') => `Y88${suffix}`;
  const dn = (suffix = '') => `ou=${code(suffix)},ou=agencies,${directory.baseDn}`;
  const names = [
    'objectClass',
    'ou',
    'description',
    'congvuAgencyCode',
    'congvuParentCode',
    'congvuAgencyLevel',
    'congvuAgencyStatus',
    'congvuSuccessorCode',
  ];
  const stamps = async (suffix = '') => (await directory.ldap.find(dn(suffix), ['entryCSN']))?.attributes.entryCSN;
  const converge = () =>
    convergeAgencies(directory.database, directory.ldap, directory.baseDn, AbortSignal.timeout(30_000));
  const importRows = async (...rows: string[]) => {
    const { bearer } = await directory.client('Y88', ['agencies:write']);
    const file = ['code,name,level,parent_code,mail_domain,valid_from,valid_to,successor_code', ...rows, ''].join('\n');
    await supertest(directory.app)
      .post('/v1/agencies/import')
      .set('Authorization', bearer)
      .type('text/csv')
      .send(file)
      .expect(200);
  };

  beforeAll(async () => {
    // Only what this part imports is to be converged.
    await directory.owner('directory.agencies').update({ entry_version: directory.owner.ref('version') });
  });
  afterAll(async () => {
    await directory.ldap.remove(dn('.01'));
    await directory.ldap.remove(dn());
  });

  it('each agency has an entry that says what the record says', async () => {
    await importRows('Y88,Tỉnh Thử,province,,thu.vn,', 'Y88.01,"Sở Thử, số 1",department,Y88,thu.vn,');
    await converge();
    expect((await directory.ldap.find(dn('.01'), names))?.attributes).toEqual({
      objectClass: expect.arrayContaining(['organizationalUnit', 'congvuAgency']),
      ou: ['Y88.01'],
      description: ['Sở Thử, số 1'],
      congvuAgencyCode: ['Y88.01'],
      congvuParentCode: ['Y88'],
      congvuAgencyLevel: ['department'],
      congvuAgencyStatus: ['active'],
      congvuSuccessorCode: [],
    });
    expect(await directory.owner('directory.agencies').whereRaw('entry_version < version')).toEqual([]);
  });

  it('only the entry of an agency that changed is written', async () => {
    const [rootBefore, before] = [await stamps(), await stamps('.01')];
    await converge();
    expect(await stamps('.01')).toEqual(before);
    await importRows('Y88.01,Sở Thử,department,Y88,thu.vn,2026-01-01,2026-01-31,Y88');
    await converge();
    expect((await directory.ldap.find(dn('.01'), names))?.attributes).toMatchObject({
      description: ['Sở Thử'],
      congvuAgencyStatus: ['closed'],
      congvuSuccessorCode: ['Y88'],
    });
    expect(await stamps('.01')).not.toEqual(before);
    expect(await stamps()).toEqual(rootBefore);
  });
});
