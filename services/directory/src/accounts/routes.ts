/** Accounts: read, suspend, resume, activation codes; and what holders do themselves. */
import { Account, ActivationCode, HolderToken, lineOfText } from '@congvu/contracts';
import { client, type Route, type RouteContext, route, versionTag } from '@congvu/http';
import { z } from 'zod';
import { scopedActorOf } from '../audit/audit-event.ts';
import type { RateLimit } from '../clients/rate-limit.ts';
import { requireAccount } from './account-store.ts';
import { activateAccount, type SignInDependencies, signIn } from './activate-account.ts';
import { issueActivationCode } from './issue-activation-code.ts';
import { changeAccountState } from './suspend-account.ts';

export interface AccountDependencies extends SignInDependencies {
  activationCodeDays: number;
  limitSignIn: RateLimit;
}

const ById = z.object({ id: z.uuid() });
const Reason = z.strictObject({ reason: lineOfText(500) });
const password = z.string().min(10, 'A password has at least 10 characters.').max(200);

export function accountRoutes(dependencies: AccountDependencies): Route[] {
  const { database, limitSignIn } = dependencies;
  const change = async (
    context: RouteContext<{ id: string }, unknown, { reason: string }>,
    to: 'active' | 'suspended',
  ) => {
    const version = context.ifMatchVersion;
    const account = await changeAccountState(
      database,
      context.params.id,
      { to, reason: context.body.reason, version },
      scopedActorOf(context),
    );
    return { headers: versionTag(account), body: account };
  };
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
      permission: 'accounts:write',
      params: ById,
      body: Reason,
      response: Account,
      handle: (context) => change(context, 'suspended'),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/resume',
      summary: 'Lets a suspended account resume',
      permission: 'accounts:write',
      params: ById,
      body: Reason,
      response: Account,
      handle: (context) => change(context, 'active'),
    }),
    route({
      method: 'post',
      path: '/v1/accounts/{id}/activation-code',
      summary: 'Makes a single-use activation code, shown this once',
      description: 'For an account whose holder has set a password already it is a reset, and needs passwords:reset.',
      permission: ['activation-codes:issue', 'passwords:reset'],
      params: ById,
      status: 201,
      response: ActivationCode,
      handle: async (context) => ({
        headers: { 'Cache-Control': 'no-store' },
        body: await issueActivationCode(
          database,
          context.params.id,
          dependencies.activationCodeDays,
          client(context).permissions.has('passwords:reset'),
          scopedActorOf(context),
        ),
      }),
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
