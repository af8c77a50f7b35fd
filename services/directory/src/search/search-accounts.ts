/** Accounts by whatever is known of them, confined to a subtree: in Vietnamese order when searched for, newest first else. */
import type { Account } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import { encodeCursor, type Page, toPage } from '@congvu/http';
import { listAccounts, listAccountsById } from '../accounts/account-store.ts';
import { listSubtree } from '../agencies/agency-store.ts';
import { findAccounts } from './search-store.ts';
import { toTerms } from './search-terms.ts';
import type { Frequencies } from './word-frequencies.ts';

export interface AccountQuery {
  /** Agency whose subtree may be seen. */
  scope: string;
  agencyCode?: string | undefined;
  q?: string | undefined;
  title?: string | undefined;
  kind?: Account['kind'] | undefined;
  state?: Account['state'] | undefined;
}

/** Search by words, in Vietnamese order; without any, everything in that order. */
export async function searchAccounts(
  connection: Connection,
  frequencies: Frequencies,
  query: AccountQuery,
  limit: number,
  after: readonly [sortKey: string, accountId: string] | undefined,
): Promise<Page<Account>> {
  const [terms, titleTerms] = [query.q, query.title].map((text) => (text === undefined ? undefined : toTerms(text)));
  // Something was typed, and nothing of it can be looked for.
  if (terms?.length === 0 || titleTerms?.length === 0) return { items: [], nextCursor: null };
  const { scope, agencyCode, kind, state } = query;
  const agencies = await listSubtree(connection, scope, agencyCode);
  const filter = { terms: terms ?? [], titleTerms: titleTerms ?? [], agencies, kind, state };
  const hits = await findAccounts(connection, frequencies, filter, limit + 1, after);
  const shown = hits.slice(0, limit).map((hit) => hit.account_id);
  const last = hits[limit - 1];
  return {
    items: await listAccountsById(connection, shown),
    nextCursor: hits.length > limit && last ? encodeCursor([last.sort_key, last.account_id]) : null,
  };
}

/** Newest first; with `id` at most that one. */
export async function newestAccounts(
  connection: Connection,
  query: AccountQuery & { id?: string | undefined },
  limit: number,
  after: readonly [time: string, id: string] | undefined,
): Promise<Page<Account>> {
  const { scope, agencyCode, id, kind, state } = query;
  const agencies = await listSubtree(connection, scope, agencyCode);
  const rows = await listAccounts(connection, { agencies, id, kind, state }, limit, after);
  return toPage(rows, limit, (row) => [row.createdAt, row.id]);
}
