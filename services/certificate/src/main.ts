/** Wiring of the certificate service: configuration, connections, worker, HTTP. Nothing is decided here. */
import { addJobs, openDatabase, startWorker } from '@congvu/database';
import { createLog, exitOnFault, parseConfig, remoteKeys, serve, tokenAuthentication } from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createCertificateApp } from './app.ts';
import { openAuthorities } from './authorities/authorities.ts';
import { listAccountsOfExpired } from './certificates/certificate-store.ts';
import { finishIssuing } from './certificates/finish-issuing.ts';
import { openIssuing } from './certificates/issue-certificate.ts';
import { configSchema } from './config.ts';
import { convergeCertificates, type EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import { convergenceJob } from './enrolments/convergence-job.ts';
import { forgetDeliveredKeys } from './enrolments/enrolment-store.ts';
import { publishIssued } from './enrolments/publish-certificates.ts';
import { openKeyPool } from './keys/key-pool.ts';
import { publishCrl } from './revocation/publish-crl.ts';

const log = createLog('certificate', process.env.LOG_LEVEL ?? 'info');
exitOnFault(log);
const config = parseConfig(configSchema, process.env);
const database = openDatabase({ url: config.DATABASE_URL, name: 'certificate' });
const ldap = openLdap({ url: config.LDAP_URL, bindDn: config.LDAP_BIND_DN, password: config.LDAP_PASSWORD });
const authorities = await openAuthorities(database, config);
const baseDn = config.LDAP_BASE_DN;
const wrappingKey = { id: config.KEY_WRAPPING_KEY_ID, key: config.KEY_WRAPPING_KEY };
const keys = openKeyPool({
  database,
  wrappingKey,
  keyKind: config.SERVER_KEY_KIND,
  size: config.KEY_POOL_SIZE,
  onFailure: (error) => log.warn({ err: error }, 'no keys could be made ahead; they are made later'),
});
const dependencies: EnrolmentDependencies = {
  database,
  ldap,
  baseDn,
  authorities,
  organizationIdentifier: config.ORGANIZATION_IDENTIFIER,
  issue: openIssuing({ database, authorities, organizationIdentifier: config.ORGANIZATION_IDENTIFIER }),
  wrappingKey,
  keys,
  serverKeyKind: config.SERVER_KEY_KIND,
};
const crl = { database, ldap, baseDn, authorities, crlHours: config.CRL_HOURS };

const worker = await startWorker({
  url: config.DATABASE_URL,
  schema: 'certificate',
  log,
  concurrency: 4,
  probe: () => ldap.ping(),
  cron: {
    'renew-crl': '*/15 * * * *',
    'forget-keys': '* * * * *',
    'withdraw-expired': '0 * * * *',
    'finish-issuing': '* * * * *',
  },
  atStart: ['renew-crl'],
  tasks: {
    'converge-certificates': async ({ accountIds }: { accountIds: string[] }, signal) => {
      const [only] = accountIds;
      if (only && accountIds.length === 1) return convergeCertificates(dependencies, only);
      // Of many, one that fails gets a job of its own and holds up no other.
      const failed: string[] = [];
      for (const accountId of accountIds) {
        signal.throwIfAborted();
        await convergeCertificates(dependencies, accountId).catch((error: unknown) => {
          log.warn({ err: error, accountId }, 'certificates of one account among many failed; it is tried again alone');
          failed.push(accountId);
        });
      }
      await addJobs(database, 'certificate', failed.map(convergenceJob));
    },
    'publish-certificates': ({ accountIds }: { accountIds: string[] }) => publishIssued(dependencies, accountIds),
    'finish-issuing': () => finishIssuing(dependencies),
    'fill-key-pool': async () => void keys.fillUp(),
    'await-key': async ({ accountId }: { accountId: string }, signal) => {
      await keys.waitForKey(signal);
      await convergeCertificates(dependencies, accountId);
    },
    'publish-crl': ({ authorityId, force }: { authorityId: string; force: boolean }) =>
      publishCrl(crl, authorityId, force),
    'renew-crl': async () => {
      for (const { id } of authorities.all) await publishCrl(crl, id, false);
    },
    // LDAP holds the valid ones only: those that ran out since about the last time.
    'withdraw-expired': async () => {
      const accountIds = await listAccountsOfExpired(database, 2);
      await addJobs(database, 'certificate', accountIds.map(convergenceJob));
    },
    'forget-keys': async () => {
      await forgetDeliveredKeys(database);
    },
  },
});

const app = createCertificateApp({
  ...dependencies,
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
    keys.stop();
    await worker.stop();
    await ldap.close();
    await database.destroy();
  },
});
await worker.failed;
