/** Further addresses of mailboxes and forwarding, for administrators; what they are is seen by whoever sees the mailbox. */
import {
  AddedAliases,
  AgencyCodeInput,
  Forwarding,
  ForwardingInput,
  MailAddress,
  MailAlias,
  MailAliasChange,
  MailAliasInput,
  MailAliasList,
} from '@congvu/contracts';
import {
  client,
  decodeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { codeOf } from '../agencies/agency-code.ts';
import { actorOf } from '../audit/audit-event.ts';
import { requireMailbox } from '../mailboxes/mailbox-store.ts';
import { addAliases } from './add-aliases.ts';
import { type AliasFilter, listAliases, requireAlias } from './alias-store.ts';
import { addAlias, changeAlias, endAlias } from './change-aliases.ts';
import { findForwarding } from './forward-store.ts';
import { type ForwardPolicy, setForwarding } from './set-forwarding.ts';

const ByAccount = z.object({ accountId: z.uuid() });
const ByAddress = z.object({ address: MailAddress });
const columns = Object.keys(MailAlias.shape) as (keyof MailAlias)[];

export function aliasRoutes(policy: ForwardPolicy): Route[] {
  const { database } = policy;
  const list = (
    context: RouteContext<unknown, { limit: number; cursor?: string | undefined }>,
    path: string,
    filter: AliasFilter,
  ) => {
    const fetch = async (size: number, from: string | undefined) => {
      const after = decodeCursor(from, 1)?.[0];
      const rows = await listAliases(database, filter, size, after === undefined ? undefined : String(after));
      return toPage(rows, size, (row) => [row.address]);
    };
    return listAnswer(context, path, columns, fetch);
  };
  return [
    route({
      method: 'get',
      path: '/v1/aliases',
      summary: 'Lists further addresses of mailboxes at and below your agency, with how often mail came to them',
      description:
        'What was not used for long (`unusedSince`) can be ended on evidence; what ends soon (`endsBefore`) and is still used deserves a word to its holder.',
      permission: 'mailboxes:read',
      query: PageQuery.extend({
        agency: AgencyCodeInput.optional().describe('At and below this agency alone'),
        reason: MailAlias.shape.reason.optional(),
        state: z.enum(['open', 'ended']).default('open'),
        unusedSince: z.iso.date().optional().describe('Was there before this day, and no mail came to it since'),
        endsBefore: z.iso.date().optional(),
      }),
      response: pageOf(MailAlias),
      produces: listTypes,
      handle: async (context) => {
        const { limit: _, cursor: __, agency, ...filters } = context.query;
        const scope = client(context).agencyCode;
        return list(context, '/v1/aliases', { scope, agency: agency && codeOf(agency, 'query/agency'), ...filters });
      },
    }),
    route({
      method: 'get',
      path: '/v1/mailboxes/{accountId}/aliases',
      summary: 'Further addresses of one mailbox, those that have ended among them',
      permission: 'mailboxes:read',
      params: ByAccount,
      query: PageQuery,
      response: pageOf(MailAlias),
      produces: listTypes,
      handle: async (context) => {
        const { accountId } = context.params;
        const scope = client(context).agencyCode;
        await requireMailbox(database, accountId, scope);
        return list(context, `/v1/mailboxes/${accountId}/aliases`, { scope, mailboxId: accountId });
      },
    }),
    route({
      method: 'post',
      path: '/v1/mailboxes/{accountId}/aliases',
      summary: 'Gives a mailbox a further address',
      description: 'What stands before the @ is given once in the whole province, and stays the mailbox’s for ever.',
      permission: 'mailboxes:write',
      params: ByAccount,
      body: MailAliasInput,
      idempotent: true,
      status: 201,
      response: MailAlias,
      handle: async (context) => {
        const { accountId } = context.params;
        const alias = await addAlias(policy, accountId, context.body, actorOf(context), context.idempotencyKey);
        return { headers: versionTag(alias), body: alias };
      },
    }),
    route({
      method: 'post',
      path: '/v1/aliases',
      summary: 'Gives many mailboxes further addresses: all of the list or, with every fault of it, none',
      description:
        'For instance the former addresses after a merger. What a mailbox has already stays as it is: send the list again as often as you like.',
      permission: 'mailboxes:write',
      body: MailAliasList,
      maxBodyBytes: 4 * 1024 * 1024,
      response: AddedAliases,
      handle: async (context) => ({ body: await addAliases(policy, context.body, actorOf(context)) }),
    }),
    route({
      method: 'get',
      path: '/v1/aliases/{address}',
      summary: 'One further address',
      permission: 'mailboxes:read',
      params: ByAddress,
      response: MailAlias,
      handle: async (context) => {
        const alias = await requireAlias(database, context.params.address, client(context).agencyCode);
        return { headers: versionTag(alias), body: alias };
      },
    }),
    route({
      method: 'patch',
      path: '/v1/aliases/{address}',
      summary: 'Lets a further address hold until another day, or until somebody ends it',
      permission: 'mailboxes:write',
      params: ByAddress,
      body: MailAliasChange,
      response: MailAlias,
      handle: async (context) => {
        const change = { ...context.body, version: context.ifMatchVersion };
        const alias = await changeAlias(policy, context.params.address, change, actorOf(context));
        return { headers: versionTag(alias), body: alias };
      },
    }),
    route({
      method: 'delete',
      path: '/v1/aliases/{address}',
      summary: 'Ends a further address: mail to it is refused from then on',
      permission: 'mailboxes:write',
      params: ByAddress,
      status: 204,
      handle: async (context) => {
        await endAlias(policy, context.params.address, context.ifMatchVersion, actorOf(context));
        return {};
      },
    }),
    route({
      method: 'get',
      path: '/v1/mailboxes/{accountId}/forwarding',
      summary: 'Where the mail of a mailbox is forwarded to',
      permission: 'mailboxes:read',
      params: ByAccount,
      response: Forwarding,
      handle: async (context) => {
        await requireMailbox(database, context.params.accountId, client(context).agencyCode);
        const forwarding = await findForwarding(database, context.params.accountId);
        return { headers: versionTag(forwarding), body: forwarding };
      },
    }),
    route({
      method: 'put',
      path: '/v1/mailboxes/{accountId}/forwarding',
      summary: 'Forwards the mail of a mailbox to others here, or to domains that the province allows; none ends it',
      permission: 'mailboxes:write',
      params: ByAccount,
      body: ForwardingInput,
      response: Forwarding,
      handle: async (context) => {
        const input = { ...context.body, version: context.ifMatchVersion };
        const set = await setForwarding(policy, context.params.accountId, input, actorOf(context));
        return { headers: versionTag(set), body: set };
      },
    }),
  ];
}
