/** Issuing authorities and certificate profiles on the wire. */
import { z } from 'zod';
import { Timestamp } from './common.ts';

export const CertificateAuthority = z.object({
  name: z.string().describe('as in the URLs of its CRLs and in LDAP'),
  purposes: z.array(z.enum(['signature', 'encryption', 'device'])),
  state: z
    .enum(['active', 'retired', 'revoked'])
    .describe('retired: another issues in its place, and it still signs CRLs for what it issued'),
  keyKind: z.string(),
  crlPartitions: z.number().int(),
  profiles: z.array(z.string()).describe('that it issues today'),
  serialNumber: z.string().describe('hexadecimal'),
  notBefore: Timestamp,
  notAfter: Timestamp,
  fingerprintSha256: z.string(),
});
export type CertificateAuthority = z.infer<typeof CertificateAuthority>;

export const CertificateProfile = z.object({
  id: z.string(),
  purpose: z.enum(['signature', 'encryption', 'device', 'ocsp']),
  accountKinds: z.array(z.enum(['person', 'position', 'agency', 'service'])),
  paths: z.array(z.enum(['csr', 'server_key'])),
  keyKinds: z.array(z.string()),
  validityDays: z.number().int(),
  fourEyes: z.boolean(),
  escrow: z.boolean(),
  maySelfRevoke: z.boolean(),
  onTransfer: z.enum(['keep', 'revoke']),
  renewal: z.object({ daysBefore: z.number().int(), sameKey: z.boolean() }),
  authority: z.string().nullable().describe('who issues it today'),
});
export type CertificateProfile = z.infer<typeof CertificateProfile>;
