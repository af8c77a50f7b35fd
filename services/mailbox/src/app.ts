/** The mailbox service as an Express app; what tests load. */
import { type Database, pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Ldap } from '@congvu/ldap';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { aliasRoutes } from './aliases/routes.ts';
import { domainRoutes } from './domains/routes.ts';
import type { Doveadm } from './dovecot/doveadm.ts';
import { mailboxRoutes } from './mailboxes/routes.ts';
import type { MailTransport } from './notices/mail-transport.ts';
import { noticeRoutes } from './notices/routes.ts';

export interface MailboxAppDependencies {
  database: Database;
  ldap: Ldap;
  doveadm: Doveadm;
  mail: MailTransport;
  /** The province's own mail domain. */
  domain: string;
  /** Of others: where mail may be forwarded to. */
  forwardDomains: readonly string[];
  authenticate: Authenticate;
  issuerUrl: string;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export const createMailboxApp = ({
  database,
  ldap,
  doveadm,
  mail,
  domain,
  forwardDomains,
  authenticate,
  issuerUrl,
  trustProxy,
  log,
}: MailboxAppDependencies): Express =>
  createApp({
    name: 'mailbox',
    title: 'Congvu mailbox',
    description: 'Mailboxes behind accounts, and the notices sent to them.',
    version: '0.1.0',
    tokenUrl: `${issuerUrl}/oauth/token`,
    log,
    authenticate,
    translateError: translateDatabaseError,
    trustProxy,
    readiness: {
      database: () => pingDatabase(database),
      ldap: () => ldap.ping(),
      dovecot: () => doveadm.ping(),
      mail: () => mail.ping(),
    },
    routes: [
      ...mailboxRoutes(database),
      ...domainRoutes({ database, domain }),
      ...aliasRoutes({ database, domain, forwardDomains }),
      ...noticeRoutes(database),
    ],
  });
