/** Wiring of the mailbox service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { inTurn, openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { endAliases } from './aliases/change-aliases.ts';
import { createMailboxApp } from './app.ts';
import { configSchema } from './config.ts';
import { convergeDomains, queueDomains } from './domains/converge-domains.ts';
import { connectDoveadm } from './dovecot/doveadm.ts';
import { convergeAgencyLists } from './groups/converge-agency-lists.ts';
import { convergeGroups } from './groups/converge-groups.ts';
import { endLostRoles } from './groups/end-roles.ts';
import { applySettings } from './mailboxes/apply-settings.ts';
import { applyQuotas } from './mailboxes/change-quotas.ts';
import { convergeAccess } from './mailboxes/converge-access.ts';
import { convergeMailboxes, queueLetters } from './mailboxes/converge-mailboxes.ts';
import { convergeOwnMailbox } from './mailboxes/converge-own-mailbox.ts';
import { purgeMailboxes } from './mailboxes/purge-mailboxes.ts';
import { openMailTransport } from './notices/mail-transport.ts';
import type { NoticeIdentity } from './notices/notice-store.ts';
import { queueCertificateEnds } from './notices/queue-certificate-ends.ts';
import { queueDigests } from './notices/queue-digests.ts';
import { queueExpiries } from './notices/queue-expiries.ts';
import { queueStranded } from './notices/queue-notices.ts';
import { sendNotice } from './notices/send-notice.ts';
import { openTemplates } from './notices/templates.ts';
import { connectPostfix } from './postfix/postfix.ts';
import { startPostingServer } from './posting/posting-server.ts';
import { followLogs } from './usage/follow-logs.ts';
import { keepUsage } from './usage/keep-usage.ts';
import { measureQuota } from './usage/measure-quota.ts';

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

const mailboxes = {
  database,
  ldap,
  doveadm,
  baseDn: config.LDAP_BASE_DN,
  quotaBytes: config.MAIL_QUOTA_BYTES,
  suspendedMail: config.SUSPENDED_MAIL,
  domain: config.MAIL_DOMAIN,
  aliasDays: config.ALIAS_DAYS,
};

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'mailbox',
  log,
  concurrency: 8,
  // The lists of agencies that were there before, or changed while nothing ran.
  atStart: ['apply-settings', 'converge-agency-lists', 'end-aliases', 'follow-domains'],
  probe: () => Promise.all([ldap.ping(), doveadm.ping(), mail.ping()]),
  tasks: {
    'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) => convergeMailboxes(mailboxes, accountIds),
    'converge-own-mailbox': ({ mailboxId }: { mailboxId: string }) => convergeOwnMailbox(mailboxes, mailboxId),
    'converge-access': ({ mailboxId }: { mailboxId: string }) => convergeAccess(mailboxes, mailboxId),
    'apply-settings': () => applySettings({ ...mailboxes, forwardDomains: config.FORWARD_DOMAINS }),
    'apply-quotas': () => applyQuotas(mailboxes),
    'purge-mailboxes': (_payload: object, signal: AbortSignal) => purgeMailboxes(mailboxes, signal),
    'converge-groups': inTurn(() => convergeGroups({ database, ldap, baseDn: config.LDAP_BASE_DN })),
    'repair-groups': async () => {
      await endLostRoles(database); // also of those whose agency was put elsewhere
      await convergeGroups({ database, ldap, baseDn: config.LDAP_BASE_DN }, 'all');
    },
    'converge-agency-lists': ({ agencyIds }: { agencyIds?: string[] }) =>
      convergeAgencyLists(
        { database, domain: config.MAIL_DOMAIN },
        {
          namePattern: config.AGENCY_LIST_NAME,
          provinceName: config.PROVINCE_LIST_NAME,
          posting: 'members',
          provincePosting: 'moderators',
        },
        agencyIds,
      ),
    'converge-domains': () =>
      convergeDomains({ database, ldap, baseDn: config.LDAP_BASE_DN, domain: config.MAIL_DOMAIN }),
    'follow-domains': () => queueDomains(database),
    'end-aliases': (_payload: object, signal) => endAliases(database, signal),
    'queue-letters': ({ accountIds }: { accountIds: string[] }) => queueLetters(database, accountIds),
    'send-notice': (notice: NoticeIdentity) => sendNotice(notices, notice),
    'queue-expiries': (_payload: object, signal) => queueExpiries(database, config.EXPIRY_NOTICE_DAYS, signal),
    'queue-certificate-ends': (_payload: object, signal) => queueCertificateEnds(database, signal),
    'queue-digests': () => queueDigests(notices, config.DIGEST_RECIPIENTS),
    // Within its minute, so that no two run at once.
    'measure-quota': (_payload: object, signal: AbortSignal) =>
      measureQuota({ database, doveadm }, { usedSince: true }, signal, { budgetMs: 45_000 }),
    'keep-usage': (_payload: object, signal: AbortSignal) =>
      keepUsage({ database, doveadm, log, days: config.USAGE_DAYS }, signal),
    'queue-stranded': (_payload: object, signal) => queueStranded(database, signal),
  },
  cron: {
    'end-aliases': '1 * * * *', // days end at midnight in Việt Nam
    'follow-domains': '2 * * * *', // those of agencies that are new
    'queue-expiries': '20 * * * *',
    'queue-certificate-ends': '30 * * * *',
    'queue-digests': '0 * * * *',
    'queue-stranded': '40 * * * *',
    'measure-quota': '* * * * *',
    'keep-usage': '30 17 * * *', // all are measured, at 0:30 in Việt Nam
    'apply-settings': '0 18 * * *', // mailboxes that are nobody's account, as the directory's reconciliation those that are
    'repair-groups': '20 18 * * *', // beside the directory's reconciliation
    'purge-mailboxes': '30 18 * * *', // half past one there
  },
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
  ...notices,
  ...mailboxes,
  retentionDays: config.RETENTION_DAYS,
  forwardDomains: config.FORWARD_DOMAINS,
  signingKey,
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
    await posting.stop();
    await worker.stop();
    mail.close();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
