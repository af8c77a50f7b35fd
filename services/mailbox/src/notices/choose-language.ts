/** The language of the notices to a mailbox: what was chosen for it, else what the service is set to. */
import type { MailboxLanguage, NoticeLanguage } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { findLanguage, requireMailbox, updateLanguage } from '../mailboxes/mailbox-store.ts';
import { findAgency } from './facts-store.ts';

interface LanguageDependencies {
  database: Database;
  /** Of those for whom none was chosen. */
  language: NoticeLanguage;
}

export const chooseLanguage = (
  dependencies: LanguageDependencies,
  accountId: string,
  language: NoticeLanguage | null,
  actor: Actor,
): Promise<MailboxLanguage> =>
  dependencies.database.transaction(async (transaction) => {
    const mailbox = await requireMailbox(transaction, accountId, actor.agencyCode);
    const before = await updateLanguage(transaction, accountId, language);
    if (before !== language) {
      const agency = await findAgency(transaction, { code: mailbox.agencyCode });
      await recordEvents(transaction, [
        {
          actor,
          action: 'mailbox.language_changed',
          subjectType: 'account',
          subjectId: accountId,
          agencyId: agency?.id ?? null,
          before: { language: before },
          after: { language },
        },
      ]);
    }
    return { language, noticeLanguage: language ?? dependencies.language };
  });

export async function readLanguage(
  { database, language }: LanguageDependencies,
  accountId: string,
  scope: string,
): Promise<MailboxLanguage> {
  const chosen = await findLanguage(database, (await requireMailbox(database, accountId, scope)).address);
  return { language: chosen, noticeLanguage: chosen ?? language };
}
