/** Certificates on the wire. */
import { z } from 'zod';
import { Provenance, Timestamp, Uuid } from './common.ts';

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
