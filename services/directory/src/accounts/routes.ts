/** Accounts: read one, and everything that an administrator does to one. Codes, passwords and sign-in are in credential-routes.ts. */
import { Account, AgencyCodeInput, lineOfText, PositionHolding } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import {
  client,
  decodeTimeCursor,
  PageQuery,
  pageAnswer,
  pageOf,
  type Route,
  type RouteContext,
  route,
  toPage,
  versionTag,
} from '@congvu/http';
import type { UsernamePatterns } from '@congvu/vietnamese';
import { z } from 'zod';
import { parseCode } from '../agencies/agency-code-input.ts';
import { requireAgency } from '../agencies/agency-store.ts';
import { actorOf } from '../audit/audit-event.ts';
import { requireAccount } from './account-store.ts';
import type { AccountRef, Cause } from './change-account.ts';
import { changeTitle } from './change-title.ts';
import { handOverPosition } from './hand-over-position.ts';
import { listHoldings } from './position-store.ts';
import { reactivateAccount } from './reactivate-account.ts';
import { renameAccount } from './rename-account.ts';
import { retentionEnd, retireAccount } from './retire-account.ts';
import { resumeAccount, suspendAccount } from './suspend-account.ts';
import { transferAccount } from './transfer-account.ts';

const ById = z.object({ id: z.uuid() });
const reason = lineOfText(500);
const title = lineOfText(200);

export function accountRoutes({
  database,
  retentionDays,
  usernamePatterns,
}: {
  database: Database;
  retentionDays: number;
  usernamePatterns: UsernamePatterns;
}): Route[] {
  /** One change in one transaction; the account as it is then. */
  async function change<B>(
    context: RouteContext<{ id: string }, unknown, B>,
    act: (transaction: Transaction, account: AccountRef, cause: Cause) => Promise<void>,
  ) {
    const { id } = context.params;
    const cause = { actor: actorOf(context), requestId: null };
    const ref = { accountId: id, version: context.ifMatchVersion };
    await database.transaction((transaction) => act(transaction, ref, cause));
    const account = await requireAccount(database, id, client(context).agencyCode);
    return { headers: versionTag(account), body: account };
  }
  const changing = { permission: 'accounts:write', params: ById, response: Account } as const;
  return [
    route({
      method: 'get',
      path: '/v1/accounts/{id}',
      summary: 'One account',
      permission: 'accounts:read',
      params: ById,
      response: Account,
      handle: async (context) => {
        const account = await requireAccount(database, context.params.id, client(context).agencyCode);
        return { headers: versionTag(account), body: account };
      },
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/suspend',
      summary: 'Suspends an account: no log-in anywhere, its certificate on hold',
      description:
        'With `until` it resumes by itself. Positions that the person holds are accounts of their own and stay open: hand them over, or suspend them too.',
      ...changing,
      body: z.strictObject({ reason, until: z.iso.datetime({ offset: true }).optional() }),
      handle: (context) =>
        change(context, (transaction, account, cause) => {
          const until = context.body.until === undefined ? undefined : new Date(context.body.until);
          return suspendAccount(transaction, { ...account, reason: context.body.reason, until }, cause);
        }),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/resume',
      summary: 'Lets a suspended account resume',
      ...changing,
      body: z.strictObject({ reason }),
      handle: (context) =>
        change(context, (transaction, account, cause) =>
          resumeAccount(transaction, { ...account, ...context.body }, cause),
        ),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/retire',
      summary: 'Retires an account: nothing works any more, the mailbox is kept for a while',
      description:
        'Password and activation codes are void, certificates are revoked, positions held become vacant. Until `retainedUntil` (a day; as configured unless told) it can be reactivated. Username and address are never given again.',
      ...changing,
      body: z.strictObject({ reason, retainedUntil: z.iso.date().optional() }),
      handle: (context) =>
        change(context, (transaction, account, cause) => {
          const { reason, retainedUntil = retentionEnd(retentionDays) } = context.body;
          return retireAccount(transaction, { ...account, reason, retainedUntil }, cause);
        }),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/reactivate',
      summary: 'Takes a retirement back, while the retention lasts',
      description:
        'What retirement revoked stays revoked: certificates (a new one is made) and the password (the holder needs an activation code). Positions stay vacant.',
      ...changing,
      body: z.strictObject({ reason }),
      handle: (context) =>
        change(context, (transaction, account, cause) =>
          reactivateAccount(transaction, { ...account, ...context.body }, cause),
        ),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/transfer',
      summary: 'Moves an account to another agency of your subtree; the username stays',
      description:
        'Where the agency has a mail domain of its own the address follows; mail to the former one still arrives for a while. Positions that the person holds become vacant. A title that is not given stays as it is; null removes it.',
      ...changing,
      body: z.strictObject({ agencyCode: AgencyCodeInput, title: title.nullable().optional(), reason }),
      handle: (context) =>
        change(context, async (transaction, account, cause) => {
          const code = parseCode(context.body.agencyCode, '/agencyCode');
          const { id: toAgencyId } = await requireAgency(transaction, code, client(context).agencyCode);
          const { title, reason } = context.body;
          await transferAccount(transaction, { ...account, toAgencyId, title, reason }, cause);
        }),
    }),
    route({
      method: 'put',
      path: '/v1/accounts/{id}/name',
      summary: 'Gives a person another name; the username stays, and the address unless a new one is asked for',
      description:
        'With `newAddress` the address is made of the new name, and mail to the former one still arrives for a while. A certificate that names the person stays as it was signed until another is issued.',
      ...changing,
      body: z.strictObject({
        fullName: z.string().max(200).describe('Surname first, given name last'),
        newAddress: z.boolean().default(false),
      }),
      handle: (context) =>
        change(context, (transaction, account, cause) => {
          const { fullName, newAddress } = context.body;
          const newAddressBy = newAddress ? usernamePatterns : undefined;
          return renameAccount(transaction, { ...account, fullName, newAddressBy }, cause);
        }),
    }),
    route({
      method: 'put',
      path: '/v1/accounts/{id}/title',
      summary: 'Sets the title of an account',
      ...changing,
      body: z.strictObject({ title: title.nullable() }),
      handle: (context) =>
        change(context, (transaction, account, cause) =>
          changeTitle(transaction, { ...account, ...context.body }, cause),
        ),
    }),
    route({
      method: 'put',
      path: '/v1/accounts/{id}/holder',
      summary: 'Hands a position over to another holder, or to nobody',
      description:
        'The access of the one before ends at once: password, sessions, activation codes; certificates are revoked. The new holder needs an activation code.',
      ...changing,
      body: z.strictObject({ holderAccountId: z.uuid().nullable(), reason }),
      handle: (context) =>
        change(context, (transaction, account, cause) =>
          handOverPosition(transaction, { ...account, ...context.body }, cause),
        ),
    }),
    route({
      method: 'get',
      path: '/v1/accounts/{id}/holders',
      summary: 'Who held a position from when to when, newest first',
      permission: 'accounts:read',
      params: ById,
      query: PageQuery,
      response: pageOf(PositionHolding),
      handle: async (context) => {
        const { id } = context.params;
        await requireAccount(database, id, client(context).agencyCode);
        const { limit, cursor } = context.query;
        const rows = await listHoldings(database, id, limit, decodeTimeCursor(cursor));
        const { items, nextCursor } = toPage(rows, limit, (row) => [row.from, row.id]);
        const page = { items: items.map(({ id: _, ...holding }) => holding), nextCursor };
        return pageAnswer(page, `/v1/accounts/${id}/holders`, context.query);
      },
    }),
  ];
}
