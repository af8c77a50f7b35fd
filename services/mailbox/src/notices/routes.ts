/** Notices: the log of what was sent and what waits, their templates, the key that signs them, the language of a mailbox. */
import {
  MailboxLanguage,
  Notice,
  NoticeKind,
  NoticeLanguage,
  NoticePreview,
  NoticeSigningKey,
  NoticeTemplate,
} from '@congvu/contracts';
import type { Database } from '@congvu/database';
import {
  client,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
} from '@congvu/http';
import { z } from 'zod';
import { actorOf } from '../audit/audit-event.ts';
import { chooseLanguage, readLanguage } from './choose-language.ts';
import { listNotices } from './notice-store.ts';
import { previewNotice } from './preview-notice.ts';
import { retryNotice } from './retry-notice.ts';
import { publicRecord, type SigningKey } from './signing-key.ts';
import type { Templates } from './templates.ts';

const csvColumns = Object.keys(Notice.shape) as (keyof Notice)[];

export const noticeRoutes = ({
  database,
  templates,
  language,
  signingKey,
}: {
  database: Database;
  templates: Templates;
  language: NoticeLanguage;
  signingKey: SigningKey;
}): Route[] => [
  route({
    method: 'get',
    path: '/v1/notices',
    summary: 'Lists notices about agencies at and below yours, newest first',
    permission: 'mailboxes:read',
    query: PageQuery.extend({
      kind: NoticeKind.optional(),
      recipient: z.string().max(254).optional(),
      state: Notice.shape.state.optional(),
      subjectId: z.uuid().optional(),
      /** Put on record at or after. */
      from: z.iso.datetime({ offset: true }).optional(),
      before: z.iso.datetime({ offset: true }).optional(),
    }),
    response: pageOf(Notice),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const fetch = async (size: number, from: string | undefined) => {
        const rows = await listNotices(database, filter, size, decodeTimeCursor(from));
        return toPage(rows, size, (row) => [row.createdAt, row.id]);
      };
      return listAnswer(context, '/v1/notices', csvColumns, fetch);
    },
  }),
  route({
    method: 'post',
    path: '/v1/notices/{id}/retry',
    summary: 'Sends a notice that had failed again',
    permission: 'mailboxes:write',
    params: z.object({ id: z.uuid() }),
    response: Notice,
    handle: async (context) => ({ body: await retryNotice(database, context.params.id, actorOf(context)) }),
  }),
  route({
    method: 'get',
    path: '/v1/notices/dkim',
    summary: 'The DNS record with which others check the signature of notices',
    permission: 'mailboxes:read',
    response: NoticeSigningKey,
    handle: async () => ({ body: publicRecord(signingKey) }),
  }),
  route({
    method: 'get',
    path: '/v1/notice-templates',
    summary: 'Every template: built-in or of the administrator, and what is wrong with the latter',
    permission: 'mailboxes:read',
    response: z.object({
      items: z.array(NoticeTemplate),
      /** In the administrator's folder, and read by nothing. */
      unknownFiles: z.array(z.string()),
    }),
    handle: async () => ({ body: await templates.check() }),
  }),
  route({
    method: 'get',
    path: '/v1/notice-templates/{kind}/preview',
    summary: 'A notice as it would be sent now, about one subject or made of samples; its HTML by Accept: text/html',
    permission: 'mailboxes:read',
    params: z.object({ kind: NoticeKind }),
    query: z.strictObject({
      language: NoticeLanguage.optional(),
      /** An account; a request for a decision, a return, an agency for a digest. */
      subjectId: z.uuid().optional(),
    }),
    response: NoticePreview,
    produces: ['application/json', 'text/html'],
    handle: async (context) => {
      const wanted = {
        kind: context.params.kind,
        language: context.query.language ?? language,
        subjectId: context.query.subjectId,
      };
      const preview = await previewNotice({ database, templates }, wanted, client(context).agencyCode);
      if (context.prefers(['application/json', 'text/html']) === 'application/json') return { body: preview };
      return {
        headers: {
          'Content-Type': 'text/html; charset=utf-8',
          // Whatever an administrator wrote into a template, it runs nothing and loads nothing here.
          'Content-Security-Policy': "sandbox; default-src 'none'; style-src 'unsafe-inline'",
        },
        body: Buffer.from(preview.html),
      };
    },
  }),
  route({
    method: 'get',
    path: '/v1/mailboxes/{accountId}/language',
    summary: 'The language of the notices to a mailbox',
    permission: 'mailboxes:read',
    params: z.object({ accountId: z.uuid() }),
    response: MailboxLanguage,
    handle: async (context) => ({
      body: await readLanguage({ database, language }, context.params.accountId, client(context).agencyCode),
    }),
  }),
  route({
    method: 'put',
    path: '/v1/mailboxes/{accountId}/language',
    summary: 'Chooses the language of the notices to a mailbox; null leaves it to the configuration',
    permission: 'mailboxes:write',
    params: z.object({ accountId: z.uuid() }),
    body: z.strictObject({ language: NoticeLanguage.nullable() }),
    response: MailboxLanguage,
    handle: async (context) => ({
      body: await chooseLanguage(
        { database, language },
        context.params.accountId,
        context.body.language,
        actorOf(context),
      ),
    }),
  }),
];
