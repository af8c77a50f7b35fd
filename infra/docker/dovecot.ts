/** Dovecot in a container, whole under the container's one unprivileged user; mail and state lie on the volume. */
import { mkdirSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { DOVECOT_FILES, NOTIFIER_QUOTA_BYTES, SIEVE_SCRIPTS } from '../local/dovecot.ts';
import { saltedHash } from '../local/password-hash.ts';
import { run } from '../local/process.ts';
import type { Engine } from './container.ts';

export const dovecot: Engine = {
  configure(container) {
    const { config, data } = container;
    const user = userInfo();
    const values = {
      ...container.values('LISTEN_ADDRESS', 'MAIL_DOMAIN', 'BASE_DN', 'LDAP_URL', 'LDAP_DOVECOT_PASSWORD'),
      ...container.values('DOVECOT_LOG', 'MAIL_QUOTA_DEFAULT_BYTES', 'DOVEADM_API_KEY'),
      ...container.values('IMAP_PORT', 'IMAPS_PORT', 'LMTP_PORT', 'SIEVE_PORT', 'DOVEADM_PORT', 'AUTH_PORT'),
      ...container.values('QUOTA_STATUS_PORT', 'REPLY_ADDRESS'),
      NOTIFIER_PASSWORD_HASH: saltedHash(container.value('NOTIFIER_PASSWORD')),
      NOTIFIER_QUOTA_BYTES,
      MAIL_DIRECTORY: join(data, 'mail'),
      DOVECOT_USER: user.username,
      DOVECOT_GROUP: user.username, // The image gives user and group one name.
      DOVECOT_CONFIG_DIRECTORY: config,
      DOVECOT_RUN_DIRECTORY: join(config, 'run'),
      DOVECOT_STATE_DIRECTORY: join(data, 'state'),
    };
    container.write('server.crt', container.text('TLS_CERTIFICATE'));
    container.write('server.key', container.text('TLS_PRIVATE_KEY'));
    for (const file of DOVECOT_FILES) container.render(`dovecot/${file}`, file, values);
    for (const name of SIEVE_SCRIPTS) container.render(`dovecot/${name}`, `sieve/${name}`, values);
    const main = container.render('dovecot/dovecot.conf', 'dovecot.conf', values);
    const reopen = ['/usr/bin/doveadm', '-c', main, 'log', 'reopen'];
    return {
      command: '/usr/sbin/dovecot',
      args: ['-F', '-c', main],
      log: { file: container.value('DOVECOT_LOG'), reopen },
    };
  },
  async prepare({ config, data }) {
    for (const directory of ['mail', 'state']) mkdirSync(join(data, directory), { recursive: true, mode: 0o700 });
    mkdirSync(join(config, 'run'), { recursive: true, mode: 0o755 });
    // Compiled here: a delivery could not write the result beside a script that it does not own.
    for (const name of SIEVE_SCRIPTS) {
      await run('/usr/bin/sievec', ['-c', join(config, 'dovecot.conf'), join(config, 'sieve', name)], { cwd: config });
    }
  },
};
