/**
 * What every change of an account has in common: it is locked, within the caller's subtree, at the version that the caller
 * read; the change, its audit event and the jobs that carry it to LDAP, mailbox and certificate are one transaction.
 */
import type { Account, AuditAction } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { type LockedAccount, requireAccountForUpdate, updateAccount } from './account-store.ts';
import { queueEntries, queueOtherParts } from './queue-convergence.ts';

/** On whose order, and by which request if by one. */
export interface Cause {
  actor: Actor;
  requestId: string | null;
}

export interface AccountRef {
  accountId: string;
  /** As the caller read it (If-Match); any when absent. */
  version?: number | undefined;
}

/** What may be done in which state: the whole state machine. */
export const allowedStates = {
  suspend: ['active'],
  resume: ['suspended'],
  retire: ['pending', 'active', 'suspended'],
  reactivate: ['retired'],
  transfer: ['pending', 'active', 'suspended'],
  rename: ['pending', 'active', 'suspended'],
  change_title: ['pending', 'active', 'suspended'],
  hand_over: ['active', 'suspended'],
  hold_position: ['active'],
  issue_activation_code: ['active'],
  unlock: ['active'],
} as const satisfies Record<string, readonly Account['state'][]>;
export type AccountAct = keyof typeof allowedStates;

/** Locks the account until the transaction ends. Throws unless `act` may be done to it now. */
export async function lockAccountFor(
  transaction: Transaction,
  act: AccountAct,
  { accountId, version }: AccountRef,
  actor: Actor,
): Promise<LockedAccount> {
  const account = await requireAccountForUpdate(transaction, accountId, actor.agencyCode);
  if (version !== undefined && version !== account.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The account is now at version ${account.version}; read it again before changing it.`,
    });
  }
  const states: readonly string[] = allowedStates[act];
  if (!states.includes(account.state)) {
    throw conflict(
      'account_state',
      `The account is ${account.state}; only for one that is ${states.join(' or ')} can this be done.`,
    );
  }
  return account;
}

export interface AccountChange {
  action: AuditAction;
  set: Parameters<typeof updateAccount>[2];
  before: object;
  after: object;
}

export async function recordChange(
  transaction: Transaction,
  account: Pick<LockedAccount, 'id' | 'agency_id' | 'request_id'>,
  change: AccountChange,
  cause: Cause,
): Promise<void> {
  await updateAccount(transaction, account.id, change.set);
  await insertEvents(transaction, [
    {
      actor: cause.actor,
      action: change.action,
      subjectType: 'account',
      subjectId: account.id,
      agencyId: account.agency_id,
      requestId: cause.requestId ?? account.request_id,
      before: change.before,
      after: change.after,
    },
  ]);
  await queueEntries(transaction, [account.id]);
  await queueOtherParts(transaction, [{ id: account.id }]);
}

export const conflict = (code: string, detail: string): ServiceError =>
  new ServiceError({ kind: 'conflict', code, detail });
