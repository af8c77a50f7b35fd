/** Workbooks and Vietnamese headings, files that tell a history, trial runs, imports that leave the faulty rows out, warnings. */
import { insertAccount } from '@congvu/database/testing';
import { makeWorkbook } from '@congvu/spreadsheet/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { parse } from 'csv-parse/sync';
import supertest from 'supertest';
import { sampleCsv, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let province: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  province = await directory.client('H41', ['agencies:write', 'agencies:read']);
});
afterAll(() => directory.stop());

const spreadsheet = 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet';
const post = (file: string | Buffer, query = '', by = province) =>
  supertest(directory.app)
    .post(`/v1/agencies/import${query}`)
    .set('Authorization', by.bearer)
    .set('Content-Type', Buffer.isBuffer(file) ? spreadsheet : 'text/csv')
    .send(file);
const get = async (path: string) =>
  (await supertest(directory.app).get(path).set('Authorization', province.bearer).expect(200)).body;
const header = 'code,name,level,parent_code,valid_from,valid_to,successor_code,mail_domain,head_count';
const csv = (...rows: string[]) => [header, ...rows, ''].join('\n');
const root = 'H41,UBND tỉnh Nghệ An,province,,,,,nghean.gov.vn,';
const record = async () => ({
  agencies: await directory.owner('directory.agencies').orderBy('code'),
  periods: await directory.owner('directory.agency_periods').orderBy(['agency_id', 'valid_from']),
  events: await directory.owner('directory.audit_events').where({ subject_type: 'agency' }).orderBy('id'),
});
const clear = () =>
  directory.owner.raw(
    'truncate directory.agencies, directory.audit_events cascade; truncate directory_jobs._private_jobs cascade',
  );
const codesOf = (findings: { cell: string; code: string }[]) => findings.map(({ cell, code }) => `${cell} ${code}`);
const refusedIn = (answer: supertest.Response) =>
  answer.body.errors.map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`);
/** The calendar day in Việt Nam, so many days from now. */
const day = (offset: number) => new Date(Date.now() + 7 * 3_600_000 + offset * 86_400_000).toISOString().slice(0, 10);

describe('a workbook', () => {
  beforeEach(clear);

  it('brings the whole province, and changes nothing when it is imported again', async () => {
    const rows: string[][] = parse(sampleCsv);
    const file = await makeWorkbook([{ name: 'Cơ quan', rows }]);
    expect((await post(file).expect(200)).body).toEqual({
      dryRun: false,
      added: 845,
      changed: 0,
      unchanged: 0,
      refused: [],
      corrections: [],
      warnings: [],
    });
    const before = await record();
    expect(before.periods).toHaveLength(845);
    expect((await post(file).expect(200)).body).toMatchObject({ added: 0, changed: 0, unchanged: 845 });
    expect((await post(sampleCsv).expect(200)).body).toMatchObject({ added: 0, changed: 0, unchanged: 845 });
    expect(await record()).toEqual(before);
  });

  it('may have a title, Vietnamese headings and levels, dates as dates, and numbers as numbers', async () => {
    const rows = [
      ['DANH SÁCH CƠ QUAN', null],
      [],
      ['STT', 'Mã', 'Tên', 'Cấp', 'Mã cấp trên', 'Ngày hiệu lực', 'Tên miền thư', 'Biên chế', 'Mã GSO', 'Tên ngắn'],
      [1, 'H41', 'UBND  tỉnh Nghệ An'.normalize('NFD'), 'Tỉnh', null, null, 'nghean.gov.vn', 95, 40, null],
      // 43,831 is 1 January 2020.
      [
        2,
        'h41.32',
        'UBND huyện Quỳnh Lưu',
        'Huyện',
        '000.00.00.H41',
        { date: 43_831 },
        'nghean.gov.vn',
        120,
        421,
        'ql',
      ],
      [3, 'H41.32.01', 'UBND xã Mới', 'Xã', 'H41.32', '01/07/2021', 'nghean.gov.vn', null, null, null],
    ];
    const { body } = await post(await makeWorkbook([{ name: 'A', rows }])).expect(200);
    expect(body).toMatchObject({ added: 3, refused: [] });
    expect(codesOf(body.warnings)).toEqual(['A3 unknown_column']);
    expect(codesOf(body.corrections)).toEqual(['B5 agency_code_case', 'E5 agency_code_legacy']);
    expect(await get('/v1/agencies/H41.32')).toMatchObject({
      name: 'UBND huyện Quỳnh Lưu',
      level: 'district',
      parentCode: 'H41',
      validFrom: '2020-01-01',
      headCount: 120,
      gsoCode: '421',
      shortName: 'ql',
    });
    expect((await get('/v1/agencies/H41')).name).toBe('UBND tỉnh Nghệ An'.normalize('NFC'));
    expect(await get('/v1/agencies/H41.32.01')).toMatchObject({ validFrom: '2021-07-01', shortName: 'moi.ql' });
  });

  it('is refused for formulas and errors, each by its cell', async () => {
    const rows = [
      ['code', 'name', 'level', 'parent_code', 'mail_domain', 'note'],
      ['H41', { xml: '<f>UPPER("a")</f><v>A</v>', type: 'str' }, 'province', null, 'nghean.gov.vn', null],
      [
        'H41.01',
        { xml: '<v>#REF!</v>', type: 'e' },
        'department',
        'H41',
        'nghean.gov.vn',
        { xml: '<f>NOW()</f><v>1</v>', type: 'n' },
      ],
    ];
    const answer = await post(await makeWorkbook([{ name: 'A', rows }])).expect(422);
    expect(refusedIn(answer)).toEqual(['row/2/B2 not_a_value', 'row/3/B3 not_a_value']);
    expect((await record()).agencies).toEqual([]);
  });

  it('is refused when it is none', async () => {
    const answer = await post(Buffer.from('code,name\n'));
    expect(answer.status).toBe(400);
  });
});

describe('validity', () => {
  beforeEach(async () => {
    await clear();
    await post(csv(root, 'H41.01,Sở A,department,H41,01/01/2020,,,nghean.gov.vn,50')).expect(200);
  });

  it('a changed name begins a period and leaves the past, and so does it on a date that is given', async () => {
    await post(csv('H41.01,Sở B,department,H41,2024-03-01,,,nghean.gov.vn,')).expect(200);
    const { body } = await post(csv('H41.01,Sở C,department,H41,,,,nghean.gov.vn,60')).expect(200);
    expect(body).toMatchObject({ added: 0, changed: 1 });
    const { periods } = await get('/v1/agencies/H41.01/history');
    const common = { level: 'department', parentCode: 'H41', mailDomain: 'nghean.gov.vn' };
    expect(periods).toEqual([
      { ...common, validFrom: '2020-01-01', validTo: '2024-03-01', name: 'Sở A', headCount: 50 },
      { ...common, validFrom: '2024-03-01', validTo: day(0), name: 'Sở B', headCount: 50 },
      { ...common, validFrom: day(0), validTo: null, name: 'Sở C', headCount: 60 },
    ]);
    const at = async (on: string) => (await get(`/v1/agencies/H41.01?at=${on}`)) as { name: string; status: string };
    expect(await at('2019-12-31')).toMatchObject({ name: 'Sở A', status: 'future' });
    expect(await at('2024-02-29')).toMatchObject({ name: 'Sở A', status: 'active', headCount: 50 });
    expect(await at('2024-03-01')).toMatchObject({ name: 'Sở B', validFrom: '2020-01-01' });
    const [event] = (await record()).events.slice(-1);
    expect(event).toMatchObject({ action: 'agency.changed', before: { name: 'Sở B', headCount: 50 } });
    expect(event.after).toMatchObject({ name: 'Sở C', headCount: 60, periods });
    expect(event.after).not.toHaveProperty('mailDomain');
  });

  it('the same date corrects', async () => {
    await post(csv('H41.01,Sở Á,department,H41,2020-01-01,,,nghean.gov.vn,')).expect(200);
    const { periods } = await get('/v1/agencies/H41.01/history');
    expect(periods).toMatchObject([{ validFrom: '2020-01-01', validTo: null, name: 'Sở Á' }]);
  });

  it('what begins later is planned, and today goes on as it is', async () => {
    const file = csv(
      `H41.01,Sở Mai,department,H41,${day(10)},,,nghean.gov.vn,`,
      `H41.02,Sở Mới,department,H41,${day(10)},${day(90)},,nghean.gov.vn,`,
    );
    await post(file).expect(200);
    expect(await get('/v1/agencies/H41.01')).toMatchObject({ name: 'Sở A', status: 'active' });
    expect(await get('/v1/agencies/H41.02')).toMatchObject({ name: 'Sở Mới', status: 'future', validTo: day(90) });
    expect((await get(`/v1/agencies/H41.01?at=${day(10)}`)).name).toBe('Sở Mai');
    const before = await record();
    expect((await post(file).expect(200)).body).toMatchObject({ unchanged: 2 });
    expect(await record()).toEqual(before);
  });

  it('several rows of one code are its history, in any order, and again change nothing', async () => {
    const rows = [
      'H41.02,Sở Ba,department,H41,2025-03-01,,,nghean.gov.vn,',
      'H41.02,Sở Một,department,H41,,2010-01-01,,nghean.gov.vn,',
      'h41.02,Sở Hai,department,H41,2010-01-01,,,nghean.gov.vn,',
    ];
    expect((await post(csv(...rows)).expect(200)).body).toMatchObject({ added: 1 });
    const { periods } = await get('/v1/agencies/H41.02/history');
    expect(
      periods.map((one: { validFrom: string; validTo: string; name: string }) => Object.values(one).slice(0, 3)),
    ).toEqual([
      [null, '2010-01-01', 'Sở Một'],
      ['2010-01-01', '2025-03-01', 'Sở Hai'],
      ['2025-03-01', null, 'Sở Ba'],
    ]);
    const before = await record();
    expect((await post(csv(...rows)).expect(200)).body).toMatchObject({ unchanged: 1 });
    expect(await record()).toEqual(before);
  });

  it.each([
    [
      'overlapping rows',
      [
        'H41.02,A,department,H41,2010-01-01,2015-01-01,,nghean.gov.vn,',
        'H41.02,B,department,H41,2014-01-01,,,nghean.gov.vn,',
      ],
      ['row/2/F2 validity_overlap'],
    ],
    [
      'rows with a gap',
      [
        'H41.02,A,department,H41,2010-01-01,2015-01-01,,nghean.gov.vn,',
        'H41.02,B,department,H41,2016-01-01,,,nghean.gov.vn,',
      ],
      ['row/2/F2 validity_gap'],
    ],
    [
      'an end before the beginning',
      ['H41.02,A,department,H41,2010-01-01,2009-01-01,,nghean.gov.vn,'],
      ['row/2/F2 validity_order'],
    ],
    [
      'the same code and date twice, in another case and form',
      [
        'H41.02,A,department,H41,,,,nghean.gov.vn,',
        'h41.02,A,department,H41,,,,nghean.gov.vn,',
        '000.00.02.H41,A,department,H41,,,,nghean.gov.vn,',
      ],
      ['row/3/A3 duplicate_code', 'row/4/A4 duplicate_code'],
    ],
    [
      'a successor of what goes on',
      ['H41.02,A,department,H41,,,H41.01,nghean.gov.vn,'],
      ['row/2/G2 successor_of_open'],
    ],
    [
      'a successor that is nowhere',
      ['H41.02,A,department,H41,,2025-01-01,H41.77,nghean.gov.vn,'],
      ['row/2/G2 successor_not_found'],
    ],
    ['its own successor', ['H41.02,A,department,H41,,2025-01-01,H41.02,nghean.gov.vn,'], ['row/2/G2 successor_cycle']],
    [
      'successors in a circle',
      [
        'H41.02,A,department,H41,,2025-01-01,H41.03,nghean.gov.vn,',
        'H41.03,B,department,H41,,2025-01-01,H41.02,nghean.gov.vn,',
      ],
      ['row/2/G2 successor_cycle', 'row/3/G3 successor_cycle'],
    ],
    ['a number of people that is none', ['H41.02,A,department,H41,,,,nghean.gov.vn,some'], ['row/2/I2 invalid_format']],
    ['a year for a date', ['H41.02,A,department,H41,2025,,,nghean.gov.vn,'], ['row/2/E2 date_year_only']],
  ])('%s are refused by their cells', async (_, rows, faults) => {
    const before = await record();
    const answer = await post(csv(...rows)).expect(422);
    expect(refusedIn(answer)).toEqual(faults);
    expect(await record()).toEqual(before);
  });

  it('no circle is closed on any day, not even on one to come', async () => {
    await post(csv('H41.02,B,department,H41,,,,nghean.gov.vn,')).expect(200);
    await post(csv(`H41.02,B,department,H41.01,${day(30)},,,nghean.gov.vn,`)).expect(200);
    const answer = await post(csv('H41.01,Sở A,department,H41.02,,,,nghean.gov.vn,')).expect(422);
    expect(refusedIn(answer)).toEqual(['row/2/D2 cycle']);
    // Until that day it may well lie there: then it moves back before the other follows.
    const rows = [
      'H41.01,Sở A,department,H41.02,2021-01-01,,,nghean.gov.vn,',
      'H41.01,Sở A,department,H41,2022-01-01,,,nghean.gov.vn,',
    ];
    await post(csv(...rows)).expect(200);
  });

  it('the database itself refuses two periods at once', async () => {
    const [{ id }] = await directory.owner('directory.agencies').where({ code: 'H41.01' });
    const insert = directory.owner.raw(
      `insert into directory.agency_periods (agency_id, valid_from, valid_to, name, level, parent_id, mail_domain, search_key)
       select id, '2021-01-01', '2022-01-01', 'x', level, parent_id, mail_domain, '' from directory.agencies where id = ?`,
      [id],
    );
    await expect(insert).rejects.toThrow(/agency_periods_one_at_a_time/);
  });
});

describe('short names', () => {
  beforeEach(clear);

  it('may be chosen for a new agency, stay, and are nobody else’s', async () => {
    const file = (...rows: string[]) => ['code,name,level,parent_code,mail_domain,short_name', ...rows, ''].join('\n');
    const rows = ['H41,Tỉnh,province,,nghean.gov.vn,tinh', 'H41.01,Sở A,department,H41,nghean.gov.vn,so-a'];
    await post(file(...rows)).expect(200);
    expect((await get('/v1/agencies/H41.01')).shortName).toBe('so-a');
    expect((await post(file(...rows)).expect(200)).body.unchanged).toBe(2);
    const answer = await post(
      file(
        'H41.01,Sở A,department,H41,nghean.gov.vn,so-b',
        'H41.02,Sở B,department,H41,nghean.gov.vn,so-a',
        'H41.03,Sở C,department,H41,nghean.gov.vn,admin',
      ),
    ).expect(422);
    expect(refusedIn(answer)).toEqual([
      'row/2/F2 short_name_stays',
      'row/3/F3 short_name_taken',
      'row/4/F4 short_name_form',
    ]);
  });
});

describe('a trial run', () => {
  beforeEach(clear);

  it('answers as the import does and writes nothing', async () => {
    const { body } = await post(csv(root, 'h41.01,Sở A,department,H41,,,,nghean.gov.vn,'), '?dryRun=true').expect(200);
    expect(body).toMatchObject({ dryRun: true, added: 2, corrections: [{ cell: 'A3', code: 'agency_code_case' }] });
    expect(await record()).toEqual({ agencies: [], periods: [], events: [] });
    expect(await directory.owner('directory_jobs._private_jobs')).toEqual([]);
    const faulty = csv('H41.01,A,department,H41,,,,nghean.gov.vn,');
    const answers = [await post(faulty, '?dryRun=true'), await post(faulty)];
    expect(answers.map(({ status }) => status)).toEqual([422, 422]);
    expect(refusedIn(answers[0] as supertest.Response)).toEqual(refusedIn(answers[1] as supertest.Response));
    expect((await post(csv(root), '?dryRun=maybe')).body.errors).toMatchObject([{ pointer: 'query/dryRun' }]);
  });
});

describe('an import that leaves out what is refused', () => {
  beforeEach(clear);
  const rows = [
    root, // 2
    'H41.01,Sở A,department,H41,,,,nghean.gov.vn,', // 3
    'H41.02,,department,H41,,,,nghean.gov.vn,', // 4: no name
    'H41.02.01,Phòng,public_unit,H41.02,,,,nghean.gov.vn,', // 5: below 4
    'H41.02.01.01,Tổ,public_unit,H41.02.01,,,,nghean.gov.vn,', // 6: below 5
    'H41.03,Sở C,department,H41,,2025-01-01,H41.02,nghean.gov.vn,', // 7: taken over by 4
    'H41.04,Sở D,department,H41.05,,,,nghean.gov.vn,', // 8 and 9: a circle
    'H41.05,Sở E,department,H41.04,,,,nghean.gov.vn,',
    'H41.05.01,Phòng,public_unit,H41.05,,,,nghean.gov.vn,', // 10: below it
    'H41.06,Sở F,department,H41,,2020-01-01,,nghean.gov.vn,', // 11
    'H41.06,Sở G,department,H41,2020-01-01,2019-01-01,,nghean.gov.vn,', // 12: the same agency, ends before it begins
    'H41.07,Sở H,department,H41,,,,nghean.gov.vn,', // 13
  ];

  it('takes the sound rows and lists every other with its reason', async () => {
    const { body } = await post(csv(...rows), '?skipRefused=true').expect(200);
    expect(body).toMatchObject({ added: 3, changed: 0, unchanged: 0 });
    expect(codesOf(body.refused)).toEqual([
      'B4 too_small',
      'D5 parent_refused',
      'D6 parent_refused',
      'G7 successor_refused',
      'D8 cycle',
      'D9 cycle',
      'D10 parent_refused',
      'A11 agency_refused',
      'F12 validity_order',
    ]);
    expect((await record()).agencies.map((agency) => agency.code)).toEqual(['H41', 'H41.01', 'H41.07']);
    // What the record has already can be a parent although its own row is refused now.
    const again = ['H41,,province,,,,,nghean.gov.vn,', 'H41.08,Sở I,department,H41,,,,nghean.gov.vn,'];
    expect((await post(csv(...again), '?skipRefused=true').expect(200)).body).toMatchObject({
      added: 1,
      refused: [{ row: 2, cell: 'B2' }],
    });
  });

  it('says only the faults themselves where all would be refused', async () => {
    expect(refusedIn(await post(csv(...rows)).expect(422))).toEqual([
      'row/4/B4 too_small',
      'row/8/D8 cycle',
      'row/9/D9 cycle',
      'row/12/F12 validity_order',
    ]);
    expect((await record()).agencies).toEqual([]);
  });

  it('keeps to the subtree all the same', async () => {
    await post(csv(root, 'H41.32,Huyện,district,H41,,,,nghean.gov.vn,')).expect(200);
    const district = await directory.client('H41.32', ['agencies:write']);
    const file = csv('H41.01,Sở,department,H41,,,,nghean.gov.vn,', 'H41.32.01,Xã,commune,H41.32,,,,nghean.gov.vn,');
    const { body } = await post(file, '?skipRefused=true', district).expect(200);
    expect([body.added, codesOf(body.refused)]).toEqual([1, ['A2 outside_scope']]);
  });

  it('names no successor outside the subtree', async () => {
    await post(
      csv(root, 'H41.32,Huyện,district,H41,,,,nghean.gov.vn,', 'H41.33,Huyện khác,district,H41,,,,nghean.gov.vn,'),
    ).expect(200);
    const district = await directory.client('H41.32', ['agencies:write']);
    const file = csv('H41.32.01,Xã,commune,H41.32,,2025-01-01,H41.33,nghean.gov.vn,');
    expect(refusedIn(await post(file, '', district).expect(422))).toEqual(['row/2/G2 successor_not_found']);
  });
});

it('warns of accounts and agencies that hang on what closes', async () => {
  await clear();
  const open = 'H41.32,UBND huyện,district,H41,,,,nghean.gov.vn,';
  await post(csv(root, open, 'H41.32.01,UBND xã,commune,H41.32,,,,nghean.gov.vn,')).expect(200);
  for (const state of ['active', 'suspended', 'retired'] as const)
    await insertAccount(directory.owner, { agencyCode: 'H41.32', state });
  const { body } = await post(csv('H41.32,UBND huyện,district,H41,,2025-07-01,H41,nghean.gov.vn,')).expect(200);
  expect(body).toMatchObject({ changed: 1, refused: [] });
  expect(body.warnings).toEqual([
    { row: 2, cell: 'F2', code: 'accounts_remain', detail: expect.stringContaining('not retired remain: 2') },
    { row: 2, cell: 'F2', code: 'agencies_remain', detail: expect.stringContaining('do not end remain: 1') },
  ]);
  const { body: below } = await post(csv('H41.32.02,UBND xã khác,commune,H41.32,,,,nghean.gov.vn,')).expect(200);
  expect(codesOf(below.warnings)).toEqual(['D2 parent_closed']);
});

it('leaves out ten thousand rows that hang on one another as fast as one', async () => {
  await clear();
  const rows = Array.from(
    { length: 10_000 },
    (_, index) => `H41.A${index},Phòng,public_unit,H41.A${index - 1},,,,nghean.gov.vn,`,
  );
  rows[0] = 'H41.A0,,public_unit,H41,,,,nghean.gov.vn,';
  const { body } = await post(csv(root, ...rows), '?skipRefused=true').expect(200);
  expect([body.added, body.refused.length]).toEqual([1, 10_000]);
  expect((await record()).agencies).toHaveLength(1);
});
