/** Lets a notice that had failed be sent again, under the Message-ID it has. */
import type { Notice } from '@congvu/contracts';
import { addJobs, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { identityOf, lockNotice, noticeJob, resetNotice } from './notice-store.ts';

export interface NoticeActor {
  clientId: string;
  ip: string;
  scope: string;
}

export const retryNotice = (database: Database, id: string, actor: NoticeActor): Promise<Notice> =>
  database.transaction(async (transaction) => {
    const row = await lockNotice(transaction, id, actor.scope);
    if (row.state !== 'failed') {
      const detail = `Only a notice that failed can be retried; this one is "${row.state}".`;
      throw new ServiceError({ kind: 'conflict', code: 'notice_not_failed', detail });
    }
    const notice = await resetNotice(transaction, id);
    const event = {
      actor_kind: 'client',
      actor_id: actor.clientId,
      source_ip: actor.ip || null,
      action: 'notice.retried',
      subject_type: 'notice',
      subject_id: id,
      agency_id: row.agency_id,
      before: { state: row.state, lastError: row.last_error },
      after: { state: notice.state },
    };
    await transaction.raw('select directory.record_events(?::json)', [JSON.stringify([event])]);
    await addJobs(transaction, 'mailbox', [noticeJob(identityOf(row))]);
    return notice;
  });
