/** Lets a notice that had failed be sent again, under the Message-ID it has. */
import type { Notice } from '@congvu/contracts';
import { addJobs, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { identityOf, lockNotice, noticeJob, resetNotice } from './notice-store.ts';

export const retryNotice = (database: Database, id: string, actor: Actor): Promise<Notice> =>
  database.transaction(async (transaction) => {
    const row = await lockNotice(transaction, id, actor.agencyCode);
    if (row.state !== 'failed') {
      const detail = `Only a notice that failed can be retried; this one is "${row.state}".`;
      throw new ServiceError({ kind: 'conflict', code: 'notice_not_failed', detail });
    }
    const notice = await resetNotice(transaction, id);
    await recordEvents(transaction, [
      {
        actor,
        action: 'notice.retried',
        subjectType: 'notice',
        subjectId: id,
        agencyId: row.agency_id,
        before: { state: row.state, lastError: row.last_error },
        after: { state: notice.state },
      },
    ]);
    await addJobs(transaction, 'mailbox', [noticeJob(identityOf(row))]);
    return notice;
  });
