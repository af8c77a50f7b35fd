/**
 * Tells agencies of ends that draw near, each once: the notice on record is what keeps it from being told again. An end that is put off is
 * another end. Asked each hour; done some at a time, each batch whole or not at all.
 */
import type { Database } from '@congvu/database';
import { accountFacts, type ExpirySource, expirySources, listDueExpiries, listNoticeAccounts } from './facts-store.ts';
import type { NewNotice } from './notice-store.ts';
import { queueNotices } from './queue-notices.ts';

const batch = 500;

export async function queueExpiries(database: Database, days: number, signal?: AbortSignal): Promise<void> {
  for (const source of expirySources) {
    while (!signal?.aborted && (await queueBatch(database, source, days)) === batch);
  }
}

const queueBatch = (database: Database, source: ExpirySource, days: number): Promise<number> =>
  database.transaction(async (transaction) => {
    const due = await listDueExpiries(transaction, source, days, batch);
    const accounts = new Map(
      (
        await listNoticeAccounts(
          transaction,
          due.map(({ accountId }) => accountId),
        )
      ).map((account) => [account.id, account]),
    );
    const notices = due.flatMap(({ accountId, occasion, recipient, endsAt, alias }): NewNotice[] => {
      const account = accounts.get(accountId);
      if (!account) return [];
      const facts = { ...accountFacts(account), what: source.what, endsAt: endsAt.toISOString(), alias };
      return [{ kind: 'expiry', subjectId: accountId, occasion, recipient, agencyId: account.agencyId, facts }];
    });
    await queueNotices(transaction, notices);
    return due.length;
  });
