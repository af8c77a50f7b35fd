/**
 * Wiring of the certificate service: configuration, connections, worker, HTTP. Nothing is decided here. The first process does the jobs,
 * and starts as many of this same program as are to answer HTTP.
 */
import { addJobs, openDatabase, startWorker } from '@congvu/database';
import {
  answersHttp,
  createLog,
  exitOnFault,
  parseConfig,
  remoteKeys,
  serve,
  serveInProcesses,
  tokenAuthentication,
} from '@congvu/http';
import { openLdap } from '@congvu/ldap';
import { createCertificateApp } from './app.ts';
import { openAuthorities } from './authorities/authorities.ts';
import { readBundle } from './authority/foreign-certificate.ts';
import { finishIssuing } from './certificates/finish-issuing.ts';
import { openIssuing } from './certificates/issue-certificate.ts';
import { configSchema } from './config.ts';
import { convergeCertificates, type EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import { convergenceJob } from './enrolments/convergence-job.ts';
import { forgetDeliveredKeys } from './enrolments/enrolment-store.ts';
import type { IssuedAccount } from './enrolments/issuing-store.ts';
import { askForUnpublished, publishIssued, publishUnpublished } from './enrolments/publish-certificates.ts';
import { openCsrReader } from './enrolments/read-csrs.ts';
import { openEndSpread } from './expiry/spread-ends.ts';
import { withdrawExpired } from './expiry/withdraw-expired.ts';
import { openKeyPool } from './keys/key-pool.ts';
import { openOcsp } from './ocsp/ocsp.ts';
import { followClosedAgencies } from './revocation/converge-revocation.ts';
import { publishCrl, publishCrls } from './revocation/publish-crl.ts';
import { revokeScheduled } from './revocation/revoke-certificate.ts';

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
  csrs: openCsrReader(),
  issue: openIssuing({
    database,
    authorities,
    organizationIdentifier: config.ORGANIZATION_IDENTIFIER,
    spreadEnds: openEndSpread(),
  }),
  wrappingKey,
  keys,
  serverKeyKind: config.SERVER_KEY_KIND,
};

if (answersHttp) await answerHttp();
else await doJobs();

async function doJobs(): Promise<never> {
  const { crlEnds } = authorities.root;
  if (crlEnds.getTime() < Date.now() + 30 * 86_400_000)
    log.warn(
      { crlEnds },
      'the CRL of the root ends soon: make the next one by `ceremony renew-crl` before readers refuse every chain',
    );
  const crl = { database, ldap, baseDn, authorities, crlHours: config.CRL_HOURS, deltaHours: config.DELTA_CRL_HOURS };

  const worker = await startWorker({
    url: config.DATABASE_URL,
    schema: 'certificate',
    log,
    concurrency: 4,
    probe: () => ldap.ping(),
    cron: {
      'renew-crl': '*/15 * * * *',
      'revoke-scheduled': '* * * * *',
      'follow-closed-agencies': '*/5 * * * *',
      'forget-keys': '* * * * *',
      'withdraw-expired': '*/5 * * * *',
      'finish-issuing': '* * * * *',
      'ask-for-unpublished': '* * * * *',
      'fill-key-pool': '* * * * *',
    },
    atStart: ['renew-crl', 'fill-key-pool'],
    tasks: {
      'converge-certificates': async ({ accountIds }: { accountIds: string[] }, signal) => {
        const [only] = accountIds;
        if (only && accountIds.length === 1) return convergeCertificates(dependencies, only);
        // Of many, one that fails gets a job of its own and holds up no other.
        const failed: string[] = [];
        for (const accountId of accountIds) {
          signal.throwIfAborted();
          await convergeCertificates(dependencies, accountId).catch((error: unknown) => {
            log.warn(
              { err: error, accountId },
              'certificates of one account among many failed; it is tried again alone',
            );
            failed.push(accountId);
          });
        }
        await addJobs(database, 'certificate', failed.map(convergenceJob));
      },
      'publish-crl': ({ authorityId, partition }: { authorityId: string; partition: number }) =>
        publishCrl(crl, authorityId, partition),
      'renew-crl': () => publishCrls(crl),
      'revoke-scheduled': () => revokeScheduled(database),
      'follow-closed-agencies': () => followClosedAgencies(database),
      'withdraw-expired': (_payload: object, signal: AbortSignal) => withdrawExpired(database, signal),
      'publish-certificates': ({ accounts }: { accounts: IssuedAccount[] }) => publishIssued(dependencies, accounts),
      'publish-unpublished': (_payload: object, signal: AbortSignal) => publishUnpublished(dependencies, signal),
      'ask-for-unpublished': () => askForUnpublished(database),
      'finish-issuing': () => finishIssuing(dependencies),
      'fill-key-pool': async () => void keys.fillUp(),
      'await-key': async ({ accountId }: { accountId: string }, signal) => {
        await keys.waitForKey(signal);
        await convergeCertificates(dependencies, accountId);
      },
      'forget-keys': async () => {
        await forgetDeliveredKeys(database);
      },
    },
  });
  await serveInProcesses({
    count: config.HTTP_PROCESSES,
    log,
    release: async () => {
      keys.stop();
      await worker.stop();
      await ldap.close();
      await database.destroy();
    },
  });
  return worker.failed;
}

async function answerHttp(): Promise<void> {
  const ocsp = await openOcsp({
    ...dependencies,
    databaseUrl: config.DATABASE_URL,
    ocspHours: config.OCSP_HOURS,
    ocspPrepared: config.OCSP_PREPARED,
    log,
  });

  const app = createCertificateApp({
    ...dependencies,
    ocsp,
    externalAuthorities: config.EXTERNAL_CA_CERTIFICATES ? readBundle(config.EXTERNAL_CA_CERTIFICATES) : undefined,
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
      await dependencies.csrs.stop();
      await ocsp.close();
      await ldap.close();
      await database.destroy();
    },
  });
  ocsp.keepReady();
}
