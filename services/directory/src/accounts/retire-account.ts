/** Retires an account: no log-in, no new mail, certificates revoked; its username and address are never given again. */
import type { Transaction } from '@congvu/database';
import { type Cause, changeAccount } from './change-account.ts';

export const retireAccount = (
  transaction: Transaction,
  input: { accountId: string; reason: string; retainedUntil?: string },
  cause: Cause,
): Promise<void> =>
  changeAccount(
    transaction,
    input.accountId,
    'account.retired',
    ({ state }) => ({
      set: { state: 'retired', suspension_reason: null },
      before: { state },
      after: { state: 'retired', reason: input.reason },
    }),
    cause,
  );
