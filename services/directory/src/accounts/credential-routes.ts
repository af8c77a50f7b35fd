/** Activation codes, passwords and sign-in: what agencies hand over and what holders do themselves. */
import { ActivationCode, HolderToken } from '@congvu/contracts';
import { client, type Route, type RouteContext, route } from '@congvu/http';
import { z } from 'zod';
import { actorOf } from '../audit/audit-event.ts';
import type { RateLimit } from '../clients/rate-limit.ts';
import { activateAccount, type SignInDependencies, signIn } from './activate-account.ts';
import { type CodeRules, issueActivationCode } from './issue-activation-code.ts';

export interface CredentialDependencies extends SignInDependencies {
  activationCodeDays: number;
  limitSignIn: RateLimit;
}

const ById = z.object({ id: z.uuid() });
const password = z.string().min(10, 'A password has at least 10 characters.').max(200);

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
