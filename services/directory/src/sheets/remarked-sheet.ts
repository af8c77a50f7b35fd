/**
 * The sheet as the agency sent it, with a column that says what became of each line. It holds identity numbers as they were
 * sent, so it goes to the client that sent it and to nobody else.
 */
import type { RequestLine, SheetReport } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { parseCellName, withRemarks } from '@congvu/spreadsheet';
import type { Actor } from '../audit/audit-event.ts';
import { listLines } from '../requests/line-store.ts';
import { requireSummary } from '../requests/request-store.ts';
import { type SheetDependencies, sheetGone } from './draft-from-sheet.ts';
import { remarkOn, remarkOnRow } from './remark-texts.ts';
import { remarksHeading } from './sheet-columns.ts';
import { findSheet, readSealedSheet } from './sheet-store.ts';

export async function remarkedSheet(
  { database, seal }: SheetDependencies,
  requestId: string,
  actor: Actor & { agencyCode: string },
): Promise<{ fileName: string; mediaType: string; content: AsyncIterable<Buffer> }> {
  const summary = await requireSummary(database, requestId, actor.agencyCode);
  if (summary.submittedBy.id !== actor.id) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'not_submitter',
      detail: 'A sheet holds identity numbers; only the client that sent it gets it back.',
    });
  }
  const sheet = await findSheet(database, requestId);
  const sealed = sheet && (await readSealedSheet(database, requestId));
  if (!sheet || !sealed) throw sheetGone();
  const { headerRow: rowNumber, remarksColumn } = sheet.report;
  const columnIndex = parseCellName(`${remarksColumn}1`)?.columnIndex as number;
  const content = withRemarks(
    seal.openSheet(sealed, requestId),
    sheet.media_type,
    { rowNumber, columnIndex, title: remarksHeading },
    remarksInOrder(database, requestId, seal.open, rowNotes(sheet.report)),
  );
  return { fileName: sheet.file_name, mediaType: sheet.media_type, content };
}

/** Rows that are no lines, as far as the report names them. */
const rowNotes = ({ notes }: SheetReport): ReadonlyMap<number, string> =>
  new Map(
    notes.flatMap(({ cell = '', code }) => {
      const row = /^(\d+):/.exec(cell)?.[1];
      const text = remarkOnRow(code);
      return row && text ? [[Number(row), text] as const] : [];
    }),
  );

const pageSize = 1_000;

/** Remarks by row, asked for in the order of the rows; a page of lines at a time. */
function remarksInOrder(
  database: Database,
  requestId: string,
  openSealed: (sealed: Buffer) => string,
  others: ReadonlyMap<number, string>,
) {
  let page: RequestLine[] = [];
  let at = 0;
  let after = 0;
  let complete = false;
  return async (rowNumber: number): Promise<string | undefined> => {
    for (;;) {
      while (at < page.length && (page[at]?.sheetRow ?? 0) < rowNumber) at += 1;
      const line = page[at];
      if (line) return line.sheetRow === rowNumber ? remarkOn(line) : others.get(rowNumber);
      if (complete) return others.get(rowNumber);
      const rows = await listLines(database, { requestId }, pageSize, after, openSealed);
      complete = rows.length <= pageSize;
      page = rows.slice(0, pageSize);
      after = page.at(-1)?.lineNumber ?? after;
      at = 0;
    }
  };
}
