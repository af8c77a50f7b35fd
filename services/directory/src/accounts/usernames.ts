/**
 * Usernames by the province's policy, first free wins. The database decides: a name is ours when the insert into
 * directory.usernames took, so that two approvals at once never give one name twice, and nothing ever frees a name.
 * Approvals choose names one after the other, from here to their commit: each locks the names that it took, and two that
 * then looked for further ones could wait for each other for ever.
 */
import type { Connection, Transaction } from '@congvu/database';
import { isReservedLocalPart } from '@congvu/vietnamese';

export interface UsernameWish {
  accountId: string;
  /** In order of preference; may be endless. */
  candidates: Iterable<string>;
  /** A short name of the agency itself; only agency accounts may take one. */
  mayTakeAgencyName: boolean;
}

/** How many candidates are looked up for each in a round: most get their first or second. */
const lookaheads = [2, 8, 32];

export const lockUsernames = (transaction: Transaction): Promise<unknown> =>
  transaction.raw("select pg_advisory_xact_lock(hashtextextended('directory.usernames', 0))");

/** Account id → username. Deterministic for the same names taken before. */
export async function takeUsernames(
  transaction: Transaction,
  wishes: readonly UsernameWish[],
): Promise<Map<string, string>> {
  await lockUsernames(transaction);
  return choose(
    wishes,
    (candidates) => findFree(transaction, candidates),
    (chosen) => insertUsernames(transaction, chosen),
  );
}

/** For an account that has names already: the first candidate that is free, or was its own before. */
export async function takeFurtherUsername(
  transaction: Transaction,
  accountId: string,
  candidates: () => Iterable<string>,
): Promise<string> {
  await lockUsernames(transaction);
  const wish = { accountId, mayTakeAgencyName: false };
  const free = (await foreseeUsernames(transaction, [{ ...wish, candidates: candidates() }], new Set())).get(accountId);
  const own = new Set<string>(
    await transaction('directory.usernames').where({ account_id: accountId }).pluck('username'),
  );
  for (const candidate of candidates()) {
    if (own.has(candidate)) return candidate;
    if (candidate === free) break;
  }
  const taken = (await takeUsernames(transaction, [{ ...wish, candidates: candidates() }])).get(accountId);
  if (taken === undefined) throw new Error('an account was left without its further username');
  return taken;
}

/**
 * What `takeUsernames` would give now; nothing is taken. `foreseen` holds what those before would get, and gets these too.
 */
export async function foreseeUsernames(
  connection: Connection,
  wishes: readonly UsernameWish[],
  foreseen: Set<string>,
): Promise<Map<string, string>> {
  const findStillFree = async (candidates: string[]) =>
    findFree(
      connection,
      candidates.filter((candidate) => !foreseen.has(candidate)),
    );
  return choose(wishes, findStillFree, async (chosen) => {
    for (const username of chosen.keys()) foreseen.add(username);
    return new Set(chosen.keys());
  });
}

async function choose(
  wishes: readonly UsernameWish[],
  findFreeAmong: (candidates: string[]) => Promise<Map<string, 'free' | 'agency_name'>>,
  take: (chosen: ReadonlyMap<string, string>) => Promise<Set<string>>,
): Promise<Map<string, string>> {
  const given = new Map<string, string>();
  let waiting = wishes.map((wish) => ({ wish, iterator: wish.candidates[Symbol.iterator](), next: [] as string[] }));
  for (let round = 0; waiting.length > 0; round += 1) {
    // 1. Look a few candidates ahead for everyone, in one query.
    const lookahead = lookaheads[Math.min(round, lookaheads.length - 1)] as number;
    for (const one of waiting) {
      while (one.next.length < lookahead) {
        const { value, done } = one.iterator.next();
        if (done) break;
        if (!isReservedLocalPart(value)) one.next.push(value);
      }
      if (one.next.length === 0) throw new Error('the candidates for a username ended');
    }
    const free = await findFreeAmong([...new Set(waiting.flatMap((one) => one.next))]);

    // 2. In line order, each takes the first that is free and not taken by a line before.
    const chosen = new Map<string, string>();
    for (const one of waiting) {
      while (one.next.length > 0) {
        const candidate = one.next.shift() as string;
        const kind = free.get(candidate);
        if (kind === undefined || chosen.has(candidate) || (kind === 'agency_name' && !one.wish.mayTakeAgencyName))
          continue;
        chosen.set(candidate, one.wish.accountId);
        break;
      }
    }

    // 3. What the insert refuses, somebody took who does not go by the lock; those look again.
    const taken = await take(chosen);
    for (const [username, accountId] of chosen) if (taken.has(username)) given.set(accountId, username);
    waiting = waiting.filter((one) => !given.has(one.wish.accountId));
  }
  return given;
}

async function findFree(connection: Connection, candidates: string[]): Promise<Map<string, 'free' | 'agency_name'>> {
  const { rows } = await connection.raw<{ rows: { username: string; kind: 'free' | 'agency_name' }[] }>(
    `select wish.username, case when exists (select 1 from directory.agencies a where a.short_name = wish.username)
       then 'agency_name' else 'free' end as kind
     from unnest(?::text[]) as wish(username)
     where not exists (select 1 from directory.usernames taken where taken.username = wish.username)`,
    [candidates],
  );
  return new Map(rows.map((row) => [row.username, row.kind]));
}

async function insertUsernames(transaction: Transaction, chosen: ReadonlyMap<string, string>): Promise<Set<string>> {
  if (chosen.size === 0) return new Set();
  const rows = [...chosen].map(([username, account_id]) => ({ username, account_id }));
  const { rows: inserted } = await transaction.raw<{ rows: { username: string }[] }>(
    `insert into directory.usernames (username, account_id)
     select username, account_id from json_to_recordset(?::json) as row(username text, account_id uuid)
     on conflict do nothing returning username`,
    [JSON.stringify(rows)],
  );
  return new Set(inserted.map((row) => row.username));
}
