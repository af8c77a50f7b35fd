/** The language of the notices to a mailbox: what was chosen for it, else what the service is set to. */
import type { MailboxLanguage, NoticeLanguage } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { findLanguage, requireMailbox, updateLanguage } from '../mailboxes/mailbox-store.ts';
import { findAgency } from './facts-store.ts';
import type { NoticeActor } from './retry-notice.ts';

interface LanguageDependencies {
  database: Database;
  /** Of those for whom none was chosen. */
  language: NoticeLanguage;
}

export const chooseLanguage = (
  dependencies: LanguageDependencies,
  accountId: string,
  language: NoticeLanguage | null,
  actor: NoticeActor,
): Promise<MailboxLanguage> =>
  dependencies.database.transaction(async (transaction) => {
    const mailbox = await requireMailbox(transaction, accountId, actor.scope);
    const before = await updateLanguage(transaction, accountId, language);
    if (before !== language) {
      const event = {
        actor_kind: 'client',
        actor_id: actor.clientId,
        source_ip: actor.ip || null,
        action: 'mailbox.language_changed',
        subject_type: 'account',
        subject_id: accountId,
        agency_id: (await findAgency(transaction, { code: mailbox.agencyCode }))?.id,
        before: { language: before },
        after: { language },
      };
      await transaction.raw('select directory.record_events(?::json)', [JSON.stringify([event])]);
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
