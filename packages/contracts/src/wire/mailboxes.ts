/** Mailboxes on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, lineOfText, Provenance, Timestamp, Uuid } from './common.ts';

/** Behind an account (person, position, agency), or nobody's account: used by several people, or by a program. */
export const MailboxKind = z.enum(['person', 'position', 'agency', 'shared', 'service']);
export type MailboxKind = z.infer<typeof MailboxKind>;

/** One mebibyte to one tebibyte. */
const QuotaBytes = z
  .number()
  .int()
  .min(1024 ** 2)
  .max(1024 ** 4);
const QuotaClassCode = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$/, {
  error: '1 to 40 small letters, digits and hyphens, no hyphen first or last.',
});

export const Mailbox = z.object({
  /** The account's; of a shared or service mailbox, one of its own. */
  accountId: Uuid,
  kind: MailboxKind,
  address: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  agencyName: z.string(),
  /** `purging`: its retention is over and the store is being deleted. */
  state: z.enum(['active', 'suspended', 'retained', 'purging', 'purged']),
  quotaBytes: z.number().int(),
  /** The class that the quota comes of; null when it was set by hand, or is the platform's default. */
  quotaClass: z.string().nullable(),
  /** Whether the quota, or its class, was set for this mailbox alone. */
  quotaByHand: z.boolean(),
  /** What becomes of mail that arrives while it is suspended; null when as the platform does. */
  suspendedMail: z.enum(['accept', 'refuse']).nullable(),
  /** The last day on which the store is kept, in Vietnam. */
  retainedUntil: z.iso.date().nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
  ...Provenance,
});
export type Mailbox = z.infer<typeof Mailbox>;

export const MailboxRight = z.enum(['read', 'write', 'send_as']);
export type MailboxRight = z.infer<typeof MailboxRight>;
/** On one mailbox. */
export const GivenRights = z.array(MailboxRight).min(1).max(3);

export const MailboxInput = z.strictObject({
  kind: z.enum(['shared', 'service']),
  /** What stands before the @. */
  localPart: z.string().max(64),
  displayName: lineOfText(200),
  agencyCode: AgencyCodeInput,
  quotaBytes: QuotaBytes.optional(),
  rights: z
    .array(z.strictObject({ accountId: Uuid, rights: GivenRights }))
    .max(100)
    .optional()
    .describe('Of a shared one: who may do what with it from the beginning'),
});
export type MailboxInput = z.infer<typeof MailboxInput>;

export const MailboxChange = z
  .strictObject({
    /** Of a shared or service mailbox. */
    displayName: lineOfText(200),
    /** Null: as its class or the platform says. */
    quotaBytes: QuotaBytes.nullable(),
    quotaClass: QuotaClassCode.nullable(),
    suspendedMail: z.enum(['accept', 'refuse']).nullable(),
  })
  .partial();
export type MailboxChange = z.infer<typeof MailboxChange>;

/** Shown this once. */
export const MailboxSecret = z.object({ accountId: Uuid, address: z.string(), secret: z.string() });
export type MailboxSecret = z.infer<typeof MailboxSecret>;

/** A mailbox as it was just made; the secret is a service mailbox's, shown this once. */
export const MadeMailbox = Mailbox.extend({ secret: z.string().nullable() });
export type MadeMailbox = z.infer<typeof MadeMailbox>;

export const MailboxRights = z.object({
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  rights: z.array(MailboxRight),
  /** Rights rest while either mailbox is not active. */
  active: z.boolean(),
});
export type MailboxRights = z.infer<typeof MailboxRights>;

export const Vacation = z.strictObject({
  subject: lineOfText(200),
  /** Plain text. Longer than a line of Dovecot's protocol may be, it would stop the mailbox's mail. */
  text: z
    .string()
    .trim()
    .min(1)
    .max(4_000)
    .refine((text) => new TextEncoder().encode(text.replaceAll(/[%\n\t]/g, '$&$&')).length <= 5_000, {
      error: 'This is longer than 5,000 octets in UTF-8 (some 3,000 letters of Vietnamese); shorten it.',
      params: { code: 'too_long' },
    })
    .refine((text) => !/[^\P{Cc}\n\t]|[\p{Cf}]/u.test(text), {
      error: 'This holds a control or invisible character other than line breaks; take it out.',
      params: { code: 'character' },
    }),
  /** First and last day, in Vietnam. */
  from: z.iso.date().nullable().default(null),
  until: z.iso.date().nullable().default(null),
});
export type Vacation = z.infer<typeof Vacation>;

export const QuotaClass = z.object({
  code: QuotaClassCode,
  name: z.string(),
  quotaBytes: z.number().int(),
  /** How many mailboxes have their quota of it. */
  mailboxes: z.number().int(),
  version: z.number().int(),
});
export type QuotaClass = z.infer<typeof QuotaClass>;
export const QuotaClassInput = z.strictObject({ code: QuotaClassCode, name: lineOfText(100), quotaBytes: QuotaBytes });
export const QuotaClassChange = QuotaClassInput.omit({ code: true }).partial();

/**
 * Which class mailboxes have of which nothing was said by hand. Of several that fit, one with a title decides, then one of the
 * nearer agency, then one with a kind.
 */
export const QuotaAssignment = z.strictObject({
  quotaClass: QuotaClassCode,
  kind: MailboxKind.optional(),
  /** The title of the account, e.g. of a position; capitals do not matter. */
  title: lineOfText(200).optional(),
  /** The agency and everything below it. */
  agencyCode: AgencyCodeInput.optional(),
});
export type QuotaAssignment = z.infer<typeof QuotaAssignment>;
