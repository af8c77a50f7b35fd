/** Notices on the wire: the log of what was sent, the templates that they are made from, the key that signs them. */
import { z } from 'zod';
import { Timestamp, Uuid } from './common.ts';

export const NoticeKind = z.enum([
  'welcome',
  'decision',
  'return',
  'suspension',
  'resumption',
  'expiry',
  'certificate_expiry',
  'digest',
]);
export type NoticeKind = z.infer<typeof NoticeKind>;

export const NoticeLanguage = z.enum(['vi', 'en']);
export type NoticeLanguage = z.infer<typeof NoticeLanguage>;

export const Notice = z.object({
  id: Uuid,
  kind: NoticeKind,
  /** What it is about: an account, a request (decision), a return, an agency (digest). */
  subjectId: Uuid,
  /** Tells notices of one kind about one subject apart: the week of a digest, the end that draws near; empty where there is only one. */
  occasion: z.string(),
  recipient: z.string().nullable(),
  /** Known from the first attempt on, and the same for every further one. */
  messageId: z.string().nullable(),
  state: z.enum(['waiting', 'sent', 'no_recipient', 'failed']),
  attempts: z.number().int(),
  lastAttemptAt: Timestamp.nullable(),
  /** What the mail server answered to the last attempt that did not succeed. */
  lastError: z.string().nullable(),
  createdAt: Timestamp,
  sentAt: Timestamp.nullable(),
});
export type Notice = z.infer<typeof Notice>;

export const NoticeTemplate = z.object({
  kind: NoticeKind,
  language: NoticeLanguage,
  parts: z.array(
    z.object({
      part: z.enum(['subject', 'text', 'html']),
      /** Below the folder of templates. */
      file: z.string(),
      /** What notices are made from: the administrator's file, or the built-in one, which also stands in for a broken file. */
      source: z.enum(['built_in', 'override']),
      /** What is wrong with the administrator's file. */
      fault: z.string().nullable(),
    }),
  ),
});
export type NoticeTemplate = z.infer<typeof NoticeTemplate>;

export const NoticePreview = z.object({
  kind: NoticeKind,
  language: NoticeLanguage,
  subject: z.string(),
  text: z.string(),
  html: z.string(),
  /** Of the administrator's files that were passed over. */
  faults: z.array(z.string()),
});
export type NoticePreview = z.infer<typeof NoticePreview>;

/** The TXT record (RFC 6376 section 3.6.1) with which others check the signature of notices. */
export const NoticeSigningKey = z.object({
  domain: z.string(),
  selector: z.string(),
  /** Where the record belongs. */
  name: z.string(),
  value: z.string(),
  /** As a line of a zone file: a string of a TXT record has 255 octets at most. */
  zoneLine: z.string(),
});
export type NoticeSigningKey = z.infer<typeof NoticeSigningKey>;

export const MailboxLanguage = z.object({
  /** What was chosen for this mailbox; null where nothing was. */
  language: NoticeLanguage.nullable(),
  /** In which its notices are written. */
  noticeLanguage: NoticeLanguage,
});
export type MailboxLanguage = z.infer<typeof MailboxLanguage>;
