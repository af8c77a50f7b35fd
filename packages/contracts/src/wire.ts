/** What travels between services, programs and people, as schemas. Times are RFC 3339 in UTC; units stand in the names. */
import { z } from 'zod';

export const Timestamp = z.iso.datetime();
const Uuid = z.uuid();
/** Both official forms are taken; the answer always has the first (Quyết định 20/2020/QĐ-TTg). */
export const AgencyCodeInput = z.string().min(3).max(40).describe('H41.12.05, or the older form 000.05.12.H41');

export const Agency = z.object({
  code: z.string(),
  name: z.string(),
  level: z.enum(['province', 'department', 'district', 'commune', 'school', 'public_unit']),
  parentCode: z.string().nullable(),
  shortName: z.string(),
  mailDomain: z.string(),
  gsoCode: z.string().nullable(),
  validTo: z.string().nullable(),
});
export type Agency = z.infer<typeof Agency>;

export const AgencyImportReport = z.object({
  added: z.number().int(),
  changed: z.number().int(),
  unchanged: z.number().int(),
});
export type AgencyImportReport = z.infer<typeof AgencyImportReport>;

/** How the certificate of an account comes about: a key made here, a CSR from the holder's token, or none. */
export const CertificatePath = z.enum(['server_key', 'csr', 'none']);
export type CertificatePath = z.infer<typeof CertificatePath>;

/** One line of text that people read: no line breaks, no control characters, nothing invisible that turns text around. */
export const lineOfText = (maximum: number, minimum = 1) =>
  z
    .string()
    .trim()
    .min(minimum, minimum === 1 ? 'This must not be empty.' : `This must have ${minimum} characters or more.`)
    .max(maximum)
    .refine((text) => !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text), {
      error: 'This holds a line break, or a control or invisible character; take it out.',
      params: { code: 'character' },
    });

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
const PartState = z.enum(['waiting', 'done']);

export const RequestState = z.enum(['submitted', 'approved', 'returned', 'rejected', 'cancelled', 'fulfilled']);
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
  kind: z.enum(['person', 'agency']),
  agencyCode: z.string(),
  state: z.enum(['submitted', 'approved', 'rejected', 'cancelled', 'fulfilled']),
  fullName: z.string().nullable(),
  birthDate: z.string().nullable(),
  title: z.string().nullable(),
  nationalId: z.string().nullable().describe('Masked'),
  certificate: CertificatePath,
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

export const Account = z.object({
  id: Uuid,
  kind: z.enum(['person', 'position', 'agency', 'service']),
  state: z.enum(['pending', 'active', 'suspended', 'retired']),
  username: z.string(),
  address: z.string(),
  displayName: z.string(),
  title: z.string().nullable(),
  agencyCode: z.string(),
  agencyName: z.string(),
  suspensionReason: z.string().nullable(),
  parts: z.record(z.string(), PartState),
  requestId: Uuid.nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type Account = z.infer<typeof Account>;

export const ActivationCode = z.object({
  accountId: Uuid,
  address: z.string(),
  code: z.string().describe('Shown this once; single use'),
  expiresAt: Timestamp,
});
export type ActivationCode = z.infer<typeof ActivationCode>;

export const HolderToken = z.object({
  access_token: z.string(),
  token_type: z.literal('Bearer'),
  expires_in: z.number().int().describe('seconds'),
  account: z.object({ id: Uuid, address: z.string() }),
});
export type HolderToken = z.infer<typeof HolderToken>;

export const Client = z.object({
  id: Uuid,
  name: z.string(),
  agencyCode: z.string(),
  permissions: z.array(z.string()),
  createdAt: Timestamp,
  disabledAt: Timestamp.nullable(),
});
export type Client = z.infer<typeof Client>;

export const AuditEvent = z.object({
  id: z.string(),
  occurredAt: Timestamp,
  service: z.string(),
  actorKind: z.string(),
  actorId: z.string(),
  actorName: z.string().nullable(),
  sourceIp: z.string().nullable(),
  action: z.string(),
  subjectType: z.string(),
  subjectId: z.string(),
  agencyCode: z.string().nullable(),
  requestId: z.string().nullable(),
  before: z.unknown(),
  after: z.unknown(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;

/** Who asked, who approved, when: what an auditor sees beside every credential. */
const Provenance = {
  requestId: Uuid.nullable(),
  submittedBy: z.string().nullable(),
  submittedAt: Timestamp.nullable(),
  approvedBy: z.string().nullable(),
  approvedAt: Timestamp.nullable(),
  decisionNumber: z.string().nullable(),
};

export const Mailbox = z.object({
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  agencyName: z.string(),
  state: z.enum(['active', 'suspended', 'retained', 'purged']),
  quotaBytes: z.number().int(),
  createdAt: Timestamp,
  ...Provenance,
});
export type Mailbox = z.infer<typeof Mailbox>;

export const Notice = z.object({
  id: Uuid,
  kind: z.enum(['welcome', 'decision']),
  subjectId: Uuid,
  recipient: z.string().nullable(),
  messageId: z.string(),
  state: z.enum(['waiting', 'sent', 'no_recipient']),
  createdAt: Timestamp,
  sentAt: Timestamp.nullable(),
});
export type Notice = z.infer<typeof Notice>;

export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
] as const;

export const Certificate = z.object({
  serialNumber: z.string().describe('hexadecimal'),
  issuer: z.string(),
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  agencyName: z.string(),
  enrolmentId: Uuid,
  path: z.enum(['server_key', 'csr']),
  profile: z.string(),
  keyKind: z.string(),
  state: z.enum(['signing', 'valid', 'revoked', 'expired']),
  fingerprintSha256: z.string().nullable(),
  notBefore: Timestamp,
  notAfter: Timestamp,
  issuedAt: Timestamp.nullable(),
  revokedAt: Timestamp.nullable(),
  revocationReason: z.enum(revocationReasons).nullable(),
  pickedUpAt: Timestamp.nullable(),
  ...Provenance,
});
export type Certificate = z.infer<typeof Certificate>;

export const Enrolment = z.object({
  id: Uuid,
  accountId: Uuid,
  address: z.string(),
  profile: z.string(),
  path: z.enum(['server_key', 'csr']),
  state: z.enum(['awaiting_csr', 'awaiting_pickup', 'issued', 'rejected', 'expired']),
  serialNumber: z.string().nullable(),
  pickedUpAt: Timestamp.nullable(),
  createdAt: Timestamp,
});
export type Enrolment = z.infer<typeof Enrolment>;
