/** Programs that ask for tokens. */
import { z } from 'zod';
import { type Permission, permissions, type Role, roles } from '../permissions.ts';
import { AgencyCodeInput, lineOfText, Timestamp, Uuid } from './common.ts';

const RoleName = z.enum(Object.keys(roles) as [Role, ...Role[]]);

export const Client = z.object({
  id: Uuid,
  name: z.string(),
  agencyCode: z.string(),
  /** Null for a client whose permissions were named one by one. */
  role: RoleName.nullable(),
  permissions: z.array(z.string()),
  createdAt: Timestamp,
  expiresAt: Timestamp.nullable(),
  /** When it last got a token, to the minute. */
  lastUsedAt: Timestamp.nullable(),
  disabledAt: Timestamp.nullable(),
  version: z.number().int(),
});
export type Client = z.infer<typeof Client>;

const fields = {
  name: lineOfText(100, 3),
  agencyCode: AgencyCodeInput.describe('The client acts for this agency and everything below it'),
  role: RoleName.optional(),
  permissions: z.array(z.enum(permissions)).min(1).optional().describe('Instead of a role'),
  expiresAt: Timestamp.nullable().optional().describe('No token is given from then on'),
};
const both = { error: 'Give a role or permissions, not both.', path: ['permissions'] };
const neither = { error: 'Give a role, or permissions.', path: ['role'] };

export const ClientInput = z
  .strictObject(fields)
  .refine(({ role, permissions }) => !role || !permissions, both)
  .refine(({ role, permissions }) => role || permissions, neither);

/** What is absent stays as it is. */
export const ClientChange = z
  .strictObject({ ...fields, name: fields.name.optional(), agencyCode: fields.agencyCode.optional() })
  .refine(({ role, permissions }) => !role || !permissions, both);
export type ClientChange = z.infer<typeof ClientChange>;

/** The permissions that a role or a list of them comes to. */
export const permissionsOf = (input: {
  role?: Role | undefined;
  permissions?: readonly Permission[] | undefined;
}): readonly Permission[] | undefined => (input.role ? roles[input.role] : input.permissions);
