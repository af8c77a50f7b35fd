/**
 * Sends one notice, once. It is on record with its Message-ID before anything is sent, so a
 * retry after a crash sends the very same message again, and the mail store discards a second delivery of a Message-ID.
 */
import { randomUUID } from 'node:crypto';
import type { Database } from '@congvu/database';
import { deliverability, findSource } from '../mailboxes/mailbox-store.ts';
import type { MailTransport } from './mail-transport.ts';
import { findDecision, findReturn, markSent, type NoticeKind, saveNotice } from './notice-store.ts';
import { decisionText, type NoticeText, returnText, welcomeText } from './templates.ts';

export interface NoticeDependencies {
  database: Database;
  mail: MailTransport;
  domain: string;
}

export async function sendNotice(
  { database, mail, domain }: NoticeDependencies,
  kind: NoticeKind,
  subjectId: string,
): Promise<void> {
  // 1. On record first.
  const content = await compose(database, kind, subjectId);
  if (!content) return;
  // At random, so that nobody can send a message under it first and have ours discarded as the second; the record keeps it.
  const messageId = `<${randomUUID()}@${domain}>`;
  const notice = await saveNotice(database, { kind, subjectId, recipient: content.recipient, messageId });
  if (notice.state !== 'waiting' || !notice.recipient) return;

  // 2. Not before the recipient's mailbox stands; its making queues this again.
  if ((await deliverability(database, notice.recipient)) === 'not_yet') return;

  // 3. Send, then say so.
  await mail.send({ to: notice.recipient, messageId: notice.message_id, date: notice.created_at, ...content.text });
  await markSent(database, notice.id);
}

async function compose(
  database: Database,
  kind: NoticeKind,
  subjectId: string,
): Promise<{ recipient: string | null; text: NoticeText } | undefined> {
  if (kind === 'decision') {
    const decision = await findDecision(database, subjectId);
    return decision && { recipient: decision.recipient, text: decisionText(decision) };
  }
  if (kind === 'return') {
    const returned = await findReturn(database, subjectId);
    return returned && { recipient: returned.recipient, text: returnText(returned) };
  }
  const account = await findSource(database, subjectId);
  return account && { recipient: account.address, text: welcomeText(account) };
}
