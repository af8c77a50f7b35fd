/** Requests to the Government's CA, with the fields of its forms, and the certificates that came back, on the wire. */
import { z } from 'zod';
import { revocationReasons } from './certificates.ts';
import { lineOfText, Timestamp, Uuid } from './common.ts';

const identityNumber = z.string().max(20).describe('12 digits; kept encrypted, never shown again');
const day = z.iso.date();
const mobile = z.string().max(20);
const optional = {
  previousSerialNumber: lineOfText(64).optional().describe('Of the certificate that this one takes the place of'),
  keyStore: z.enum(['usb_token', 'sim_pki', 'hsm', 'server']).optional().describe('Where the key is to live'),
};
/** Who looks after the key of an agency or a device. */
const Keeper = z.strictObject({
  fullName: lineOfText(200),
  title: lineOfText(200).optional(),
  address: z.email().max(254).optional(),
  mobile: mobile.optional(),
});

export const ExternalForm = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('individual'),
    ...optional,
    fullName: lineOfText(200).optional().describe('As the account has it, unless told'),
    title: lineOfText(200).optional().describe('As the account has it, unless told'),
    birthDate: day.optional(),
    identityNumber: identityNumber.optional(),
    identityIssuedOn: day.optional(),
    identityIssuedBy: lineOfText(200).optional(),
    mobile: mobile.optional(),
  }),
  z.strictObject({
    kind: z.literal('organisation'),
    ...optional,
    name: lineOfText(200).optional().describe('As the account has it, unless told'),
    postalAddress: lineOfText(300).optional(),
    establishmentDecision: lineOfText(200).optional().describe('Number and date of the decision that set it up'),
    keeper: Keeper.optional(),
    identityNumber: identityNumber.optional().describe('Of the keeper'),
  }),
  z.strictObject({
    kind: z.literal('device'),
    ...optional,
    name: lineOfText(200).describe('Of the device, service or software'),
    purpose: z.enum(['web_server', 'mail_server', 'vpn', 'code_signing', 'time_stamping', 'other']),
    dnsNames: z.array(z.hostname().max(253)).max(20).default([]),
    ipAddress: z.union([z.ipv4(), z.ipv6()]).optional(),
    keeper: Keeper.optional(),
    identityNumber: identityNumber.optional().describe('Of the keeper'),
  }),
]);
export type ExternalForm = z.infer<typeof ExternalForm>;

export const externalStates = ['drafted', 'sent', 'returned', 'issued', 'revoked', 'cancelled'] as const;

export const ExternalCredentialInput = z.strictObject({ accountId: Uuid, form: ExternalForm });
export type ExternalCredentialInput = z.infer<typeof ExternalCredentialInput>;

export const ExternalCredentialSending = z.strictObject({
  letterNumber: lineOfText(100).describe('Of the official letter that it goes with'),
});
export const ExternalCredentialReturn = z.strictObject({ remark: lineOfText(1_000) });
export const ExternalCertificateInput = z.strictObject({
  certificate: z.string().max(20_000).describe('PEM, or DER in base64'),
});
export const ExternalRevocation = z.strictObject({
  reason: z.enum(revocationReasons).exclude(['certificateHold']),
  revokedAt: z.iso.datetime({ offset: true }).optional().describe('Now, unless told'),
});

export const ExternalCredential = z.object({
  id: Uuid,
  kind: z.enum(['individual', 'organisation', 'device']),
  state: z.enum(externalStates),
  accountId: Uuid,
  address: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  /** As the form has it; the identity number with all but its last three digits hidden. */
  form: z.record(z.string(), z.unknown()),
  letterNumber: z.string().nullable(),
  sentAt: Timestamp.nullable(),
  /** Why it came back. */
  remark: z.string().nullable(),
  serialNumber: z.string().nullable(),
  issuer: z.string().nullable(),
  subject: z.string().nullable(),
  fingerprintSha256: z.string().nullable(),
  notBefore: Timestamp.nullable(),
  notAfter: Timestamp.nullable(),
  /** Whether its chain was followed to a configured root; null where none is configured. */
  chainVerified: z.boolean().nullable(),
  registeredAt: Timestamp.nullable(),
  revokedAt: Timestamp.nullable(),
  revocationReason: z.enum(revocationReasons).nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type ExternalCredential = z.infer<typeof ExternalCredential>;
