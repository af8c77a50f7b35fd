/**
 * Retires an account: no log-in, no new mail, certificates revoked; its username and address are never given again. Password and
 * activation codes are void at once, the mail store is kept until `retainedUntil`, and until then the account can be
 * reactivated. Positions that the person held become vacant.
 */
import { addJobs, type Transaction } from '@congvu/database';
import { invalid } from '@congvu/errors';
import { dayInVietnam } from '@congvu/vietnamese';
import { voidActivationCodes } from './activation-code-store.ts';
import { type AccountRef, type Cause, lockAccountFor, recordChange } from './change-account.ts';
import { giveUpOtherParts } from './convergence-store.ts';
import { vacatePosition, vacatePositionsOf } from './hand-over-position.ts';

export const defaultRetentionDays = 90;

/** The last day of a retention that begins today, in Vietnam's calendar. */
export const retentionEnd = (days: number): string => dayInVietnam(new Date(Date.now() + days * 86_400_000));

export const today = (): string => dayInVietnam(new Date());

export async function retireAccount(
  transaction: Transaction,
  input: AccountRef & { reason: string; retainedUntil?: string | undefined },
  cause: Cause,
): Promise<void> {
  const retainedUntil = input.retainedUntil ?? retentionEnd(defaultRetentionDays);
  if (retainedUntil < today()) {
    const detail = 'The retention must not have ended before it begins.';
    throw invalid('request_invalid', [{ pointer: '/retainedUntil', code: 'in_the_past', detail }]);
  }
  const account = await lockAccountFor(transaction, 'retire', input, cause.actor);
  await vacatePositionsOf(transaction, account.id, 'The account of the holder was retired.', cause);
  if (account.kind === 'position') await vacatePosition(transaction, account.id, input.reason, cause);
  await voidActivationCodes(transaction, account.id);
  // A request that waits for one of them is at its end; by a job, for its lock is not to be waited for while we hold the account's.
  await giveUpOtherParts(transaction, account.id);
  await addJobs(transaction, 'directory', [{ task: 'settle-requests', payload: { accountIds: [account.id] } }]);
  await recordChange(
    transaction,
    account,
    {
      action: 'account.retired',
      set: {
        state: 'retired',
        suspension_reason: null,
        suspended_until: null,
        retained_until: retainedUntil,
        credential_epoch: transaction.raw('credential_epoch + 1'),
      },
      before: { state: account.state },
      after: { state: 'retired', reason: input.reason, retainedUntil },
    },
    cause,
  );
}
