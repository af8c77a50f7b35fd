/** Mailboxes: read by agencies, administrators and auditors; made and changed by administrators. */
import {
  AgencyCodeInput,
  lineOfText,
  MadeMailbox,
  Mailbox,
  MailboxChange,
  MailboxInList,
  MailboxInput,
  MailboxSecret,
  MailboxSort,
} from '@congvu/contracts';
import {
  client,
  decodeTimeCursor,
  listAnswer,
  listTypes,
  type Page,
  PageQuery,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { dayInVietnam } from '@congvu/vietnamese';
import { z } from 'zod';
import { codeOf } from '../agencies/agency-code.ts';
import { actorOf } from '../audit/audit-event.ts';
import { listMailboxesSorted, usageColumns, withUsage } from '../usage/list-mailboxes.ts';
import { changeMailbox, changeState, type MailboxAct } from './change-mailbox.ts';
import type { MailboxDependencies } from './converge-mailboxes.ts';
import { createMailbox } from './create-mailbox.ts';
import { issueSecret } from './issue-secret.ts';
import { listMailboxes, requireMailbox } from './mailbox-store.ts';

export interface MailboxRouteDependencies extends MailboxDependencies {
  domain: string;
  /** How long the store of a closed shared or service mailbox is kept. */
  retentionDays: number;
}

const csvColumns = Object.keys(Mailbox.shape) as (keyof Mailbox)[];
const ById = z.object({ accountId: z.uuid() });
const WithReason = z.strictObject({ reason: lineOfText(500) });

export function mailboxRoutes(dependencies: MailboxRouteDependencies): Route[] {
  const { database } = dependencies;
  const answer = async (context: RouteContext, id: string) => {
    const mailbox = await requireMailbox(database, id, client(context).agencyCode);
    return { headers: versionTag(mailbox), body: mailbox };
  };
  const ref = (context: RouteContext<{ accountId: string }>) => ({
    id: context.params.accountId,
    version: context.ifMatchVersion,
  });
  const writing = { permission: 'mailboxes:write', params: ById } as const;
  const acting = (name: MailboxAct) => ({
    ...writing,
    method: 'post' as const,
    body: WithReason,
    response: Mailbox,
    handle: async (context: RouteContext<{ accountId: string }, unknown, { reason: string }>) => {
      const end = { reason: context.body.reason, retainedUntil: lastDay(dependencies.retentionDays) };
      await changeState(database, name, ref(context), end, actorOf(context));
      return answer(context, context.params.accountId);
    },
  });
  return [
    route({
      method: 'get',
      path: '/v1/mailboxes',
      summary: 'Lists mailboxes at and below your agency with request, approver and times, newest first unless told',
      permission: 'mailboxes:read',
      query: PageQuery.extend({
        state: Mailbox.shape.state.optional(),
        kind: Mailbox.shape.kind.optional(),
        address: z.string().max(254).optional(),
        requestId: z.uuid().optional(),
        agencyCode: AgencyCodeInput.optional(),
        q: z.string().max(100).optional(),
        include: z.literal('usage').optional(),
        sort: MailboxSort.optional(),
      }),
      response: pageOf(MailboxInList),
      produces: listTypes,
      handle: async (context) => {
        const { limit: _, cursor: __, include, sort, ...filters } = context.query;
        const agencyCode =
          filters.agencyCode === undefined ? undefined : codeOf(filters.agencyCode, 'query/agencyCode');
        const filter = { scope: client(context).agencyCode, ...filters, agencyCode };
        const fetch = async (size: number, from: string | undefined): Promise<Page<MailboxInList>> => {
          if (sort) return listMailboxesSorted(database, { ...filter, include }, sort, size, from);
          const rows = await listMailboxes(database, filter, size, decodeTimeCursor(from));
          const page = toPage(rows, size, (row) => [row.createdAt, row.accountId]);
          return include ? withUsage(database, page) : page;
        };
        const columns = include ? [...csvColumns, ...usageColumns] : csvColumns;
        return listAnswer<MailboxInList>(context, '/v1/mailboxes', columns, fetch);
      },
    }),
    route({
      method: 'post',
      path: '/v1/mailboxes',
      summary: 'Makes a shared mailbox, or one of a program, whose secret is shown this once',
      description:
        'The local part is taken for ever in the whole province. A shared mailbox has no password: give people rights on it. Repeat safely with the same Idempotency-Key; the repetition shows no secret, issue another.',
      permission: 'mailboxes:write',
      body: MailboxInput,
      idempotent: true,
      status: 201,
      response: MadeMailbox,
      handle: async (context) => {
        const actor = actorOf(context);
        const { id, isNew } = await createMailbox(dependencies, context.body, actor, context.idempotencyKey);
        const needsSecret = isNew && context.body.kind === 'service';
        const secret = needsSecret ? (await issueSecret(dependencies, { id }, actor)).secret : null;
        const { headers, body } = await answer(context, id);
        return { headers: { ...headers, 'Cache-Control': 'no-store' }, body: { ...body, secret } };
      },
    }),
    route({
      method: 'get',
      path: '/v1/mailboxes/{accountId}',
      summary: 'The mailbox of one account, or a shared or service mailbox',
      permission: 'mailboxes:read',
      params: ById,
      response: Mailbox,
      handle: (context) => answer(context, context.params.accountId),
    }),
    route({
      method: 'patch',
      path: '/v1/mailboxes/{accountId}',
      summary:
        'Changes name (of a shared or service mailbox), quota by hand, or what becomes of mail while it is suspended',
      description:
        'A quota below what the mailbox holds is refused with both figures. Null takes back what was set by hand.',
      ...writing,
      body: MailboxChange,
      response: Mailbox,
      handle: async (context) => {
        await changeMailbox(dependencies, ref(context), context.body, actorOf(context));
        return answer(context, context.params.accountId);
      },
    }),
    route({
      method: 'post',
      path: '/v1/mailboxes/{accountId}/secret',
      summary:
        'Issues a new secret for a service mailbox, shown this once; the one before is void and its sessions end',
      description: 'On 503 the old secret may still be good: repeat.',
      ...writing,
      status: 201,
      response: MailboxSecret,
      handle: async (context) => ({
        headers: { 'Cache-Control': 'no-store' },
        body: await issueSecret(dependencies, ref(context), actorOf(context)),
      }),
    }),
    route({
      path: '/v1/mailboxes/{accountId}/suspend',
      summary: 'Suspends a shared or service mailbox: nobody opens it or sends as it',
      ...acting('suspend'),
    }),
    route({
      path: '/v1/mailboxes/{accountId}/resume',
      summary: 'Lets a suspended shared or service mailbox resume, or one that was closed and is still retained',
      ...acting('resume'),
    }),
    route({
      path: '/v1/mailboxes/{accountId}/close',
      summary:
        'Closes a shared or service mailbox: it takes no mail, and its store is deleted when the retention is over',
      description: 'Its address is never given again.',
      ...acting('close'),
    }),
  ];
}

/** The last day of a retention that begins today, in Vietnam's calendar. */
const lastDay = (days: number): string => dayInVietnam(new Date(Date.now() + days * 86_400_000));
