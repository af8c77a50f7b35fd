/**
 * Sends one notice, once. It is on record with its Message-ID before anything is sent, so a retry after a crash sends the very same
 * message again, and the mail store discards a second delivery of a Message-ID. A server that does not answer is tried again until it does,
 * one that asks to wait for three days, one that says no is not. The record says why.
 */
import { createHmac } from 'node:crypto';
import type { NoticeLanguage } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Logger } from 'pino';
import { deliverability, findLanguage } from '../mailboxes/mailbox-store.ts';
import { findDecision, findReturn, findWelcome } from './facts-store.ts';
import type { MailTransport } from './mail-transport.ts';
import { beginAttempt, findNotice, markSent, type NoticeIdentity, recordFailure, saveNotices } from './notice-store.ts';
import type { Templates } from './templates.ts';

export interface NoticeDependencies {
  database: Database;
  mail: MailTransport;
  templates: Templates;
  domain: string;
  /** Makes Message-IDs that nobody else can foresee. */
  messageKey: string;
  /** Of those who have chosen none. */
  language: NoticeLanguage;
  log: Logger;
}

const givenUpAfterMs = 3 * 24 * 3_600_000;

export async function sendNotice(dependencies: NoticeDependencies, identity: NoticeIdentity): Promise<void> {
  const { database, mail, templates, log } = dependencies;
  // 1. On record first. Most kinds are put there by whoever knows of the fact; these three are written when their turn comes.
  let notice = await findNotice(database, identity);
  if (!notice || notice.state === 'no_recipient' || (notice.state === 'waiting' && !notice.facts)) {
    const subject = await findSubject(database, identity);
    if (!subject) return;
    await saveNotices(database, [{ ...identity, ...subject }]);
    notice = await findNotice(database, identity);
  }
  if (notice?.state !== 'waiting' || !notice.recipient || !notice.facts) return;

  // 2. Not before the recipient's mailbox stands; its making queues this again.
  if ((await deliverability(database, notice.recipient)) === 'not_yet') return;

  // 3. Under its Message-ID, written in the recipient's language, sent.
  const attempt = await beginAttempt(database, notice.id, messageIdOf(dependencies, identity));
  if (!attempt) return;
  const { recipient, facts } = notice;
  try {
    const language = (await findLanguage(database, recipient)) ?? dependencies.language;
    const { faults, ...content } = await templates.render(notice.kind, language, facts);
    if (faults.length > 0) log.warn({ kind: notice.kind, language, faults }, 'a broken template was passed over');
    await mail.send({ to: recipient, messageId: attempt.message_id, date: notice.created_at, ...content });
  } catch (error) {
    const state = isLost(error, attempt.first_attempt_at) ? 'failed' : 'waiting';
    await recordFailure(database, notice.id, state, reasonOf(error));
    if (state === 'waiting') throw error;
    log.warn({ err: error, notice: notice.id, kind: notice.kind }, 'a notice could not be sent and is not tried again');
    return;
  }

  // 4. Say so.
  await markSent(database, notice.id);
}

/** Refused, or put off again and again. An outage of the whole mail server is waited for however long it takes. */
function isLost(error: unknown, firstAttemptAt: Date): boolean {
  const { kind, code } = error instanceof ServiceError ? error : { kind: undefined, code: undefined };
  if (kind === 'conflict') return true;
  return code !== 'mail_unavailable' && Date.now() - firstAttemptAt.getTime() > givenUpAfterMs;
}

function findSubject(database: Database, { kind, subjectId }: NoticeIdentity) {
  if (kind === 'welcome') return findWelcome(database, subjectId);
  if (kind === 'decision') return findDecision(database, subjectId);
  if (kind === 'return') return findReturn(database, subjectId);
  return undefined;
}

/**
 * The same whenever it is asked for, even by a service whose database was put back to an older copy; and nobody without the key can send a
 * message under it first, so that the mail store would discard ours as the second.
 */
function messageIdOf({ messageKey, domain }: NoticeDependencies, identity: NoticeIdentity): string {
  const { kind, subjectId, occasion = '', addressee = '' } = identity;
  const digest = createHmac('sha256', messageKey).update(JSON.stringify([kind, subjectId, occasion, addressee]));
  return `<${digest.digest('hex').slice(0, 40)}@${domain}>`;
}

/** What the server said, on one line. */
function reasonOf(error: unknown): string {
  const { cause, message } = error as { cause?: { response?: string; message?: string }; message: string };
  return (cause?.response ?? cause?.message ?? message).replace(/\s+/g, ' ').slice(0, 500);
}
