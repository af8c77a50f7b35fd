/** Further addresses of mailboxes, and where their mail is forwarded to, on the wire. */
import { z } from 'zod';
import { Timestamp, Uuid } from './common.ts';

/** An address of ours or of others: RFC 5321 without quoting, within its limits of 64 and 254 octets (sections 4.5.3.1.1 and .3). */
export const MailAddress = z
  .string()
  .trim()
  .toLowerCase()
  .max(254)
  .regex(
    /^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'This is no e-mail address: name@domain, of letters, digits, dots, hyphens, underscores and plus signs.',
  )
  .refine((address) => address.indexOf('@') <= 64, 'What stands before the @ has 64 characters at most.');

const validUntil = z.iso.date().describe('The first day, in Việt Nam, on which mail to it is refused');

export const MailAlias = z.object({
  address: z.string(),
  mailboxId: Uuid,
  mailboxAddress: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  reason: z.enum(['former_name', 'former_agency', 'by_hand']),
  validUntil: z.string().nullable().describe('Null: until somebody ends it'),
  endedAt: Timestamp.nullable(),
  uses: z.number().int().describe('Messages that came to it'),
  lastUsedAt: Timestamp.nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type MailAlias = z.infer<typeof MailAlias>;

export const MailAliasInput = z.strictObject({ address: MailAddress, validUntil: validUntil.optional() });
export type MailAliasInput = z.infer<typeof MailAliasInput>;

/** Of many mailboxes in one request. */
export const maxAliasesAtOnce = 10_000;
export const MailAliasList = z.strictObject({
  items: z
    .array(MailAliasInput.extend({ mailbox: MailAddress.describe('The address that the mailbox has now') }))
    .min(1, 'Name at least one address.')
    .max(maxAliasesAtOnce),
});
export type MailAliasList = z.infer<typeof MailAliasList>;
export const AddedAliases = z.object({
  added: z.int(),
  unchanged: z.int().describe('Those that their mailboxes had already'),
});
export type AddedAliases = z.infer<typeof AddedAliases>;

export const MailAliasChange = z.strictObject({ validUntil: validUntil.nullable() });

export const maxForwards = 5;
export const Forwarding = z.object({
  addresses: z.array(z.string()),
  keepCopy: z.boolean(),
  version: z.number().int(),
});
export type Forwarding = z.infer<typeof Forwarding>;

export const ForwardingInput = z.strictObject({
  addresses: z.array(MailAddress).max(maxForwards).describe('None: nothing is forwarded'),
  keepCopy: z.boolean().default(true).describe('Whether the mailbox gets it too'),
});
export type ForwardingInput = z.infer<typeof ForwardingInput>;
