/** Suspends an account, for a while or until somebody lets it resume. From the commit on, the three services refuse or admit it within seconds. */
import type { Transaction } from '@congvu/database';
import { invalid } from '@congvu/errors';
import { type AccountRef, type Cause, lockAccountFor, recordChange } from './change-account.ts';

export async function suspendAccount(
  transaction: Transaction,
  input: AccountRef & { reason: string; until?: Date | undefined },
  cause: Cause,
): Promise<void> {
  if (input.until && input.until <= new Date()) {
    const detail = 'The end of a suspension must lie in the future.';
    throw invalid('request_invalid', [{ pointer: '/until', code: 'in_the_past', detail }]);
  }
  const account = await lockAccountFor(transaction, 'suspend', input, cause.actor);
  const until = input.until ?? null;
  await recordChange(
    transaction,
    account,
    {
      action: 'account.suspended',
      set: { state: 'suspended', suspension_reason: input.reason, suspended_until: until },
      before: { state: account.state },
      after: { state: 'suspended', reason: input.reason, ...(until && { until: until.toISOString() }) },
    },
    cause,
  );
}

export async function resumeAccount(
  transaction: Transaction,
  input: AccountRef & { reason: string },
  cause: Cause,
): Promise<void> {
  const account = await lockAccountFor(transaction, 'resume', input, cause.actor);
  await recordChange(
    transaction,
    account,
    {
      action: 'account.resumed',
      set: { state: 'active', suspension_reason: null, suspended_until: null },
      before: {
        state: account.state,
        ...(account.suspended_until && { until: account.suspended_until.toISOString() }),
      },
      after: { state: 'active', reason: input.reason },
    },
    cause,
  );
}
