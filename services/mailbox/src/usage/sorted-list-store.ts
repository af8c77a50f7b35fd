/**
 * Mailboxes in the orders of their usage, by keyset: a page costs the same wherever in the list it lies, because every order has an
 * index. Only ids come from here; what a row shows, and whether the client may see it, is the business of the mailbox store.
 */
import type { MailboxSort } from '@congvu/contracts';
import type { Connection } from '@congvu/database';
import { z } from 'zod';
import type { FiguresRow } from './figures-store.ts';

export interface SortedListFilter {
  /** Agencies whose mailboxes are listed; undefined means all. */
  agencyIds: readonly string[] | undefined;
  state?: string | undefined;
  kind?: string | undefined;
  address?: string | undefined;
  requestId?: string | undefined;
  /** Words, each at the beginning of the address or anywhere in the name. */
  q?: string | undefined;
}

export interface SortedEntry extends FiguresRow {
  /** What it is sorted by, as text, to go on after. */
  key: string;
}

type SortColumn = MailboxSort extends infer T ? (T extends `-${infer Column}` ? Column : never) : never;

const count = z.string().regex(/^-?\d{1,18}$/);
const orders: Readonly<Record<SortColumn, { key: string; type: string; text?: string; parse: z.ZodType<string> }>> = {
  name: { key: 'u.sort_name', type: 'text', parse: z.string() },
  address: { key: 'm.address', type: 'text', parse: z.string() },
  quotaUsed: { key: 'coalesce(u.quota_used_bytes, -1)', type: 'bigint', parse: count },
  received: { key: 'u.received_count', type: 'bigint', parse: count },
  lastLogin: {
    key: "coalesce(u.last_login_at, '-infinity')",
    type: 'timestamptz',
    text: `coalesce(to_char(u.last_login_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), '-infinity')`,
    parse: z.union([z.iso.datetime().startsWith('2'), z.literal('-infinity')]),
  },
};

const orderOf = (sort: MailboxSort) => orders[sort.replace(/^-/, '') as SortColumn];

/** What a cursor of a list in that order holds. */
export const sortedKey = (sort: MailboxSort) => z.tuple([z.literal(sort), orderOf(sort).parse, z.uuid()]);

export async function listSorted(
  connection: Connection,
  filter: SortedListFilter,
  sort: MailboxSort,
  limit: number,
  after: readonly [sort: string, key: string, id: string] | undefined,
): Promise<SortedEntry[]> {
  const { key, type, text } = orderOf(sort);
  const isDescending = sort.startsWith('-');
  return connection('mailbox.usage as u')
    .join('mailbox.mailboxes as m', 'm.account_id', 'u.mailbox_id')
    .modify((query) => {
      // Named one by one, so that PostgreSQL knows how many mailboxes are theirs, and so whether to walk the order or to sort the few.
      if (filter.agencyIds) query.whereRaw('u.agency_id = any(?::uuid[])', [[...filter.agencyIds]]);
      if (filter.state) query.where('m.state', filter.state);
      if (filter.kind) query.where('m.kind', filter.kind);
      if (filter.address) query.where('m.address', filter.address);
      for (const word of (filter.q ?? '').split(/\s+/).filter(Boolean)) {
        query.whereRaw(
          `(starts_with(m.address, lower(?)) or position(directory.search_text(?) in directory.search_text(coalesce(
             (select c.display_name from directory.accounts_v c where c.id = m.account_id), m.display_name))) > 0)`,
          [word, word],
        );
      }
      if (filter.requestId)
        query.whereRaw('u.mailbox_id in (select c.id from directory.accounts_v c where c.request_id = ?)', [
          filter.requestId,
        ]);
      if (after)
        query.whereRaw(`(${key}, m.account_id) ${isDescending ? '<' : '>'} (?::${type}, ?::uuid)`, [
          after[1],
          after[2],
        ]);
    })
    .orderByRaw(isDescending ? `${key} desc, m.account_id desc` : `${key}, m.account_id`)
    .limit(limit)
    .select<SortedEntry[]>('u.*', connection.raw(`${text ?? `(${key})::text`} as key`));
}

/** The agencies at and below `scope`, or those of them at and below `under`; undefined for the province, whose are all. */
export async function findAgencyIds(
  connection: Connection,
  scope: string,
  under: string | undefined,
): Promise<string[] | undefined> {
  const { rows } = await connection.raw<{ rows: { ids: string[] | null }[] }>(
    `select case when a.parent_code is not null or ? <> a.code then array(
       select id from directory.agency_subtree(?) as id where id in (select directory.agency_subtree(a.code))) end as ids
     from directory.agencies_v a where a.code = ?`,
    [under ?? scope, under ?? scope, scope],
  );
  const [row] = rows;
  return row ? (row.ids ?? undefined) : [];
}
