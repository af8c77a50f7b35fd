/** Wiring of the directory service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { addJobs, openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createLocalJWKSet } from 'jose';
import { convergeEntries } from './accounts/converge-entry.ts';
import { takeOverdue } from './accounts/convergence-store.ts';
import { endSuspensions } from './accounts/end-suspensions.ts';
import { queueEntries, queueOtherParts } from './accounts/queue-convergence.ts';
import { convergeAgencies } from './agencies/converge-agencies.ts';
import { settleAgencies } from './agencies/settle-agencies.ts';
import { createDirectoryApp } from './app.ts';
import { createTokenIssuer } from './clients/token-issuer.ts';
import { configSchema } from './config.ts';
import { createNationalIdSeal } from './people/national-id-seal.ts';
import { runReconciliation } from './reconciliation/run-reconciliation.ts';
import { startScheduled } from './reconciliation/start-reconciliation.ts';
import { carryOutRest, openAccountsJob } from './requests/carry-out-lines.ts';
import { settleRequests } from './requests/settle-requests.ts';
import { listUnfinishedRequests } from './requests/work-store.ts';
import { searchOpened, searchRequest } from './search/search-store.ts';
import { convergeServiceAccounts } from './service-accounts/converge-service-accounts.ts';

const log = createLog('directory', process.env.LOG_LEVEL ?? 'info');
exitOnFault(log);
const config = parseConfig(configSchema, process.env);
const database = openDatabase({ url: config.DATABASE_URL, name: 'directory' });
const ldap = openLdap({ url: config.LDAP_URL, bindDn: config.LDAP_BIND_DN, password: config.LDAP_PASSWORD });
const tokens = await createTokenIssuer({ issuer: config.ISSUER_URL, signingKeyPem: config.TOKEN_SIGNING_KEY });
const baseDn = config.LDAP_BASE_DN;
const limits = { percent: config.RECONCILE_LARGE_PERCENT, atLeast: config.RECONCILE_LARGE_COUNT };

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'directory',
  log,
  concurrency: 8,
  probe: () => ldap.ping(),
  cron: {
    'queue-overdue': '* * * * *',
    'end-suspensions': '* * * * *',
    'settle-agencies': '* * * * *',
    'converge-service-accounts': '* * * * *',
    ...(config.RECONCILE_MODE === 'off'
      ? {}
      : { 'reconcile-all': config.RECONCILE_CRON, 'reconcile-service-accounts': config.RECONCILE_CRON }),
  },
  tasks: {
    'converge-entries': ({ accountIds }: { accountIds: string[] }) =>
      convergeEntries({ database, ldap, baseDn }, accountIds),
    'search-request': ({ requestId }: { requestId: string }, signal) => searchRequest(database, requestId, signal),
    // Asked for by an earlier version.
    'search-opened': ({ accountIds }: { accountIds: string[] }) => searchOpened(database, accountIds),
    'converge-agencies': (_: object, signal) => convergeAgencies(database, ldap, baseDn, signal),
    'converge-service-accounts': (_: object, signal) => convergeServiceAccounts({ database, ldap, baseDn }, signal),
    'reconcile-service-accounts': (_: object, signal) =>
      convergeServiceAccounts({ database, ldap, baseDn }, signal, 'all'),
    'end-suspensions': (_: object, signal) => endSuspensions(database, signal),
    'open-accounts': ({ requestId }: { requestId: string }, signal) =>
      carryOutRest(
        database,
        requestId,
        { usernamePatterns: config.USERNAME_PATTERNS, retentionDays: config.RETENTION_DAYS },
        signal,
      ),
    'settle-agencies': () => settleAgencies(database),
    'settle-requests': ({ accountIds }: { accountIds: string[] }) =>
      database.transaction((transaction) => settleRequests(transaction, accountIds)),
    reconcile: ({ id }: { id: string }, signal) => runReconciliation({ database, ldap, baseDn, limits }, id, signal),
    'reconcile-all': async () => {
      const { RECONCILE_MODE: mode } = config;
      if (mode === 'off') return;
      if (!(await startScheduled(database, mode))) log.info('the scheduled reconciliation waits for the next time');
    },
    // A net under everything: what is overdue is asked for again, whatever became of its jobs.
    'queue-overdue': async () => {
      await addJobs(database, 'directory', (await listUnfinishedRequests(database, 100)).map(openAccountsJob));
      await database.transaction(async (transaction) => {
        const ids = await takeOverdue(transaction, 200);
        if (ids.length === 0) return;
        log.warn({ count: ids.length }, 'accounts are overdue and are queued again');
        for (const id of ids) {
          await queueEntries(transaction, [id]);
          await queueOtherParts(transaction, [{ id }]);
        }
        await settleRequests(transaction, ids);
      });
    },
  },
});

const app = createDirectoryApp({
  database,
  ldap,
  baseDn,
  tokens,
  log,
  trustProxy: config.TRUST_PROXY,
  seal: createNationalIdSeal(config.PERSONAL_DATA_KEY, config.PERSONAL_DATA_INDEX_KEY),
  authenticate: tokenAuthentication({ issuer: tokens.issuer, keys: createLocalJWKSet(tokens.keySet) }),
  activationCodeDays: config.ACTIVATION_CODE_DAYS,
  activationUrl: config.ACTIVATION_URL,
  retentionDays: config.RETENTION_DAYS,
  usernamePatterns: config.USERNAME_PATTERNS,
  deadlines: { decisionDays: config.DECISION_DAYS, correctionDays: config.CORRECTION_DAYS },
});
await serve(app, {
  host: config.HOST,
  port: config.PORT,
  log,
  release: async () => {
    await worker.stop();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
