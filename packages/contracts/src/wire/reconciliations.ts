/** Reconciliation on the wire: runs that compare the record with LDAP, and their findings. */
import { z } from 'zod';
import { AgencyCodeInput, Timestamp, Uuid } from './common.ts';

export const ReconciliationInput = z
  .strictObject({
    mode: z.enum(['report', 'repair']).describe('A report changes nothing'),
    agencyCode: AgencyCodeInput.optional().describe('This agency and everything below it; yours unless told'),
    removeExtra: z
      .boolean()
      .default(false)
      .describe('Whether a repair also removes entries that nothing in the record stands for'),
  })
  .refine(({ mode, removeExtra }) => mode === 'repair' || !removeExtra, {
    path: ['removeExtra'],
    error: 'A report changes nothing; removeExtra goes with mode repair.',
    params: { code: 'report_changes_nothing' },
  });
export type ReconciliationInput = z.infer<typeof ReconciliationInput>;

export const ReconciliationState = z.enum([
  'queued',
  'comparing',
  'awaiting_approval',
  'repairing',
  'completed',
  'failed',
  'cancelled',
]);

const Party = z.object({ id: Uuid, name: z.string() });

export const Reconciliation = z.object({
  id: Uuid,
  mode: z.enum(['report', 'repair']),
  removeExtra: z.boolean(),
  agencyCode: z.string(),
  state: ReconciliationState,
  startedBy: Party.nullable().describe('Null for the schedule'),
  createdAt: Timestamp,
  finishedAt: Timestamp.nullable(),
  approvedBy: Party.nullable(),
  approvedAt: Timestamp.nullable(),
  progress: z
    .object({ done: z.number().int(), total: z.number().int() })
    .describe('Entries compared, or findings repaired'),
  pendingCount: z.number().int().describe('Accounts whose own change was still on its way into LDAP'),
  findings: z.object({
    missing: z.number().int().describe('Entries'),
    extra: z.number().int().describe('Entries'),
    changed: z.number().int().describe('Entries of which one or more attributes differ'),
    repaired: z.number().int().describe('Entries'),
    failed: z.number().int().describe('Entries'),
  }),
  reason: z.object({ code: z.string(), detail: z.string() }).nullable().describe('Why it waits, or failed'),
  version: z.number().int(),
});
export type Reconciliation = z.infer<typeof Reconciliation>;

export const FindingKind = z.enum(['missing', 'extra', 'changed']);
export const FindingState = z.enum(['found', 'repairing', 'repaired', 'failed', 'obsolete']);

export const ReconciliationFinding = z.object({
  id: z.string(),
  kind: FindingKind,
  state: FindingState.describe('obsolete: it was put right otherwise before its turn came'),
  accountId: Uuid.nullable(),
  agencyCode: z.string().nullable(),
  dn: z.string(),
  attribute: z.string().nullable(),
  expected: z.array(z.string()).describe('By the record; certificates by SHA-256 fingerprint'),
  actual: z.array(z.string()).describe('In LDAP'),
  lastModifiedBy: z
    .string()
    .nullable()
    .describe('DN that deleted, created or last changed the entry, where LDAP knows'),
  lastModifiedAt: Timestamp.nullable(),
  detail: z.string().nullable(),
  failure: z.string().nullable().describe('Why it could not be repaired'),
});
export type ReconciliationFinding = z.infer<typeof ReconciliationFinding>;
