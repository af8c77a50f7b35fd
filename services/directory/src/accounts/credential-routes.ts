/** Activation codes, passwords and sign-in: what agencies hand over and what holders do themselves. */
import { ActivationCode, HolderToken } from '@congvu/contracts';
import { client, type Route, type RouteContext, route } from '@congvu/http';
import { z } from 'zod';
import { actorOf, scopedActorOf } from '../audit/audit-event.ts';
import type { RateLimit } from '../clients/rate-limit.ts';
import { requireSummary } from '../requests/request-store.ts';
import { activateAccount, type SignInDependencies, signIn } from './activate-account.ts';
import { changePassword } from './change-password.ts';
import { type CodeRules, issueActivationCode } from './issue-activation-code.ts';
import { printSlipsOfAccounts, printSlipsOfRequest, type SlipDependencies } from './print-activation-slips.ts';
import { unlockAccount } from './unlock-account.ts';

export interface CredentialDependencies extends SignInDependencies, SlipDependencies {
  activationCodeDays: number;
  limitSignIn: RateLimit;
}

const ById = z.object({ id: z.uuid() });
const password = z.string().min(10, 'A password has at least 10 characters.').max(200);

const slipAnswer = (document: AsyncIterable<Buffer>) => ({
  headers: {
    'Content-Type': 'application/pdf',
    'Content-Disposition': 'attachment; filename="phieu-kich-hoat.pdf"',
    'Cache-Control': 'no-store',
  },
  body: document,
});

export function credentialRoutes(dependencies: CredentialDependencies): Route[] {
  const { database, limitSignIn, activationCodeDays } = dependencies;
  const codeRules = (context: RouteContext): CodeRules => ({
    days: activationCodeDays,
    mayReset: client(context).permissions.has('passwords:reset'),
  });
  return [
    route({
      method: 'post',
      path: '/v1/accounts/{id}/activation-code',
      summary: 'Makes a single-use activation code, shown this once',
      description: 'For an account whose holder has set a password already it is a reset, and needs passwords:reset.',
      permission: ['activation-codes:issue', 'passwords:reset'],
      params: ById,
      status: 201,
      response: ActivationCode,
      handle: async (context) => {
        const { accountId, address, code, expiresAt } = await database.transaction((transaction) =>
          issueActivationCode(transaction, context.params.id, codeRules(context), {
            actor: actorOf(context),
            requestId: null,
          }),
        );
        return { headers: { 'Cache-Control': 'no-store' }, body: { accountId, address, code, expiresAt } };
      },
    }),
    route({
      method: 'post',
      path: '/v1/activation-slips',
      summary: 'Prints activation slips: one with a new code for each account named',
      description:
        'A PDF in Vietnamese, three slips to a page, to be cut and handed over. Each slip voids the code before. Accounts that have a password already are left out without passwords:reset; who was left out stands at the end.',
      permission: ['activation-codes:issue', 'passwords:reset'],
      body: z.strictObject({ accountIds: z.array(z.uuid()).min(1).max(500) }),
      produces: ['application/pdf'],
      handle: async (context) =>
        slipAnswer(
          await printSlipsOfAccounts(dependencies, context.body.accountIds, codeRules(context), scopedActorOf(context)),
        ),
    }),
    route({
      method: 'post',
      path: '/v1/requests/{id}/activation-slips',
      summary: 'Prints activation slips for all accounts that a request opened',
      description: 'As POST /v1/activation-slips, in the order of the request.',
      permission: ['activation-codes:issue', 'passwords:reset'],
      params: ById,
      produces: ['application/pdf'],
      handle: async (context) => {
        const { id } = context.params;
        await requireSummary(database, id, client(context).agencyCode);
        return slipAnswer(await printSlipsOfRequest(dependencies, id, codeRules(context), scopedActorOf(context)));
      },
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/unlock',
      summary: 'Takes away the lock that too many wrong passwords left',
      description: 'It would end by itself after five minutes. A suspension is another thing and stays.',
      permission: 'passwords:reset',
      params: ById,
      status: 204,
      handle: async (context) => {
        await unlockAccount(dependencies, context.params.id, { actor: actorOf(context), requestId: null });
        return {};
      },
    }),
    route({
      method: 'put',
      path: '/v1/password',
      summary: 'The holder changes the own password, knowing the one before',
      permission: 'public',
      body: z.strictObject({
        account: z.string().trim().min(1).max(254).describe('Address or username'),
        password: z.string().min(1).max(200),
        newPassword: password,
      }),
      status: 204,
      handle: async (context) => {
        await limitSignIn(context.ip, context.body.account);
        await changePassword(dependencies, context.body, context.ip);
        return {};
      },
    }),
    route({
      method: 'post',
      path: '/v1/activations',
      summary: 'Redeems an activation code: the holder sets the password',
      permission: 'public',
      body: z.strictObject({
        account: z.string().trim().min(1).max(254).describe('Address or username'),
        code: z.string().trim().min(1).max(40),
        password,
      }),
      response: HolderToken,
      handle: async (context) => {
        await limitSignIn(context.ip, context.body.account);
        return {
          headers: { 'Cache-Control': 'no-store' },
          body: await activateAccount(dependencies, context.body, context.ip),
        };
      },
    }),
    route({
      method: 'post',
      path: '/v1/holder-tokens',
      summary: 'Signs a holder in with the own password, for the own account alone',
      permission: 'public',
      body: z.strictObject({ account: z.string().trim().min(1).max(254), password: z.string().min(1).max(200) }),
      response: HolderToken,
      handle: async (context) => {
        await limitSignIn(context.ip, context.body.account);
        return { headers: { 'Cache-Control': 'no-store' }, body: await signIn(dependencies, context.body) };
      },
    }),
  ];
}
