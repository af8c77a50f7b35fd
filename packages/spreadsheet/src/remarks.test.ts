/** The remarks stand beside their rows, nothing else of the sheet changes, and another library reads the result. */
import { describe, expect, it } from '@jest/globals';
import { readSheet as readByAnother } from 'read-excel-file/node';
import { csvMediaType, readRows, spreadsheetMediaType, withRemarks } from './index.ts';
import { type MadeCell, makeWorkbook, rewriteWorkbook } from './testing.ts';

const heading = { rowNumber: 1, columnIndex: 2, title: 'Kết quả' };
const remarked = async (
  file: Buffer,
  remarks: (row: number) => string | undefined,
  type = spreadsheetMediaType,
  at = heading,
) => {
  const parts: Buffer[] = [];
  for await (const part of withRemarks(file, type, at, remarks)) parts.push(part);
  return Buffer.concat(parts);
};
const valuesOf = async (file: Buffer, type = spreadsheetMediaType) => {
  const values: unknown[][] = [];
  for await (const row of readRows(file, type)) values.push([row.rowNumber, ...row.cells.map((cell) => cell.value)]);
  return values;
};
const sheetXml = async (file: Buffer): Promise<string> => {
  let found = '';
  await rewriteWorkbook(file, (part, xml) => {
    if (part === 'xl/worksheets/sheet1.xml') found = xml;
    return xml;
  });
  return found;
};

describe('in a workbook', () => {
  it('are text whatever they say, and are read by another library', async () => {
    const file = await makeWorkbook([{ name: 'DS', rows: [['A', 'B'], ['x', 1], [], ['y', { date: 25_603 }]] }]);
    const texts: Record<number, string> = { 2: '=1+1', 4: '<a>&"\'\u0001 _x0041_\nđược' };
    const result = await remarked(file, (row) => texts[row]);
    const another = await readByAnother(result);
    expect(another.map((row) => row[2])).toEqual(['Kết quả', '=1+1', null, '<a>&"\' _x0041_\nđược']);
    expect(another.map((row) => row[0])).toEqual(['A', 'x', null, 'y']);
    expect((await sheetXml(result)).includes('<f')).toBe(false);
  });

  it('take the place of the remarks that stood there, and stand before what is behind them', async () => {
    const rows: MadeCell[][] = [
      ['A', 'B', 'Kết quả', 'D'],
      ['x', 1, 'cũ', 'd'],
      ['y', 2, null, 'd'],
      ['z', 3, 'của người khác'],
    ];
    const result = await remarked(await makeWorkbook([{ name: 'DS', rows }]), (row) =>
      row < 4 ? `mới ${row}` : undefined,
    );
    expect(await valuesOf(result)).toEqual([
      [1, 'A', 'B', 'Kết quả', 'D'],
      [2, 'x', 1, 'mới 2', 'd'],
      [3, 'y', 2, 'mới 3', 'd'],
      [4, 'z', 3, 'của người khác'],
    ]);
    const once = await remarked(result, (row) => (row < 4 ? `mới ${row}` : undefined));
    expect(await sheetXml(once)).toBe(await sheetXml(result));
  });

  it('leave every other octet, also in large sheets, with other prefixes, widths and rows without numbers', async () => {
    const row = (index: number) =>
      `<x:row spans="1:2" ht="15"><x:c r="A${index}" t="inlineStr"><x:is><x:t>Người &amp; ${index} 𠀋\r\n</x:t></x:is></x:c><x:c/></x:row>`;
    const before = `<?xml version="1.0"?><x:worksheet xmlns:x="urn:x"><x:dimension ref="A1:B3000"/><x:cols><x:col min="1" max="2" width="9"/></x:cols><x:sheetData>`;
    const after = `<x:row/></x:sheetData><x:mergeCells><x:mergeCell ref="A1:B1"/></x:mergeCells><y:z xmlns:y="urn:y">${'đ'.repeat(100_000)}</y:z></x:worksheet>`;
    const xml = before + Array.from({ length: 3_000 }, (_, index) => row(index + 1)).join('') + after;
    const file = await makeWorkbook([{ name: 'DS', rows: [] }], { 'xl/worksheets/sheet1.xml': xml });
    const result = await sheetXml(await remarked(file, (at) => `nhận xét ${at}`));
    const cell = /<x:c r="C(\d+)" t="inlineStr"><x:is><x:t xml:space="preserve">(.*?)<\/x:t><\/x:is><\/x:c>/g;
    expect([...result.matchAll(cell)].map(([, at, text]) => [Number(at), text])).toEqual(
      Array.from({ length: 3_000 }, (_, index) => [index + 1, index === 0 ? 'Kết quả' : `nhận xét ${index + 1}`]),
    );
    const width = '<x:col min="3" max="3" width="60" customWidth="1"/>';
    const without = result.replaceAll(cell, '').replace(width, '').replace('A1:C3000', 'A1:B3000');
    // Not by toBe: a difference would be printed whole.
    expect(without === xml.replaceAll(' spans="1:2"', '')).toBe(true);
  });
});

describe('in a CSV', () => {
  it('are a column behind the others, and never a formula', async () => {
    const file = Buffer.from('a,b\n"x, y",\n\nz\n1,2,3,4\n');
    const texts: Record<number, string> = { 2: '=1+1', 4: 'nói "ừ", rồi', 5: '-1' };
    const result = await remarked(file, (row) => texts[row], csvMediaType);
    expect(result.toString()).toBe('\uFEFFa,b,Kết quả\n"x, y",,\'=1+1\n\nz,,"nói ""ừ"", rồi"\n1,2,\'-1,4\n');
    expect(await valuesOf(result, csvMediaType)).toContainEqual([4, 'z', null, 'nói "ừ", rồi']);
  });

  it('keep the line breaks and the missing one at the end', async () => {
    const result = await remarked(Buffer.from('a;b\r\nx;y'), () => 'Đạt', csvMediaType);
    expect(result.toString()).toBe('\uFEFFa;b;Kết quả\r\nx;y;Đạt');
  });
});
