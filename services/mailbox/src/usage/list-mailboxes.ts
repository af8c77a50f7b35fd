/** The list of mailboxes with their usage, and in the orders of it. */
import type { Mailbox, MailboxInList, MailboxSort, UsageFigures } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { decodeSortCursor, type Page, toPage } from '@congvu/http';
import { listMailboxesById } from '../mailboxes/mailbox-store.ts';
import { findFigures } from './figures-store.ts';
import { listSorted, type SortedListFilter, sortedKey } from './sorted-list-store.ts';

export async function listMailboxesSorted(
  database: Database,
  filter: SortedListFilter,
  sort: MailboxSort,
  limit: number,
  cursor: string | undefined,
): Promise<Page<Mailbox>> {
  const after = decodeSortCursor(cursor, sortedKey(sort), 3);
  const entries = await listSorted(database, filter, sort, limit + 1, after);
  const { items, nextCursor } = toPage(entries, limit, ({ id, key }) => [sort, key, id]);
  const ids = items.map(({ id }) => id);
  const mailboxes = new Map(
    (await listMailboxesById(database, ids, filter.scope)).map((mailbox) => [mailbox.accountId, mailbox]),
  );
  return { items: ids.flatMap((id) => mailboxes.get(id) ?? []), nextCursor };
}

export const usageColumns = [
  'quotaUsedBytes',
  'messageCount',
  'measuredAt',
  'receivedCount',
  'sentCount',
  'lastReceivedAt',
  'lastSentAt',
  'lastLoginAt',
] as const satisfies (keyof UsageFigures)[];

/** The same page, with what each mailbox is used. */
export async function withUsage(database: Database, page: Page<Mailbox>): Promise<Page<MailboxInList>> {
  const figures = await findFigures(
    database,
    page.items.map(({ accountId }) => accountId),
  );
  return { ...page, items: page.items.map((mailbox) => ({ ...mailbox, ...figures.get(mailbox.accountId) })) };
}
