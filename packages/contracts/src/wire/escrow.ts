/** Recovery officers and recoveries on the wire. Binary parts are base64. */
import { z } from 'zod';
import { lineOfText, Timestamp, Uuid } from './common.ts';

export const RecoveryOfficer = z.object({
  id: Uuid,
  clientId: z.string(),
  name: z.string(),
  fingerprintSha256: z.string().describe('of the certificate that shares are encrypted to'),
  state: z.enum(['awaiting_proof', 'awaiting_approval', 'active', 'retired']),
  approvedBy: z.string().nullable(),
  createdAt: Timestamp,
  activeFrom: Timestamp.nullable(),
  retiredAt: Timestamp.nullable(),
});
export type RecoveryOfficer = z.infer<typeof RecoveryOfficer>;

export const RecoveryOfficerInput = z.strictObject({
  name: lineOfText(100),
  certificate: z.string().max(20_000).describe('PEM, of an RSA key of 2048 bits or more that only this officer has'),
});

/** Opened by the officer's key it proves that what will be encrypted to it can be opened. */
export const RecoveryOfficerProof = z.strictObject({
  proof: z.string().regex(/^[0-9a-f]{64}$/i, 'What the challenge holds, in hexadecimal.'),
});

export const Recovery = z.object({
  id: Uuid,
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  reason: z.string(),
  state: z.enum(['awaiting_confirmation', 'confirmed', 'cancelled', 'expired']),
  askedBy: z.string().describe('name of the officer'),
  confirmedBy: z.string().nullable(),
  keyCount: z.number().int(),
  createdAt: Timestamp,
  confirmedAt: Timestamp.nullable(),
  openUntil: Timestamp,
});
export type Recovery = z.infer<typeof Recovery>;

export const RecoveryInput = z.strictObject({ accountId: Uuid, reason: lineOfText(500, 10) });

/** One officer's part of a recovery: what `recover.ts open` reads. */
export const RecoveryShares = z.object({
  recoveryId: Uuid,
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  officerId: Uuid,
  chain: z.array(z.string()).describe('certificates above, for the file that is made'),
  keys: z.array(
    z.object({
      enrolmentId: Uuid,
      serialNumber: z.string(),
      certificate: z.string(),
      sealedKey: z.string(),
      share: z.string().nullable().describe('CMS EnvelopedData to this officer; null: the key is for other officers'),
      officers: z.array(z.string()).describe('names of the two'),
    }),
  ),
});
export type RecoveryShares = z.infer<typeof RecoveryShares>;
