/**
 * Opens accounts for approved lines inside the caller's transaction: people, usernames, accounts, audit events and the jobs
 * that make LDAP entry, mailbox and certificate. A few statements however many there are.
 */
import { randomUUIDv7 } from 'node:crypto';
import type { Connection, Transaction } from '@congvu/database';
import type { UsernamePatterns } from '@congvu/vietnamese';
import { positionUsernameCandidates, splitFullName, usernameCandidates } from '@congvu/vietnamese';
import { insertEvents } from '../audit/audit-store.ts';
import { type NewPerson, savePeople } from '../people/person-store.ts';
import { insertAccounts, type NewAccount, type OpeningLine } from './account-store.ts';
import type { Cause } from './change-account.ts';
import { queueEntries, queueSearch } from './queue-convergence.ts';
import { foreseeUsernames, takeUsernames, type UsernameWish } from './usernames.ts';

interface Opening {
  line: OpeningLine;
  accountId: string;
  person: NewPerson | undefined;
}

/** So many of a request at once are in the search two seconds later. */
export const crowd = 50;

/** Line number → account id. */
export async function openAccounts(
  transaction: Transaction,
  lines: readonly OpeningLine[],
  patterns: UsernamePatterns,
  cause: Cause,
): Promise<Map<number, string>> {
  if (lines.length === 0) return new Map();
  const openings = lines.map(prepare);

  // 1. Who they are.
  const personIds = await savePeople(
    transaction,
    openings.flatMap((opening) => opening.person ?? []),
  );

  // 2. What they will be called.
  const usernames = await takeUsernames(
    transaction,
    openings.map((opening) => toWish(opening, patterns)),
  );

  // 3. The accounts.
  const accounts = openings.map((opening) => toAccount(opening, personIds, usernames));
  const crowded = accounts.length >= crowd ? cause.requestId : null;
  await insertAccounts(transaction, accounts, { searchLater: crowded !== null });

  // 4. The record of it, and the work that follows.
  await insertEvents(
    transaction,
    accounts.map((account) => ({
      actor: cause.actor,
      action: 'account.opened',
      subjectType: 'account',
      subjectId: account.id,
      agencyId: account.agencyId,
      requestId: cause.requestId,
      after: { username: account.username, address: account.address, kind: account.kind, title: account.title },
    })),
  );
  const ids = accounts.map((account) => account.id);
  await queueEntries(transaction, ids);
  if (crowded) await queueSearch(transaction, crowded, false);
  return new Map(openings.map(({ line, accountId }) => [line.lineNumber, accountId]));
}

/** Line number → the username that it would get now. Nothing is taken; `foreseen` is what lines before these would get. */
export async function foreseeOpenings(
  connection: Connection,
  lines: readonly OpeningLine[],
  patterns: UsernamePatterns,
  foreseen: Set<string>,
): Promise<Map<number, string>> {
  const openings = lines.map(prepare);
  const wishes = openings.map((opening) => toWish(opening, patterns));
  const given = await foreseeUsernames(connection, wishes, foreseen);
  return new Map(openings.map(({ line, accountId }) => [line.lineNumber, given.get(accountId) as string]));
}

function prepare(line: OpeningLine): Opening {
  // In the order of their making (RFC 9562 section 5.7): a crowd is written to the end of each index.
  const accountId = randomUUIDv7();
  if (line.kind !== 'person') return { line, accountId, person: undefined };
  const { fullName } = line;
  if (!fullName || !line.birthDate || !line.nationalIdSealed || !line.nationalIdHash) {
    throw new Error(`the line ${line.lineNumber} holds what its submission should have refused`);
  }
  const person: NewPerson = {
    id: randomUUIDv7(),
    fullName,
    ...splitFullName(fullName),
    birthDate: line.birthDate,
    sex: line.sex,
    mobile: line.mobile,
    nationalIdSealed: line.nationalIdSealed,
    nationalIdHash: line.nationalIdHash,
  };
  return { line, accountId, person };
}

function toWish({ line, accountId, person }: Opening, patterns: UsernamePatterns): UsernameWish {
  const { shortName } = line;
  if (person) {
    return { accountId, candidates: usernameCandidates(person, shortName, patterns), mayTakeAgencyName: false };
  }
  if (line.kind === 'agency') return { accountId, candidates: numbered(shortName), mayTakeAgencyName: true };
  return { accountId, candidates: positionUsernameCandidates(line.title ?? '', shortName), mayTakeAgencyName: false };
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
  const displayName = displayNameOf(line);
  return {
    id: accountId,
    kind: line.kind,
    username,
    address: `${username}@${line.mailDomain}`,
    agencyId: line.agencyId,
    personId: personId ?? null,
    displayName,
    surname: person ? person.surname || person.givenName : displayName,
    givenName: person?.givenName ?? displayName,
    title: line.title,
    certificatePath: line.certificatePath,
  };
}

/** A person's name, the agency's, or "Chủ tịch UBND huyện Quỳnh Lưu". */
export function displayNameOf(line: Pick<OpeningLine, 'kind' | 'fullName' | 'title' | 'agencyName'>): string {
  if (line.kind === 'person') return line.fullName ?? '';
  return line.kind === 'agency' ? line.agencyName : [line.title ?? [], line.agencyName].flat().join(' ');
}

/** What a position is called when it has another office or agency. */
export function namesOfPosition(title: string | null, agencyName: string) {
  const name = displayNameOf({ kind: 'position', fullName: null, title, agencyName });
  return { display_name: name, surname: name, given_name: name };
}
