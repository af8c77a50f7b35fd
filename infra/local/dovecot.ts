/**
 * Dovecot (Debian's packages) on our own configuration, mail store and ports, whole under one unprivileged user: the same
 * configuration serves root and non-root. It logs nobody in on its own word: every password is checked by OpenLDAP.
 */
import { createHash } from 'node:crypto';
import { chownSync, mkdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openMailLog } from './mail-logs.ts';
import { saltedHash } from './password-hash.ts';
import { type Account, run, type SupervisedProcess, superviseProcess } from './process.ts';
import type { State } from './state.ts';

export interface Dovecot extends Pick<SupervisedProcess, 'start' | 'stop' | 'restart' | 'kill' | 'pid'> {
  readonly host: string;
  /** IMAP with STARTTLS. */
  readonly imapPort: number;
  /** IMAP over TLS (RFC 8314). */
  readonly imapsPort: number;
  readonly lmtpPort: number;
  readonly sievePort: number;
  /** Where Postfix has passwords checked. */
  readonly authPort: number;
  /** `http://host:port/doveadm/v1`; requests carry `doveadmAuthorization`. */
  readonly doveadmUrl: string;
  readonly doveadmApiKey: string;
  /** Value of the `Authorization` header of the doveadm HTTP API. */
  readonly doveadmAuthorization: string;
  /** The notices' sender: its address is its login name. */
  readonly notifier: { address: string; password: string };
  /** Holds the certificate that clients must trust. */
  readonly certificateFile: string;
}

export interface DovecotOptions {
  state: State;
  ports: Record<'imap' | 'imaps' | 'lmtp' | 'sieve' | 'doveadm' | 'auth' | 'quotaStatus' | 'replies', number>;
  ldapUrl: string;
  baseDn: string;
  domain: string;
  log: (line: string) => void;
}

/** Rendered beside dovecot.conf, and readable by Dovecot's user alone: most hold a secret. */
export const DOVECOT_FILES = [
  'secrets.conf',
  'notifier.passwd',
  'ldap-passdb.conf',
  'ldap-userdb.conf',
  'ldap-userdb-kept.conf',
];
/** Run before everybody's own script. */
export const SIEVE_SCRIPTS = ['notice.sieve', 'away.sieve'];

/** Size of a mailbox whose entry names none. */
const DEFAULT_QUOTA_BYTES = 2 * 1024 ** 3;

/** The notices' sender gets bounces and, unless told otherwise, the mail for postmaster@ and abuse@, from anybody. */
export const NOTIFIER_QUOTA_BYTES = 1024 ** 3;

/** Starts Dovecot and waits until IMAP and LMTP greet. */
export async function startDovecot(options: DovecotOptions): Promise<Dovecot> {
  const { state, ports, baseDn, domain } = options;
  const host = '127.0.0.1';
  const account = state.account('dovecot');
  const home = state.makeDirectory('dovecot', account);
  const mail = state.makeDirectory('dovecot/mail', account);
  const sockets = runDirectory(state, account);
  const tls = await state.certificate(domain);
  state.writeFile('dovecot/server.crt', tls.certificate, account);
  state.writeFile('dovecot/server.key', tls.key, account);
  const user = account?.name ?? (await run('id', ['-un'])).trim();
  const group = (await run('id', ['-gn', user])).trim();
  const apiKey = state.secret('doveadm/api-key');
  const notifier = { address: `thongbao@${domain}`, password: state.secret('mail/notifier') };
  const values = {
    LISTEN_ADDRESS: host,
    MAIL_DOMAIN: domain,
    MAIL_DIRECTORY: mail,
    MAIL_QUOTA_DEFAULT_BYTES: DEFAULT_QUOTA_BYTES,
    NOTIFIER_QUOTA_BYTES,
    BASE_DN: baseDn,
    LDAP_URL: options.ldapUrl,
    LDAP_DOVECOT_PASSWORD: state.secret('ldap/dovecot'),
    DOVECOT_USER: user,
    DOVECOT_GROUP: group,
    DOVECOT_LOG: '/dev/stderr',
    DOVECOT_CONFIG_DIRECTORY: home,
    DOVECOT_RUN_DIRECTORY: sockets.path,
    DOVECOT_STATE_DIRECTORY: state.makeDirectory('dovecot/state', account),
    DOVEADM_API_KEY: apiKey,
    NOTIFIER_PASSWORD_HASH: saltedHash(notifier.password),
    IMAP_PORT: ports.imap,
    IMAPS_PORT: ports.imaps,
    LMTP_PORT: ports.lmtp,
    SIEVE_PORT: ports.sieve,
    DOVEADM_PORT: ports.doveadm,
    AUTH_PORT: ports.auth,
    QUOTA_STATUS_PORT: ports.quotaStatus,
    REPLY_ADDRESS: `${host}:${ports.replies}`,
  };
  for (const file of DOVECOT_FILES) {
    state.render(`dovecot/${file}`, `dovecot/${file}`, values, account);
  }
  const config = state.render('dovecot/dovecot.conf', 'dovecot/dovecot.conf', values, account);
  state.makeDirectory('dovecot/sieve', account);
  for (const name of SIEVE_SCRIPTS) {
    const script = state.render(`dovecot/${name}`, `dovecot/sieve/${name}`, values, account);
    // Compiled here: a delivery could not write the result beside a script that it does not own.
    await run('sievec', ['-c', config, script], { account, cwd: home });
  }

  const server = superviseProcess({
    name: 'Dovecot',
    command: '/usr/sbin/dovecot',
    args: ['-F', '-c', config],
    cwd: home,
    account,
    logFile: openMailLog(state, 'dovecot'),
    stopSignal: 'SIGTERM',
    ready: async () => (await greets(host, ports.imap, '* OK')) && (await greets(host, ports.lmtp, '220 ')),
    log: options.log,
  });
  const start = () => {
    if (server.pid === undefined) sockets.make();
    return server.start();
  };
  const stop = async () => {
    await server.stop();
    sockets.remove();
  };
  await start();
  return {
    host,
    imapPort: ports.imap,
    imapsPort: ports.imaps,
    lmtpPort: ports.lmtp,
    sievePort: ports.sieve,
    authPort: ports.auth,
    doveadmUrl: `http://${host}:${ports.doveadm}/doveadm/v1`,
    doveadmApiKey: apiKey,
    doveadmAuthorization: `X-Dovecot-API ${Buffer.from(apiKey).toString('base64')}`,
    notifier,
    certificateFile: tls.certificateFile,
    get pid() {
      return server.pid;
    },
    start,
    stop,
    kill: server.kill,
    async restart() {
      await stop();
      await start();
    },
  };
}

/** Resolves to whether a line-based server's first line begins as it should. */
export function greets(host: string, port: number, greeting: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2_000 });
    const done = (greeted: boolean) => {
      socket.destroy();
      resolve(greeted);
    };
    socket.once('data', (data) => done(data.toString('latin1').startsWith(greeting)));
    socket.once('error', () => done(false));
    socket.once('timeout', () => done(false));
    socket.once('close', () => done(false));
  });
}

/**
 * Where the sockets lie. The kernel allows 107 bytes for a socket's path (unix(7)), Dovecot adds up to 30 of its own: below
 * a deep clone there is no room, and a directory with a short name takes their place while Dovecot runs.
 */
function runDirectory(state: State, account: Account | undefined) {
  const inside = join(state.directory, 'dovecot/run');
  const name = createHash('sha256').update(inside).digest('hex').slice(0, 12);
  const isShort = Buffer.byteLength(inside) <= 75;
  const path = isShort ? inside : join(tmpdir(), `congvu-${account?.uid ?? process.getuid?.()}-${name}`);
  return {
    path,
    /** Made anew each time: what a killed copy left there (sockets, master.pid) is of no use, and mkdir fails on another's. */
    make(): void {
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path, { mode: 0o755 });
      if (account) chownSync(path, account.uid, account.gid);
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}
