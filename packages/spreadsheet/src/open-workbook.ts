/** The one sheet of a workbook that is meant, with everything that its cells refer to. */
import { readSharedStrings } from './shared-strings.ts';
import { type Limits, malformed, type SheetRow } from './sheet.ts';
import { type Container, openContainer, readDateStyles, readWorkbook, type WorkbookSheet } from './workbook.ts';
import { type CellContext, readWorksheet } from './worksheet.ts';

export interface OpenWorkbook {
  container: Container;
  sheet: WorkbookSheet;
  /** Names of the sheets that hold something and were not chosen because they are hidden. */
  hidden: readonly string[];
  rows: () => AsyncIterable<SheetRow>;
}

export async function openWorkbook(file: Buffer, limits: Limits): Promise<OpenWorkbook> {
  const container = await openContainer(file, limits);
  const workbook = await readWorkbook(container);
  const context: CellContext = {
    sharedStrings: await readSharedStrings(container, workbook.sharedStringsPath, limits),
    dateStyles: await readDateStyles(container, workbook.stylesPath),
    from1904: workbook.from1904,
    limits,
  };
  const rowsOf = (sheet: WorkbookSheet) => readWorksheet(container.read(sheet.path), context);
  const filled: WorkbookSheet[] = [];
  for (const sheet of workbook.sheets) if (await holdsSomething(rowsOf(sheet))) filled.push(sheet);
  const sheet = chooseSheet(filled);
  const hidden = filled.flatMap((other) => (other === sheet ? [] : [other.name]));
  return { container, sheet, hidden, rows: () => rowsOf(sheet) };
}

async function holdsSomething(rows: AsyncIterable<SheetRow>): Promise<boolean> {
  for await (const _ of rows) return true;
  return false;
}

/** The only one that holds something and is not hidden. Which of several is meant is not for us to say. */
function chooseSheet(filled: readonly WorkbookSheet[]): WorkbookSheet {
  const visible = filled.filter((sheet) => !sheet.hidden);
  const candidates = visible.length > 0 ? visible : filled;
  const [first, second] = candidates;
  if (!first) throw malformed('sheet_empty', 'The workbook holds no cell with anything in it.');
  if (!second) return first;
  const names = candidates.map((sheet) => `"${sheet.name.slice(0, 31)}"`).slice(0, 10);
  const detail = `Several sheets hold something: ${names.join(', ')}. Keep one of them in this workbook, and send each other in one of its own.`;
  throw malformed('sheet_several', detail);
}
