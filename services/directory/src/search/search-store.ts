/**
 * Every query on directory.account_search and directory.search_words. A page of a search costs about the same whatever the
 * number of accounts and whatever the words:
 * 1. The terms are looked up among the words that there are, which are few. What leads nowhere ends here.
 * 2. The list is walked in its order for a bounded stretch. Words that many accounts have fill the page on the way.
 * 3. Otherwise the words are rare, alone or together, and the inverted index gives the accounts that have them.
 */
import type { Connection } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Frequencies } from './word-frequencies.ts';

/** A term with what it leads to: words that hold it; addresses that begin with it and go beyond the given name. */
interface Lead {
  term: string;
  tokens: string[];
  isAddressStart: boolean;
}

export interface SearchFilter {
  terms: readonly string[];
  /** Words of the position alone. */
  titleTerms: readonly string[];
  /** Agencies to which the search is confined; undefined means all. */
  agencies: readonly { id: string; code: string }[] | undefined;
  kind?: string | undefined;
  state?: string | undefined;
}

export interface SearchHit {
  account_id: string;
  sort_key: string;
}

type SortKey = readonly [sortKey: string, accountId: string];
interface Condition {
  sql: string;
  bindings: readonly unknown[];
}

/** A search that takes longer is given up; ordinary ones take a few milliseconds. */
const patienceMs = 5_000;
/** Words that at least this share of the accounts has are met often enough on a walk. */
const common = 0.015;
/** So many accounts are quickly fetched and sorted. */
const few = 700;
/** A set of more tokens than this is left to the look at each account that the others find. */
const wide = 200;

/** The first `limit` accounts after `after` in Vietnamese order. */
export async function findAccounts(
  connection: Connection,
  frequencies: Frequencies,
  filter: SearchFilter,
  limit: number,
  after: SortKey | undefined,
): Promise<SearchHit[]> {
  if (filter.agencies?.length === 0) return [];
  const leads = await findLeads(connection, [...filter.terms, ...filter.titleTerms]);
  if (leads.some(({ tokens, isAddressStart }) => tokens.length === 0 && !isAddressStart)) return [];
  const sets = [
    ...leads.map(({ tokens }) => tokens),
    ...(filter.agencies ? [filter.agencies.map(({ code }) => `#${code}`)] : []),
    ...(filter.state && filter.state !== 'active' ? [[`~${filter.state}`]] : []),
    ...(filter.kind && filter.kind !== 'person' ? [[`~${filter.kind}`]] : []),
  ];
  const conditions = [...leads.slice(0, filter.terms.length).map(matches), ...fixedConditions(filter)];
  const search: Search = {
    connection,
    frequencies,
    leads,
    sets,
    conditions,
    fixed: fixedConditions(filter),
    limit,
    after,
  };

  if (sets.length === 0) return walk(search, undefined);
  let expected = sets.reduce((share, set) => share * frequencies.of(set), frequencies.accounts);
  if (sets.every((set) => frequencies.of(set) >= common)) {
    const stretch = 20 * limit;
    const hits = await walk(search, stretch);
    if (hits.length === limit) return hits;
    const last = hits.at(-1);
    if (last && hits.length > 0.3 * limit) {
      const missing = limit - hits.length;
      const further = Math.ceil(((1.5 * missing) / hits.length) * stretch);
      const more = await walk({ ...search, limit: missing, after: [last.sort_key, last.account_id] }, further);
      if (more.length === missing) return [...hits, ...more];
    }
    // Words that come together, as those of one agency do, are more frequent than each by itself makes one expect.
    expected = Math.max(expected, (hits.length / stretch) * frequencies.accounts);
  }
  return lookUpInParts(search, expected, await listHeads(connection));
}

interface Search {
  connection: Connection;
  frequencies: Frequencies;
  leads: readonly Lead[];
  /** Of each set an account has a token. */
  sets: readonly (readonly string[])[];
  /** What says the same of a single account. */
  conditions: readonly Condition[];
  fixed: readonly Condition[];
  limit: number;
  after: SortKey | undefined;
}

async function findLeads(connection: Connection, terms: readonly string[]): Promise<Lead[]> {
  if (terms.length === 0) return [];
  const { rows } = await patiently<{ term: string; tokens: string[]; is_address_start: boolean }>(
    connection,
    `select t.term, array(select token from directory.search_words where ' ' || word like t.pattern) as tokens,
       exists (select from directory.account_search
         where address_head = any(t.heads) and address >= t.term and address < t.term || '~') as is_address_start
     from jsonb_to_recordset(?::jsonb) as t(position int, term text, pattern text, heads text[]) order by t.position`,
    [JSON.stringify(terms.map((term, position) => ({ position, term, pattern: within(term), heads: headsOf(term) })))],
  );
  return rows.map(({ term, tokens, is_address_start }) => ({ term, tokens, isAddressStart: is_address_start }));
}

/**
 * A LIKE pattern for text that begins with a space: a term of one or two letters stands at the beginning of a word, a longer one
 * anywhere. `_` is the only character of a term that LIKE would read.
 */
const within = (term: string): string => `%${term.length < 3 ? ' ' : ''}${term.replaceAll('_', '\\_')}%`;

/** Given names with which an address that begins with the term can begin, and the term goes on. */
const headsOf = (term: string): string[] =>
  term.length < 3 ? [] : Array.from({ length: Math.min(term.length, 20) }, (_, length) => term.slice(0, length));

/** Whether one account has the term. */
function matches({ term, isAddressStart }: Lead): Condition {
  if (!isAddressStart) return { sql: 's.document like ?', bindings: [within(term)] };
  const bindings = [within(term), term, `${term}~`];
  return { sql: '(s.document like ? or s.address >= ? and s.address < ?)', bindings };
}

function fixedConditions({ titleTerms, agencies, kind, state }: SearchFilter): Condition[] {
  const ids = agencies?.map(({ id }) => id);
  return [
    ...titleTerms.map((term) => ({ sql: 's.document like ?', bindings: [`%|${within(term)}|%`] })),
    // A list that the planner need not weigh one by one.
    ...(ids ? [{ sql: '(s.agency_id in (select unnest(?::uuid[])) or false)', bindings: [ids] }] : []),
    ...(kind ? [{ sql: 's.kind = ?', bindings: [kind] }] : []),
    ...(state ? [{ sql: 's.state = ?', bindings: [state] }] : []),
  ];
}

const beyond = (after: SortKey | undefined): Condition[] =>
  after ? [{ sql: '(s.sort_key, s.account_id) > (?, ?::uuid)', bindings: after }] : [];
const where = (conditions: readonly Condition[]): string =>
  conditions.length === 0 ? '' : `where ${conditions.map(({ sql }) => sql).join(' and ')}`;
const bindingsOf = (conditions: readonly Condition[]): unknown[] => conditions.flatMap(({ bindings }) => bindings);

/** Looks at the accounts in the order of the list, within the index: at `stretch` of them, or until enough are found. */
async function walk(
  { connection, conditions, limit, after }: Search,
  stretch: number | undefined,
): Promise<SearchHit[]> {
  const start = beyond(after);
  const { rows } = await patiently<SearchHit>(
    connection,
    `select account_id, sort_key from (
       select s.account_id, s.sort_key, s.document, s.agency_id, s.address, s.kind, s.state from directory.account_search s
       ${where(start)} order by s.sort_key, s.account_id limit ?) s
     ${where(conditions)} order by sort_key, account_id limit ?`,
    [...bindingsOf(start), stretch ?? null, ...bindingsOf(conditions), limit],
  );
  return rows;
}

/**
 * By the inverted index, part after part of the list, until the page is full: of words that are met some thousand times only the
 * first few hundred accounts are fetched.
 */
async function lookUpInParts(search: Search, expected: number, heads: readonly string[]): Promise<SearchHit[]> {
  const { frequencies, limit, after } = search;
  const hits: SearchHit[] = [];
  const start = /^[^\p{Cc} ]*/u.exec(after?.[0] ?? '')?.[0] ?? '';
  let rest = heads.filter((head) => head >= `^${start}`);
  for (let wanted = (3 * limit) / Math.max(expected, 1); ; wanted *= 4) {
    let size = 0;
    for (let share = 0; size < rest.length && (share < wanted || size === 0); size += 1)
      share += frequencies.of([rest[size] as string]);
    const part = rest.slice(0, size);
    rest = rest.slice(size);
    hits.push(...(await lookUp(search, part.length === heads.length ? undefined : part)));
    if (hits.length >= limit || rest.length === 0) return hits.slice(0, limit);
  }
}

/** What the sort keys begin with, in their order: given names, mostly. */
async function listHeads(connection: Connection): Promise<string[]> {
  const { rows } = await patiently<{ heads: string[] }>(
    connection,
    "select array(select token from directory.search_words where token >= '^' and token < '_' order by token) as heads",
    [],
  );
  return rows[0]?.heads ?? [];
}

/** Of the accounts with one of the heads, or of all, those that have a token of every set; of them the first ones. */
async function lookUp(
  { connection, frequencies, leads, sets, conditions, fixed, limit, after }: Search,
  part: readonly string[] | undefined,
): Promise<SearchHit[]> {
  const start: Condition[] = [
    // Not as the index of the order has it: the inverted index shall lead.
    ...(after ? [{ sql: "(s.sort_key || '', s.account_id) > (?, ?::uuid)", bindings: after }] : []),
    ...(part ? [{ sql: 's.tokens && ?::text[]', bindings: [part] }] : []),
  ];
  const bySize = [...sets].sort((a, b) => a.length - b.length);
  const narrow = bySize.filter(({ length }, index) => index === 0 || length <= wide);
  const select = (and: readonly Condition[]): Condition => ({
    sql: `(select s.account_id, s.sort_key from directory.account_search s ${where(and)} offset 0)`,
    bindings: bindingsOf(and),
  });
  const inverted = (some: readonly (readonly string[])[]): Condition =>
    select([
      ...some.map((set) => ({ sql: 's.tokens && ?::text[]', bindings: [set] })),
      ...(narrow.length < sets.length ? conditions : fixed),
      ...start,
    ]);

  const branches: Condition[] = [];
  const isMany = narrow.reduce((share, set) => share * frequencies.of(set), frequencies.accounts) > few;
  const split = isMany ? mostGivenNames(narrow, frequencies) : undefined;
  if (split) {
    // A given name stands at the head of the sort key: its accounts lie together and in order, and need not all be fetched.
    const within = { sql: "s.sort_key > g.head and s.sort_key < g.head || '!'", bindings: [] };
    const and = [within, ...conditions, ...beyond(after)];
    branches.push({
      sql: `(select s.* from unnest(?::text[]) as g(head) cross join lateral (
         select s.account_id, s.sort_key from directory.account_search s ${where(and)}
         order by s.sort_key, s.account_id limit ?) s)`,
      bindings: [split.givenNames.filter((head) => !part || part.includes(`^${head}`)), ...bindingsOf(and), limit],
    });
    if (split.others.length > 0) branches.push(inverted(narrow.map((set) => (set === split.set ? split.others : set))));
  } else branches.push(inverted(narrow));
  for (const { term, isAddressStart } of leads) {
    if (!isAddressStart) continue;
    const sql = 's.address_head = any(?::text[]) and s.address >= ? and s.address < ?';
    branches.push(select([{ sql, bindings: [headsOf(term), term, `${term}~`] }, ...conditions, ...start]));
  }

  const { rows } = await patiently<SearchHit>(
    connection,
    `select account_id, sort_key from (${branches.map(({ sql }) => sql).join(' union ')}) s
     order by sort_key, account_id limit ?`,
    [...bindingsOf(branches), limit],
  );
  return rows;
}

/** The set with the most accounts by their given names, these apart from its other words. */
function mostGivenNames(sets: readonly (readonly string[])[], frequencies: Frequencies) {
  const isGivenName = (token: string): boolean => token.startsWith('^');
  const share = (set: readonly string[]): number => frequencies.of(set.filter(isGivenName));
  const [set] = [...sets].sort((a, b) => share(b) - share(a));
  if (!set || share(set) === 0) return undefined;
  const givenNames = set.filter(isGivenName).map((token) => token.slice(1));
  return { set, givenNames, others: set.filter((token) => !isGivenName(token)) };
}

async function patiently<T>(connection: Connection, sql: string, bindings: readonly unknown[]): Promise<{ rows: T[] }> {
  try {
    return await connection.raw<{ rows: T[] }>(sql, bindings as never).timeout(patienceMs, { cancel: true });
  } catch (error) {
    if (!(error instanceof Error && 'timeout' in error)) throw error;
    throw new ServiceError({
      kind: 'unavailable',
      code: 'search_too_slow',
      detail: `The search was given up after ${patienceMs / 1_000} seconds; use longer words, or an agency as a filter.`,
    }); // Without its cause, which holds what was typed.
  }
}

/** Those of a crowd that were inserted without the search's rows. Harmless to repeat. */
export async function searchOpened(database: Connection, accountIds: readonly string[]): Promise<void> {
  await database.raw('select directory.search_opened_accounts(?::uuid[])', [[...accountIds]]);
}

const accountsPerStatement = 1_000;

/** The same of all accounts that a request has opened so far. Stopped, it goes on where it was. */
export async function searchRequest(database: Connection, requestId: string, signal: AbortSignal): Promise<void> {
  for (let after = 0; ; ) {
    signal.throwIfAborted();
    const opened: { account_id: string; line_number: number }[] = await database('directory.request_lines as l')
      .where({ request_id: requestId, operation: 'open' })
      .where('line_number', '>', after)
      .whereNotNull('account_id')
      .whereRaw('not exists (select from directory.account_search s where s.account_id = l.account_id)')
      .orderBy('line_number')
      .limit(accountsPerStatement)
      .select('account_id', 'line_number');
    const last = opened.at(-1);
    if (!last) return;
    after = last.line_number;
    await searchOpened(
      database,
      opened.map((line) => line.account_id),
    );
  }
}
