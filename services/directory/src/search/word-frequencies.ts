/**
 * How large a share of all accounts has a word, as PostgreSQL's statistics have it (kept up by its autovacuum), asked for once
 * a minute. They choose between ways to the same answer and never change it.
 */
import type { Connection, Database } from '@congvu/database';

export interface Frequencies {
  /** Share of the accounts that have at least one of the tokens, at most; 0 for what is rare or not counted yet. */
  of: (tokens: readonly string[]) => number;
  accounts: number;
}

const keepMs = 60_000;

export function keepFrequencies(database: Database): () => Promise<Frequencies> {
  let asked = 0;
  let known: Promise<Frequencies> | undefined;
  return () => {
    if (!known || Date.now() - asked > keepMs) {
      asked = Date.now();
      known = readFrequencies(database);
      known.catch(() => {
        known = undefined;
      });
    }
    return known;
  };
}

async function readFrequencies(connection: Connection): Promise<Frequencies> {
  const { rows } = await connection.raw<{
    rows: { tokens: string[] | null; shares: number[] | null; accounts: number }[];
  }>(
    `select c.reltuples::int as accounts, s.most_common_elems::text::text[] as tokens, s.most_common_elem_freqs as shares
     from pg_class c left join pg_stats s on s.schemaname = 'directory' and s.tablename = c.relname and s.attname = 'tokens'
     where c.oid = 'directory.account_search'::regclass`,
  );
  const { tokens, shares, accounts = 0 } = rows[0] ?? {};
  const share = new Map((tokens ?? []).map((token, index) => [token, shares?.[index] ?? 0]));
  return {
    accounts: Math.max(accounts, 0),
    of: (some) =>
      Math.min(
        1,
        some.reduce((sum, token) => sum + (share.get(token) ?? 0), 0),
      ),
  };
}
