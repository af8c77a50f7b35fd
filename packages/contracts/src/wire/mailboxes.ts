/** Mailboxes on the wire. */
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
