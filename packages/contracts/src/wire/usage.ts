/** Who uses official mail, on the wire. Days are those of Việt Nam; counts begin where the record of use began. */
import { z } from 'zod';
import { AgencyLevel } from './agencies.ts';
import { Timestamp, Uuid } from './common.ts';
import { Mailbox } from './mailboxes.ts';

const count = z.number().int();
const share = z.number().nullable();

export const UsageFigures = z.object({
  quotaUsedBytes: count.nullable().describe('Null until it is first measured'),
  messageCount: count.nullable(),
  measuredAt: Timestamp.nullable(),
  receivedCount: count.describe('Messages delivered to it'),
  sentCount: count.describe('Messages handed in under its login'),
  lastReceivedAt: Timestamp.nullable(),
  lastSentAt: Timestamp.nullable(),
  lastLoginAt: Timestamp.nullable().describe('By a mail program'),
});
export type UsageFigures = z.infer<typeof UsageFigures>;

export const MailboxInList = z.object({ ...Mailbox.shape, ...UsageFigures.partial().shape });
export type MailboxInList = z.infer<typeof MailboxInList>;

/** A `-` turns the order around. A mailbox without a figure stands before those that have one. */
export const MailboxSort = z.enum([
  ...(['name', 'address', 'quotaUsed', 'lastLogin', 'received'] as const),
  ...(['-name', '-address', '-quotaUsed', '-lastLogin', '-received'] as const),
]);
export type MailboxSort = z.infer<typeof MailboxSort>;

export const MailboxUsage = UsageFigures.extend({
  accountId: Uuid,
  address: z.string(),
  quotaBytes: count,
  from: z.iso.date(),
  to: z.iso.date(),
  days: z.array(z.object({ day: z.iso.date(), received: count, sent: count })).describe('Days with mail alone'),
});
export type MailboxUsage = z.infer<typeof MailboxUsage>;

const agencyFigures = {
  headCount: count.nullable().describe('As the agency reported it'),
  accounts: count.describe('Of people, not retired'),
  coverage: share.describe('People with a mailbox that is active, by head count'),
  activeIn30Days: count.describe('People who logged in or sent in the last 30 days'),
  neverActivated: count.describe('People who never set a password'),
  useRate: share.describe('Active people by head count; by accounts where there is no head count'),
  receivedIn30Days: count,
  sentIn30Days: count,
};
const agencyNamed = {
  agencyCode: z.string(),
  agencyName: z.string(),
  level: AgencyLevel,
  parentCode: z.string().nullable(),
};

export const AgencyUsage = z.object({
  rank: count
    .nullable()
    .describe('By useRate, then coverage, among the agencies of the list; 1 is first; equals share one'),
  ...agencyNamed,
  ...agencyFigures,
});
export type AgencyUsage = z.infer<typeof AgencyUsage>;

export const AgencyUsageDetail = z.object({
  ...agencyNamed,
  own: z.object(agencyFigures),
  subtree: z.object(agencyFigures).describe('With all agencies below it'),
});
export type AgencyUsageDetail = z.infer<typeof AgencyUsageDetail>;
