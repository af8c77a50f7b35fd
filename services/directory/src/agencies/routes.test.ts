/** Lists of agencies are whole, in order and confined to the client's subtree; what was imported reaches LDAP, and only what changed. */

import type { Agency } from '@congvu/contracts';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
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
      validTo: null,
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
  ];
  const stamps = async (suffix = '') => (await directory.ldap.find(dn(suffix), ['entryCSN']))?.attributes.entryCSN;
  const converge = () =>
    convergeAgencies(directory.database, directory.ldap, directory.baseDn, AbortSignal.timeout(30_000));
  const importRows = async (...rows: string[]) => {
    const { bearer } = await directory.client('Y88', ['agencies:write']);
    const file = ['code,name,level,parent_code,mail_domain,valid_to', ...rows, ''].join('\n');
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
    });
    expect(await directory.owner('directory.agencies').whereRaw('entry_version < version')).toEqual([]);
  });

  it('only the entry of an agency that changed is written', async () => {
    const [rootBefore, before] = [await stamps(), await stamps('.01')];
    await converge();
    expect(await stamps('.01')).toEqual(before);
    await importRows('Y88.01,Sở Thử,department,Y88,thu.vn,2026-01-31');
    await converge();
    expect((await directory.ldap.find(dn('.01'), names))?.attributes).toMatchObject({
      description: ['Sở Thử'],
      congvuAgencyStatus: ['closed'],
    });
    expect(await stamps('.01')).not.toEqual(before);
    expect(await stamps()).toEqual(rootBefore);
  });
});
