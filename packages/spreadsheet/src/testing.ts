/** For tests and benches: workbooks made cell by cell, sound ones and others. */
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { cellName } from './sheet.ts';

/** A number with `date` is shown as a date; `xml` is the inside of the `c` element as it stands. */
export type MadeCell = string | number | boolean | null | { date: number } | { xml: string; type?: string };

export interface MadeSheet {
  name: string;
  state?: 'hidden' | 'veryHidden';
  /** By row, from row 1; an empty row is not written. May be an iterable, for large ones. */
  rows: Iterable<readonly MadeCell[]>;
  merges?: readonly string[];
  /** What stands before and behind the rows, instead of the usual. */
  before?: string;
  /** Attributes of a row. */
  rowAttributes?: (rowNumber: number) => string;
}

const main = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
const relations = 'http://schemas.openxmlformats.org/officeDocument/2006/relationships';
const declaration = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n';

/** Texts go into shared strings, as spreadsheet programs do; `parts` replaces or adds parts as they stand. */
export async function makeWorkbook(
  sheets: readonly MadeSheet[],
  parts: Readonly<Record<string, string | Buffer>> = {},
): Promise<Buffer> {
  const zip = new ZipFile();
  const texts = new Map<string, number>();
  const all: Record<string, string | Buffer | (() => Iterable<string>)> = {
    '[Content_Types].xml': `${declaration}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>${sheets.map((_, index) => `<Override PartName="/xl/worksheets/sheet${index + 1}.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>`).join('')}<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/><Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"/></Types>`,
    '_rels/.rels': `${declaration}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="${relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>`,
    'xl/workbook.xml': `${declaration}<workbook xmlns="${main}" xmlns:r="${relations}"><sheets>${sheets.map(({ name, state }, index) => `<sheet name="${escapeXml(name)}" sheetId="${index + 1}"${state ? ` state="${state}"` : ''} r:id="rId${index + 1}"/>`).join('')}</sheets></workbook>`,
    'xl/_rels/workbook.xml.rels': `${declaration}<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">${sheets.map((_, index) => `<Relationship Id="rId${index + 1}" Type="${relations}/worksheet" Target="worksheets/sheet${index + 1}.xml"/>`).join('')}<Relationship Id="rIdS" Type="${relations}/styles" Target="styles.xml"/><Relationship Id="rIdT" Type="${relations}/sharedStrings" Target="/xl/sharedStrings.xml"/></Relationships>`,
    'xl/styles.xml': `${declaration}<styleSheet xmlns="${main}"><numFmts count="1"><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/></numFmts><fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf numFmtId="14"/></cellStyleXfs><cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/></cellXfs></styleSheet>`,
    ...Object.fromEntries(
      sheets.map((sheet, index) => [`xl/worksheets/sheet${index + 1}.xml`, () => sheetXml(sheet, texts)]),
    ),
    // Last: the sheets say which texts there are.
    'xl/sharedStrings.xml': () => textsXml(texts),
    ...parts,
  };
  for (const [name, part] of Object.entries(all)) {
    if (typeof part === 'function') zip.addReadStreamLazy(name, (give) => give(null, Readable.from(octets(part()))));
    else zip.addBuffer(Buffer.from(part), name);
  }
  zip.end();
  return Buffer.concat(await (zip.outputStream as Readable).toArray());
}

function* octets(pieces: Iterable<string>): Generator<Buffer> {
  let text = '';
  for (const piece of pieces) {
    text += piece;
    if (text.length < 64 * 1024) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(text);
}

function* sheetXml({ rows, merges, before, rowAttributes }: MadeSheet, texts: Map<string, number>): Generator<string> {
  yield `${declaration}<worksheet xmlns="${main}">${before ?? ''}<sheetData>`;
  let rowNumber = 0;
  for (const cells of rows) {
    rowNumber += 1;
    if (cells.length === 0) continue;
    const inside = cells.map((cell, index) => cellXml(cell, cellName(rowNumber, index), texts)).join('');
    yield `<row r="${rowNumber}"${rowAttributes?.(rowNumber) ?? ''}>${inside}</row>`;
  }
  const merged = merges?.map((ref) => `<mergeCell ref="${ref}"/>`).join('');
  yield `</sheetData>${merged ? `<mergeCells count="${merges?.length}">${merged}</mergeCells>` : ''}</worksheet>`;
}

function cellXml(cell: MadeCell, name: string, texts: Map<string, number>): string {
  if (cell === null) return '';
  if (typeof cell === 'number') return `<c r="${name}"><v>${cell}</v></c>`;
  if (typeof cell === 'boolean') return `<c r="${name}" t="b"><v>${cell ? 1 : 0}</v></c>`;
  if (typeof cell === 'string') {
    const index = texts.get(cell) ?? texts.size;
    texts.set(cell, index);
    return `<c r="${name}" t="s"><v>${index}</v></c>`;
  }
  if ('date' in cell) return `<c r="${name}" s="2"><v>${cell.date}</v></c>`;
  return `<c r="${name}"${cell.type ? ` t="${cell.type}"` : ''}>${cell.xml}</c>`;
}

function* textsXml(texts: ReadonlyMap<string, number>): Generator<string> {
  yield `${declaration}<sst xmlns="${main}" count="${texts.size}" uniqueCount="${texts.size}">`;
  for (const text of texts.keys()) yield `<si><t xml:space="preserve">${escapeXml(text)}</t></si>`;
  yield '</sst>';
}

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
