/** The rules of one mailbox: its state by its account's, what LDAP says of it, and how large it may be. Pure. */
import type { MailboxRow, MailboxSource, WantedMailbox } from './mailbox-store.ts';
import type { AssignedQuota } from './quota-store.ts';

export interface MailboxPolicy {
  /** Where neither a class nor anybody says otherwise. */
  quotaBytes: number;
  /** What becomes of mail for a suspended mailbox, unless told for the one. */
  suspendedMail: 'accept' | 'refuse';
}

/** Nobody's account: the mailbox service alone makes and keeps it. */
export const isOwn = (kind: string): boolean => kind === 'shared' || kind === 'service';

/** By class code, of the classes set by hand. */
export type ClassSizes = ReadonlyMap<string, number>;

/** What should be, by the account; `row` is what is on record already. */
export function wantedMailbox(
  source: MailboxSource,
  row: MailboxRow | undefined,
  quota: { assigned: AssignedQuota | undefined; sizes: ClassSizes },
  policy: MailboxPolicy,
): WantedMailbox {
  const state = stateByAccount(source, row);
  return {
    accountId: source.id,
    kind: source.kind,
    address: source.address,
    state,
    mailStatus: mailStatusOf(state, row?.suspended_mail ?? null, policy),
    retainedUntil:
      state === 'retained' ? source.retainedUntil : state === 'active' ? null : (row?.retained_until ?? null),
    ...quotaOf(row, quota, policy),
  };
}

/** What was deleted does not come back by itself; only an account that is in use again begins anew. */
function stateByAccount(source: MailboxSource, row: MailboxRow | undefined): WantedMailbox['state'] {
  if (source.state === 'active') return 'active';
  if (source.state !== 'retired') return 'suspended';
  return row?.state === 'purging' || row?.state === 'purged' ? row.state : 'retained';
}

/** As Postfix and Dovecot read it in LDAP. */
export function mailStatusOf(
  state: WantedMailbox['state'],
  suspendedMail: MailboxRow['suspended_mail'],
  policy: Pick<MailboxPolicy, 'suspendedMail'>,
): MailboxRow['mail_status'] {
  if (state === 'suspended') return (suspendedMail ?? policy.suspendedMail) === 'refuse' ? 'disabled' : 'suspended';
  return state === 'purging' ? 'purged' : state;
}

export function quotaOf(
  row: Pick<MailboxRow, 'quota_bytes_by_hand' | 'quota_class_by_hand'> | undefined,
  { assigned, sizes }: { assigned: AssignedQuota | undefined; sizes: ClassSizes },
  policy: Pick<MailboxPolicy, 'quotaBytes'>,
): { quotaBytes: number; quotaClass: string | null } {
  if (row?.quota_bytes_by_hand) return { quotaBytes: Number(row.quota_bytes_by_hand), quotaClass: null };
  const byHand = row?.quota_class_by_hand;
  if (byHand) return { quotaBytes: sizes.get(byHand) ?? policy.quotaBytes, quotaClass: byHand };
  return { quotaBytes: assigned?.quotaBytes ?? policy.quotaBytes, quotaClass: assigned?.classCode ?? null };
}
