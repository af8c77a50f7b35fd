/** Accounts, and what their holders do themselves. */
import { z } from 'zod';
import { PartState, Timestamp, Uuid } from './common.ts';

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
  suspendedUntil: Timestamp.nullable().describe('When a suspension ends by itself'),
  retainedUntil: z.iso.date().nullable().describe('Until when a retired account can be reactivated'),
  holder: z
    .object({ accountId: Uuid, displayName: z.string(), address: z.string() })
    .nullable()
    .describe('Who holds a position now'),
  parts: z.record(z.string(), PartState),
  requestId: Uuid.nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type Account = z.infer<typeof Account>;

export const PositionHolding = z.object({
  accountId: Uuid,
  displayName: z.string(),
  address: z.string(),
  from: Timestamp,
  to: Timestamp.nullable(),
  reason: z.string(),
  endReason: z.string().nullable(),
});
export type PositionHolding = z.infer<typeof PositionHolding>;

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
