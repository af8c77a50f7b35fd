/** The office that the holder of an account has, as the directory shows it; null when none. */
import type { Transaction } from '@congvu/database';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';
import { namesOfPosition } from './open-accounts.ts';

export async function changeTitle(
  transaction: Transaction,
  input: AccountRef & { title: string | null },
  cause: Cause,
): Promise<void> {
  const account = await lockAccountFor(transaction, 'change_title', input, cause.actor);
  if (account.title === input.title) throw conflict('nothing_changes', 'The account has this title already.');
  await recordChange(
    transaction,
    account,
    {
      action: 'account.title_changed',
      set: {
        title: input.title,
        ...(account.kind === 'position' && namesOfPosition(input.title, account.agency_name)),
      },
      before: { title: account.title },
      after: { title: input.title },
    },
    cause,
  );
}
