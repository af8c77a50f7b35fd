/**
 * The container of an .xlsx: told from everything that merely bears its name, and bounded before anything is inflated. What an
 * entry says of its size is checked against the bound here, and what it inflates to against what it said (by yauzl).
 */
import { ServiceError } from '@congvu/errors';
import { type Entry, fromBufferPromise, type ZipFile } from 'yauzl';
import { type Limits, malformed, tooLarge } from './sheet.ts';
import { readXmlPart } from './xml.ts';

const maxEntries = 1_000;
/** As often may a whole workbook be read: what it holds, which sheet is meant, its rows, and once more for remarks. */
const maxReadings = 4;

export interface Container {
  names: readonly string[];
  has: (name: string) => boolean;
  /** The octets of an entry, inflated as they are asked for. */
  read: (name: string) => AsyncIterable<Buffer>;
}

export async function openContainer(file: Buffer, limits: Limits): Promise<Container> {
  refuseOtherKinds(file);
  const entries = new Map<string, Entry>();
  let zip: ZipFile;
  let inflated = 0;
  let read = 0;
  try {
    zip = await fromBufferPromise(file, { lazyEntries: true, strictFileNames: true });
    if (zip.entryCount > maxEntries) throw tooLarge('sheet_parts', `The workbook has more than ${maxEntries} parts.`);
    for await (const entry of zip.eachEntry()) {
      if (entry.fileName.endsWith('/')) continue;
      if (entry.isEncrypted()) throw encrypted();
      inflated += entry.uncompressedSize;
      if (inflated > limits.maxInflatedBytes) throw tooLarge('sheet_inflated', inflatesTooFar(limits));
      if (entries.has(entry.fileName))
        throw malformed('sheet_damaged', 'The workbook holds two parts of the same name.');
      entries.set(entry.fileName, entry);
    }
  } catch (error) {
    throw asDamaged(error);
  }
  refuseOtherPackages(entries);
  return {
    names: [...entries.keys()],
    has: (name) => entries.has(name),
    read: async function* (name) {
      const entry = entries.get(name);
      if (!entry) throw malformed('sheet_damaged', `The workbook lacks its part ${name}.`);
      try {
        for await (const chunk of await zip.openReadStreamPromise(entry)) {
          read += chunk.length;
          // The index of a workbook may name one part for several things.
          if (read > maxReadings * limits.maxInflatedBytes) throw tooLarge('sheet_inflated', inflatesTooFar(limits));
          yield chunk;
        }
      } catch (error) {
        throw asDamaged(error);
      }
    },
  };
}

const inflatesTooFar = (limits: Limits): string =>
  `The workbook unpacks to more than ${limits.maxInflatedBytes / 1_048_576} MiB; send a smaller one.`;

const asDamaged = (error: unknown): ServiceError => {
  if (error instanceof ServiceError) return error;
  const detail =
    'The workbook is damaged: its parts are not what they say; open it in a spreadsheet program and save it anew.';
  return malformed('sheet_damaged', detail, error);
};

const encrypted = (): ServiceError =>
  malformed('sheet_encrypted', 'The workbook is protected by a password; save it without one.');

/** By the first octets, since anybody can name a file .xlsx. */
function refuseOtherKinds(file: Buffer): void {
  const starts = (...octets: number[]) => octets.every((octet, index) => file[index] === octet);
  if (file.length === 0) throw malformed('sheet_empty', 'The file is empty.');
  if (starts(0xd0, 0xcf, 0x11, 0xe0)) {
    // An encrypted .xlsx lies in the same kind of container as the old .xls.
    if (file.includes(Buffer.from('EncryptedPackage', 'utf16le'))) throw encrypted();
    throw malformed(
      'sheet_legacy',
      'This is an old .xls (or another Office) file; save it as an Excel workbook (.xlsx).',
    );
  }
  if (starts(0x25, 0x50, 0x44, 0x46))
    throw malformed('sheet_type', 'This is a PDF; send the sheet itself (.xlsx or CSV).');
  if (!starts(0x50, 0x4b))
    throw malformed(
      'sheet_type',
      'This is no Excel workbook (.xlsx); send an .xlsx, or CSV with Content-Type: text/csv.',
    );
}

function refuseOtherPackages(entries: ReadonlyMap<string, Entry>): void {
  if (entries.has('xl/vbaProject.bin')) throw malformed('sheet_macro', 'The workbook holds macros; save it as .xlsx.');
  if (entries.has('xl/workbook.bin')) throw malformed('sheet_type', 'This is an .xlsb; save it as an .xlsx.');
  if (entries.has('[Content_Types].xml') && entries.has('xl/workbook.xml')) return;
  const other = [
    ['word/document.xml', 'This is a Word document'],
    ['ppt/presentation.xml', 'This is a presentation'],
    ['content.xml', 'This is an OpenDocument file'],
  ].find(([name]) => entries.has(name as string));
  throw malformed(
    'sheet_type',
    `${other?.[1] ?? 'This is a ZIP archive'} and no Excel workbook; send an .xlsx or CSV.`,
  );
}

export interface WorkbookSheet {
  name: string;
  hidden: boolean;
  /** Name of its part in the container. */
  path: string;
}

export interface Workbook {
  sheets: readonly WorkbookSheet[];
  /** Days are counted from 1904 and not from 1900. */
  from1904: boolean;
  sharedStringsPath: string | undefined;
  stylesPath: string | undefined;
}

const workbookPath = 'xl/workbook.xml';
const maxSheets = 200;

export async function readWorkbook(container: Container): Promise<Workbook> {
  const relations = new Map<string, { type: string; path: string }>();
  await readXmlPart('The index', container.read('xl/_rels/workbook.xml.rels'), {
    open: (name, { Id, Type, Target, TargetMode }) => {
      if (name !== 'Relationship' || !Id || !Type || !Target || TargetMode === 'External') return;
      const path = Target.startsWith('/') ? Target.slice(1) : new URL(Target, 'file:///xl/').pathname.slice(1);
      relations.set(Id, { type: Type.slice(Type.lastIndexOf('/') + 1), path });
    },
  });
  const sheets: WorkbookSheet[] = [];
  let from1904 = false;
  await readXmlPart('The list of sheets', container.read(workbookPath), {
    open: (name, attributes) => {
      if (name === 'workbookPr') from1904 = /^(1|true)$/.test(attributes.date1904 ?? '');
      if (name !== 'sheet') return;
      const id = Object.entries(attributes).find(([key]) => key.endsWith(':id'))?.[1];
      const relation = relations.get(id ?? '');
      // Chart sheets hold no cells.
      if (relation?.type !== 'worksheet') return;
      if (sheets.some((sheet) => sheet.path === relation.path))
        throw malformed('sheet_damaged', `The workbook names its part ${relation.path} as two sheets.`);
      if (sheets.length === maxSheets) throw tooLarge('sheet_parts', `The workbook has more than ${maxSheets} sheets.`);
      const hidden = attributes.state !== undefined && attributes.state !== 'visible';
      sheets.push({ name: attributes.name ?? '', hidden, path: relation.path });
    },
  });
  const pathOf = (type: string): string | undefined =>
    [...relations.values()].find((relation) => relation.type === type && container.has(relation.path))?.path;
  return { sheets, from1904, sharedStringsPath: pathOf('sharedStrings'), stylesPath: pathOf('styles') };
}

/** Which styles (`s` of a cell) show their number as a date. */
export async function readDateStyles(container: Container, path: string | undefined): Promise<ReadonlySet<number>> {
  const dates = new Set<number>();
  if (!path) return dates;
  const custom = new Map<string, boolean>();
  let inCellFormats = false;
  let index = 0;
  await readXmlPart('The styles', container.read(path), {
    open: (name, { numFmtId, formatCode }) => {
      if (name === 'numFmt' && numFmtId && custom.size < 10_000) custom.set(numFmtId, showsDate(formatCode ?? ''));
      if (name === 'cellXfs') inCellFormats = true;
      if (name !== 'xf' || !inCellFormats) return;
      const id = Number(numFmtId);
      const builtIn = (id >= 14 && id <= 17) || id === 22 || (id >= 27 && id <= 36) || (id >= 50 && id <= 58);
      if (custom.get(numFmtId ?? '') ?? builtIn) dates.add(index);
      index += 1;
    },
    close: (name) => {
      if (name === 'cellXfs') inCellFormats = false;
    },
  });
  return dates;
}

/** A format with a day or a year in it, outside quoted text, escapes and [conditions]. */
const showsDate = (format: string): boolean =>
  /[yd]/i.test(
    format
      .slice(0, 1_000)
      .replace(/"[^"]*"|\[[^\]]*\]|[\\_*]./g, '')
      .replace(/general/gi, ''),
  );
