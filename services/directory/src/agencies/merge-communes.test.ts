/**
 * Nghệ An in 2025: the communes of Quỳnh Lưu, some of them renamed in 2024, close and new ones take over, as the official list says.
 * One file tells it all; afterwards every old commune still says what it was, when it ended and who answers for it now.
 */
import { readFileSync } from 'node:fs';
import type { AgencyTree } from '@congvu/contracts';
import { insertAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import supertest from 'supertest';
import { personLine, sampleCsv, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

type Row<Column extends string> = Record<Column, string>;
const listed: Row<'old_gso_code' | 'old_name' | 'old_district' | 'new_gso_code' | 'new_name'>[] = parse(
  readFileSync(new URL('../../../../infra/local/sample/nghe-an/communes-merged-2025.csv', import.meta.url)),
  { columns: true },
);
const merged = listed.filter((row) => row.old_district === 'Huyện Quỳnh Lưu');
const sample: Row<'code' | 'name' | 'gso_code'>[] = parse(sampleCsv, { columns: true });

let directory: TestDirectory;
let client: TestClient;
beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  client = await directory.client('H41', ['agencies:write', 'agencies:read', 'requests:submit']);
});
afterAll(() => directory.stop());

const get = async (path: string) =>
  (await supertest(directory.app).get(path).set('Authorization', client.bearer).expect(200)).body;
const post = (file: string) =>
  supertest(directory.app).post('/v1/agencies/import').set('Authorization', client.bearer).type('text/csv').send(file);
const committee = (place: string) => `UBND ${place.replace(/^(Xã|Thị trấn|Phường)/, (kind) => kind.toLowerCase())}`;

it('is told by one file', async () => {
  // 1. The file: renamed at the end of 2024 where the name is another, closed in July 2025, and the new communes.
  const newCode = (gso: string) => `H41.${gso}`;
  const old = merged.flatMap((row) => {
    const agency = sample.find(({ gso_code }) => gso_code === row.old_gso_code);
    return agency ? [{ ...row, code: agency.code, was: agency.name, is: committee(row.old_name) }] : [];
  });
  const renamed = old.filter(({ was, is }) => was !== is);
  const fresh = new Map(merged.map((row) => [row.new_gso_code, row.new_name]));
  expect([old.length, renamed.length, fresh.size]).toEqual([25, 7, 7]);
  const file = [
    'Mã,Tên,Cấp,Mã cấp trên,Ngày hiệu lực,Ngày hết hiệu lực,Đơn vị kế thừa,Tên miền thư,Mã GSO',
    ...old.map(({ code, was, is, new_gso_code }) =>
      [
        code,
        is,
        'xã',
        'H41.32',
        was === is ? '' : '01/12/2024',
        '01/07/2025',
        newCode(new_gso_code),
        'nghean.gov.vn',
        '',
      ].join(),
    ),
    ...[...fresh].map(([gso, name]) =>
      [newCode(gso), committee(name), 'xã', 'H41', '01/07/2025', '', '', 'nghean.gov.vn', gso].join(),
    ),
  ].join('\n');

  // 2. Its import; people still work in one of the old communes.
  const luong = old.find(({ was }) => was === 'UBND xã Quỳnh Lương');
  if (!luong) throw new Error('the sample has no Quỳnh Lương');
  await insertAccount(directory.owner, { agencyCode: luong.code });
  const { body: report } = await post(file).expect(200);
  expect(report).toMatchObject({ added: fresh.size, changed: old.length, unchanged: 0, refused: [] });
  expect(report.warnings).toMatchObject([{ code: 'accounts_remain', detail: expect.stringContaining(luong.code) }]);

  // 3. The old ones: closed, with what they were and who took over.
  expect(await get(`/v1/agencies/${luong.code}`)).toMatchObject({
    name: 'UBND xã Minh Lương',
    status: 'closed',
    validTo: '2025-07-01',
    successorCode: 'H41.17176',
    shortName: 'quynhluong.quynhluu',
  });
  expect((await get(`/v1/agencies/${luong.code}?at=2024-11-30`)).name).toBe('UBND xã Quỳnh Lương');
  expect((await get(`/v1/agencies/${luong.code}/history`)).periods).toMatchObject([
    { name: 'UBND xã Quỳnh Lương', validFrom: null, validTo: '2024-12-01', parentCode: 'H41.32' },
    { name: 'UBND xã Minh Lương', validFrom: '2024-12-01', validTo: '2025-07-01', parentCode: 'H41.32' },
  ]);

  // 4. The new one: where it comes from, and where it stands in the tree.
  const anh = 'H41.17176';
  const from = old.filter(({ new_gso_code }) => new_gso_code === '17176').map(({ code }) => code);
  expect(await get(`/v1/agencies/${anh}`)).toMatchObject({
    name: 'UBND xã Quỳnh Anh',
    status: 'active',
    gsoCode: '17176',
  });
  expect((await get(`/v1/agencies/${anh}/history`)).predecessorCodes).toEqual(from.sort());
  const tree: AgencyTree = await get('/v1/agencies/H41/tree');
  expect(tree.children.find(({ code }) => code === anh)).toMatchObject({ status: 'active', children: [] });
  const luu = tree.children.find(({ code }) => code === 'H41.32');
  const closed = luu?.children.filter(({ status }) => status === 'closed') ?? [];
  expect(closed.map(({ code }) => code)).toEqual(old.map(({ code }) => code).sort());
  expect(closed.every(({ successorCode }) => successorCode !== null)).toBe(true);

  // 5. When a new one is merged once more, the old ones lead all the way.
  const again = supertest(directory.app).patch(`/v1/agencies/${anh}`).set('Authorization', client.bearer);
  await again.send({ validTo: '2026-01-01', successorCode: 'H41.17179' }).expect(200);
  expect((await get(`/v1/agencies/${luong.code}/history`)).successorCodes).toEqual([anh, 'H41.17179']);
  const circle = supertest(directory.app).patch('/v1/agencies/H41.17179').set('Authorization', client.bearer);
  const { body } = await circle.send({ validTo: '2027-01-01', successorCode: luong.code }).expect(422);
  expect(body.errors).toMatchObject([{ pointer: '/successorCode', code: 'successor_cycle' }]);

  // 6. Nobody asks for accounts in a closed agency.
  const request = supertest(directory.app).post('/v1/requests').set('Authorization', client.bearer);
  const refused = await request.send({ agencyCode: luong.code, lines: [personLine('Nguyễn Văn An')] }).expect(422);
  expect(refused.body.errors).toMatchObject([{ pointer: '/lines/0', code: 'agency_closed' }]);

  // 7. The same file again, apart from the commune that was merged since, says nothing new; the list of before opens nothing.
  const rest = file.split('\n').filter((line) => !line.startsWith(`${anh},`));
  expect((await post(rest.join('\n')).expect(200)).body).toMatchObject({ added: 0, changed: 0, unchanged: 31 });
  const events = await directory.owner('directory.audit_events').count();
  const past = await post(sampleCsv).expect(422);
  expect(past.body.errors).toHaveLength(renamed.length);
  expect(past.body.errors[0]).toMatchObject({ code: 'agency_closed' });
  expect(await directory.owner('directory.audit_events').count()).toEqual(events);
});
