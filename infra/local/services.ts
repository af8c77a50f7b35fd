/**
 * The three services on top of the engines: schemas migrated, authorities made once, secrets made once, processes started
 * and started anew when they die, as a container engine would. Secrets reach them in files that their user alone can read, never
 * in the environment. As root they run under an unprivileged user, where that user can reach the repository.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, chownSync, existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { initRoot, issueAuthority, type KeyKind } from '@congvu/certificate/ceremony';
import { migrations as certificateMigrations } from '@congvu/certificate/migrations';
import type { ServiceUrls } from '@congvu/contracts';
import { type Migrations, migrate } from '@congvu/database';
import { migrations as directoryMigrations } from '@congvu/directory/migrations';
import { migrations as mailboxMigrations } from '@congvu/mailbox/migrations';
import type { Engines } from './engines.ts';
import { mailLogsOf } from './mail-logs.ts';
import { type Account, run, type SupervisedProcess, superviseProcess } from './process.ts';
import { repository } from './state.ts';

export type ServiceName = keyof ServiceUrls;

const migrationsOf: Readonly<Record<ServiceName, Migrations>> = {
  directory: directoryMigrations,
  mailbox: mailboxMigrations,
  certificate: certificateMigrations,
};
const names = Object.keys(migrationsOf) as ServiceName[];

/**
 * Left to itself V8 fills some 100 MB with what dies young before it looks, and lets the rest of its heap grow fourfold, because
 * the machine has more. A service streams and needs little of that; but some it needs, and looking for what could be freed long before
 * that is full costs it time in a crowd. As in infra/docker/Dockerfile.
 */
const nodeFlags = ['--disable-warning=ExperimentalWarning', '--max-old-space-size=384'];
/**
 * In MB. What a crowd of certificates under way holds is less than the young half, and need not be copied to where it is sought later;
 * the old half has to be larger than the young by more than what stays, or V8 begins to seek before there is anything to find.
 */
const heapOf: Readonly<Record<ServiceName, { young: number; old: number }>> = {
  directory: { young: 16, old: 96 },
  mailbox: { young: 16, old: 96 },
  certificate: { young: 64, old: 192 },
};

/** A million OCSP answers lie far apart: in pages of 2 MB, where the kernel gives them to who asks, they are found sooner. */
const hugePages = { GLIBC_TUNABLES: 'glibc.malloc.hugetlb=1' };

/** For a measurement that wants something else than is usual. */
export interface CertificateOptions {
  issuingKeyKind?: KeyKind;
  /** How many server-made keys are kept ready. */
  keyPoolSize?: number;
}

export interface Services {
  urls: ServiceUrls;
  processes: Readonly<Record<ServiceName, SupervisedProcess>>;
  /** PEM of the root that signatures are verified against. */
  rootCertificateFile: string;
  stop(): Promise<void>;
}

/** All three schemas of a database, in the order in which they refer to each other. */
export async function migrateAll(ownerUrl: string): Promise<void> {
  for (const schema of names) {
    await migrate({ ownerUrl, schema, runtimeRole: `congvu_${schema}`, migrations: migrationsOf[schema] });
  }
}

export async function startServices(
  engines: Engines,
  log: (line: string) => void,
  { issuingKeyKind, keyPoolSize }: CertificateOptions = {},
): Promise<Services> {
  const { ports, state } = engines;
  const urls: ServiceUrls = {
    directory: `http://127.0.0.1:${ports.directory}`,
    mailbox: `http://127.0.0.1:${ports.mailbox}`,
    certificate: `http://127.0.0.1:${ports.certificate}`,
  };
  log('bringing the database to the newest schema');
  await migrateAll(engines.postgres.url('congvu_owner'));
  const authorities = await ensureAuthorities(engines, log, issuingKeyKind);
  const account = await serviceAccount(engines, log);
  giveAuthorities(authorities, account);
  const environments = environmentsOf(engines, urls, authorities, account);
  if (keyPoolSize !== undefined) environments.certificate.KEY_POOL_SIZE = String(keyPoolSize);
  const logs = state.makeDirectory('logs');
  const processes = Object.fromEntries(
    names.map((name) => [
      name,
      superviseProcess({
        name: `the ${name} service`,
        command: process.execPath,
        args: [
          ...nodeFlags,
          `--min-semi-space-size=${heapOf[name].young}`,
          `--max-semi-space-size=${heapOf[name].young}`,
          `--initial-old-space-size=${heapOf[name].old}`,
          join(repository, `services/${name}/src/main.ts`),
        ],
        env: {
          PATH: process.env.PATH,
          TZ: 'UTC',
          HOST: '127.0.0.1',
          PORT: String(ports[name]),
          ...environments[name],
          ...(name === 'certificate' ? hugePages : {}),
        },
        account,
        logFile: join(logs, `${name}.log`),
        stopSignal: 'SIGTERM',
        stopTimeoutMs: 15_000,
        ready: async () => (await fetch(`${urls[name]}/readyz`, { signal: AbortSignal.timeout(5_000) })).ok,
        readyTimeoutMs: 60_000,
        restart: true,
        log,
      }),
    ]),
  ) as Record<ServiceName, SupervisedProcess>;
  const stop = async (): Promise<void> => {
    await Promise.all(names.map((name) => processes[name].stop()));
  };
  const outcomes = await Promise.allSettled(
    names.map(async (name) => {
      const began = Date.now();
      await processes[name].start();
      log(`the ${name} service is up at ${urls[name]} (${((Date.now() - began) / 1_000).toFixed(1)} s)`);
    }),
  );
  const failed = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failed) {
    await stop();
    throw failed.reason;
  }
  return { urls, processes, rootCertificateFile: join(authorities, 'root.crt.pem'), stop };
}

/**
 * The user that runs the services when we are root: `congvu`, made if absent. Undefined means ourselves: without root, and as
 * root where that user could not read the repository and its Node (a clone below /root, or made under umask 077).
 */
async function serviceAccount({ state }: Engines, log: (line: string) => void): Promise<Account | undefined> {
  const account = state.account('congvu');
  if (!account) return undefined;
  const needed = names.map((name) => join(repository, `services/${name}/src/main.ts`));
  const readAll = `for (const file of ${JSON.stringify([...needed, ...sharedFiles()])}) fs.accessSync(file, fs.constants.R_OK)`;
  try {
    await run(process.execPath, ['-e', readAll], { account, timeoutMs: 20_000 });
    return account;
  } catch {
    log(`the services run as root: the user ${account.name} cannot read ${repository}`);
    return undefined;
  }
}

/** One file of every package that the services load. */
const sharedFiles = (): string[] => [
  ...readdirSync(join(repository, 'packages')).map((name) => join(repository, 'packages', name, 'package.json')),
  ...['express', 'pg', 'ldapts', 'zod'].map((name) => join(repository, 'node_modules', name, 'package.json')),
];

/**
 * Stands in every certificate, where an address of this machine would be an error (CA/B S/MIME BR 7.1.2.3): the name that a province would
 * give it. Nothing here resolves it; the certificate service answers the same paths at its own address.
 */
const publicUrlOf = ({ domain }: Engines): string => `http://pki.${domain}`;

/** Root and issuing authorities, made by the same ceremony as anywhere; the directory that they are in. */
async function ensureAuthorities(
  engines: Engines,
  log: (line: string) => void,
  keyKind: KeyKind | undefined,
): Promise<string> {
  const { state } = engines;
  const publicUrl = publicUrlOf(engines);
  const directory = join(state.makeDirectory('certificate', undefined, 0o711), 'authorities');
  if (existsSync(directory)) return directory;
  log('making the root and the issuing authorities (once)');
  const officers = [
    { name: 'Local officer one', passphrase: state.secret('certificate/officer-1-passphrase') },
    { name: 'Local officer two', passphrase: state.secret('certificate/officer-2-passphrase') },
  ] as const;
  const key = { passphrase: state.secret('certificate/issuing-passphrase') };
  // Under another name until all of it is there: killed meanwhile, it is made anew.
  const work = `${directory}.partial`;
  rmSync(work, { recursive: true, force: true });
  await initRoot({
    directory: work,
    officers,
    organization: 'Sở Thông tin và Truyền thông tỉnh Nghệ An',
    rootName: 'Congvu Local Root CA',
    rootCrlUrl: `${publicUrl}/crl/root.crl`,
    rootCertificateUrl: `${publicUrl}/ca/root.crt`,
  });
  const people = { name: 'issuing', commonName: 'Congvu Local Issuing CA 1' };
  const peopleKey = keyKind ? { ...key, keyKind } : key;
  await issueAuthority({ directory: work, officers, ...people, purposes: ['signature', 'encryption'], key: peopleKey });
  const device = { name: 'device', commonName: 'Congvu Local Device CA 1' };
  await issueAuthority({ directory: work, officers, ...device, purposes: ['device'], key });
  renameSync(work, directory);
  return directory;
}

/** The service reads the issuing authorities and the root's certificate; the root's key stays ours. */
function giveAuthorities(directory: string, account: Account | undefined): void {
  if (!account) return;
  chmodSync(directory, 0o755);
  for (const file of readdirSync(directory).filter((name) => name !== 'root.key.pem' && !name.startsWith('transcript')))
    chownSync(join(directory, file), account.uid, account.gid);
}

/** Every secret as `NAME_FILE` (`parseConfig` of packages/http), the path of a file that only the service's user can read. */
function environmentsOf(
  engines: Engines,
  urls: ServiceUrls,
  authorities: string,
  account: Account | undefined,
): Record<ServiceName, NodeJS.ProcessEnv> {
  const { state, dovecot, openldap, postgres, postfix, ports, domain, baseDn } = engines;
  const logs = mailLogsOf(state);
  for (const name of names) state.makeDirectory(name, undefined, 0o711); // In `certificate` lie the authorities too.
  const secretFile = (name: ServiceName, file: string, content: string): string =>
    state.writeFile(`${name}/${file}`, content, account);
  /** Made on first asking. */
  const keptFile = (name: ServiceName, file: string, make: () => string): string => {
    const kept = join(state.directory, name, file);
    const known = existsSync(kept) ? readFileSync(kept, 'utf8') : '';
    return secretFile(name, file, known || make());
  };
  const shared = (name: ServiceName): NodeJS.ProcessEnv => {
    const { dn, password } = openldap.credentials(name);
    return {
      DATABASE_URL_FILE: secretFile(name, 'database-url', postgres.url(`congvu_${name}`)),
      LDAP_URL: openldap.url,
      LDAP_BASE_DN: baseDn,
      LDAP_BIND_DN: dn,
      LDAP_PASSWORD_FILE: secretFile(name, 'ldap-password', password),
      ISSUER_URL: urls.directory,
    };
  };
  return {
    directory: {
      ...shared('directory'),
      TOKEN_SIGNING_KEY_FILE: keptFile('directory', 'token-signing.pem', newSigningKey),
      PERSONAL_DATA_KEY_FILE: keptFile('directory', 'personal-data.key', newKey),
      PERSONAL_DATA_INDEX_KEY_FILE: keptFile('directory', 'personal-data-index.key', newKey),
    },
    mailbox: {
      ...shared('mailbox'),
      DOVEADM_URL: new URL(dovecot.doveadmUrl).origin,
      DOVEADM_API_KEY_FILE: secretFile('mailbox', 'doveadm-api-key', dovecot.doveadmApiKey),
      MAIL_DOMAIN: domain,
      DOVECOT_LOG: logs.dovecot,
      ...(postfix ? { POSTFIX_LOG: logs.postfix, POSTFIX_ADDRESS: `127.0.0.1:${ports.smtp}` } : {}),
      POSTING_PORT: String(ports.posting),
      NOTICE_TRANSPORT: postfix ? 'submission' : 'lmtp',
      NOTICE_HOST: '127.0.0.1',
      NOTICE_PORT: String(postfix ? ports.submission : ports.lmtp),
      NOTICE_FROM: dovecot.notifier.address,
      NOTICE_PASSWORD_FILE: secretFile('mailbox', 'notice-password', dovecot.notifier.password),
      NOTICE_TLS_CA_FILE: engines.certificateFile,
      NOTICE_MESSAGE_KEY_FILE: keptFile('mailbox', 'notice-message.key', newKey),
      NOTICE_DKIM_KEY_FILE: keptFile('mailbox', 'notice-dkim.pem', newDkimKey),
      TEMPLATES_DIRECTORY: state.makeDirectory('mailbox/templates', account),
    },
    certificate: {
      ...shared('certificate'),
      PUBLIC_URL: publicUrlOf(engines),
      AUTHORITIES_DIRECTORY: authorities,
      AUTHORITIES_PASSPHRASE_FILE: secretFile(
        'certificate',
        'issuing-passphrase',
        state.secret('certificate/issuing-passphrase'),
      ),
      ROOT_CERTIFICATE_FILE: join(authorities, 'root.crt.pem'),
      ROOT_CRL_FILE: join(authorities, 'root.crl.pem'),
      KEY_WRAPPING_KEY_FILE: keptFile('certificate', 'key-wrapping.key', newKey),
      ORGANIZATION_IDENTIFIER: 'GOVVN+22',
    },
  };
}

const newKey = (): string => randomBytes(32).toString('hex');
const newSigningKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
const newDkimKey = (): string =>
  generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
