/** The import is all or nothing, finds every fault at once by row and column, and reaches no further than the client's subtree. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { sampleCsv, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';

let directory: TestDirectory;
let province: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  province = await directory.client('H41', ['agencies:write', 'agencies:read']);
});
afterAll(() => directory.stop());

const post = (body: string | Buffer, by = province, contentType = 'text/csv') => {
  const request = supertest(directory.app).post('/v1/agencies/import');
  return request.set('Authorization', by.bearer).set('Content-Type', contentType).send(body);
};
const header = 'code,name,level,parent_code,valid_to,mail_domain,gso_code';
const csv = (...rows: string[]) => [header, ...rows, ''].join('\n');
const root = 'H41,UBND tỉnh Nghệ An,province,,,nghean.gov.vn,40';

/** Everything that an import can write. */
const record = async () => ({
  agencies: await directory.owner('directory.agencies').orderBy('code'),
  events: await directory.owner('directory.audit_events').where({ subject_type: 'agency' }).orderBy('id'),
  jobs: await directory.owner('directory_jobs._private_jobs').select('key', 'revision').orderBy('key'),
});
const clear = () =>
  directory.owner.raw(
    'truncate directory.agencies, directory.audit_events cascade; truncate directory_jobs._private_jobs cascade',
  );

describe('the real province', () => {
  it('is taken whole: 845 agencies, their events and one job', async () => {
    const { body } = await post(sampleCsv).expect(200);
    expect(body).toMatchObject({ added: 845, changed: 0, unchanged: 0 });
    const { agencies, events, jobs } = await record();
    expect(agencies).toHaveLength(845);
    expect(jobs.map((job) => job.key)).toEqual(['agencies']);

    const levels = Object.groupBy(agencies, (agency) => agency.level);
    const counts = Object.fromEntries(Object.entries(levels).map(([level, rows]) => [level, rows?.length]));
    expect(counts).toEqual({ province: 1, department: 22, district: 21, commune: 480, school: 87, public_unit: 234 });
    const byCode = new Map(agencies.map((agency) => [agency.code, agency]));
    expect(byCode.get('H41.32')).toMatchObject({
      name: 'UBND huyện Quỳnh Lưu',
      short_name: 'quynhluu',
      gso_code: '421',
    });
    expect(byCode.get('H41.32').parent_id).toBe(byCode.get('H41').id);
    expect(byCode.get('H41.32.S01').parent_id).toBe(byCode.get('H41.32').id);
    // Quoted in the file, since the name holds a comma.
    expect(byCode.get('H41.32.S04').name).toBe('Trung tâm Văn hóa, Thể thao và Truyền thông huyện Quỳnh Lưu');

    expect(events).toHaveLength(845);
    const event = events.find((one) => one.subject_id === 'H41.32');
    expect(event).toMatchObject({
      service: 'directory',
      actor_kind: 'client',
      actor_id: province.id,
      actor_name: province.name,
      action: 'agency.added',
      agency_id: byCode.get('H41.32').id,
      before: null,
      after: {
        code: 'H41.32',
        name: 'UBND huyện Quỳnh Lưu',
        level: 'district',
        parentCode: 'H41',
        shortName: 'quynhluu',
      },
    });
    expect(event.source_ip).toMatch(/127\.0\.0\.1/);
  });

  it('changes nothing when it is imported again', async () => {
    const before = await record();
    const { body } = await post(sampleCsv).expect(200);
    expect(body).toMatchObject({ added: 0, changed: 0, unchanged: 845 });
    expect(await record()).toEqual(before);
  });

  it('takes a changed name, keeps the short name that addresses are made of, and says what it was', async () => {
    const { body } = await post(sampleCsv.replace('UBND huyện Quỳnh Lưu,', 'UBND huyện Quỳnh Lưu mới,')).expect(200);
    expect(body).toMatchObject({ added: 0, changed: 1, unchanged: 844 });
    const { agencies, events } = await record();
    expect(agencies.find((agency) => agency.code === 'H41.32')).toMatchObject({
      name: 'UBND huyện Quỳnh Lưu mới',
      short_name: 'quynhluu',
      version: 2,
    });
    expect(events).toHaveLength(846);
    expect(events.at(-1)).toMatchObject({
      action: 'agency.changed',
      subject_id: 'H41.32',
      before: { name: 'UBND huyện Quỳnh Lưu' },
      after: { name: 'UBND huyện Quỳnh Lưu mới' },
    });
  });

  it('stands for the parents of a file that brings children alone', async () => {
    const row = 'H41.32.Z1,UBND xã Mới,commune,H41.32,,nghean.gov.vn,';
    expect((await post(csv(row)).expect(200)).body).toMatchObject({ added: 1, changed: 0, unchanged: 0 });
    const [agency] = await directory.owner('directory.agencies').where({ code: 'H41.32.Z1' });
    expect(agency.short_name).toBe('moi.quynhluu');
  });
});

describe('faults', () => {
  beforeEach(clear);

  /** Refused with exactly these faults, by pointer and code, and nothing written. */
  async function refuses(file: string | Buffer, faults: readonly string[], by = province): Promise<void> {
    const before = await record();
    const answer = await post(file, by);
    const found = (answer.body.errors ?? []).map(
      (fault: { pointer: string; code: string }) => `${fault.pointer} ${fault.code}`,
    );
    expect({ status: answer.status, code: answer.body.code, faults: found.sort() }).toEqual({
      status: 422,
      code: 'agencies_invalid',
      faults: [...faults].sort(),
    });
    expect(await record()).toEqual(before);
  }

  it('are all found at once, each with its row and column', async () => {
    await refuses(
      csv(
        root,
        'H41.01,Không có cấp trên,department,H41.99,,nghean.gov.vn,', // 3
        'H41.02,Vòng một,department,H41.03,,nghean.gov.vn,', // 4
        'H41.03,Vòng hai,department,H41.02,,nghean.gov.vn,', // 5
        'H41.04,Một,department,H41,,nghean.gov.vn,', // 6
        'H41.04,Hai,department,H41,,nghean.gov.vn,', // 7
        'Z99,Mã sai,department,H41,,nghean.gov.vn,', // 8
        'H41.05,Cấp sai,ministry,H41,,nghean.gov.vn,', // 9
        'H41.06,,department,H41,,nghean.gov.vn,', // 10
        'H41.07,Tên miền sai,department,H41,,Nghean,', // 11
        'H41.08,Ngày sai,department,H41,31/02/2020,nghean.gov.vn,', // 12
        'H41.09,Mã thống kê sai,department,H41,,nghean.gov.vn,x1', // 13
        'H41.10,Hai lỗi,planet,H41,2020-02-30,nghean.gov.vn,', // 14
        'H41.11,Mã cấp trên sai,department,h-41,,nghean.gov.vn,', // 15
        'H41.12,Thiếu cấp trên,department,,,nghean.gov.vn,', // 16
      ),
      [
        'row/3/D3 parent_not_found',
        'row/4/D4 cycle',
        'row/5/D5 cycle',
        'row/7/A7 duplicate_code',
        'row/8/A8 agency_code_form',
        'row/9/C9 invalid_value',
        'row/10/B10 too_small',
        'row/11/F11 invalid_format',
        'row/12/E12 date_impossible',
        'row/13/G13 invalid_format',
        'row/14/C14 invalid_value',
        'row/14/E14 date_impossible',
        'row/15/D15 agency_code_form',
        'row/16/D16 parent_level',
      ],
    );
  });

  it('say nothing of the children of a row whose own fault lies elsewhere', async () => {
    await refuses(
      csv(root, 'H41.01,,department,H41,,nghean.gov.vn,', 'H41.01.01,Phòng,public_unit,H41.01,,nghean.gov.vn,'),
      ['row/3/B3 too_small'],
    );
  });

  it('count rows as the file has them, over blank lines and line breaks within quotes', async () => {
    await refuses(
      `${header}\n${root}\n\n"H41.01","Tên\nhai dòng",department,H41,,nghean.gov.vn,\nH41.02,Sai,planet,H41,,nghean.gov.vn,\n`,
      ['row/4/B4 invalid_format', 'row/5/C5 invalid_value'],
    );
  });

  it('are found when a faultless row would close a cycle through the record', async () => {
    await post(
      csv(root, 'H41.01,A,department,H41,,nghean.gov.vn,', 'H41.01.01,B,public_unit,H41.01,,nghean.gov.vn,'),
    ).expect(200);
    await refuses(csv('H41.01,A,department,H41.01.01,,nghean.gov.vn,'), ['row/2/D2 cycle']);
  });

  it('are found in the header', async () => {
    await refuses('code,name\nH41,UBND tỉnh\n', ['row/1 header']);
    await refuses(`${header}\n`, ['row/1 header']);
    await refuses(' ', ['row/1 header']);
  });

  it('are found in a header with a column twice, and one below a title', async () => {
    await refuses(`${header},Mã\n${root},\n`, ['row/1 header']);
    await refuses(`Danh sách cơ quan\n\ncode,name,level\nH41,UBND tỉnh,province\n`, ['row/3 header']);
  });

  it('include rows that are shorter or longer than the header', async () => {
    await refuses(csv(root, 'H41.01,A,department', 'H41.02,Sở A, B,department,H41,,nghean.gov.vn,'), [
      'row/3/F3 invalid_format',
      'row/4/C4 invalid_value',
      'row/4/D4 agency_code_form',
      'row/4/E4 date_form',
      'row/4/F4 invalid_format',
      'row/4/G4 invalid_format',
    ]);
    await refuses(csv(root, 'H41.01,A,department,H41,,nghean.gov.vn,,rest'), ['row/3/H3 no_heading']);
  });

  it.each([
    ['nothing at all', ''],
    ['a quote that is never closed', csv(root, 'H41.01,"A,department,H41,,nghean.gov.vn,')],
    ['text after a closing quote', csv(root, 'H41.01,"A"b,department,H41,,nghean.gov.vn,')],
    ['a workbook under the name of CSV', Buffer.from('PK\u0003\u0004')],
  ])('answer 400 to what is no CSV: %s', async (_, file) => {
    const answer = await post(file);
    expect(answer.status).toBe(400);
    expect((await record()).agencies).toEqual([]);
  });

  it('answer 413 to more rows than are taken at a time', async () => {
    const rows = Array.from({ length: 20_001 }, (_, index) => `H41.${index},Sở,department,H41,,nghean.gov.vn,`);
    const answer = await post(csv(root, ...rows));
    expect([answer.status, answer.body.code]).toEqual([413, 'sheet_rows']);
    expect((await record()).agencies).toEqual([]);
  });

  it.each([
    ['a Windows code page', Buffer.from(csv(root.replace('Nghệ An', 'Nghe\u0301 An')), 'latin1')],
    [
      'a name cut inside a letter',
      Buffer.concat([
        Buffer.from(`${header}\nH41,UBND t`),
        Buffer.from([0xe1, 0xbb]),
        Buffer.from(',province,,,nghean.gov.vn,\n'),
      ]),
    ],
  ])('include an encoding other than UTF-8: %s', async (_, file) => {
    const answer = await post(file);
    expect([answer.status, answer.body.code]).toEqual([400, 'sheet_encoding']);
    expect((await record()).agencies).toEqual([]);
  });

  it('include UTF-16, as spreadsheets write it too', async () => {
    for (const mark of ['\uFEFF', '']) {
      const answer = await post(Buffer.from(mark + csv(root), 'utf16le'));
      expect(answer.status).toBe(400);
      expect((await record()).agencies).toEqual([]);
    }
  });

  it('answers 413 to a file that is too large, and 400 to another type', async () => {
    const large = await post(`${header}\n${'x'.repeat(9 * 1024 * 1024)}`);
    expect([large.status, large.body.code]).toEqual([413, 'body_too_large']);
    const json = await post('{}', province, 'application/json');
    expect([json.status, json.body.code]).toEqual([400, 'content_type']);
    expect((await record()).agencies).toEqual([]);
  });
});

describe('forms that are taken', () => {
  beforeEach(clear);

  it('are the byte order mark, CRLF, other columns and another order of columns', async () => {
    const file =
      '\uFEFFlevel,note,name,mail_domain,parent_code,code\r\nprovince,x,UBND tỉnh Nghệ An,nghean.gov.vn,,H41\r\n';
    expect((await post(file).expect(200)).body).toMatchObject({ added: 1, changed: 0, unchanged: 0 });
    const { agencies } = await record();
    expect(agencies).toMatchObject([{ code: 'H41', name: 'UBND tỉnh Nghệ An', gso_code: null, valid_to: null }]);
  });

  it('are codes of the older form, stored in the newer', async () => {
    const rows = [
      '000.00.00.H41,Tỉnh,province,,,nghean.gov.vn,',
      '000.00.32.H41,Huyện,district,000.00.00.H41,,nghean.gov.vn,',
    ];
    await post(csv(...rows, 'h41.32.05,Xã,commune,000.00.32.H41,,nghean.gov.vn,')).expect(200);
    const codes = await directory.owner('directory.agencies').orderBy('code').pluck('code');
    expect(codes).toEqual(['H41', 'H41.32', 'H41.32.05']);
  });

  it('are children before their parents', async () => {
    await post(
      csv('H41.32.05,Xã,commune,H41.32,,nghean.gov.vn,', 'H41.32,Huyện,district,H41,,nghean.gov.vn,', root),
    ).expect(200);
    expect((await record()).agencies).toHaveLength(3);
  });

  it('are two imports at once, one after the other', async () => {
    const answers = await Promise.all([post(csv(root)), post(csv(root)), post(csv(root))]);
    expect(answers.map((answer) => answer.body.added).sort()).toEqual([0, 0, 1]);
    expect((await record()).events).toHaveLength(1);
  });
});

describe('the scope of a client', () => {
  let district: TestClient;
  beforeAll(async () => {
    district = await directory.client('H41.32', ['agencies:write', 'agencies:read']);
  });
  beforeEach(async () => {
    await clear();
    await post(
      csv(
        root,
        'H41.32,Quỳnh Lưu,district,H41,,nghean.gov.vn,',
        'H41.32.01,Xã Một,commune,H41.32,,nghean.gov.vn,',
        'H41.33,Yên Thành,district,H41,,nghean.gov.vn,',
        'H41.33.01,Xã Hai,commune,H41.33,,nghean.gov.vn,',
      ),
    ).expect(200);
  });

  const outside = async (file: string, faults: readonly string[]) => {
    const before = await record();
    const answer = await post(file, district);
    const found = (answer.body.errors ?? []).map(
      (fault: { pointer: string; code: string }) => `${fault.pointer} ${fault.code}`,
    );
    expect({ status: answer.status, found }).toEqual({ status: 422, found: faults });
    expect(await record()).toEqual(before);
  };

  it('lets it add and change below itself', async () => {
    const rows = [
      'H41.32.01,Xã Một mới,commune,H41.32,,nghean.gov.vn,',
      'H41.32.02,Xã Ba,commune,H41.32,,nghean.gov.vn,',
    ];
    const { body } = await post(
      csv(...rows, 'H41.32.02.01,Trạm,public_unit,H41.32.02,,nghean.gov.vn,'),
      district,
    ).expect(200);
    expect(body).toMatchObject({ added: 2, changed: 1, unchanged: 0 });
  });

  it('refuses a change above or beside it', async () => {
    await outside(csv('H41.33,Đổi tên,district,H41,,nghean.gov.vn,', 'H41,Đổi tên,province,,,nghean.gov.vn,'), [
      'row/2/A2 outside_scope',
      'row/3/A3 outside_scope',
    ]);
  });

  it('refuses a new agency elsewhere, and a second province', async () => {
    await outside(csv('H41.34,Mới,district,H41,,nghean.gov.vn,', 'H42,Tỉnh khác,province,,,nghean.gov.vn,'), [
      'row/2/A2 outside_scope',
      'row/3/A3 outside_scope',
    ]);
  });

  it('refuses to draw an agency of another into it', async () => {
    await outside(csv('H41.33.01,Xã Hai,commune,H41.32,,nghean.gov.vn,'), ['row/2/A2 outside_scope']);
  });

  it('refuses to move one of its own out of it, or itself', async () => {
    await outside(
      csv('H41.32.01,Xã Một,commune,H41.33,,nghean.gov.vn,', 'H41.32,Quỳnh Lưu,district,H41.33,,nghean.gov.vn,'),
      ['row/2/D2 outside_scope', 'row/3/D3 outside_scope'],
    );
  });

  it('does not hold for the very first import, when nothing is there yet, but below itself alone', async () => {
    await clear();
    await outside(csv(root, 'H41.32,Quỳnh Lưu,district,H41,,nghean.gov.vn,'), [
      'row/2/A2 outside_scope',
      'row/3/D3 outside_scope',
    ]);
  });
});
