/** Wiring of the mailbox service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createMailboxApp } from './app.ts';
import { configSchema } from './config.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { applySettings } from './mailboxes/apply-settings.ts';
import { applyQuotas } from './mailboxes/change-quotas.ts';
import { convergeAccess } from './mailboxes/converge-access.ts';
import { convergeMailboxes, queueLetters } from './mailboxes/converge-mailboxes.ts';
import { convergeOwnMailbox } from './mailboxes/converge-own-mailbox.ts';
import { purgeMailboxes } from './mailboxes/purge-mailboxes.ts';
import { openMailTransport } from './notices/mail-transport.ts';
import type { NoticeKind } from './notices/notice-store.ts';
import { sendNotice } from './notices/send-notice.ts';

const log = createLog('mailbox', process.env.LOG_LEVEL ?? 'info');
exitOnFault(log);
const config = parseConfig(configSchema, process.env);
const database = openDatabase({ url: config.DATABASE_URL, name: 'mailbox' });
const ldap = openLdap({ url: config.LDAP_URL, bindDn: config.LDAP_BIND_DN, password: config.LDAP_PASSWORD });
const doveadm = connectDoveadm({ url: config.DOVEADM_URL, apiKey: config.DOVEADM_API_KEY });
const mail = openMailTransport({
  transport: config.NOTICE_TRANSPORT,
  host: config.NOTICE_HOST,
  port: config.NOTICE_PORT,
  from: config.NOTICE_FROM,
  password: config.NOTICE_PASSWORD,
  tlsCa: config.NOTICE_TLS_CA,
});

const mailboxes = {
  database,
  ldap,
  doveadm,
  baseDn: config.LDAP_BASE_DN,
  quotaBytes: config.MAIL_QUOTA_BYTES,
  suspendedMail: config.SUSPENDED_MAIL,
};

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'mailbox',
  log,
  concurrency: 8,
  atStart: ['apply-settings'],
  // At night in Vietnam.
  cron: { 'purge-mailboxes': '30 18 * * *', 'apply-settings': '0 18 * * *' },
  probe: () => Promise.all([ldap.ping(), doveadm.ping(), mail.ping()]),
  tasks: {
    'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) => convergeMailboxes(mailboxes, accountIds),
    'converge-own-mailbox': ({ mailboxId }: { mailboxId: string }) => convergeOwnMailbox(mailboxes, mailboxId),
    'converge-access': ({ mailboxId }: { mailboxId: string }) => convergeAccess(mailboxes, mailboxId),
    'apply-settings': () => applySettings(mailboxes),
    'apply-quotas': () => applyQuotas(mailboxes),
    'purge-mailboxes': (_: object, signal: AbortSignal) => purgeMailboxes(mailboxes, signal),
    'queue-letters': ({ accountIds }: { accountIds: string[] }) => queueLetters(database, accountIds),
    'send-notice': ({ kind, subjectId }: { kind: NoticeKind; subjectId: string }) =>
      sendNotice({ database, mail, domain: config.MAIL_DOMAIN }, kind, subjectId),
  },
});

const app = createMailboxApp({
  ...mailboxes,
  domain: config.MAIL_DOMAIN,
  retentionDays: config.RETENTION_DAYS,
  mail,
  log,
  trustProxy: config.TRUST_PROXY,
  issuerUrl: config.ISSUER_URL,
  authenticate: tokenAuthentication({
    issuer: config.ISSUER_URL,
    keys: remoteKeys(config.JWKS_URL ?? `${config.ISSUER_URL}/.well-known/jwks.json`),
  }),
});
await serve(app, {
  host: config.HOST,
  port: config.PORT,
  log,
  release: async () => {
    await worker.stop();
    mail.close();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
