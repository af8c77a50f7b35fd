/** Requests on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, CertificatePath, lineOfText, PartState, Timestamp, Uuid } from './common.ts';

export const PersonLine = z.strictObject({
  kind: z.literal('person'),
  fullName: z.string().max(200).describe('Surname first, given name last'),
  birthDate: z.string().max(20).describe('YYYY-MM-DD or DD/MM/YYYY'),
  sex: z.enum(['male', 'female']).optional(),
  title: lineOfText(200).optional().describe('The office that the person holds'),
  mobile: z.string().max(20).optional(),
  nationalId: z.string().max(20).describe('12 digits; kept encrypted, never shown again'),
  agencyCode: AgencyCodeInput.optional().describe("The request's agency unless told; must lie below it"),
  certificate: CertificatePath.default('server_key'),
});
export const AgencyLine = z.strictObject({
  kind: z.literal('agency'),
  agencyCode: AgencyCodeInput.optional(),
  certificate: z.literal('none').default('none'),
});
export const RequestLineInput = z.discriminatedUnion('kind', [PersonLine, AgencyLine]);
export type RequestLineInput = z.infer<typeof RequestLineInput>;

export const maxRequestLines = 500;
export const RequestInput = z.strictObject({
  agencyCode: AgencyCodeInput,
  contactAddress: z
    .email()
    .max(254)
    .optional()
    .describe("Who is told of the decision; the agency's own mailbox unless told"),
  decision: z
    .strictObject({ number: lineOfText(100), date: z.iso.date() })
    .optional()
    .describe('The document on which the request rests'),
  lines: z.array(RequestLineInput).min(1, 'A request needs at least one line.').max(maxRequestLines),
});
export type RequestInput = z.infer<typeof RequestInput>;

const Party = z.object({ id: Uuid, name: z.string() });

export const RequestState = z.enum([
  'draft',
  'submitted',
  'approved',
  'returned',
  'rejected',
  'cancelled',
  'fulfilled',
]);
export const RequestSummary = z.object({
  id: Uuid,
  agencyCode: z.string(),
  agencyName: z.string(),
  state: RequestState,
  submittedBy: Party,
  submittedAt: Timestamp,
  decidedBy: Party.nullable(),
  decidedAt: Timestamp.nullable(),
  fulfilledAt: Timestamp.nullable(),
  remark: z.string().nullable(),
  decision: z.object({ number: z.string(), date: z.string() }).nullable(),
  lineCount: z.number().int(),
  fulfilledCount: z.number().int(),
  version: z.number().int(),
});
export type RequestSummary = z.infer<typeof RequestSummary>;

export const RequestLine = z.object({
  lineNumber: z.number().int(),
  sheetRow: z.number().int().nullable(),
  kind: z.enum(['person', 'agency']).nullable(),
  agencyCode: z.string(),
  state: z.enum(['draft', 'refused', 'submitted', 'approved', 'rejected', 'cancelled', 'fulfilled']),
  fullName: z.string().nullable(),
  birthDate: z.string().nullable(),
  title: z.string().nullable(),
  nationalId: z.string().nullable().describe('Masked'),
  certificate: CertificatePath,
  findings: z.array(
    z.object({
      cell: z.string().optional().describe('As in the sheet, such as C14'),
      code: z.string(),
      detail: z.string(),
      severity: z.enum(['fault', 'correction', 'warning']),
    }),
  ),
  account: z
    .object({
      id: Uuid,
      username: z.string(),
      address: z.string(),
      state: z.string(),
      parts: z.record(z.string(), PartState).describe('entry, mailbox, certificate'),
    })
    .nullable(),
});
export type RequestLine = z.infer<typeof RequestLine>;

export const RequestDetail = RequestSummary.extend({
  lines: z.array(RequestLine),
  corrections: z
    .array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() }))
    .optional()
    .describe('What was read differently from how it was written; in the answer to the submission alone'),
});
export type RequestDetail = z.infer<typeof RequestDetail>;
