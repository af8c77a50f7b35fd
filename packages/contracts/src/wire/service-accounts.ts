/** Accounts of connected systems (e-office, portal, one-stop, conference), which read the directory by rules of their own. */
import { z } from 'zod';
import { Timestamp, Uuid } from './common.ts';

export const ReadScope = z
  .string()
  .max(60)
  .regex(/^(agencies|(names|mail|contact|certificates):[0-9A-Za-z.]{3,40})$/, {
    error: 'A read scope is names:, mail:, contact: or certificates: with an agency code (names:H41.32), or agencies.',
  })
  .describe('What may be read of the accounts at and below an agency (names:H41.32), or agencies: the tree itself');

export const ServiceAccount = z.object({
  id: Uuid,
  name: z.string(),
  displayName: z.string(),
  agencyCode: z.string(),
  state: z.enum(['active', 'retired']),
  readScopes: z.array(z.string()),
  distinguishedName: z.string().describe('As what it binds to LDAP'),
  secretIssuedAt: Timestamp.nullable(),
  createdAt: Timestamp,
  version: z.number().int(),
});
export type ServiceAccount = z.infer<typeof ServiceAccount>;

export const ServiceSecret = z.object({
  id: Uuid,
  distinguishedName: z.string(),
  secret: z.string().describe('Shown this once; the one before is void'),
});
export type ServiceSecret = z.infer<typeof ServiceSecret>;
