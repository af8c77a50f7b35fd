/** The list of mailboxes with their usage, and in the orders of it. */
import type { Mailbox, MailboxInList, MailboxSort, UsageFigures } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { decodeSortCursor, type Page, toPage } from '@congvu/http';
import { listMailboxesById } from '../mailboxes/mailbox-store.ts';
import { findFigures, toFigures } from './figures-store.ts';
import { findAgencyIds, listSorted, type SortedListFilter, sortedKey } from './sorted-list-store.ts';

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

/** A page at and below the agency `scope`. */
export async function listMailboxesSorted(
  database: Database,
  {
    scope,
    agencyCode,
    include,
    ...filter
  }: Omit<SortedListFilter, 'agencyIds'> & {
    scope: string;
    /** Only this agency and what lies below it. */
    agencyCode?: string | undefined;
    include: 'usage' | undefined;
  },
  sort: MailboxSort,
  limit: number,
  cursor: string | undefined,
): Promise<Page<MailboxInList>> {
  const after = decodeSortCursor(cursor, sortedKey(sort), 3);
  const agencyIds = await findAgencyIds(database, scope, agencyCode);
  const entries = await listSorted(database, { ...filter, agencyIds }, sort, limit + 1, after);
  const page = toPage(entries, limit, (entry) => [sort, entry.key, entry.mailbox_id]);
  const ids = page.items.map((entry) => entry.mailbox_id);
  // Whose a mailbox is, the place in the list may say a moment late: what is shown is by the directory.
  const mailboxes = new Map(
    (await listMailboxesById(database, ids, agencyIds)).map((mailbox) => [mailbox.accountId, mailbox]),
  );
  const items = page.items.flatMap((entry) => {
    const mailbox = mailboxes.get(entry.mailbox_id);
    return mailbox ? [{ ...mailbox, ...(include ? toFigures(entry) : {}) }] : [];
  });
  return { ...page, items };
}

/** The same page, with what each mailbox is used. */
export async function withUsage(database: Database, page: Page<Mailbox>): Promise<Page<MailboxInList>> {
  const figures = await findFigures(
    database,
    page.items.map(({ accountId }) => accountId),
  );
  return { ...page, items: page.items.map((mailbox) => ({ ...mailbox, ...figures.get(mailbox.accountId) })) };
}
