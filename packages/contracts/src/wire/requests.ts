/** Requests on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, CertificatePath, lineOfText, PartState, Timestamp, Uuid } from './common.ts';

const opens = { operation: z.literal('open').optional() };

export const PersonLine = z.strictObject({
  ...opens,
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
  ...opens,
  kind: z.literal('agency'),
  agencyCode: AgencyCodeInput.optional(),
  certificate: z.literal('none').default('none'),
});
export const PositionLine = z.strictObject({
  ...opens,
  kind: z.literal('position'),
  title: lineOfText(100).describe('The office, such as Chủ tịch; it outlives its holders'),
  agencyCode: AgencyCodeInput.optional(),
  certificate: z.literal('none').default('none'),
});

const account = lineOfText(254).describe('Id, username or address of the account that the line is about');

/** The reasons of RFC 5280 section 5.3.1 that are for good; a hold is what a suspension makes. */
export const finalRevocationReasons = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'privilegeWithdrawn',
] as const;

export const RequestLineInput = z.discriminatedUnion('operation', [
  z.discriminatedUnion('kind', [PersonLine, AgencyLine, PositionLine]),
  z.strictObject({ operation: z.literal('close'), account, reason: lineOfText(500) }),
  z.strictObject({
    operation: z.literal('transfer'),
    account,
    toAgencyCode: AgencyCodeInput,
    title: lineOfText(200).optional().describe('The office there; as before unless told'),
    reason: lineOfText(500).optional(),
  }),
  z.strictObject({
    operation: z.literal('rename'),
    account,
    fullName: z.string().max(200).describe('Surname first, given name last; the username stays'),
    newAddress: z.boolean().optional().describe('An address of the new name; mail to the former one still arrives'),
    reason: lineOfText(500).optional(),
  }),
  z.strictObject({
    operation: z.literal('change_position'),
    account,
    title: lineOfText(200).nullable(),
    reason: lineOfText(500).optional(),
  }),
  z.strictObject({
    operation: z.literal('issue_certificate'),
    account,
    certificate: z
      .enum(['server_key', 'csr'])
      .default('server_key')
      .describe('A new one; one that is still valid is revoked as superseded'),
    reason: lineOfText(500).optional(),
  }),
  z.strictObject({ operation: z.literal('revoke_certificate'), account, reason: z.enum(finalRevocationReasons) }),
]);
export type RequestLineInput = z.infer<typeof RequestLineInput>;

export const RequestOperation = z.enum([
  'open',
  'close',
  'transfer',
  'rename',
  'change_position',
  'issue_certificate',
  'revoke_certificate',
]);
export type RequestOperation = z.infer<typeof RequestOperation>;

const Decision = z
  .strictObject({ number: lineOfText(100), date: z.iso.date() })
  .describe('The document on which the request rests');
export const Attachment = z.strictObject({
  number: lineOfText(100),
  date: z.iso.date(),
  issuer: lineOfText(200).optional(),
});
export type Attachment = z.infer<typeof Attachment>;

export const maxRequestLines = 500;
export const RequestInput = z.strictObject({
  agencyCode: AgencyCodeInput,
  contactAddress: z
    .email()
    .max(254)
    .optional()
    .describe("Who is told of the decision; the agency's own mailbox unless told"),
  decision: Decision.optional(),
  attachments: z.array(Attachment).max(20).optional().describe('Further documents, by reference'),
  lines: z.array(RequestLineInput).min(1, 'A request needs at least one line.').max(maxRequestLines),
});
export type RequestInput = z.infer<typeof RequestInput>;

export const RequestRemark = z.string().trim().min(1, 'Say why.').max(2_000);
export const LineNumber = z.number().int().min(1).max(10_000_000);
export const LineRemark = z.strictObject({ lineNumber: LineNumber, remark: RequestRemark });
export type LineRemark = z.infer<typeof LineRemark>;

/** So many requests are decided on in one call at most. */
export const maxBulkApproval = 200;
export const BulkApproval = z.strictObject({
  requests: z
    .array(
      z.strictObject({
        id: Uuid,
        version: z.number().int().min(1).optional().describe('That was read; another refuses this one'),
      }),
    )
    .min(1)
    .max(maxBulkApproval),
  remark: RequestRemark.optional(),
});
export const BulkApprovalResult = z.object({
  results: z.array(
    z.object({ id: Uuid, approved: z.boolean(), code: z.string().optional(), detail: z.string().optional() }),
  ),
});
export type BulkApprovalResult = z.infer<typeof BulkApprovalResult>;

const Party = z.object({ id: Uuid, name: z.string() });
const count = z.number().int();

export const RequestState = z.enum([
  'draft',
  'submitted',
  'returned',
  'approved',
  'rejected',
  'cancelled',
  'fulfilled',
]);
export type RequestState = z.infer<typeof RequestState>;
export const WaitsFor = z.enum(['approver', 'requester', 'platform']);
export const RequestSummary = z.object({
  id: Uuid,
  agencyCode: z.string(),
  agencyName: z.string(),
  state: RequestState,
  submittedBy: Party,
  submittedAt: Timestamp.describe('Of a draft, when it was made'),
  decidedBy: Party.nullable(),
  decidedAt: Timestamp.nullable(),
  fulfilledAt: Timestamp.nullable(),
  remark: z.string().nullable().describe('Of the decision, or why it was returned'),
  decision: z.object({ number: z.string(), date: z.string() }).nullable(),
  attachments: z.array(z.object({ number: z.string(), date: z.string(), issuer: z.string().optional() })),
  waitsFor: WaitsFor.nullable(),
  dueAt: Timestamp.nullable().describe('By when whoever it waits for should act'),
  late: z.boolean(),
  lineCount: count,
  acceptedCount: count.describe('Lines that were taken as they were written'),
  correctedCount: count.describe('Lines that were taken, read differently from how they were written'),
  refusedCount: count.describe('Lines that could not be taken'),
  fulfilledCount: count,
  failedCount: count.describe('Approved, but no longer possible; each says why'),
  rejectedCount: count,
  version: z.number().int(),
});
export type RequestSummary = z.infer<typeof RequestSummary>;

export const RequestLineState = z.enum([
  'draft',
  'refused',
  'submitted',
  'approved',
  'rejected',
  'cancelled',
  'fulfilled',
  'failed',
]);
export type RequestLineState = z.infer<typeof RequestLineState>;

const Finding = z.object({
  cell: z.string().optional().describe('As in the sheet, such as C14'),
  code: z.string(),
  detail: z.string(),
  severity: z.enum(['fault', 'correction', 'warning']),
});

export const RequestLine = z.object({
  lineNumber: z.number().int(),
  sheetRow: z.number().int().nullable(),
  operation: RequestOperation,
  kind: z.enum(['person', 'agency', 'position']).nullable(),
  agencyCode: z.string().describe('Where the account is to be; of a transfer, where it goes'),
  state: RequestLineState,
  fullName: z.string().nullable(),
  birthDate: z.string().nullable(),
  title: z.string().nullable(),
  nationalId: z.string().nullable().describe('Masked'),
  certificate: CertificatePath,
  reason: z.string().nullable(),
  newAddress: z.boolean().optional().describe('Of a rename: true where the address is to change too'),
  target: z
    .object({ id: Uuid, username: z.string(), address: z.string(), displayName: z.string() })
    .nullable()
    .describe('The account that the line is about'),
  findings: z.array(Finding),
  remark: z.string().nullable(),
  failure: z.object({ code: z.string(), detail: z.string() }).nullable(),
  account: z
    .object({
      id: Uuid,
      username: z.string(),
      address: z.string(),
      state: z.string(),
      parts: z.record(z.string(), PartState).describe('entry, mailbox, certificate'),
    })
    .nullable()
    .describe('The account that the line opened'),
});
export type RequestLine = z.infer<typeof RequestLine>;

export const RequestDetail = RequestSummary.extend({
  lines: z.array(RequestLine).describe('The first 500; more by /v1/requests/{id}/lines'),
  linesNextCursor: z.string().nullable(),
  corrections: z
    .array(z.object({ pointer: z.string(), code: z.string(), detail: z.string() }))
    .optional()
    .describe('What was read differently from how it was written; in the answer to the submission alone'),
});
export type RequestDetail = z.infer<typeof RequestDetail>;

/** What a line would be called if its request were approved now. */
export const UsernamePreview = z.object({
  lineNumber: z.number().int(),
  name: z.string(),
  agencyCode: z.string(),
  username: z.string(),
  address: z.string(),
  taken: z.boolean().describe('True once the account is open; until then it may change if others are approved first'),
});
export type UsernamePreview = z.infer<typeof UsernamePreview>;

const Lateness = z.object({
  waiting: count,
  late: count,
  lateSince: Timestamp.nullable().describe('When the oldest of them was due'),
});
export const LateSummary = z.object({
  items: z.array(z.object({ agencyCode: z.string(), agencyName: z.string(), approver: Lateness, requester: Lateness })),
});
export type LateSummary = z.infer<typeof LateSummary>;
