/** Sheets are read as they are, in bounded memory, and what is no sheet, or too much of one, is refused in words. */

import { randomBytes } from 'node:crypto';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { crc32, deflateRawSync } from 'node:zlib';
import { ServiceError } from '@congvu/errors';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import {
  cellName,
  columnName,
  csvMediaType,
  openSheet,
  parseCellName,
  readRows,
  spreadsheetMediaType,
} from './index.ts';
import { defaultLimits } from './sheet.ts';
import { type MadeCell, type MadeSheet, makeWorkbook, rewriteWorkbook } from './testing.ts';
import { openContainer } from './workbook.ts';

const rowsOf = async (file: Buffer, mediaType = spreadsheetMediaType, limits = {}) => {
  const rows = [];
  for await (const row of readRows(file, mediaType, limits)) rows.push(row);
  return rows;
};
const one = (rows: Iterable<readonly MadeCell[]>, more: Partial<MadeSheet> = {}): MadeSheet[] => [
  { name: 'DS', rows, ...more },
];
const refusal = async (work: Promise<unknown>): Promise<{ kind: string; code: string; detail: string }> => {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof ServiceError)) throw error;
    return { kind: error.kind, code: error.code, detail: error.detail };
  }
  throw new Error('it was not refused');
};
const codeOf = async (work: Promise<unknown>) => (await refusal(work)).code;

describe('cell names', () => {
  it('go there and back', () => {
    expect([0, 25, 26, 51, 701, 702, 16_383].map(columnName)).toEqual(['A', 'Z', 'AA', 'AZ', 'ZZ', 'AAA', 'XFD']);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_048_576 }), fc.integer({ min: 0, max: 16_383 }), (row, column) => {
        expect(parseCellName(cellName(row, column))).toEqual({ rowNumber: row, columnIndex: column });
      }),
    );
  });
});

describe('a workbook', () => {
  it('gives every kind of cell as it is stored', async () => {
    const file = await makeWorkbook(
      one([
        ['Nguyễn', 955219335, true, { date: 25_603 }, { date: 60 }, '  giữ  '],
        [],
        [
          null,
          { xml: '<f>A1+1</f><v>7</v>' },
          { xml: '<v>#N/A</v>', type: 'e' },
          { xml: '<is><r><t>Trần </t></r><r><t>Lê</t></r><rPh><t>bỏ</t></rPh></is>', type: 'inlineStr' },
          { xml: '<v>2001-02-03</v>', type: 'd' },
          { xml: '<f>"a"</f><v>a</v>', type: 'str' },
        ],
      ]),
    );
    expect(await rowsOf(file)).toEqual([
      {
        rowNumber: 1,
        cells: [
          { value: 'Nguyễn' },
          { value: 955_219_335 },
          { value: true },
          { value: new Date('1970-02-04') },
          { value: 60 },
          { value: '  giữ  ' },
        ],
      },
      {
        rowNumber: 3,
        cells: [
          { value: null },
          { value: 7, formula: true },
          { value: '#N/A', error: true },
          { value: 'Trần Lê' },
          { value: new Date('2001-02-03') },
          { value: 'a', formula: true },
        ],
      },
    ]);
  });

  it('marks every cell that an array formula fills', async () => {
    const file = await makeWorkbook(
      one([
        [{ xml: '<f t="array" ref="A1:B2">X</f><v>1</v>' }, 2, 3],
        [4, { xml: '<v>5</v>' }, 6],
      ]),
    );
    const flags = (await rowsOf(file)).map(({ cells }) => cells.map((cell) => cell.formula ?? false));
    expect(flags).toEqual([
      [true, true, false],
      [true, true, false],
    ]);
  });

  it('is read with its hidden rows, and whatever prefix its elements have', async () => {
    const hidden = await makeWorkbook(one([['a'], ['b']], { rowAttributes: () => ' hidden="1"' }));
    expect((await rowsOf(hidden)).map(({ cells }) => cells[0]?.value)).toEqual(['a', 'b']);
    const prefixed = await makeWorkbook(one([]), {
      'xl/worksheets/sheet1.xml': `<x:worksheet xmlns:x="urn:x"><x:sheetData><x:row><x:c/><x:c t="str"><x:v>b_x0041_</x:v></x:c></x:row></x:sheetData></x:worksheet>`,
    });
    expect(await rowsOf(prefixed)).toEqual([{ rowNumber: 1, cells: [{ value: null }, { value: 'bA' }] }]);
  });

  it('counts days from 1904 where it says so', async () => {
    const workbook = (await makeWorkbook(one([[{ date: 24_142 }]]), {
      'xl/workbook.xml':
        '<workbook xmlns:r="urn:r"><workbookPr date1904="1"/><sheets><sheet name="DS" sheetId="1" r:id="rId1"/></sheets></workbook>',
    })) as Buffer;
    expect((await rowsOf(workbook))[0]?.cells).toEqual([{ value: new Date('1970-02-05') }]);
  });

  it('is one sheet: the only one that holds something and is not hidden', async () => {
    const sheet = await openSheet(
      await makeWorkbook([
        { name: 'Trống', rows: [] },
        { name: 'Danh mục', rows: [['x']], state: 'veryHidden' },
        { name: 'Cán bộ', rows: [['y']] },
      ]),
      spreadsheetMediaType,
    );
    expect([sheet.name, sheet.hidden]).toEqual(['Cán bộ', ['Danh mục']]);
    const several = await refusal(
      openSheet(
        await makeWorkbook([
          { name: 'A', rows: [['x']] },
          { name: 'B', rows: [['y']] },
        ]),
        spreadsheetMediaType,
      ),
    );
    expect(several).toMatchObject({
      kind: 'malformed',
      code: 'sheet_several',
      detail: expect.stringContaining('"A", "B"'),
    });
    expect(await codeOf(openSheet(await makeWorkbook(one([])), spreadsheetMediaType))).toBe('sheet_empty');
  });
});

describe('refused as a workbook is', () => {
  const ole = (content: string) =>
    Buffer.concat([Buffer.from('d0cf11e0a1b11ae1', 'hex'), randomBytes(600), Buffer.from(content, 'utf16le')]);
  const sound = () => makeWorkbook(one([['x']]));
  it.each<[string, string, () => Buffer | Promise<Buffer>]>([
    ['nothing', 'sheet_empty', () => Buffer.alloc(0)],
    ['an old .xls', 'sheet_legacy', () => ole('Workbook')],
    ['an encrypted workbook', 'sheet_encrypted', () => ole('EncryptedPackage')],
    ['a PDF', 'sheet_type', () => Buffer.from('%PDF-1.7\n')],
    ['a PNG', 'sheet_type', () => Buffer.from('89504e470d0a1a0a', 'hex')],
    ['a CSV', 'sheet_type', () => Buffer.from('a,b\n')],
    ['half a workbook', 'sheet_damaged', async () => (await sound()).subarray(0, 700)],
    ['a Word document', 'sheet_type', () => makeZip({ '[Content_Types].xml': '<a/>', 'word/document.xml': '<a/>' })],
    ['macros', 'sheet_macro', () => makeWorkbook(one([['x']]), { 'xl/vbaProject.bin': 'x' })],
    [
      'a document type',
      'sheet_document_type',
      () => makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': billionLaughs }),
    ],
    [
      'a document type elsewhere',
      'sheet_document_type',
      () => makeWorkbook(one([['x']]), { 'xl/workbook.xml': billionLaughs }),
    ],
    [
      'tags that do not close',
      'sheet_damaged',
      () => makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': '<worksheet><row>' }),
    ],
    [
      'UTF-16 inside',
      'sheet_damaged',
      () => makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': Buffer.from('\uFEFF<a/>', 'utf16le') }),
    ],
    [
      'rows out of order',
      'sheet_damaged',
      () =>
        makeWorkbook(one([]), {
          'xl/worksheets/sheet1.xml': '<w><row r="2"><c r="A2"><v>1</v></c></row><row r="1"/></w>',
        }),
    ],
    [
      'a cell of another row',
      'sheet_damaged',
      () => makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': '<w><row r="2"><c r="A3"><v>1</v></c></row></w>' }),
    ],
    ['a text that is not there', 'sheet_damaged', () => makeWorkbook(one([[{ xml: '<v>9</v>', type: 's' }]]))],
    ['an endless text', 'sheet_damaged', () => makeWorkbook(one([[{ xml: `<v>${'9'.repeat(2_000_000)}</v>` }]]))],
    [
      'one part that is named as two sheets',
      'sheet_damaged',
      async () =>
        rewriteWorkbook(await makeWorkbook([...one([]), { name: 'B', rows: [] }]), (_part, xml) =>
          xml.replace('worksheets/sheet2.xml', 'worksheets/sheet1.xml'),
        ),
    ],
    [
      'two parts of one name',
      'sheet_damaged',
      () => makeZip({ 'a.xml': 'x', 'A.xml': 'x' }, (zip) => zip.write('a.xml', zip.lastIndexOf('A.xml'))),
    ],
    [
      'a part with a password',
      'sheet_encrypted',
      () => makeZip({ 'a.xml': 'x' }, (zip) => (zip[zip.indexOf('PK\x01\x02') + 8] = 1)),
    ],
  ])('%s', async (_what, code, make) => {
    const { kind, code: found } = await refusal(rowsOf(await make()));
    expect([kind, found]).toEqual(['malformed', code]);
  });

  const billionLaughs = `<!DOCTYPE w [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><w><row r="1"><c r="A1" t="str"><v>&b;</v></c></row></w>`;
});

describe('too much of a sheet', () => {
  it('is a zip bomb that says how large it is, before anything is inflated', async () => {
    const bomb = makeZip({ 'xl/workbook.xml': Buffer.alloc(300 * 1024 * 1024) });
    expect(bomb.length).toBeLessThan(400_000);
    expect(await refusal(rowsOf(bomb))).toMatchObject({ kind: 'too_large', code: 'sheet_inflated' });
  });

  it('is one part read over and over', async () => {
    const file = await makeWorkbook(one([['x']]), { 'xl/media/large.bin': Buffer.alloc(100_000) });
    const container = await openContainer(file, { ...defaultLimits, maxInflatedBytes: 150_000 });
    const readings = async () => {
      for (let reading = 0; reading < 7; reading += 1) for await (const _ of container.read('xl/media/large.bin'));
    };
    await expect(readings()).rejects.toMatchObject({ kind: 'too_large', code: 'sheet_inflated' });
  });

  it('is a zip bomb that lies about it, at the size that it claimed', async () => {
    const rows = Buffer.from(`<w>${'<row><c><v>1</v></c></row>'.repeat(4_000_000)}`);
    const honest = await makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': rows });
    const name = 'xl/worksheets/sheet1.xml';
    for (let at = honest.indexOf('PK\x01\x02'); at !== -1; at = honest.indexOf('PK\x01\x02', at + 4))
      if (honest.toString('latin1', at + 46, at + 46 + name.length) === name) honest.writeUInt32LE(2_000, at + 24);
    const before = process.memoryUsage().rss;
    expect(await codeOf(rowsOf(honest))).toBe('sheet_damaged');
    expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024);
  });

  it('is too many parts, texts, columns', async () => {
    const parts = Object.fromEntries(Array.from({ length: 1_001 }, (_, index) => [`p${index}`, 'x']));
    expect(await codeOf(rowsOf(makeZip(parts)))).toBe('sheet_parts');
    const texts = await makeWorkbook(one([['x'.repeat(2_000)]]));
    expect(await codeOf(rowsOf(texts, spreadsheetMediaType, { maxSharedTextBytes: 1_999 }))).toBe('sheet_text');
    const wide = await makeWorkbook(one([[...Array<null>(200).fill(null), 'x']]));
    expect(await refusal(rowsOf(wide))).toMatchObject({ kind: 'too_large', code: 'sheet_columns' });
    expect(await codeOf(rowsOf(Buffer.from(`${','.repeat(200)}x`), csvMediaType))).toBe('sheet_columns');
  });

  it('is a sheet of ten million rows, found while streaming', async () => {
    function* rows(): Generator<readonly MadeCell[]> {
      for (let row = 0; row < 230_000; row += 1) yield [row];
    }
    let seen = 0;
    const count = async (file: Buffer, type: string) => {
      seen = 0;
      for await (const _ of readRows(file, type)) seen += 1;
    };
    expect(await refusal(count(await makeWorkbook(one(rows())), spreadsheetMediaType))).toMatchObject({
      kind: 'too_large',
      code: 'sheet_rows',
    });
    expect(seen).toBeGreaterThan(199_000);
    expect(await codeOf(count(Buffer.from('1\n'.repeat(10_000_000)), csvMediaType))).toBe('sheet_rows');
    const far = await makeWorkbook(one([]), {
      'xl/worksheets/sheet1.xml': '<w><row r="10000000"><c><v>1</v></c></row></w>',
    });
    expect(await codeOf(count(far, spreadsheetMediaType))).toBe('sheet_rows');
  });

  it('is not many empty rows with a format', async () => {
    const xml = `<w><sheetData><row><c><v>1</v></c></row>${'<row><c s="1"/></row>'.repeat(300_000)}</sheetData></w>`;
    expect(await rowsOf(await makeWorkbook(one([]), { 'xl/worksheets/sheet1.xml': xml }))).toHaveLength(1);
  });
});

describe('a CSV', () => {
  it.each([
    ['commas', '\uFEFFHọ và tên,Ghi chú\r\n"Lê, Văn",\r\n\r\nB,"x\ny"\r\n'],
    ['semicolons', 'Họ và tên;Ghi chú\n"Lê, Văn";\n;\nB;"x\ny"'],
    ['tabs', 'Họ và tên\tGhi chú\n"Lê, Văn"\t\n\nB\t"x\ny"\n'],
  ])('is read with %s', async (_what, text) => {
    expect(await rowsOf(Buffer.from(text), csvMediaType)).toEqual([
      { rowNumber: 1, cells: [{ value: 'Họ và tên' }, { value: 'Ghi chú' }] },
      { rowNumber: 2, cells: [{ value: 'Lê, Văn' }] },
      { rowNumber: 4, cells: [{ value: 'B' }, { value: 'x\ny' }] },
    ]);
  });

  it.each<[string, string, Buffer]>([
    ['nothing', 'sheet_empty', Buffer.alloc(0)],
    ['UTF-16', 'sheet_encoding', Buffer.from('\uFEFFa,b\n', 'utf16le')],
    ['UTF-16 without its mark', 'sheet_type', Buffer.from('a,b\n', 'utf16le')],
    ['windows-1258', 'sheet_encoding', Buffer.from([0x4e, 0x67, 0xf4, 0x20, 0xd0, 0xec, 0x6e, 0x68, 0x0a])],
    ['a workbook', 'sheet_type', Buffer.from('PK\x03\x04')],
    ['an open quotation mark', 'csv_malformed', Buffer.from('a,b\n"c,d\ne,f\n')],
    ['an endless cell', 'csv_malformed', Buffer.from(`a,b\n${'x'.repeat(200_000)}`)],
  ])('is refused as %s', async (_what, code, file) => {
    const { kind, code: found } = await refusal(rowsOf(file, csvMediaType));
    expect([kind, found]).toEqual(['malformed', code]);
  });
});

it('reads a hundred thousand rows without holding them', async () => {
  function* rows(): Generator<readonly MadeCell[]> {
    for (let row = 0; row < 100_000; row += 1)
      yield [row, `Người ${row}`, `0${912_000_000 + row}`, { date: 25_000 + row / 10 }];
  }
  const file = await makeWorkbook(one(rows()));
  setFlagsFromString('--expose-gc');
  const collectGarbage: () => void = runInNewContext('gc');
  const held: number[] = [];
  let read = 0;
  for await (const row of readRows(file, spreadsheetMediaType)) {
    read += row.cells.length;
    if (row.rowNumber % 20_000 !== 0) continue;
    collectGarbage();
    held.push(process.memoryUsage().heapUsed);
  }
  expect(read).toBe(400_000);
  expect(held).toHaveLength(5);
  expect((held[4] as number) - (held[0] as number)).toBeLessThan(20 * 1024 * 1024);
});

/** A ZIP with these entries, deflated; `spoil` may alter its octets. */
function makeZip(entries: Readonly<Record<string, string | Buffer>>, spoil?: (zip: Buffer) => unknown): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const [name, content] of Object.entries(entries)) {
    const data = Buffer.from(content);
    const packed = deflateRawSync(data);
    const header = Buffer.alloc(26);
    header.writeUInt16LE(20, 0);
    header.writeUInt16LE(8, 4);
    header.writeUInt32LE(crc32(data), 10);
    header.writeUInt32LE(packed.length, 14);
    header.writeUInt32LE(data.length, 18);
    header.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), header, Buffer.from(name), packed]);
    const central = Buffer.alloc(14);
    central.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\0'), header, central, Buffer.from(name)]));
    parts.push(local);
    offset += local.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(directory.length, 4);
  end.writeUInt16LE(directory.length, 6);
  end.writeUInt32LE(index.length, 8);
  end.writeUInt32LE(offset, 12);
  const zip = Buffer.concat([...parts, index, Buffer.from('PK\x05\x06'), end]);
  spoil?.(zip);
  return zip;
}
