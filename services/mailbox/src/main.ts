/** Wiring of the mailbox service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createMailboxApp } from './app.ts';
import { configSchema } from './config.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { convergeMailboxes, queueLetters } from './mailboxes/converge-mailboxes.ts';
import { openMailTransport } from './notices/mail-transport.ts';
import type { NoticeIdentity } from './notices/notice-store.ts';
import { queueDigests } from './notices/queue-digests.ts';
import { queueExpiries } from './notices/queue-expiries.ts';
import { queueStranded } from './notices/queue-notices.ts';
import { sendNotice } from './notices/send-notice.ts';
import { openTemplates } from './notices/templates.ts';

const log = createLog('mailbox', process.env.LOG_LEVEL ?? 'info');
exitOnFault(log);
const config = parseConfig(configSchema, process.env);
const database = openDatabase({ url: config.DATABASE_URL, name: 'mailbox' });
const ldap = openLdap({ url: config.LDAP_URL, bindDn: config.LDAP_BIND_DN, password: config.LDAP_PASSWORD });
const doveadm = connectDoveadm({ url: config.DOVEADM_URL, apiKey: config.DOVEADM_API_KEY });
const signingKey = {
  domain: config.MAIL_DOMAIN,
  selector: config.NOTICE_DKIM_SELECTOR,
  privateKey: config.NOTICE_DKIM_KEY,
};
const mail = openMailTransport({
  transport: config.NOTICE_TRANSPORT,
  host: config.NOTICE_HOST,
  port: config.NOTICE_PORT,
  from: config.NOTICE_FROM,
  password: config.NOTICE_PASSWORD,
  tlsCa: config.NOTICE_TLS_CA,
  signingKey,
});
const notices = {
  database,
  mail,
  log,
  templates: openTemplates(config.TEMPLATES_DIRECTORY),
  language: config.NOTICE_LANGUAGE,
  domain: config.MAIL_DOMAIN,
  messageKey: config.NOTICE_MESSAGE_KEY,
};

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'mailbox',
  log,
  concurrency: 8,
  probe: () => Promise.all([ldap.ping(), doveadm.ping(), mail.ping()]),
  cron: { 'queue-expiries': '20 * * * *', 'queue-digests': '0 * * * *', 'queue-stranded': '40 * * * *' },
  tasks: {
    'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) =>
      convergeMailboxes(
        { database, ldap, doveadm, baseDn: config.LDAP_BASE_DN, quotaBytes: config.MAIL_QUOTA_BYTES },
        accountIds,
      ),
    'queue-letters': ({ accountIds }: { accountIds: string[] }) => queueLetters(database, accountIds),
    'send-notice': (notice: NoticeIdentity) => sendNotice(notices, notice),
    'queue-expiries': (_: object, signal) => queueExpiries(database, config.EXPIRY_NOTICE_DAYS, signal),
    'queue-digests': () => queueDigests(notices, config.DIGEST_RECIPIENTS),
    'queue-stranded': (_: object, signal) => queueStranded(database, signal),
  },
});

const app = createMailboxApp({
  ...notices,
  ldap,
  signingKey,
  doveadm,
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
