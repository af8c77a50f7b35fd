/**
 * A person gets another name: the person, the account and its entry. The username stays; so does the address, because others know it,
 * unless one of the new name is asked for: mail to the former one still arrives, which the mailbox service sees to. A certificate that names the person stays as it was signed until another is issued.
 */
import type { Transaction } from '@congvu/database';
import { invalid } from '@congvu/errors';
import { type ParsedName, parseFullName, type UsernamePatterns, usernameCandidates } from '@congvu/vietnamese';
import { findNaming } from '../agencies/agency-store.ts';
import { renamePerson } from '../people/person-store.ts';
import type { LockedAccount } from './account-store.ts';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';
import { lockUsernames, takeFurtherUsername } from './usernames.ts';

export async function renameAccount(
  transaction: Transaction,
  input: AccountRef & { fullName: string; newAddressBy?: UsernamePatterns | undefined },
  cause: Cause,
): Promise<void> {
  const { newAddressBy } = input;
  // Before the account, as approvals do, so that neither waits for the other.
  if (newAddressBy) await lockUsernames(transaction);
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
  const address = newAddressBy ? await takeAddress(transaction, account, name, newAddressBy) : account.address;
  const moves = address !== account.address;
  if (fullName === account.display_name && !moves) {
    throw conflict(
      'nothing_changes',
      `The person has this name${newAddressBy ? ', and an address of it,' : ''} already.`,
    );
  }
  await renamePerson(transaction, account.person_id, { fullName, surname, middleNames, givenName });
  await recordChange(
    transaction,
    account,
    {
      action: 'account.renamed',
      set: {
        display_name: fullName,
        surname: surname || givenName,
        given_name: givenName,
        ...(moves && { address }),
      },
      before: { displayName: account.display_name, ...(moves && { address: account.address }) },
      after: { displayName: fullName, ...(moves && { address }) },
    },
    cause,
  );
}

async function takeAddress(
  transaction: Transaction,
  account: LockedAccount,
  name: ParsedName,
  patterns: UsernamePatterns,
): Promise<string> {
  const agency = await findNaming(transaction, account.agency_id);
  if (!agency) throw new Error(`the account ${account.id} is of no agency`);
  const candidates = () => usernameCandidates(name, agency.short_name, patterns);
  return `${await takeFurtherUsername(transaction, account.id, candidates)}@${agency.mail_domain}`;
}
