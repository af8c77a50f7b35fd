/** Certificates on the wire. */
import { z } from 'zod';
import { AgencyCodeInput, Provenance, Timestamp, Uuid } from './common.ts';

export const revocationReasons = [
  'unspecified',
  'keyCompromise',
  'affiliationChanged',
  'superseded',
  'cessationOfOperation',
  'certificateHold',
  'privilegeWithdrawn',
] as const;

/** A line of the register: what was issued here, and what the Government's CA issued to an account. */
export const Certificate = z.object({
  source: z.enum(['own', 'external']),
  serialNumber: z.string().describe('hexadecimal'),
  issuer: z.string(),
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  agencyCode: z.string().describe('Of the agency that it was issued for'),
  agencyName: z.string(),
  enrolmentId: Uuid.nullable(),
  externalCredentialId: Uuid.nullable(),
  path: z.enum(['server_key', 'csr', 'external']),
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
  pickedUpBy: z
    .string()
    .nullable()
    .describe('The holder of the account then, or the client that took it for the holder'),
  pickedUpForm: z.enum(['modern', 'legacy']).nullable(),
  ...Provenance,
  approverId: Uuid.nullable(),
});
export type Certificate = z.infer<typeof Certificate>;

const hexadecimal = (octets: number, what: string) =>
  z
    .string()
    .toLowerCase()
    .regex(new RegExp(`^([0-9a-f]{2}){1,${octets}}$`), `${what} is hexadecimal, at most ${octets} octets.`);
export const SerialNumber = hexadecimal(20, 'A serial number');
export const Fingerprint = z
  .string()
  .toLowerCase()
  .transform((text) => text.replaceAll(':', ''))
  .pipe(z.string().regex(/^[0-9a-f]{64}$/, 'A fingerprint is SHA-256: 64 hexadecimal digits.'));

const moment = z.iso.datetime({ offset: true });
/** What the register can be asked for. */
export const certificateFilters = {
  source: Certificate.shape.source.optional(),
  agencyCode: AgencyCodeInput.optional().describe('Issued for this agency or one below it'),
  profile: z.string().max(63).optional(),
  path: Certificate.shape.path.optional(),
  keyKind: z.string().max(20).optional(),
  state: Certificate.shape.state.optional(),
  serialNumber: SerialNumber.optional(),
  fingerprintSha256: Fingerprint.optional(),
  address: z.string().max(254).optional(),
  accountId: Uuid.optional(),
  requestId: Uuid.optional(),
  approverId: Uuid.optional(),
  issuedFrom: moment.optional(),
  issuedBefore: moment.optional(),
  expiresBefore: moment.optional(),
  expiresWithinDays: z.coerce.number().int().min(1).max(3650).optional().describe('Valid now, and no more by then'),
} as const;

const month = z.string().regex(/^20\d\d-(0[1-9]|1[0-2])$/, 'A month is written 2026-03.');
export const CertificateCount = z.object({
  agencyCode: z.string(),
  agencyName: z.string(),
  month: z.string().describe('In Việt Nam'),
  issued: z.number().int(),
  revoked: z.number().int(),
  expired: z.number().int().describe('Ran out without having been revoked'),
});
export type CertificateCount = z.infer<typeof CertificateCount>;
export const certificateCountFilters = {
  agencyCode: AgencyCodeInput.optional(),
  source: Certificate.shape.source.optional(),
  profile: z.string().max(63).optional(),
  from: month.optional(),
  to: month.optional().describe('The last month'),
} as const;
