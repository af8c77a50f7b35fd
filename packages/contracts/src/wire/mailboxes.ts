/** Mailboxes and notices on the wire. */
import { z } from 'zod';
import { Provenance, Timestamp, Uuid } from './common.ts';

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
  kind: z.enum(['welcome', 'decision', 'return']),
  subjectId: Uuid,
  recipient: z.string().nullable(),
  messageId: z.string(),
  state: z.enum(['waiting', 'sent', 'no_recipient']),
  createdAt: Timestamp,
  sentAt: Timestamp.nullable(),
});
export type Notice = z.infer<typeof Notice>;
