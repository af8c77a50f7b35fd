/** A person gets another name; username and address stay, because others know them. */
import type { Transaction } from '@congvu/database';
import { parseFullName, searchKey } from '@congvu/vietnamese';
import { type Cause, changeAccount, conflict } from './change-account.ts';

export const renameAccount = (
  transaction: Transaction,
  input: { accountId: string; fullName: string },
  cause: Cause,
): Promise<void> =>
  changeAccount(
    transaction,
    input.accountId,
    'account.renamed',
    (account) => {
      const name = parseFullName(input.fullName, { honorific: 'absent', singleWord: 'accept' });
      if (!name.ok || !account.person_id) throw conflict('account_kind', 'Only a person can get another name.');
      if (name.fullName === account.display_name)
        throw conflict('nothing_changes', 'The person has this name already.');
      return {
        set: {
          display_name: name.fullName,
          surname: name.surname || name.givenName,
          given_name: name.givenName,
          search_key: searchKey(`${name.fullName} ${account.username}`),
        },
        before: { displayName: account.display_name },
        after: { displayName: name.fullName },
      };
    },
    cause,
  );
