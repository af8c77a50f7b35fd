/** The office that the holder of an account has, as the directory shows it; null when none. */
import type { Transaction } from '@congvu/database';
import { type Cause, changeAccount, conflict } from './change-account.ts';

export const changeTitle = (
  transaction: Transaction,
  input: { accountId: string; title: string | null },
  cause: Cause,
): Promise<void> =>
  changeAccount(
    transaction,
    input.accountId,
    'account.title_changed',
    ({ title }) => {
      if (title === input.title) throw conflict('nothing_changes', 'The account has this title already.');
      return { set: { title: input.title }, before: { title }, after: { title: input.title } };
    },
    cause,
  );
