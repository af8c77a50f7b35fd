/** The directory service as an Express app; what tests load. */
import type { Database } from '@congvu/database';
import { pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Ldap } from '@congvu/ldap';
import type { UsernamePatterns } from '@congvu/vietnamese';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { credentialRoutes } from './accounts/credential-routes.ts';
import { defaultRetentionDays } from './accounts/retire-account.ts';
import { accountRoutes } from './accounts/routes.ts';
import { agencyRoutes } from './agencies/routes.ts';
import { auditRoutes } from './audit/routes.ts';
import { createRateLimit } from './clients/rate-limit.ts';
import { clientRoutes } from './clients/routes.ts';
import type { TokenIssuer } from './clients/token-issuer.ts';
import type { NationalIdSeal } from './people/national-id-seal.ts';
import { reconciliationRoutes } from './reconciliation/routes.ts';
import type { Deadlines } from './requests/deadlines.ts';
import { requestRoutes } from './requests/routes.ts';
import { searchRoutes } from './search/routes.ts';
import { serviceAccountRoutes } from './service-accounts/routes.ts';
import { sheetRoutes } from './sheets/routes.ts';

export interface DirectoryDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  seal: NationalIdSeal;
  tokens: TokenIssuer;
  authenticate: Authenticate;
  activationCodeDays: number;
  /** Where a holder redeems an activation code; stands on the slips. */
  activationUrl?: string | undefined;
  /** How long the mailbox of a retired account is kept, unless told. */
  retentionDays?: number | undefined;
  usernamePatterns: UsernamePatterns;
  deadlines: Deadlines;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export function createDirectoryApp(dependencies: DirectoryDependencies): Express {
  const { database, ldap, tokens, log, authenticate } = dependencies;
  const limitSignIn = createRateLimit(database, { name: 'sign-in', perIp: 60, perName: 10, seconds: 60 });
  const limitTokens = createRateLimit(database, { name: 'token', perIp: 300, perName: 60, seconds: 60 });
  return createApp({
    name: 'directory',
    title: 'Congvu directory',
    description: 'Agencies, requests and approvals, accounts, clients and tokens, audit.',
    version: '0.1.0',
    tokenUrl: `${tokens.issuer}/oauth/token`,
    log,
    authenticate,
    translateError: translateDatabaseError,
    trustProxy: dependencies.trustProxy,
    readiness: { database: () => pingDatabase(database), ldap: () => ldap.ping() },
    routes: [
      ...clientRoutes({ database, tokens, limitTokens }),
      ...agencyRoutes(database),
      ...requestRoutes(dependencies),
      ...accountRoutes({ ...dependencies, retentionDays: dependencies.retentionDays ?? defaultRetentionDays }),
      ...credentialRoutes({
        ...dependencies,
        limitSignIn,
        activationUrl: dependencies.activationUrl ?? tokens.issuer,
      }),
      ...serviceAccountRoutes(dependencies),
      ...sheetRoutes(dependencies),
      ...searchRoutes(database),
      ...auditRoutes(database),
      ...reconciliationRoutes(database),
    ],
  });
}
