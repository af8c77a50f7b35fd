/**
 * The sheets of the sample province, line by line: what is accepted, corrected and refused, and that the same sheet comes back with
 * remarks and nothing else changed. Then everything that a sheet, its sender and the record can get wrong.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { SheetDraft } from '@congvu/contracts';
import { csvMediaType, readRows, type SheetRow, spreadsheetMediaType } from '@congvu/spreadsheet';
import { type MadeCell, makeWorkbook, rewriteWorkbook } from '@congvu/spreadsheet/testing';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { nationalIdOf, type SampleSheet, sampleSheet } from '../../../../infra/local/sample-sheets.ts';
import { personLine, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { knowsFinding } from './remark-texts.ts';

let directory: TestDirectory;
let province: TestClient;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  province = await directory.client('H41', ['requests:submit', 'requests:read']);
});
afterAll(() => directory.stop());

interface Sending {
  by?: TestClient;
  type?: string;
  query?: string;
  key?: string;
  put?: string;
  ifMatch?: string;
}
function send(
  file: Buffer,
  { by = province, type = spreadsheetMediaType, query = '', key, put, ifMatch }: Sending = {},
) {
  const client = supertest(directory.app);
  const path = put ? `/v1/requests/${put}/sheet?${query}` : `/v1/sheets?${query || 'agencyCode=H41.03'}`;
  const request = (put ? client.put(path) : client.post(path)).set('Authorization', by.bearer).type(type);
  if (key) request.set('Idempotency-Key', key);
  if (ifMatch) request.set('If-Match', ifMatch);
  return request.send(file);
}
const draftOf = async (file: Buffer, sending: Sending = {}): Promise<SheetDraft> => {
  const answer = await send(file, sending);
  if (answer.status > 201) throw new Error(`refused: ${answer.text}`);
  return answer.body;
};
const download = (id: string, by = province) =>
  supertest(directory.app)
    .get(`/v1/requests/${id}/sheet`)
    .set('Authorization', by.bearer)
    .buffer(true)
    .parse((response, done) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('end', () => done(null, Buffer.concat(parts)));
    });
const rowsOf = async (file: Buffer, type = spreadsheetMediaType): Promise<SheetRow[]> => {
  const rows: SheetRow[] = [];
  for await (const row of readRows(file, type)) rows.push(row);
  return rows;
};
/** "C14 date_year_only" of every line that has findings, by row. */
const findingsOf = (draft: SheetDraft) =>
  new Map(
    draft.lines.map((line) => [
      line.sheetRow as number,
      { state: line.state, name: line.fullName, findings: line.findings.map(({ cell, code }) => `${cell} ${code}`) },
    ]),
  );
const countRequests = async () => Number((await directory.owner('directory.requests').count('* as n'))[0]?.n);

const header = ['STT', 'Họ và tên', 'Ngày sinh', 'Giới tính', 'Chức vụ', 'Đơn vị', 'Số điện thoại', 'Số CCCD'];
let made = 0;
/** A sound line; each has a number of its own. */
const line = (name: string, change: Partial<Record<number, MadeCell>> = {}): MadeCell[] => {
  made += 1;
  const cells: MadeCell[] = [
    made,
    name,
    '05/03/1980',
    'Nam',
    'Chuyên viên',
    '',
    '',
    nationalIdOf(1980, 'male', 500_000 + made),
  ];
  return cells.map((cell, index) => change[index] ?? cell);
};
const sheetOf = (...rows: MadeCell[][]) => makeWorkbook([{ name: 'DS', rows: [header, ...rows] }]);
const csvOf = (...rows: string[][]) => Buffer.from(rows.map((row) => row.join(';')).join('\r\n'));

describe('the sheet of Sở Nội vụ', () => {
  const name: SampleSheet = 'danh-sach-so-noi-vu.xlsx';
  let draft: SheetDraft;
  let file: Buffer;
  beforeAll(async () => {
    file = await sampleSheet(name);
    draft = await draftOf(file, { query: `agencyCode=H41.03&fileName=${name}` });
  });

  it('is read to its last row, and every row is accounted for', async () => {
    expect(draft).toMatchObject({
      state: 'draft',
      agencyCode: 'H41.03',
      decision: { number: '123/UBND-VP', date: '2018-03-05' },
      lineCount: 158,
      sheet: {
        sheetName: 'DS cán bộ',
        headerRow: 7,
        columns: {
          number: 'A',
          fullName: 'B',
          birthDate: 'C',
          sex: 'D',
          title: 'E',
          agencyName: 'F',
          mobile: 'G',
          nationalId: 'H',
          note: 'I',
        },
        remarksColumn: 'J',
        rows: { total: 181, heading: 7, lines: 158, groups: 14, closing: 1, empty: 1 },
        lines: { accepted: 52, corrected: 86, refused: 20 },
      },
    });
    const notes = draft.sheet.notes.map(({ cell, code }) => `${cell} ${code}`);
    expect(notes).toEqual(
      expect.arrayContaining(['A5 decision_read', '8:8 row_group', '178:178 row_group', '181:181 row_closing']),
    );
    const states = await directory
      .owner('directory.request_lines')
      .where({ request_id: draft.id })
      .select('state')
      .count('* as n')
      .groupBy('state')
      .orderBy('state');
    expect(states).toEqual([
      { state: 'draft', n: '138' },
      { state: 'refused', n: '20' },
    ]);
  });

  it('has each kind of fault in its cell, and each correction stated', () => {
    const found = findingsOf(draft);
    const expected: [row: number, state: string, name: string | null, findings: string[]][] = [
      [9, 'draft', 'Hoàng Thu Trâm', []],
      [10, 'draft', 'Lê Bá Tuấn', ['B10 unicode_form']],
      [11, 'draft', 'Nguyễn Thị Oanh', ['B11 spaces', 'G11 phone_leading_zero']],
      [12, 'draft', 'Nguyễn Hữu Thủy', ['H12 national_id_leading_zero']],
      [13, 'draft', 'Nguyễn Thị Thu Thủy', ['B13 tone_placement']],
      [14, 'refused', 'Nguyễn Công Tuấn', ['C14 date_year_only']],
      [15, 'draft', 'Vũ Văn Dũng', ['B15 unicode_form', 'G15 phone_separators']],
      [16, 'draft', 'Lê Văn Đức', ['A16 number_gap']],
      [18, 'refused', null, ['B18 honorific_contradicts_sex']],
      [24, 'refused', 'Võ Huy Thìn', ['C24 date_year_only', 'H24 national_id_length', 'G24 phone_leading_zero']],
      [27, 'refused', null, ['B27 name_empty']],
      [30, 'draft', 'Đặng Viết Khánh', []],
      [31, 'refused', 'Đặng Viết Khánh', ['H31 repeated_in_sheet', 'A31 number_repeated']],
      [49, 'draft', 'Ông Đình Tuấn', ['B49 unicode_form', 'B49 letter_d', 'G49 phone_separators']],
      [60, 'draft', 'Ngô Thanh Đức', ['B60 letter_d']],
    ];
    for (const [row, state, fullName, findings] of expected)
      expect([row, found.get(row)]).toEqual([row, { state, name: fullName, findings }]);
    expect(draft.lines.find((one) => one.sheetRow === 13)?.birthDate).toBe('1970-02-04');
    expect(found.has(8) || found.has(181)).toBe(false);
  });

  it('keeps what was read, the identity numbers sealed', async () => {
    const row = await directory.owner('directory.request_lines').where({ request_id: draft.id, sheet_row: 12 }).first();
    expect(row).toMatchObject({
      kind: 'person',
      operation: 'open',
      sex: 'male',
      title: 'Phó Trưởng phòng',
      mobile: '0930000012',
    });
    expect(directory.seal.open(row.national_id_sealed)).toBe('040075000012');
    const corrected = await directory
      .owner('directory.request_lines')
      .where({ request_id: draft.id, sheet_row: 11 })
      .first();
    expect([corrected.full_name, corrected.mobile]).toEqual(['Nguyễn Thị Oanh', '0930000011']);
    const kept = await directory.owner('directory.sheets').where({ request_id: draft.id }).first();
    expect(kept.sealed.includes(file.subarray(0, 64))).toBe(false);
    expect(directory.seal.openSheet(kept.sealed, draft.id)).toEqual(file);
    expect(() => directory.seal.openSheet(kept.sealed, province.id)).toThrow();
    expect(JSON.stringify(draft) + JSON.stringify(kept.report) + directory.logged()).not.toMatch(
      /040\d{9}|09300000\d\d/,
    );
  });

  it('is on the audit log, with the digest of the file and no person', async () => {
    const events = await directory.owner('directory.audit_events').where({ request_id: draft.id }).orderBy('id');
    expect(events.map((event) => event.action)).toEqual(['request.drafted', 'sheet.read']);
    expect(events[1]).toMatchObject({
      actor_id: province.id,
      after: { fileSha256: createHash('sha256').update(file).digest('hex'), lines: { refused: 20 } },
    });
  });

  it('comes back as it was, with a column of remarks', async () => {
    const answer = await download(draft.id).expect(200);
    expect(answer.headers).toMatchObject({
      'content-type': spreadsheetMediaType,
      'content-disposition': `attachment; filename*=UTF-8''${name}`,
      'cache-control': 'no-store',
    });
    const [before, after] = [await rowsOf(file), await rowsOf(answer.body)];
    expect(after.map((row) => ({ ...row, cells: row.cells.slice(0, 9) }))).toEqual(
      before.map((row) => ({
        ...row,
        cells:
          row.cells.length < 9 && remarkAt(after, row.rowNumber)
            ? [...row.cells, ...Array(9 - row.cells.length).fill({ value: null })]
            : row.cells,
      })),
    );
    const remarks = new Map(after.map((row) => [row.rowNumber, row.cells[9]?.value]));
    expect([5, 7, 8, 9, 14, 181].map((row) => remarks.get(row))).toEqual([
      undefined,
      'Kết quả kiểm tra',
      'Dòng tên nhóm, không phải người.',
      'Đạt.',
      'KHÔNG NHẬN. C14: chỉ có năm sinh; ghi đủ ngày/tháng/năm, ví dụ 05/03/1980.',
      undefined,
    ]);
    expect(remarks.get(11)).toBe(
      'Đạt, đã sửa khi đọc: B11: bỏ khoảng trắng thừa; G11: thêm lại số 0 đầu số điện thoại mà bảng tính đã bỏ. Họ tên đọc là "Nguyễn Thị Oanh".',
    );
    expect(remarks.get(31)).toBe(
      'KHÔNG NHẬN. H31: số CCCD này đã có ở ô H30; chỉ giữ một dòng. Lưu ý: A31: số thứ tự bị trùng; kiểm tra có lặp dòng không.',
    );
    for (const one of draft.lines) expect(remarks.get(one.sheetRow as number)).toMatch(/^(Đạt|KHÔNG NHẬN)/);
    expect([...remarks.values()].filter((text) => String(text).startsWith('KHÔNG'))).toHaveLength(20);
  });

  it('comes back with every other octet unchanged: formats, merged cells, titles', async () => {
    const { body } = await download(draft.id);
    const parts = async (workbook: Buffer) => {
      const all: Record<string, string> = {};
      await rewriteWorkbook(workbook, (part, xml) => {
        all[part] = xml;
        return xml;
      });
      return all;
    };
    const [before, after] = [await parts(file), await parts(body)];
    const sheet = 'xl/worksheets/sheet1.xml';
    const without = (after[sheet] as string)
      .replace(/<c r="J\d+"[^>]*><is>.*?<\/is><\/c>/g, '')
      .replace('<cols><col min="10" max="10" width="60" customWidth="1"/></cols>', '')
      .replace('A1:J181', 'A1:I181');
    expect(without).toBe((before[sheet] as string).replaceAll(/ spans="[^"]*"/g, ''));
    expect({ ...after, [sheet]: '' }).toEqual({ ...before, [sheet]: '' });
    expect(after[sheet]).not.toContain('<f');
  });

  it('is taken again when it was corrected, its old remarks passed over', async () => {
    const { body } = await download(draft.id);
    // What the agency does: the year becomes a date, the doubled and the two other faulty lines are mended.
    const texts = new Map<number, string>([[14, '12/05/1973']]);
    const corrected = await rewriteWorkbook(body, (part, xml) =>
      part !== 'xl/worksheets/sheet1.xml'
        ? xml
        : xml
            .replace(/<c r="C14"[^>]*>.*?<\/c>/, `<c r="C14" t="inlineStr"><is><t>${texts.get(14)}</t></is></c>`)
            .replace(/<row r="31".*?<\/row>/, ''),
    );
    const again = await draftOf(corrected, { put: draft.id, ifMatch: `"${draft.version}"` });
    expect(again).toMatchObject({
      id: draft.id,
      lineCount: 157,
      decision: { number: '123/UBND-VP', date: '2018-03-05' },
      sheet: {
        remarksColumn: 'J',
        rows: { total: 181, lines: 157, groups: 14, closing: 1, empty: 2, heading: 7 },
        lines: { accepted: 53, corrected: 86, refused: 18 },
      },
    });
    expect(findingsOf(again).get(14)).toEqual({ state: 'draft', name: 'Nguyễn Công Tuấn', findings: [] });
    expect(await directory.owner('directory.sheets').where({ request_id: draft.id })).toHaveLength(1);
    const remarked = await rowsOf((await download(draft.id)).body);
    expect(remarkAt(remarked, 14)).toBe('Đạt.');
    expect(remarked.every((row) => row.cells.length <= 10)).toBe(true);
    const stale = await send(corrected, { put: draft.id, ifMatch: '"1"' });
    expect([stale.status, stale.body.code]).toEqual([412, 'stale_version']);
  });
});

const remarkAt = (rows: readonly SheetRow[], rowNumber: number) =>
  rows.find((row) => row.rowNumber === rowNumber)?.cells[9]?.value;

it('reads the sheet of UBND huyện Quỳnh Lưu', async () => {
  const draft = await draftOf(await sampleSheet('danh-sach-ubnd-quynh-luu.xlsx'), { query: 'agencyCode=H41.32' });
  expect(draft.sheet).toMatchObject({
    rows: { total: 138, heading: 7, lines: 119, groups: 10, closing: 1, empty: 1 },
  });
  const { accepted, corrected, refused } = draft.sheet.lines;
  expect([accepted + corrected + refused, draft.lines.length]).toEqual([119, 119]);
  const found = findingsOf(draft);
  expect(found.get(18)).toMatchObject({
    state: 'draft',
    name: 'Nguyễn Mạnh Minh',
    findings: ['B18 honorific_removed'],
  });
  expect(found.get(78)).toMatchObject({ state: 'draft', name: 'Ông Thị Thảo', findings: [] });
  expect(found.get(24)).toMatchObject({ state: 'refused' });
});

describe('a line', () => {
  const one = async (change: Partial<Record<number, MadeCell>>, more: MadeCell[][] = []) => {
    const draft = await draftOf(await sheetOf(line('Trần Văn Thử', change), ...more), { query: 'agencyCode=H41' });
    return draft.lines.map((read) => ({
      state: read.state,
      agencyCode: read.agencyCode,
      findings: read.findings.map(({ cell, code }) => `${cell} ${code}`),
    }));
  };
  const formula = (value: string): MadeCell => ({ xml: `<f>X1</f><v>${value}</v>` });

  it.each<[string, Partial<Record<number, MadeCell>>, string[]]>([
    ['a formula for a name', { 1: { xml: '<f>"Lê "&amp;B9</f><v>Lê Văn Tám</v>', type: 'str' } }, ['B2 cell_formula']],
    ['a formula for an identity number', { 7: formula('40080123456') }, ['H2 cell_formula']],
    ['an error', { 7: { xml: '<v>#N/A</v>', type: 'e' } }, ['H2 cell_error']],
    ['a number for a name', { 1: 12 }, ['B2 cell_type']],
    ['a date for a telephone', { 6: { date: 25_603 } }, ['G2 cell_type']],
    ['true for an identity number', { 7: true }, ['H2 cell_type']],
    ['a year', { 2: 1973 }, ['C2 date_year_only']],
    ['a number without a format', { 2: 25_603 }, ['C2 date_number']],
    ['a month first', { 2: '03/25/1980' }, ['C2 date_impossible']],
    ['no date', { 2: '' }, ['C2 date_empty']],
    ['a child', { 2: { date: 44_000 } }, ['C2 birth_date_implausible']],
    ['another sex', { 3: 'x' }, ['D2 sex_form']],
    ['an agency that is not there', { 5: 'Phòng Nội vụ' }, ['F2 agency_not_found']],
    ['an agency of which there are several', { 5: 'ubnd xã tam hợp' }, ['F2 agency_ambiguous']],
    ['a landline', { 6: '0238 3123 456' }, ['G2 phone_landline']],
    ['a short identity number', { 7: '12345' }, ['H2 national_id_length']],
    [
      'several faults',
      { 1: 'Tám', 2: '1973', 7: '12345' },
      ['B2 name_single_word', 'C2 date_year_only', 'H2 national_id_length'],
    ],
  ])('is refused for %s', async (_what, change, findings) => {
    expect(await one(change)).toEqual([{ state: 'refused', agencyCode: 'H41', findings }]);
    for (const finding of findings) expect(knowsFinding(finding.split(' ')[1] as string)).toBe(true);
  });

  it.each<[string, Partial<Record<number, MadeCell>>, string, string[]]>([
    ['an agency by its name, marks and case ignored', { 5: ' so noi vu  NGHE AN ' }, 'H41.03', []],
    ['an agency by its code', { 5: 'H41.32' }, 'H41.32', []],
    ['Excel dates and no sex', { 2: { date: 29_285 }, 3: '' }, 'H41', []],
    ['a running number that a formula counts', { 0: formula('3') }, 'H41', []],
    ['a number that disagrees with the sex', { 3: 'Nữ' }, 'H41', ['H2 national_id_sex']],
  ])('is accepted with %s', async (_what, change, agencyCode, findings) => {
    expect(await one(change)).toEqual([{ state: 'draft', agencyCode, findings }]);
  });

  it('may have the name and date of birth of another, which is worth a look', async () => {
    const lines = await one({}, [line('Trần Văn Thử')]);
    expect(lines.map(({ state, findings }) => [state, findings])).toEqual([
      ['draft', []],
      ['draft', ['B3 same_name_and_birth_date']],
    ]);
  });

  it('is refused without its agency where those above name theirs, as in merged cells', async () => {
    const lines = await one({ 5: 'UBND huyện Quỳnh Lưu' }, [line('Trần Văn Gộp')]);
    expect(lines.map(({ agencyCode, findings }) => [agencyCode, findings])).toEqual([
      ['H41.32', []],
      ['H41', ['F3 agency_empty']],
    ]);
    expect(knowsFinding('agency_empty')).toBe(true);
  });

  it('has a text for every finding that a parser can have', () => {
    const sources = ['name', 'honorific', 'date', 'phone', 'national-id'].map((file) =>
      readFileSync(new URL(`../../../../packages/vietnamese/src/${file}.ts`, import.meta.url), 'utf8'),
    );
    const codes = new Set(
      sources.flatMap((source) =>
        [
          ...source.matchAll(
            /'((?:name|date|phone|national_id)_[a-z_]+|[a-z]+_honorific|honorific_[a-z_]+|unicode_form|spaces|letter_d|apostrophe|capitals|tone_placement)'/g,
          ),
        ].map(([, code]) => code as string),
      ),
    );
    expect(codes.size).toBeGreaterThan(45);
    expect([...codes].filter((code) => !knowsFinding(code))).toEqual([]);
  });
});

describe('the rows around the lines', () => {
  it('are told apart and counted, and what is in doubt is a line', async () => {
    const rows: MadeCell[][] = [
      ['UBND TỈNH NGHỆ AN'],
      [],
      header,
      ['(1)', '(2)', '(3)', '(4)', '(5)', '(6)', '(7)', '(8)'],
      ['A', 'Khối văn phòng'],
      line('Trần Văn Một'),
      ['I. Phòng Hành chính'],
      [made + 2],
      header,
      line('Trần Văn Hai'),
      ['', 'Trần Văn Ba', '', '', 'Giám đốc'],
      [made + 1, 'Trần Văn Bốn'],
      ['', 'Tổng cộng: 4 người'],
      [],
      ['', '', '', '', '', 'Nghệ An, ngày 05 tháng 3 năm 2018'],
      ['', 'NGƯỜI LẬP BIỂU', '', '', '', 'GIÁM ĐỐC'],
      ['', '(Ký, ghi rõ họ tên)'],
      ['', 'Trần Văn Năm', '', '', '', 'Lê Thị Sáu'],
    ];
    const draft = await draftOf(await makeWorkbook([{ name: 'DS', rows }]), { query: 'agencyCode=H41' });
    expect(draft.sheet.rows).toEqual({ total: 18, heading: 5, lines: 4, groups: 2, closing: 5, empty: 2 });
    expect(draft.lines.map((read) => [read.sheetRow, read.state, read.fullName])).toEqual([
      [6, 'draft', 'Trần Văn Một'],
      [10, 'draft', 'Trần Văn Hai'],
      [11, 'refused', 'Trần Văn Ba'],
      [12, 'refused', 'Trần Văn Bốn'],
    ]);
  });

  it('are said when they were not read: unknown columns, hidden sheets, several documents', async () => {
    const [last, ...rest] = [...line('Trần Văn Cột'), 'abc'].reverse();
    const workbook = await makeWorkbook([
      {
        name: 'DS',
        rows: [
          ['Kèm theo Công văn số 1/A ngày 01/02/2026', ...Array(9).fill(null), 'Mẫu số 1'],
          ['Theo Quyết định số 2/B ngày 3 tháng 4 năm 2026'],
          [...header, 'Trình độ'],
          [...rest.reverse(), last as MadeCell],
        ],
      },
      { name: 'Danh mục', state: 'hidden', rows: [['x']] },
    ]);
    const { sheet, decision } = await draftOf(workbook, { query: 'agencyCode=H41' });
    expect(sheet.notes.map(({ code }) => code)).toEqual(['hidden_sheet', 'column_not_read', 'decision_ambiguous']);
    // Right of everything: the title in K1 stays.
    expect([decision, sheet.remarksColumn]).toEqual([null, 'L']);
    const told = await draftOf(workbook, { query: 'agencyCode=H41&decisionNumber=9/C&decisionDate=2026-05-06' });
    expect(told.decision).toEqual({ number: '9/C', date: '2026-05-06' });
  });
});

describe('a CSV', () => {
  const names = ['full_name', 'birth_date', 'sex', 'title', 'agency_code', 'mobile', 'national_id'];
  it('is a sheet like any other, with its remarks as CSV', async () => {
    const file = csvOf(
      names,
      [
        'Lê Thị Bảy',
        '05/03/1980',
        'Nữ',
        '"Văn thư; lưu trữ"',
        'H41.32',
        '0912345678',
        nationalIdOf(1980, 'female', 700_001),
      ],
      [],
      ['=1+1', '1980', '', '', '', '', '40080700002'],
    );
    const draft = await draftOf(file, { type: csvMediaType, query: 'agencyCode=H41&fileName=ds.csv' });
    expect(draft.sheet).toMatchObject({
      sheetName: null,
      headerRow: 1,
      rows: { total: 4, lines: 2, empty: 1 },
      lines: { accepted: 1, refused: 1 },
    });
    expect(draft.lines[0]).toMatchObject({ agencyCode: 'H41.32', title: 'Văn thư; lưu trữ' });
    expect(draft.lines[1]?.findings.map(({ cell, code }) => `${cell} ${code}`)).toEqual([
      'A4 name_digit',
      'A4 name_symbol',
      'B4 date_year_only',
      'G4 national_id_length',
      'E4 agency_empty',
    ]);
    const { body } = await download(draft.id);
    const lines = body.toString().split('\r\n');
    expect(lines[0]).toBe(`\uFEFF${names.join(';')};Kết quả kiểm tra`);
    expect(lines[1]).toBe(`${file.toString().split('\r\n')[1]};Đạt.`);
    expect(lines[2]).toBe('');
    expect(lines[3]).toMatch(/^=1\+1;1980;;;;;40080700002;"KHÔNG NHẬN\. A4: .*; B4: chỉ có năm sinh.*"$/);
    const again = await draftOf(body, { type: csvMediaType, put: draft.id });
    expect(again.sheet).toMatchObject({ remarksColumn: 'H', lines: { accepted: 1, refused: 1 } });
    expect((await download(draft.id)).body).toEqual(body);
  });
});

describe('against the record', () => {
  it('who has an account or waits in another request is refused, and nobody else', async () => {
    const admin = await directory.client('H41', ['requests:approve']);
    const [open, waiting] = [personLine('Phạm Văn Có'), personLine('Phạm Văn Chờ')];
    const approved = await directory.submit(province, 'H41', [open]);
    await directory.approve(admin, approved.id);
    await directory.submit(province, 'H41', [waiting]);
    const file = await sheetOf(
      line('Phạm Văn Có', { 7: open.nationalId }),
      line('Phạm Văn Chờ', { 7: waiting.nationalId }),
      line('Phạm Văn Mới'),
    );
    const draft = await draftOf(file, { query: 'agencyCode=H41' });
    expect(
      draft.lines.map((read) => [read.state, ...read.findings.map(({ cell, code }) => `${cell} ${code}`)]),
    ).toEqual([['refused', 'H2 person_has_account'], ['refused', 'H3 person_has_request'], ['draft']]);
  });
});

it('an agency that does not exist yet is none to open accounts at, and nobody says that it closed', async () => {
  const agency = directory.owner('directory.agencies').where({ code: 'H41.33' });
  const { name, valid_from } = await agency.clone().first('name', 'valid_from');
  await agency.clone().update({ valid_from: '2099-01-01' });
  const draft = await draftOf(await sheetOf(line('Lê Văn Sớm', { 5: name })), { query: 'agencyCode=H41' });
  await agency.clone().update({ valid_from });
  expect(draft.lines[0]?.findings).toMatchObject([
    { cell: 'F2', code: 'agency_closed', detail: 'The agency H41.33 exists only from 2099-01-01 on.' },
  ]);
});

describe('sent again', () => {
  it('the same file makes one draft, with and without a key, and at the same time', async () => {
    const file = await sheetOf(line('Đỗ Văn Lặp'));
    const answers = await Promise.all([1, 2].map(() => send(file, { query: 'agencyCode=H41', key: 'k1' })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 201]);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    const withoutKey = await send(file, { query: 'agencyCode=H41' });
    expect([withoutKey.status, withoutKey.body.id]).toEqual([200, answers[0]?.body.id]);
    const other = await send(await sheetOf(line('Đỗ Văn Khác')), { query: 'agencyCode=H41', key: 'k1' });
    expect([other.status, other.body.code]).toEqual([409, 'idempotency_key_reused']);
    expect((await send(file, { query: 'agencyCode=H41.03' })).status).toBe(201);
  });
});

it('a third sheet at once is told to come back, and is taken then', async () => {
  const files = await Promise.all(['Một', 'Hai', 'Ba'].map((name) => sheetOf(line(`Đỗ Văn ${name}`))));
  const sendFile = (file: Buffer | undefined) => send(file as Buffer, { query: 'agencyCode=H41' });
  const { pending } = await directory.owner.transaction(async (transaction) => {
    await transaction.raw('lock table directory.sheets in access exclusive mode');
    const pending = Promise.all(files.slice(0, 2).map((file) => sendFile(file).then((answer) => answer.status)));
    for (let waiting = 0; waiting < 2; ) {
      const { rows } = await transaction.raw(
        "select count(*)::int as waiting from pg_locks where relation = 'directory.sheets'::regclass and not granted",
      );
      waiting = rows[0].waiting;
    }
    const third = await sendFile(files[2]);
    expect([third.status, third.body.code, third.headers['retry-after']]).toEqual([503, 'sheets_busy', '10']);
    return { pending };
  });
  expect(await pending).toEqual([201, 201]);
  expect((await sendFile(files[2])).status).toBe(201);
});

describe('whose it is', () => {
  it('only the client that sent it corrects it, gets it back, or draws agencies from its own subtree', async () => {
    const district = await directory.client('H41.32', ['requests:submit', 'requests:read']);
    const outside = await send(await sheetOf(line('Vũ Văn Ngoài')), { by: district, query: 'agencyCode=H41.33' });
    expect([outside.status, outside.body.code]).toEqual([404, 'agency_not_found']);
    const named = await draftOf(await sheetOf(line('Vũ Văn Sở', { 5: 'Sở Nội vụ Nghệ An' })), {
      by: district,
      query: 'agencyCode=H41.32',
    });
    expect(named.lines[0]?.findings.map(({ code }) => code)).toEqual(['agency_not_found']);
    const colleague = await directory.client('H41.32', ['requests:submit', 'requests:read']);
    expect((await download(named.id, colleague)).status).toBe(403);
    const replaced = await send(await sheetOf(line('Vũ Văn Trộm')), { by: colleague, put: named.id });
    expect(replaced.status).toBeGreaterThanOrEqual(403);
    const elsewhere = await directory.client('H41.33', ['requests:submit']);
    expect((await download(named.id, elsewhere)).status).toBe(404);
    expect((await send(await sheetOf(line('Vũ Văn Xa')), { by: elsewhere, put: named.id })).status).toBe(404);
    expect((await draftOf(await sheetOf(line('Vũ Văn Tự')), { by: district, put: named.id })).lineCount).toBe(1);
  });

  it('is forgotten when its request is decided', async () => {
    const draft = await draftOf(await sheetOf(line('Vũ Văn Quên')), { query: 'agencyCode=H41' });
    const admin = await directory.client('H41', ['requests:approve']);
    const act = (verb: string, by: TestClient) =>
      supertest(directory.app).post(`/v1/requests/${draft.id}/${verb}`).set('Authorization', by.bearer).send({});
    await act('submit', province).expect(200);
    expect((await download(draft.id)).status).toBe(200);
    await act('approve', admin).expect(200);
    expect((await download(draft.id)).status).toBe(404);
    expect(await directory.owner('directory.sheets').where({ request_id: draft.id })).toEqual([]);
  });

  it('is forgotten when its draft is given other lines; sent again it makes another draft', async () => {
    const file = await sheetOf(line('Vũ Văn Thay'));
    const draft = await draftOf(file, { query: 'agencyCode=H41' });
    await supertest(directory.app)
      .put(`/v1/requests/${draft.id}`)
      .set('Authorization', province.bearer)
      .send({ agencyCode: 'H41', lines: [personLine('Vũ Văn Mới')] })
      .expect(200);
    const gone = await supertest(directory.app)
      .get(`/v1/requests/${draft.id}/sheet`)
      .set('Authorization', province.bearer);
    expect([gone.status, gone.body.code]).toEqual([404, 'sheet_not_found']);
    const again = await send(file, { query: 'agencyCode=H41' });
    expect([again.status, again.body.id === draft.id]).toEqual([201, false]);
  });
});

describe('refused whole, with nothing begun', () => {
  const noHeader = makeWorkbook([{ name: 'DS', rows: [['Họ và tên'], ['Trần Văn Thử']] }]);
  it.each<[string, number, string, () => Buffer | Promise<Buffer>, Sending]>([
    ['an old .xls', 400, 'sheet_legacy', () => Buffer.from('d0cf11e0a1b11ae1', 'hex'), {}],
    ['a PNG', 400, 'sheet_type', () => Buffer.from('89504e470d0a1a0a', 'hex'), {}],
    ['a CSV that is UTF-16', 400, 'sheet_encoding', () => Buffer.from('\uFEFFa,b', 'utf16le'), { type: csvMediaType }],
    ['a workbook called a CSV', 400, 'sheet_type', () => noHeader, { type: csvMediaType }],
    ['no header', 422, 'sheet_header_missing', () => noHeader, {}],
    [
      'a header that lacks a column',
      422,
      'sheet_header_invalid',
      () => makeWorkbook([{ name: 'DS', rows: [['Họ và tên', 'Ngày sinh']] }]),
      {},
    ],
    [
      'a header that has one twice',
      422,
      'sheet_header_invalid',
      () => makeWorkbook([{ name: 'DS', rows: [[...header, 'CCCD']] }]),
      {},
    ],
    ['a header and no line', 422, 'sheet_without_lines', () => sheetOf(), {}],
    ['too many rows', 413, 'sheet_rows', () => Buffer.from(`${'\n'.repeat(200_001)}x`), { type: csvMediaType }],
    ['half a decision', 422, 'request_invalid', () => noHeader, { query: 'agencyCode=H41&decisionNumber=1' }],
    ['another content type', 400, 'content_type', () => noHeader, { type: 'application/pdf' }],
  ])('%s', async (_what, status, code, make, sending) => {
    const before = await countRequests();
    const answer = await send(await make(), sending);
    expect([answer.status, answer.body.code]).toEqual([status, code]);
    expect(await countRequests()).toBe(before);
  });

  it('more than a sheet can be', async () => {
    const answer = await send(Buffer.alloc(33 * 1024 * 1024), { type: csvMediaType });
    expect([answer.status, answer.body.code]).toEqual([413, 'body_too_large']);
  });

  it('what breaks in its last row leaves no line behind', async () => {
    const before = await countRequests();
    const rows = Array.from({ length: 700 }, (_, index) => line(`Hồ Văn ${index % 7 === 0 ? 'An' : 'Bình'}`));
    const sound = await sheetOf(...rows);
    const broken = await rewriteWorkbook(sound, (part, xml) =>
      part === 'xl/worksheets/sheet1.xml' ? xml.replace('</sheetData>', '</broken>') : xml,
    );
    expect((await send(broken)).body.code).toBe('sheet_damaged');
    expect(await countRequests()).toBe(before);
    expect((await draftOf(sound)).lineCount).toBe(700);
  });
});
