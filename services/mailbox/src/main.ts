/** Wiring of the mailbox service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createMailboxApp } from './app.ts';
import { configSchema } from './config.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { convergeAgencyLists } from './groups/converge-agency-lists.ts';
import { convergeGroups } from './groups/converge-groups.ts';
import { convergeMailboxes, queueLetters } from './mailboxes/converge-mailboxes.ts';
import { openMailTransport } from './notices/mail-transport.ts';
import type { NoticeKind } from './notices/notice-store.ts';
import { sendNotice } from './notices/send-notice.ts';
import { startPostingServer } from './posting/posting-server.ts';

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
  // Agencies that were there before their lists, or changed while nothing ran.
  atStart: ['converge-agency-lists'],
  // Beside the directory's reconciliation, at night in Việt Nam.
  cron: { 'repair-groups': '20 18 * * *' },
  probe: () => Promise.all([ldap.ping(), doveadm.ping(), mail.ping()]),
  tasks: {
    'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) =>
      convergeMailboxes(
        { database, ldap, doveadm, baseDn: config.LDAP_BASE_DN, quotaBytes: config.MAIL_QUOTA_BYTES },
        accountIds,
      ),
    'converge-groups': () => convergeGroups({ database, ldap, baseDn: config.LDAP_BASE_DN }),
    'repair-groups': () => convergeGroups({ database, ldap, baseDn: config.LDAP_BASE_DN }, 'all'),
    'converge-agency-lists': ({ agencyIds }: { agencyIds?: string[] }) =>
      convergeAgencyLists(
        database,
        {
          namePattern: config.AGENCY_LIST_NAME,
          provinceName: config.PROVINCE_LIST_NAME,
          posting: 'members',
          provincePosting: 'moderators',
        },
        agencyIds,
      ),
    'queue-letters': ({ accountIds }: { accountIds: string[] }) => queueLetters(database, accountIds),
    'send-notice': ({ kind, subjectId }: { kind: NoticeKind; subjectId: string }) =>
      sendNotice({ database, mail, domain: config.MAIL_DOMAIN }, kind, subjectId),
  },
});

const posting = await startPostingServer(
  {
    database,
    ldap,
    baseDn: config.LDAP_BASE_DN,
    domain: config.MAIL_DOMAIN,
    maxListMessageBytes: config.LIST_MESSAGE_BYTES,
    log,
  },
  { host: config.POSTING_HOST, port: config.POSTING_PORT },
);
const app = createMailboxApp({
  database,
  ldap,
  doveadm,
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
    await posting.stop();
    await worker.stop();
    mail.close();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
