/** Mail domains on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, Timestamp } from './common.ts';

/** A host name as mail knows it (RFC 1035 section 2.3.1, RFC 5321 section 2.3.5): labels of letters, digits and hyphens. */
export const DomainName = z
  .string()
  .trim()
  .toLowerCase()
  .max(253)
  .regex(
    /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'This is no domain name: labels of letters, digits and hyphens with dots between them, such as soyte.nghean.gov.vn.',
  );

const until = z.iso.date().describe('The first day, in Việt Nam, on which it holds no more');

export const MailDomain = z.object({
  name: z.string(),
  kind: z.enum(['province', 'agency', 'alias']),
  state: z.enum(['open', 'closed']),
  agencyCode: z.string().nullable().describe('The one agency whose domain it is'),
  target: z.string().nullable().describe('Of an alias: the domain that it stands for'),
  until: z.string().nullable(),
  mailboxCount: z.number().int().describe('Mailboxes whose own address is in it'),
  uses: z.number().int().describe('Of an alias: messages that came to its addresses'),
  lastUsedAt: Timestamp.nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type MailDomain = z.infer<typeof MailDomain>;

export const MailDomainInput = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('agency'),
    name: DomainName.describe("Below the province's own"),
    agencyCode: AgencyCodeInput.optional(),
  }),
  z.strictObject({
    kind: z.literal('alias'),
    name: DomainName.describe('Every address of the target is one here too, and no other'),
    target: DomainName,
    until: until.optional(),
  }),
]);
export type MailDomainInput = z.infer<typeof MailDomainInput>;

/** What is absent stays as it is. */
export const MailDomainChange = z.strictObject({
  agencyCode: AgencyCodeInput.nullable().optional(),
  target: DomainName.optional(),
  until: until.nullable().optional(),
});
export type MailDomainChange = z.infer<typeof MailDomainChange>;
