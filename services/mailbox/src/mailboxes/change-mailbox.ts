/**
 * What an administrator changes of one mailbox: its name, its quota by hand, what becomes of mail while it is suspended; and of a shared
 * or service mailbox, whether it is in use. A change, its audit event and the jobs that carry it to LDAP and Dovecot are one transaction.
 */
import type { AuditAction, Mailbox, MailboxChange } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { changeMailboxRow, lockMailboxWithin, type MailboxRow, requireMailbox } from './mailbox-store.ts';
import { queueMailboxes, queueShared } from './queue-mailboxes.ts';
import { findAssignedQuota, findQuotaClass } from './quota-store.ts';

export interface MailboxRef {
  id: string;
  /** As the caller read it (If-Match); any when absent. */
  version?: number | undefined;
}

/** Locked until the transaction ends, within the caller's subtree, at the version that the caller read. */
export async function lockMailbox(
  transaction: Transaction,
  { id, version }: MailboxRef,
  actor: Actor,
): Promise<{ row: MailboxRow; agencyId: string }> {
  const { row, agencyId } = await lockMailboxWithin(transaction, id, actor.agencyCode);
  if (version !== undefined && version !== row.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The mailbox is now at version ${row.version}; read it again before changing it.`,
    });
  }
  if (row.state === 'purging' || row.state === 'purged') {
    throw conflict('mailbox_purged', 'The retention of this mailbox is over and its store was deleted.');
  }
  return { row, agencyId };
}

export async function changeMailbox(
  { database, doveadm, quotaBytes }: { database: Database; doveadm: Doveadm; quotaBytes: number },
  ref: MailboxRef,
  change: MailboxChange,
  actor: Actor,
): Promise<void> {
  const mailbox = await requireMailbox(database, ref.id, actor.agencyCode);
  const isOwn = mailbox.kind === 'shared' || mailbox.kind === 'service';
  const faults = [];
  if (change.displayName !== undefined && !isOwn) faults.push(nameOfAccount);
  if (change.quotaBytes && change.quotaClass) faults.push(twoQuotas);
  const quotaClass = change.quotaClass ? await findQuotaClass(database, change.quotaClass) : undefined;
  if (change.quotaClass && !quotaClass) faults.push(noClass);
  if (faults.length > 0) throw invalid('request_invalid', faults);

  // Dovecot is asked before anything is locked. Where it knows no store there is nothing in it.
  const isTakenBack = change.quotaBytes === null || change.quotaClass === null;
  const size =
    change.quotaBytes ??
    quotaClass?.quotaBytes ??
    (isTakenBack ? ((await findAssignedQuota(database, ref.id))?.quotaBytes ?? quotaBytes) : undefined);
  if (size !== undefined && size < mailbox.quotaBytes) await requireRoom(doveadm, mailbox.address, size);

  await database.transaction(async (transaction) => {
    const { row, agencyId } = await lockMailbox(transaction, ref, actor);
    const set: Parameters<typeof changeMailboxRow>[2] = {};
    if (change.displayName !== undefined) set.display_name = change.displayName;
    if (change.suspendedMail !== undefined) set.suspended_mail = change.suspendedMail;
    // One quota by hand takes the place of the other.
    if (change.quotaBytes !== undefined || change.quotaClass !== undefined) {
      set.quota_bytes_by_hand = change.quotaBytes ? String(change.quotaBytes) : null;
      set.quota_class_by_hand = change.quotaClass ?? null;
    }
    if (Object.keys(set).length === 0) return;
    await changeMailboxRow(transaction, ref.id, set);
    const before = Object.fromEntries(Object.keys(set).map((name) => [name, row[name as keyof MailboxRow]]));
    await record(transaction, row, agencyId, 'mailbox.changed', { before, after: change }, actor);
    await queueMailboxes(transaction, [{ id: row.account_id, kind: row.kind }]);
  });
}

async function requireRoom(doveadm: Doveadm, address: string, quotaBytes: number): Promise<void> {
  const used = (await doveadm.quota(address))?.usedBytes ?? 0;
  if (used <= quotaBytes) return;
  throw conflict(
    'quota_below_usage',
    `The mailbox holds ${used} octets, more than the ${quotaBytes} it would be allowed; empty it or allow more.`,
  );
}

/** What may be done to a shared or service mailbox in which state. */
const acts = {
  suspend: { from: ['active'], to: 'suspended', action: 'mailbox.suspended' },
  resume: { from: ['suspended', 'retained'], to: 'active', action: 'mailbox.resumed' },
  close: { from: ['active', 'suspended'], to: 'retained', action: 'mailbox.closed' },
} as const satisfies Record<string, { from: Mailbox['state'][]; to: Mailbox['state']; action: AuditAction }>;
export type MailboxAct = keyof typeof acts;

/** `retainedUntil` is the last day on which the store of one that is closed is kept. */
export async function changeState(
  database: Database,
  act: MailboxAct,
  ref: MailboxRef,
  { reason, retainedUntil }: { reason: string; retainedUntil: string },
  actor: Actor,
): Promise<void> {
  const { from, to, action } = acts[act];
  await database.transaction(async (transaction) => {
    const { row, agencyId } = await lockMailbox(transaction, ref, actor);
    if (row.display_name === null) {
      throw conflict('mailbox_of_account', 'This mailbox follows its account: suspend, resume or retire that.');
    }
    const allowed: readonly string[] = from;
    if (!allowed.includes(row.state)) {
      throw conflict(
        'mailbox_state',
        `The mailbox is ${row.state}; only for one that is ${from.join(' or ')} can this be done.`,
      );
    }
    const retained = to === 'retained' ? retainedUntil : null;
    await changeMailboxRow(transaction, ref.id, { state: to, retained_until: retained, suspension_reason: reason });
    const after = { state: to, reason, ...(retained ? { retainedUntil: retained } : {}) };
    await record(transaction, row, agencyId, action, { before: { state: row.state }, after }, actor);
    await queueMailboxes(transaction, [{ id: row.account_id, kind: row.kind }]);
    await queueShared(transaction, [row.account_id]);
  });
}

export async function record(
  transaction: Transaction,
  row: Pick<MailboxRow, 'account_id' | 'display_name'>,
  agencyId: string | null,
  action: AuditAction,
  change: { before?: object | null; after?: object | null },
  actor: Actor,
): Promise<void> {
  const subjectType = row.display_name === null ? 'account' : 'mailbox';
  await recordEvents(transaction, [{ actor, action, subjectType, subjectId: row.account_id, agencyId, ...change }]);
}

export const conflict = (code: string, detail: string): ServiceError =>
  new ServiceError({ kind: 'conflict', code, detail });

const nameOfAccount = {
  pointer: '/displayName',
  code: 'name_of_account',
  detail: 'The name of this mailbox is that of its account; change it there.',
};
const twoQuotas = {
  pointer: '/quotaClass',
  code: 'two_quotas',
  detail: 'Give a size or a class, not both.',
};
const noClass = {
  pointer: '/quotaClass',
  code: 'quota_class_not_found',
  detail: 'There is no quota class of that code.',
};
