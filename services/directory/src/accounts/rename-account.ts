/**
 * A person gets another name: the person, the account and its entry; username and address stay, because others know them. A
 * certificate that names the person stays as it was signed until another is issued.
 */
import type { Transaction } from '@congvu/database';
import { invalid } from '@congvu/errors';
import { parseFullName } from '@congvu/vietnamese';
import { renamePerson } from '../people/person-store.ts';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';

export async function renameAccount(
  transaction: Transaction,
  input: AccountRef & { fullName: string },
  cause: Cause,
): Promise<void> {
  const account = await lockAccountFor(transaction, 'rename', input, cause.actor);
  if (account.person_id === null) {
    throw conflict(
      'account_kind',
      `This is the account of a${account.kind === 'agency' ? 'n' : ''} ${account.kind}; only a person can get another name.`,
    );
  }
  const name = parseFullName(input.fullName, { honorific: 'absent', singleWord: 'accept' });
  if (!name.ok) {
    throw invalid(
      'request_invalid',
      name.faults.map((fault) => ({ pointer: '/fullName', ...fault })),
    );
  }
  const { fullName, surname, middleNames, givenName } = name;
  if (fullName === account.display_name) throw conflict('nothing_changes', 'The person has this name already.');
  await renamePerson(transaction, account.person_id, { fullName, surname, middleNames, givenName });
  await recordChange(
    transaction,
    account,
    {
      action: 'account.renamed',
      set: { display_name: fullName, surname: surname || givenName, given_name: givenName },
      before: { displayName: account.display_name },
      after: { displayName: fullName },
    },
    cause,
  );
}
