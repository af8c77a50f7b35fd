/**
 * Opens the accounts of an approved request inside the approval's transaction: people, usernames, accounts, audit events
 * and the jobs that make LDAP entry, mailbox and certificate. Either all of it is committed or nothing.
 */
import { randomUUID } from 'node:crypto';
import { brokenConstraint, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { parseFullName, searchKey, usernameCandidates } from '@congvu/vietnamese';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { type NewPerson, savePeople } from '../people/person-store.ts';
import { attachAccounts, type LineRow, listLinesToOpen } from '../requests/request-store.ts';
import { insertAccounts, type NewAccount } from './account-store.ts';
import { queueEntries } from './queue-convergence.ts';
import { takeUsernames, type UsernameWish } from './usernames.ts';

interface Opening {
  line: LineRow;
  accountId: string;
  person: NewPerson | undefined;
}

export async function openAccounts(transaction: Transaction, requestId: string, actor: Actor): Promise<void> {
  const openings = (await listLinesToOpen(transaction, requestId)).map(prepare);
  try {
    // 1. Who they are.
    const personIds = await savePeople(
      transaction,
      openings.flatMap((opening) => opening.person ?? []),
    );

    // 2. What they will be called.
    const usernames = await takeUsernames(transaction, openings.map(toWish));

    // 3. The accounts.
    const accounts = openings.map((opening) => toAccount(opening, personIds, usernames));
    await insertAccounts(transaction, accounts);
    await attachAccounts(
      transaction,
      openings.map(({ line, accountId }) => ({ lineId: line.id, accountId })),
    );

    // 4. The record of it, and the work that follows.
    await insertEvents(
      transaction,
      accounts.map((account) => ({
        actor,
        action: 'account.opened',
        subjectType: 'account',
        subjectId: account.id,
        agencyId: account.agencyId,
        requestId,
        after: { username: account.username, address: account.address, kind: account.kind, title: account.title },
      })),
    );
    await queueEntries(
      transaction,
      accounts.map((account) => account.id),
    );
  } catch (error) {
    const broken = brokenConstraint(error);
    if (broken === 'accounts_one_per_person' || broken === 'accounts_one_per_agency') {
      throw new ServiceError({
        kind: 'conflict',
        code: 'account_exists',
        detail:
          'Since this was submitted, one of its lines was given an account by another request; reject it with a remark.',
        cause: error,
      });
    }
    throw error;
  }
}

function prepare(line: LineRow): Opening {
  const accountId = randomUUID();
  if (line.kind === 'agency') return { line, accountId, person: undefined };
  const name = parseFullName(line.full_name ?? '', { honorific: 'absent', singleWord: 'accept' });
  if (!name.ok || !line.birth_date || !line.national_id_sealed || !line.national_id_hash) {
    throw new Error(`line ${line.line_number} of a request holds what its submission should have refused`);
  }
  const person: NewPerson = {
    id: randomUUID(),
    fullName: name.fullName,
    surname: name.surname,
    middleNames: name.middleNames,
    givenName: name.givenName,
    searchKey: searchKey(name.fullName),
    birthDate: line.birth_date,
    sex: line.sex,
    mobile: line.mobile,
    nationalIdSealed: line.national_id_sealed,
    nationalIdHash: line.national_id_hash,
  };
  return { line, accountId, person };
}

function toWish({ line, accountId, person }: Opening): UsernameWish {
  if (person) return { accountId, candidates: usernameCandidates(person, line.short_name), mayTakeAgencyName: false };
  return { accountId, candidates: numbered(line.short_name), mayTakeAgencyName: true };
}

function* numbered(name: string): Generator<string> {
  yield name;
  for (let number = 2; ; number += 1) yield `${name}${number}`;
}

function toAccount(
  { line, accountId, person }: Opening,
  personIds: ReadonlyMap<string, string>,
  usernames: ReadonlyMap<string, string>,
): NewAccount {
  const username = usernames.get(accountId);
  const personId = person && personIds.get(person.id);
  if (!username || (person && !personId)) throw new Error('an account was left without its username or person');
  const displayName = person?.fullName ?? line.agency_name;
  return {
    id: accountId,
    kind: line.kind,
    username,
    address: `${username}@${line.mail_domain}`,
    agencyId: line.agency_id,
    personId: personId ?? null,
    displayName,
    surname: person ? person.surname || person.givenName : line.agency_name,
    givenName: person?.givenName ?? line.agency_name,
    searchKey: searchKey(`${displayName} ${username}`),
    title: line.title,
    certificatePath: line.certificate_path,
  };
}
