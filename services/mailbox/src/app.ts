/** The mailbox service as an Express app; what tests load. */
import { pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { quotaRoutes } from './mailboxes/quota-routes.ts';
import { type MailboxRouteDependencies, mailboxRoutes } from './mailboxes/routes.ts';
import { sharingRoutes } from './mailboxes/sharing-routes.ts';
import type { MailTransport } from './notices/mail-transport.ts';
import { noticeRoutes } from './notices/routes.ts';

export interface MailboxAppDependencies extends MailboxRouteDependencies {
  mail: MailTransport;
  authenticate: Authenticate;
  issuerUrl: string;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export function createMailboxApp(dependencies: MailboxAppDependencies): Express {
  const { database, ldap, doveadm, mail, authenticate, issuerUrl, trustProxy, log } = dependencies;
  return createApp({
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
      ...mailboxRoutes(dependencies),
      ...sharingRoutes(dependencies),
      ...quotaRoutes(dependencies),
      ...noticeRoutes(database),
    ],
  });
}
