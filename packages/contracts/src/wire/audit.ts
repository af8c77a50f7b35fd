/** Audit events on the wire. */
import { z } from 'zod';
import { Timestamp } from './common.ts';

export const AuditEvent = z.object({
  id: z.string(),
  occurredAt: Timestamp,
  service: z.string(),
  actorKind: z.string(),
  actorId: z.string(),
  actorName: z.string().nullable(),
  sourceIp: z.string().nullable(),
  action: z.string(),
  subjectType: z.string(),
  subjectId: z.string(),
  agencyCode: z.string().nullable(),
  requestId: z.string().nullable(),
  before: z.unknown(),
  after: z.unknown(),
});
export type AuditEvent = z.infer<typeof AuditEvent>;
