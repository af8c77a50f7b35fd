/**
 * Postfix (Debian's packages) on our own configuration, queue and ports. Its master must be root, so there is no Postfix
 * in a stack of an ordinary user. It knows nobody by itself: recipients and senders come from OpenLDAP, passwords from Dovecot.
 */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { greets } from './dovecot.ts';
import { openMailLog } from './mail-logs.ts';
import { findAccount, run, type SupervisedProcess, superviseProcess } from './process.ts';
import { postfixMaps, type State } from './state.ts';

export interface Postfix extends Pick<SupervisedProcess, 'start' | 'stop' | 'restart' | 'kill' | 'pid'> {
  readonly host: string;
  /** Mail for our domain from anybody, without a password. */
  readonly smtpPort: number;
  /** Submission (RFC 6409): STARTTLS, password, own addresses. */
  readonly submissionPort: number;
  /** What Sieve answers comes in here, from nobody and to one recipient. */
  readonly repliesPort: number;
  /** Holds the certificate that clients must trust. */
  readonly certificateFile: string;
  /** Where main.cf and the lookup tables lie, as `postmap -c` wants it. */
  readonly configDirectory: string;
  /** Tries everything deferred now. */
  flush(): Promise<void>;
  /** Addresses whose mail waits in the queue. */
  queue(): Promise<string[]>;
}

export interface PostfixOptions {
  state: State;
  ports: Record<'smtp' | 'submission' | 'lmtp' | 'auth' | 'quotaStatus' | 'replies' | 'posting', number>;
  ldapUrl: string;
  baseDn: string;
  domain: string;
  /** Who gets the mail for postmaster@ and abuse@; unless told the notices' sender, whose store nobody reads. */
  postmasterAddress?: string;
  log: (line: string) => void;
}

/** Starts Postfix and waits until both of its ports greet. */
export async function startPostfix(options: PostfixOptions): Promise<Postfix> {
  const { state, ports, baseDn, domain } = options;
  const host = '127.0.0.1';
  const account = findAccount('postfix');
  if (!account) {
    const detail = 'the system user postfix is missing; install the package postfix';
    throw new ServiceError({ kind: 'unavailable', code: 'postfix_missing', detail });
  }
  state.makeDirectory('postfix', undefined, 0o711);
  const config = state.makeDirectory('postfix/etc', undefined, 0o755);
  const queue = state.makeDirectory('postfix/queue', undefined, 0o755);
  const data = state.makeDirectory('postfix/data', account);
  const tls = await state.certificate(domain);
  state.writeFile('postfix/etc/server.pem', tls.key + tls.certificate); // Read before smtpd gives up root.
  const values = {
    LISTEN_ADDRESS: host,
    MAIL_DOMAIN: domain,
    BASE_DN: baseDn,
    LDAP_URL: options.ldapUrl,
    LDAP_POSTFIX_PASSWORD: state.secret('ldap/postfix'),
    POSTFIX_LOG: '/dev/stdout',
    POSTFIX_CONFIG_DIRECTORY: config,
    POSTFIX_QUEUE_DIRECTORY: queue,
    POSTFIX_DATA_DIRECTORY: data,
    SMTP_PORT: ports.smtp,
    SUBMISSION_PORT: ports.submission,
    LMTP_ADDRESS: `${host}:${ports.lmtp}`,
    AUTH_ADDRESS: `${host}:${ports.auth}`,
    QUOTA_STATUS_ADDRESS: `${host}:${ports.quotaStatus}`,
    REPLY_PORT: ports.replies,
    POSTING_ADDRESS: `${host}:${ports.posting}`,
    MESSAGE_SIZE_LIMIT: 30 * 1024 * 1024,
    RELAYHOST: '',
    POSTMASTER_ADDRESS: options.postmasterAddress ?? `thongbao@${domain}`,
    // A real host writes `permit` here and names its relayhost.
    OTHER_DOMAINS: `check_recipient_access static:{550 5.7.1 this local stack delivers to ${domain} only; mail for other domains does not leave it}`,
    QUEUE_RETRY_TIME: '5s',
  };
  state.render('postfix/main.cf', 'postfix/etc/main.cf', values, undefined, 0o644);
  state.render('postfix/master.cf', 'postfix/etc/master.cf', values, undefined, 0o644);
  for (const map of postfixMaps()) {
    // Owned by root and readable by Postfix's group alone: proxymap opens them after giving up root.
    state.render(`postfix/${map}`, `postfix/etc/${map}`, values, { ...account, uid: 0 }, 0o640);
  }
  if (!existsSync(join(state.directory, 'postfix/queue-made'))) {
    await run('/usr/sbin/postfix', ['-c', config, 'check']); // Makes the queue's directories.
    state.writeFile('postfix/queue-made', '');
  }

  const server = superviseProcess({
    name: 'Postfix',
    command: '/usr/lib/postfix/sbin/master',
    args: ['-c', config, '-s'],
    cwd: queue,
    shepherd: true, // master takes on its mail owner's rights for a moment while it starts.
    logFile: openMailLog(state, 'postfix'),
    stopSignal: 'SIGTERM',
    ready: async () => (await greets(host, ports.smtp, '220 ')) && (await greets(host, ports.submission, '220 ')),
    log: options.log,
  });
  await server.start();
  return {
    host,
    smtpPort: ports.smtp,
    submissionPort: ports.submission,
    repliesPort: ports.replies,
    certificateFile: tls.certificateFile,
    configDirectory: config,
    get pid() {
      return server.pid;
    },
    start: server.start,
    stop: server.stop,
    restart: server.restart,
    kill: server.kill,
    async flush() {
      await run('/usr/sbin/postqueue', ['-c', config, '-f']);
    },
    async queue() {
      const listed = await run('/usr/sbin/postqueue', ['-c', config, '-j']);
      const messages = listed
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line));
      return messages.flatMap((message: { recipients: { address: string }[] }) =>
        message.recipients.map((recipient) => recipient.address),
      );
    },
  };
}
