/** Wiring of the mailbox service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createMailboxApp } from './app.ts';
import { configSchema } from './config.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { convergeMailboxes, queueLetters } from './mailboxes/converge-mailboxes.ts';
import { openMailTransport } from './notices/mail-transport.ts';
import type { NoticeKind } from './notices/notice-store.ts';
import { sendNotice } from './notices/send-notice.ts';
import { connectPostfix } from './postfix/postfix.ts';
import { followLogs } from './usage/follow-logs.ts';
import { keepUsage } from './usage/keep-usage.ts';
import { measureQuota } from './usage/measure-quota.ts';

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

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'mailbox',
  log,
  concurrency: 8,
  probe: () => Promise.all([ldap.ping(), doveadm.ping(), mail.ping()]),
  tasks: {
    'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) =>
      convergeMailboxes(
        { database, ldap, doveadm, baseDn: config.LDAP_BASE_DN, quotaBytes: config.MAIL_QUOTA_BYTES },
        accountIds,
      ),
    'queue-letters': ({ accountIds }: { accountIds: string[] }) => queueLetters(database, accountIds),
    'send-notice': ({ kind, subjectId }: { kind: NoticeKind; subjectId: string }) =>
      sendNotice({ database, mail, domain: config.MAIL_DOMAIN }, kind, subjectId),
    // Within its minute, so that no two run at once.
    'measure-quota': (_payload: object, signal: AbortSignal) =>
      measureQuota({ database, doveadm }, { usedSince: true }, signal, { budgetMs: 45_000 }),
    'keep-usage': (_payload: object, signal: AbortSignal) =>
      keepUsage({ database, doveadm, log, days: config.USAGE_DAYS }, signal),
  },
  // At 0:30 in Việt Nam all are measured.
  cron: { 'measure-quota': '* * * * *', 'keep-usage': '30 17 * * *' },
});
const logs = [
  { name: 'postfix', path: config.POSTFIX_LOG },
  { name: 'dovecot', path: config.DOVECOT_LOG },
] as const;
const follower = followLogs({
  database,
  logs: logs.flatMap(({ name, path }) => (path ? [{ name, path }] : [])),
  log,
});

const app = createMailboxApp({
  database,
  ldap,
  doveadm,
  mail,
  postfix: config.POSTFIX_ADDRESS ? connectPostfix(config.POSTFIX_ADDRESS) : undefined,
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
    await follower.stop();
    await worker.stop();
    mail.close();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
