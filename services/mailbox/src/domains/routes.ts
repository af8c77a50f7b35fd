/** Mail domains: seen by everybody who sees mailboxes, changed by those who act for the whole province. */
import { DomainName, MailDomain, MailDomainChange, MailDomainInput } from '@congvu/contracts';
import {
  client,
  decodeCursor,
  listAnswer,
  listTypes,
  PageQuery,
  pageOf,
  type Route,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import { z } from 'zod';
import { actorOf } from '../audit/audit-event.ts';
import { changeDomain, closeDomain, type DomainPolicy, openDomain } from './change-domain.ts';
import { listDomains, requireDomain } from './domain-store.ts';

const ByName = z.object({ name: DomainName });
const columns = Object.keys(MailDomain.shape) as (keyof MailDomain)[];

export const domainRoutes = (policy: DomainPolicy): Route[] => [
  route({
    method: 'get',
    path: '/v1/domains',
    summary: 'Lists mail domains by name: the province’s, those of agencies, and those that stand for another',
    permission: 'mailboxes:read',
    query: PageQuery.extend({ kind: MailDomain.shape.kind.optional(), state: MailDomain.shape.state.optional() }),
    response: pageOf(MailDomain),
    produces: listTypes,
    handle: async (context) => {
      const { limit: _, cursor: __, ...filters } = context.query;
      const filter = { scope: client(context).agencyCode, ...filters };
      const fetch = async (size: number, from: string | undefined) => {
        const after = decodeCursor(from, 1)?.[0];
        const rows = await listDomains(policy.database, filter, size, after === undefined ? undefined : String(after));
        return toPage(rows, size, (row) => [row.name]);
      };
      return listAnswer(context, '/v1/domains', columns, fetch);
    },
  }),
  route({
    method: 'post',
    path: '/v1/domains',
    summary: 'Opens a mail domain of an agency, or one that stands for another',
    description:
      'An address in a domain of the kind `alias` is accepted when its target has that address, and refused otherwise: there is no catch-all. Its MX record must lead here.',
    permission: 'domains:write',
    body: MailDomainInput,
    idempotent: true,
    status: 201,
    response: MailDomain,
    handle: async (context) => {
      const opened = await openDomain(policy, context.body, actorOf(context), context.idempotencyKey);
      return { headers: versionTag(opened), body: opened };
    },
  }),
  route({
    method: 'get',
    path: '/v1/domains/{name}',
    summary: 'One mail domain',
    permission: 'mailboxes:read',
    params: ByName,
    response: MailDomain,
    handle: async (context) => {
      const found = await requireDomain(policy.database, context.params.name, client(context).agencyCode);
      return { headers: versionTag(found), body: found };
    },
  }),
  route({
    method: 'patch',
    path: '/v1/domains/{name}',
    summary: 'Changes target, agency or end of a mail domain',
    permission: 'domains:write',
    params: ByName,
    body: MailDomainChange,
    response: MailDomain,
    handle: async (context) => {
      const change = { ...context.body, version: context.ifMatchVersion };
      const changed = await changeDomain(policy, context.params.name, change, actorOf(context));
      return { headers: versionTag(changed), body: changed };
    },
  }),
  route({
    method: 'delete',
    path: '/v1/domains/{name}',
    summary: 'Closes a mail domain that nobody needs any more; mail to it is refused',
    permission: 'domains:write',
    params: ByName,
    status: 204,
    handle: async (context) => {
      await closeDomain(policy, context.params.name, context.ifMatchVersion, actorOf(context));
      return {};
    },
  }),
];
