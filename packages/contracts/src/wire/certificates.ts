/** Enrolments and certificates on the wire. */
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
  invalidityDate: Timestamp.nullable().describe('Since when the key is not to be trusted, as far as is known'),
  revocationScheduledAt: Timestamp.nullable().describe('When it is going to be revoked'),
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
  state: z.enum(['awaiting_csr', 'awaiting_pickup', 'issued', 'rejected', 'expired', 'revoked']),
  serialNumber: z.string().nullable(),
  pickedUpAt: Timestamp.nullable(),
  createdAt: Timestamp,
});
export type Enrolment = z.infer<typeof Enrolment>;
