/**
 * The same file with one further column of remarks. Of a workbook nothing else changes but the width of that column and what
 * says how wide the sheet is: every other octet of the sheet is passed through as it stands, and every other part is kept. A
 * remark is text, in CSV never the beginning of a formula. Streamed; the remarks are asked for in the order of the rows.
 */
import { Readable } from 'node:stream';
import { ZipFile } from 'yazl';
import { delimiterOf, readCsv } from './csv.ts';
import { openWorkbook } from './open-workbook.ts';
import { cellName, columnName, csvMediaType, defaultLimits, parseCellName } from './sheet.ts';
import { readXml } from './xml.ts';

export interface Heading {
  rowNumber: number;
  /** Where the remarks go; what stands in this column of a row with a remark is replaced. */
  columnIndex: number;
  title: string;
}

/** The remark on a row; undefined for none. */
export type Remarks = (rowNumber: number) => string | undefined | Promise<string | undefined>;

export async function* withRemarks(
  file: Buffer,
  mediaType: string,
  heading: Heading,
  remarks: Remarks,
): AsyncGenerator<Buffer> {
  const all: Remarks = (rowNumber) => (rowNumber === heading.rowNumber ? heading.title : remarks(rowNumber));
  yield* mediaType === csvMediaType
    ? csvWithRemarks(file, heading.columnIndex, all)
    : workbookWithRemarks(file, heading, all);
}

async function* csvWithRemarks(file: Buffer, columnIndex: number, remarks: Remarks): AsyncGenerator<Buffer> {
  const delimiter = delimiterOf(file);
  const quoted = (text: string): string =>
    /["\r\n]/.test(text) || text.includes(delimiter) ? `"${text.replaceAll('"', '""')}"` : text;
  let out = '\uFEFF'; // the mark makes Excel read UTF-8
  for await (const { rowNumber, fields, raw } of readCsv(file, defaultLimits)) {
    const remark = await remarks(rowNumber);
    // The parser keeps the CR of a CRLF and drops its LF.
    const lineBreak = raw.endsWith('\r') ? '\r\n' : raw.endsWith('\n') ? '\n' : '';
    const text = raw.replace(/[\r\n]$/, '');
    if (remark === undefined) out += text + lineBreak;
    else {
      const kept =
        fields.length > columnIndex
          ? fields.slice(0, columnIndex).map(quoted).join(delimiter)
          : text + delimiter.repeat(columnIndex - fields.length);
      const behind = fields.slice(columnIndex + 1).map((field) => delimiter + quoted(field));
      out += `${kept}${delimiter}${quoted(remark.replace(/^[=+\-@\t\r]/, "'$&"))}${behind.join('')}${lineBreak}`;
    }
    if (out.length > 64 * 1024) {
      yield Buffer.from(out);
      out = '';
    }
  }
  yield Buffer.from(out);
}

async function* workbookWithRemarks(file: Buffer, heading: Heading, remarks: Remarks): AsyncGenerator<Buffer> {
  const { container, sheet } = await openWorkbook(file, defaultLimits);
  const zip = new ZipFile();
  const output = zip.outputStream as Readable;
  zip.on('error', (error: Error) => output.destroy(error));
  for (const name of container.names) {
    zip.addReadStreamLazy(name, (give) => {
      const part = container.read(name);
      give(null, Readable.from(name === sheet.path ? sheetWithRemarks(part, heading, remarks) : part));
    });
  }
  zip.end();
  yield* output as AsyncIterable<Buffer>;
}

type Tag = { prefix: string; end: number };

/** A place in the text of the sheet where something is put in, or taken out, or both. */
interface Edit {
  from: number;
  to: number;
  text: string | { rowNumber: number; prefix: string };
}

async function* sheetWithRemarks(
  chunks: AsyncIterable<Buffer>,
  { rowNumber: headingRow, columnIndex }: Heading,
  remarks: Remarks,
): AsyncGenerator<Buffer> {
  // Text that was read and not given out yet; it begins at the position `base` of the part.
  let pending = '';
  let base = 0;
  const events: (() => void)[] = [];
  const edits: Edit[] = [];
  let settled = 0;

  let rowNumber = 0;
  let column = -1;
  let placed = false;
  let dropFrom: number | undefined;
  let headingStyle = '';
  let prefix = '';
  let lastWidth: number | undefined;

  const startOf = (end: number): number => base + pending.lastIndexOf('<', end - base - 1);
  const tagAt = (end: number): string => pending.slice(startOf(end) - base, end - base);
  const place = (at: number): void => {
    placed = true;
    edits.push({ from: at, to: at, text: { rowNumber, prefix } });
  };
  const width = `min="${columnIndex + 1}" max="${columnIndex + 1}" width="60" customWidth="1"/>`;

  const open = (name: string, attributes: Readonly<Record<string, string>>, { prefix: mark, end }: Tag): void => {
    if (name === 'dimension') widenDimension(end, attributes.ref);
    else if (name === 'col') lastWidth = Math.max(lastWidth ?? 0, Number(attributes.max));
    else if (name === 'sheetData' && lastWidth === undefined) {
      const at = startOf(end);
      edits.push({ from: at, to: at, text: `<${mark}cols><${mark}col ${width}</${mark}cols>` });
    } else if (name === 'row') {
      prefix = mark;
      openRow(attributes.r, end);
    } else if (name === 'c') openCell(attributes, end);
  };
  const widenDimension = (end: number, ref = ''): void => {
    const [first, last = first] = ref.split(':').map(parseCellName);
    if (!first || !last || last.columnIndex >= columnIndex) return;
    const widened = `${cellName(first.rowNumber, first.columnIndex)}:${cellName(last.rowNumber, columnIndex)}`;
    edits.push({
      from: startOf(end),
      to: end,
      text: tagAt(end).replace(/(\sref=)("[^"]*"|'[^']*')/, `$1"${widened}"`),
    });
  };
  const openRow = (r: string | undefined, end: number): void => {
    rowNumber = r === undefined ? rowNumber + 1 : Number(r);
    column = -1;
    placed = false;
    const tag = tagAt(end);
    const isEmpty = tag.endsWith('/>');
    // `spans` says which columns the row fills; it is only a hint, and would be wrong.
    const text = tag.replace(/\sspans=("[^"]*"|'[^']*')/, '');
    if (text !== tag && !isEmpty) edits.push({ from: startOf(end), to: end, text });
  };
  const openCell = ({ r, s }: Readonly<Record<string, string>>, end: number): void => {
    column = r === undefined ? column + 1 : (parseCellName(r)?.columnIndex ?? column + 1);
    if (rowNumber === headingRow && s !== undefined && column <= columnIndex) headingStyle = s;
    if (column === columnIndex) dropFrom = startOf(end);
    else if (column > columnIndex && !placed) place(startOf(end));
  };
  const close = (name: string, end: number): void => {
    if (name === 'cols' && lastWidth !== undefined && lastWidth <= columnIndex) {
      const mark = tagAt(end).slice(2, -'cols>'.length).trimEnd();
      edits.push({ from: startOf(end), to: startOf(end), text: `<${mark}col ${width}` });
    } else if (name === 'c' && dropFrom !== undefined) {
      // What stands in the column of the remarks gives way to a remark, and stays where there is none.
      placed = true;
      edits.push({ from: dropFrom, to: end, text: { rowNumber, prefix } });
      dropFrom = undefined;
    } else if (name === 'row' && !placed && !tagAt(end).endsWith('/>')) place(startOf(end));
  };

  const reader = readXml('The sheet', {
    open: (name, attributes, tag) => {
      events.push(() => open(name, attributes, tag));
      settled = tag.end;
    },
    close: (name, { end }) => {
      events.push(() => close(name, end));
      settled = end;
    },
  });
  const cell = async (at: number, mark: string): Promise<string | undefined> => {
    const remark = await remarks(at);
    if (remark === undefined) return undefined;
    const style = at === headingRow && headingStyle !== '' ? ` s="${headingStyle}"` : '';
    const text = `<${mark}is><${mark}t xml:space="preserve">${escapeXml(remark)}</${mark}t></${mark}is>`;
    return `<${mark}c r="${columnName(columnIndex)}${at}"${style} t="inlineStr">${text}</${mark}c>`;
  };
  /** Everything that no later tag can change any more. */
  const flush = async (text: string, until: number | undefined): Promise<Buffer> => {
    pending += text;
    for (const event of events.splice(0)) event();
    let out = '';
    let at = base;
    for (const edit of edits.splice(0)) {
      out += pending.slice(at - base, edit.from - base);
      const stood = pending.slice(edit.from - base, edit.to - base);
      out += typeof edit.text === 'string' ? edit.text : ((await cell(edit.text.rowNumber, edit.text.prefix)) ?? stood);
      at = edit.to;
    }
    const end = Math.max(at, dropFrom ?? until ?? base + pending.length);
    out += pending.slice(at - base, end - base);
    pending = pending.slice(end - base);
    base = end;
    return Buffer.from(out);
  };
  for await (const chunk of chunks) yield await flush(reader.write(chunk), settled);
  yield await flush(reader.end(), undefined);
}

const escapeXml = (text: string): string =>
  text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: XML cannot hold them.
    .replace(/[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/g, '')
    // What would be read as an escape is none.
    .replace(/_(?=x[0-9A-Fa-f]{4}_)/g, '_x005F_')
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;');
