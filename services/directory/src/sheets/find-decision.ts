/**
 * The document that a sheet says it comes with, such as "(Kèm theo Công văn số 123/UBND-VP ngày 05/3/2018)". Read from the rows
 * above the header; of several different ones none is chosen.
 */
import type { SheetNote } from '@congvu/contracts';
import { cellName, type SheetRow } from '@congvu/spreadsheet';
import { parseDate } from '@congvu/vietnamese';

export interface SheetDecision {
  number: string;
  /** `YYYY-MM-DD` */
  date: string;
}

const document =
  /(?:công văn|quyết định|tờ trình|kế hoạch|thông báo|báo cáo|nghị quyết|văn bản|đề án|cv|qđ)\s+số\s*:?\s*(\d[^\s,;()]{0,80})\s*,?\s*ngày\s+(\d{1,2}[/.-]\d{1,2}[/.-]\d{4}|\d{1,2}\s+tháng\s+\d{1,2}\s+năm\s+\d{4})/giu;

export function findDecision(rows: readonly SheetRow[]): { found: SheetDecision | undefined; notes: SheetNote[] } {
  const found = new Map<string, SheetDecision & { cell: string }>();
  const notes: SheetNote[] = [];
  for (const { rowNumber, cells } of rows) {
    cells.forEach(({ value }, index) => {
      if (typeof value !== 'string') return;
      const cell = cellName(rowNumber, index);
      for (const [, number = '', day = ''] of value.normalize('NFC').slice(0, 2_000).matchAll(document)) {
        const date = parseDate(day.replace(/\s*(tháng|năm)\s*/giu, '/'));
        if (date.ok) found.set(`${number} ${date.date}`, { number, date: date.date, cell });
        else
          notes.push({
            cell,
            code: 'decision_unread',
            detail: `A document is named in ${cell}, but its date cannot be read.`,
          });
      }
    });
  }
  const [first, second] = found.values();
  if (second) {
    const cells = [...found.values()].map(({ cell }) => cell).join(', ');
    notes.push({ code: 'decision_ambiguous', detail: `Several documents are named (${cells}); none was taken.` });
  } else if (first) {
    const { cell, number, date } = first;
    notes.push({ cell, code: 'decision_read', detail: `The document was read from ${cell}: ${number} of ${date}.` });
    return { found: { number, date }, notes };
  }
  return { found: undefined, notes };
}
