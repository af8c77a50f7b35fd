/**
 * Postfix in a container. Its master and the reading of the TLS key need root; every daemon that speaks to others runs as
 * `postfix`. The queue lies on the volume: mail that was accepted survives the container.
 */
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { findAccount, run } from '../local/process.ts';
import type { Container, Engine } from './container.ts';

const queueOf = (container: Container): string => join(container.data, 'queue');
const stateOf = (container: Container): string => join(container.data, 'state');

export const postfix: Engine = {
  configure(container) {
    const values = {
      ...container.values('LISTEN_ADDRESS', 'MAIL_DOMAIN', 'BASE_DN', 'LDAP_URL', 'LDAP_POSTFIX_PASSWORD'),
      ...container.values('SMTP_PORT', 'SUBMISSION_PORT', 'LMTP_ADDRESS', 'AUTH_ADDRESS', 'POSTING_ADDRESS'),
      ...container.values('MESSAGE_SIZE_LIMIT', 'RELAYHOST', 'OTHER_DOMAINS', 'QUEUE_RETRY_TIME'),
      POSTMASTER_ADDRESS: container.value('POSTMASTER_ADDRESS') || `thongbao@${container.value('MAIL_DOMAIN')}`,
      POSTFIX_CONFIG_DIRECTORY: container.config,
      POSTFIX_QUEUE_DIRECTORY: queueOf(container),
      POSTFIX_DATA_DIRECTORY: stateOf(container),
    };
    // One file, key first, read before smtpd gives up root.
    container.write('server.pem', `${container.text('TLS_PRIVATE_KEY')}\n${container.text('TLS_CERTIFICATE')}\n`);
    container.render('postfix/main.cf', 'main.cf', values, { mode: 0o644 });
    container.render('postfix/master.cf', 'master.cf', values, { mode: 0o644 });
    for (const map of ['mailboxes.cf', 'aliases.cf', 'senders.cf', 'groups.cf', 'posting.cf', 'list-id.cf']) {
      // Readable by Postfix's group alone: proxymap opens them after giving up root.
      container.render(`postfix/${map}`, map, values, { mode: 0o640, gid: findAccount('postfix')?.gid ?? 0 });
    }
    // `-i` is for process 1, `-s` for a child of the container's init (master(8)).
    const args = ['-c', container.config, process.pid === 1 ? '-i' : '-s'];
    return { command: '/usr/lib/postfix/sbin/master', args };
  },
  async prepare(container) {
    mkdirSync(queueOf(container), { recursive: true, mode: 0o755 });
    mkdirSync(stateOf(container), { recursive: true, mode: 0o700 });
    const { uid, gid } = requireAccount();
    chownSync(stateOf(container), uid, gid);
    await run('/usr/sbin/postfix', ['-c', container.config, 'check']); // Makes the queue's directories, and reads every setting.
  },
};

function requireAccount() {
  const account = findAccount('postfix');
  if (account) return account;
  const detail = 'the system user postfix is missing; install the package postfix';
  throw new ServiceError({ kind: 'unavailable', code: 'postfix_missing', detail });
}
