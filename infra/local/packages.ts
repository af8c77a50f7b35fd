/**
 * The Debian packages of the engines, of the programs that judge in the tests, and of those that the benches measure beside.
 * As root the missing ones are installed without starting the daemons that they bring: ours run on our own configuration.
 * Otherwise the error holds the one command that installs them.
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { ServiceError } from '@congvu/errors';

/** Every package, with a file that shows that it is there where no package database tells. */
const PACKAGES: Readonly<Record<string, string>> = {
  slapd: '/usr/sbin/slapd',
  'ldap-utils': '/usr/bin/ldapwhoami',
  'dovecot-core': '/usr/sbin/dovecot',
  'dovecot-imapd': '/usr/lib/dovecot/imap',
  'dovecot-lmtpd': '/usr/lib/dovecot/lmtp',
  'dovecot-ldap': '/usr/lib/dovecot/modules/auth/libauthdb_ldap.so',
  'dovecot-sieve': '/usr/bin/sievec',
  'dovecot-managesieved': '/usr/lib/dovecot/managesieve',
  postfix: '/usr/sbin/postfix',
  'postfix-ldap': '/usr/lib/postfix/postfix-ldap.so',
  openssl: '/usr/bin/openssl',
  'util-linux': '/usr/bin/setpriv',
  // Other people's readers of certificates, revocation lists, OCSP answers and key files.
  'gnutls-bin': '/usr/bin/certtool',
  'libnss3-tools': '/usr/bin/certutil',
  'default-jre-headless': '/usr/bin/keytool',
  gpgsm: '/usr/bin/gpgsm',
  'gpg-agent': '/usr/bin/gpg-agent',
  dirmngr: '/usr/bin/dirmngr',
  softhsm2: '/usr/bin/softhsm2-util',
  'golang-cfssl': '/usr/bin/cfssl',
};

/** What only the tests need. */
export const JUDGES = [
  'gnutls-bin',
  'libnss3-tools',
  'default-jre-headless',
  'gpgsm',
  'gpg-agent',
  'dirmngr',
  'softhsm2',
] as const;

/** What only the benches need. */
export const RIVALS = ['golang-cfssl'] as const;

/** Postfix cannot run without root, so an ordinary user does not need it. */
const ROOT_ONLY = new Set(['postfix', 'postfix-ldap']);

/** Answers that keep the packages from making a directory tree or a mail configuration of their own (debconf(7)). */
const PRESEEDS = `slapd slapd/no_configuration boolean true
postfix postfix/main_mailer_type select No configuration
`;

const POLICY_FILE = '/usr/sbin/policy-rc.d';
/** Exit status 101: "action forbidden" (Debian's invoke-rc.d(8)). */
const POLICY = '#!/bin/sh\n# Congvu: installing packages without starting their daemons\nexit 101\n';

/** Names of the packages that are needed here and not installed. */
export function missingPackages(needed: readonly string[] = enginePackages()): string[] {
  return needed.filter((name) => !isInstalled(name));
}

/**
 * Makes sure that the packages are there, installing them as root.
 * @throws ServiceError `unavailable`: what is missing and what to do, in one line.
 */
export async function ensurePackages(
  log: (line: string) => void,
  needed: readonly string[] = enginePackages(),
): Promise<void> {
  // Left by a copy that was killed while it installed.
  if (existsSync(POLICY_FILE) && readFileSync(POLICY_FILE, 'utf8') === POLICY && process.getuid?.() === 0) {
    rmSync(POLICY_FILE);
  }
  const missing = missingPackages(needed);
  if (missing.length === 0) return;
  if (!existsSync('/usr/bin/apt-get')) {
    throw unavailable(
      `this system lacks ${missing.join(', ')} (names of Debian's packages) and has no apt-get; run on Debian 12, where they lie in the places that the stack expects`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw unavailable(`packages are missing; install them with: sudo apt-get install -y ${missing.join(' ')}`);
  }
  log(`installing Debian packages: ${missing.join(' ')}`);
  await undisturbed(log, () => withoutStartingDaemons(() => install(missing, log)));
  const still = missingPackages(needed);
  if (still.length > 0) throw unavailable(`apt-get did not install ${still.join(', ')}`);
}

/** What the stack runs on. */
export function enginePackages(): string[] {
  const isRoot = process.getuid?.() === 0;
  const others = new Set<string>([...JUDGES, ...RIVALS]);
  return Object.keys(PACKAGES).filter((name) => !others.has(name) && (isRoot || !ROOT_ONLY.has(name)));
}

function isInstalled(name: string): boolean {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: the field is dpkg-query's own notation
  const query = spawnSync('dpkg-query', ['-W', '-f', '${db:Status-Status}', name], { encoding: 'utf8' });
  if (!query.error) return query.stdout === 'installed';
  const proof = PACKAGES[name];
  return proof !== undefined && existsSync(proof);
}

/** The lists of packages may be absent or old: then the first attempt fails, and the second finds them renewed. */
async function install(names: readonly string[], log: (line: string) => void): Promise<void> {
  const wait = ['-q', '-o', 'DPkg::Lock::Timeout=300'];
  const command = [...wait, '-y', '--no-install-recommends', 'install', ...names];
  spawnSync('debconf-set-selections', { input: PRESEEDS }); // Absent on a slim system: then the packages' defaults hold.
  if ((await aptGet(command, log)).code === 0) return;
  log('renewing the lists of packages');
  await aptGet([...wait, 'update'], log);
  const { code, tail } = await aptGet(command, log);
  if (code !== 0) throw unavailable(`apt-get could not install ${names.join(' ')}: ${tail}`);
}

function aptGet(args: readonly string[], log: (line: string) => void): Promise<{ code: number; tail: string }> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8' };
    const child = spawn('apt-get', args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const tail: string[] = [];
    const read = (line: string) => {
      if (/^(Get:|Unpacking|Setting up)/.test(line)) log(`  ${line.slice(0, 110)}`);
      if (/^(E:|Err:|dpkg: error)/.test(line)) tail.push(line);
    };
    createInterface({ input: child.stdout }).on('line', read);
    createInterface({ input: child.stderr }).on('line', read);
    child.once('error', (error) => reject(unavailable(`apt-get could not be started: ${error.message}`)));
    child.once('close', (code) => resolve({ code: code ?? 1, tail: tail.slice(-3).join('; ') || 'it gave no reason' }));
  });
}

/** A policy that is there already is somebody's decision, and stays. */
async function withoutStartingDaemons(work: () => Promise<void>): Promise<void> {
  const ours = !existsSync(POLICY_FILE);
  if (ours) writeFileSync(POLICY_FILE, POLICY, { mode: 0o755, flag: 'wx' });
  try {
    await work();
  } finally {
    if (ours) rmSync(POLICY_FILE, { force: true });
  }
}

/** Stopping dpkg half-way leaves broken packages: a signal to stop is kept until it has finished. */
async function undisturbed(log: (line: string) => void, work: () => Promise<void>): Promise<void> {
  let received: NodeJS.Signals | undefined;
  const remember = (signal: NodeJS.Signals) => {
    received = signal;
    log('stopping as soon as the packages are installed');
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.on(signal, remember);
  try {
    await work();
  } finally {
    for (const signal of signals) process.off(signal, remember);
    if (received) process.kill(process.pid, received);
  }
}

function unavailable(detail: string): ServiceError {
  return new ServiceError({ kind: 'unavailable', code: 'packages_missing', detail });
}
