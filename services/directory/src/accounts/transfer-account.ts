/** An account goes to another agency; username and address stay. */
import type { Transaction } from '@congvu/database';
import { type Cause, changeAccount, conflict } from './change-account.ts';

export const transferAccount = (
  transaction: Transaction,
  input: { accountId: string; toAgencyId: string; title?: string | null | undefined; reason?: string | undefined },
  cause: Cause,
): Promise<void> =>
  changeAccount(
    transaction,
    input.accountId,
    'account.transferred',
    (account) => {
      if (account.agency_id === input.toAgencyId)
        throw conflict('nothing_changes', 'The account is at this agency already.');
      const title = input.title === undefined ? account.title : input.title;
      return {
        set: { agency_id: input.toAgencyId, title },
        before: { agencyId: account.agency_id, title: account.title },
        after: { agencyId: input.toAgencyId, title },
      };
    },
    cause,
  );
