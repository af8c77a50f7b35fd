/** Lists on the wire: an address whose mail goes to all members. */
import { z } from 'zod';
import { AgencyCodeInput, lineOfText, Timestamp, Uuid } from './common.ts';

/** Who may write to a list, the most open first. */
export const postings = ['anyone', 'province', 'members', 'moderators'] as const;
export const Posting = z
  .enum(postings)
  .describe(
    'anyone; province: whoever logged in here; members, owners and moderators; moderators and owners. The office of the agency always may.',
  );
export type Posting = z.infer<typeof Posting>;

/** Everybody active at and below an agency, or those of them who have a title; follows the directory by itself. */
const MemberRule = z.object({ agencyCode: z.string(), title: z.string().nullable() });

const PersonInGroup = z.object({ accountId: Uuid, address: z.string(), displayName: z.string() });

export const Group = z.object({
  id: Uuid,
  kind: z.enum(['agency', 'hand_made']).describe('agency: made and kept by itself, of all people at and below it'),
  address: z.string(),
  name: z.string(),
  agencyCode: z.string(),
  posting: Posting,
  memberRule: MemberRule.nullable(),
  state: z.enum(['active', 'closed']),
  /** No owner is active: the list is in the hands of the agency's administrators. */
  isOwnerless: z.boolean(),
  createdAt: Timestamp,
  version: z.int(),
});
export type Group = z.infer<typeof Group>;

/** One list, with those who run it and the lists in it; its members are read page by page. */
export const GroupDetail = Group.extend({
  owners: z.array(PersonInGroup),
  moderators: z.array(PersonInGroup),
  groups: z.array(z.object({ id: Uuid, address: z.string(), name: z.string() })),
});
export type GroupDetail = z.infer<typeof GroupDetail>;

export const GroupMember = PersonInGroup.extend({
  agencyCode: z.string(),
  /** Added by name to this very list, and not found by a rule or through a list in it. */
  isDirect: z.boolean(),
});
export type GroupMember = z.infer<typeof GroupMember>;

const MemberRuleInput = z.strictObject({ agencyCode: AgencyCodeInput, title: lineOfText(200).optional() });

export const GroupInput = z.strictObject({
  localPart: z.string().min(1).max(64).describe('What stands before the @: small letters, digits, dots and hyphens.'),
  name: lineOfText(200),
  agencyCode: AgencyCodeInput,
  posting: Posting,
  memberRule: MemberRuleInput.optional(),
  ownerIds: z.array(Uuid).min(1, 'A list has an owner; name one.').max(50),
});
export type GroupInput = z.infer<typeof GroupInput>;

/** What may be changed; of an agency's own list who may write to it, and nothing else. */
export const GroupChange = z
  .strictObject({
    name: lineOfText(200),
    posting: Posting,
    memberRule: MemberRuleInput.nullable(),
  })
  .partial();
export type GroupChange = z.infer<typeof GroupChange>;
