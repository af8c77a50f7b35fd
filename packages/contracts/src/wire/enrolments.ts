/** Enrolments on the wire: how an account comes to a certificate. */
import { z } from 'zod';
import { lineOfText, Timestamp, Uuid } from './common.ts';

export const enrolmentStates = [
  'awaiting_approval',
  'awaiting_csr',
  'awaiting_pickup',
  'issued',
  'renewed',
  'rejected',
  'expired',
  'revoked',
] as const;

export const EnrolmentPath = z.enum(['server_key', 'csr']);

export const Enrolment = z.object({
  id: Uuid,
  accountId: Uuid,
  address: z.string(),
  profile: z.string(),
  path: EnrolmentPath,
  state: z.enum(enrolmentStates),
  dnsNames: z.array(z.string()).describe('of a device'),
  renews: Uuid.nullable().describe('the enrolment whose certificate it renews'),
  sameKey: z.boolean().describe('whether it keeps the key of the one that it renews'),
  askedBy: z.string().nullable().describe('client or account id; null: ordered by a request'),
  decidedBy: z.string().nullable(),
  decidedAt: Timestamp.nullable(),
  decisionRemark: z.string().nullable(),
  serialNumber: z.string().nullable(),
  pickedUpAt: Timestamp.nullable(),
  createdAt: Timestamp,
});
export type Enrolment = z.infer<typeof Enrolment>;

/** A label of letters, digits and inner hyphens; no wildcard, no trailing dot, at least two labels. */
const dnsName = z
  .string()
  .max(253)
  .regex(
    /^(?=.*[a-z])([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    'A host name in small letters, such as may1.so.nghean.gov.vn; no wildcard.',
  );

const asked = {
  profile: z.string().max(63).describe('its id, as GET /v1/profiles names it'),
  path: EnrolmentPath,
};

export const EnrolmentInput = z.strictObject({
  accountId: Uuid,
  ...asked,
  dnsNames: z.array(dnsName).max(20).default([]).describe('for devices: at or below the mail domain of the agency'),
});
export type EnrolmentInput = z.infer<typeof EnrolmentInput>;

/** The same for every account of a request. */
export const RequestEnrolmentsInput = z.strictObject(asked);
export type RequestEnrolmentsInput = z.infer<typeof RequestEnrolmentsInput>;

export const RequestEnrolments = z.object({
  openedCount: z.number().int(),
  items: z.array(
    z.object({
      accountId: Uuid,
      address: z.string(),
      enrolmentId: Uuid.nullable(),
      code: z.string().nullable().describe('why there is none'),
      detail: z.string().nullable(),
    }),
  ),
});
export type RequestEnrolments = z.infer<typeof RequestEnrolments>;

export const EnrolmentDecision = z.strictObject({ remark: lineOfText(500).optional() });
export const EnrolmentRejection = z.strictObject({ remark: lineOfText(500) });

export const RenewalInput = z.strictObject({
  newKey: z.boolean().describe('false keeps the key, where the profile allows it'),
});

export const CompromisedKeyInput = z
  .strictObject({
    fingerprintSha256: z
      .string()
      .regex(/^[0-9a-f]{64}$/i, 'SHA-256 of the SubjectPublicKeyInfo in hexadecimal.')
      .optional(),
    publicKey: z.string().max(20_000).optional().describe('PEM: PUBLIC KEY, CERTIFICATE or CERTIFICATE REQUEST'),
    reason: lineOfText(500),
  })
  .refine(({ fingerprintSha256, publicKey }) => (fingerprintSha256 === undefined) !== (publicKey === undefined), {
    error: 'Send either fingerprintSha256 or publicKey.',
    path: ['publicKey'],
  });

export const CompromisedKey = z.object({
  fingerprintSha256: z.string(),
  reason: z.string(),
  reportedBy: z.string(),
  reportedAt: Timestamp,
  certificates: z.array(z.string()).describe('serial numbers of what this key has, which is revoked within moments'),
});
export type CompromisedKey = z.infer<typeof CompromisedKey>;
