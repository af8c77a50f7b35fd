/** Drafts that were read from a sheet, on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, lineOfText } from './common.ts';
import { RequestDetail } from './requests.ts';

const count = z.number().int();

export const SheetNote = z.object({
  cell: z.string().optional().describe('C14; of a whole row 14:14'),
  code: z.string(),
  detail: z.string(),
});
export type SheetNote = z.infer<typeof SheetNote>;

export const SheetReport = z.object({
  sheetName: z.string().nullable().describe('The sheet of the workbook that was read; a CSV has none'),
  headerRow: count,
  columns: z.record(z.string(), z.string()).describe('Which column was read as what: { fullName: "B", … }'),
  remarksColumn: z.string().describe('Where GET puts the remarks'),
  rows: z
    .object({ total: count, heading: count, lines: count, groups: count, closing: count, empty: count })
    .describe('total is the number of the last row that holds something, and the sum of all the others'),
  lines: z
    .object({ accepted: count, corrected: count, refused: count })
    .describe('Sum: rows.lines. Corrected: accepted, and read differently from how it is written'),
  notes: z.array(SheetNote).describe('What was read how, and what was not; the first 200'),
});
export type SheetReport = z.infer<typeof SheetReport>;

export const SheetDraft = RequestDetail.extend({ sheet: SheetReport });
export type SheetDraft = z.infer<typeof SheetDraft>;

const FileName = lineOfText(200).optional().describe('As it is to be called when it comes back');
const decision = {
  decisionNumber: lineOfText(100)
    .optional()
    .describe('The document on which the request rests; that of the sheet unless told'),
  decisionDate: z.iso.date().optional(),
};

export const SheetQuery = z.strictObject({
  agencyCode: AgencyCodeInput,
  fileName: FileName,
  ...decision,
  contactAddress: z.email().max(254).optional(),
});
export type SheetQuery = z.infer<typeof SheetQuery>;

export const CorrectedSheetQuery = z.strictObject({ fileName: FileName, ...decision });
export type CorrectedSheetQuery = z.infer<typeof CorrectedSheetQuery>;

/** Octets of a sheet; a workbook of 100,000 people has some 8 MiB. */
export const maxSheetBytes = 32 * 1024 * 1024;
