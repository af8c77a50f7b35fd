/** The mailbox service as an Express app; what tests load. */
import type { NoticeLanguage } from '@congvu/contracts';
import { pingDatabase, translateDatabaseError } from '@congvu/database';
import { type Authenticate, createApp } from '@congvu/http';
import type { Express } from 'express';
import type { Logger } from 'pino';
import { aliasRoutes } from './aliases/routes.ts';
import { domainRoutes } from './domains/routes.ts';
import { groupRoutes } from './groups/routes.ts';
import { quotaRoutes } from './mailboxes/quota-routes.ts';
import { type MailboxRouteDependencies, mailboxRoutes } from './mailboxes/routes.ts';
import { sharingRoutes } from './mailboxes/sharing-routes.ts';
import type { MailTransport } from './notices/mail-transport.ts';
import { noticeRoutes } from './notices/routes.ts';
import type { SigningKey } from './notices/signing-key.ts';
import type { Templates } from './notices/templates.ts';
import type { Postfix } from './postfix/postfix.ts';
import { usageRoutes } from './usage/routes.ts';

export interface MailboxAppDependencies extends MailboxRouteDependencies {
  mail: MailTransport;
  templates: Templates;
  /** Of notices, where none was chosen. */
  language: NoticeLanguage;
  signingKey: SigningKey;
  /** Absent where there is none. */
  postfix?: Postfix | undefined;
  /** Besides our own: where mail may be forwarded to. */
  forwardDomains: readonly string[];
  authenticate: Authenticate;
  issuerUrl: string;
  /** Express's `trust proxy`; nobody is believed unless told. */
  trustProxy?: string | undefined;
  log: Logger;
}

export function createMailboxApp(dependencies: MailboxAppDependencies): Express {
  const { database, ldap, doveadm, mail, postfix, authenticate, issuerUrl, trustProxy, log } = dependencies;
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
      ...(postfix ? { postfix: () => postfix.ping() } : {}),
    },
    routes: [
      ...mailboxRoutes(dependencies),
      ...sharingRoutes(dependencies),
      ...quotaRoutes(dependencies),
      ...domainRoutes(dependencies),
      ...aliasRoutes(dependencies),
      ...noticeRoutes(dependencies),
      ...groupRoutes(dependencies),
      ...usageRoutes(database),
    ],
  });
}
