/**
 * Entry program of the engines' containers: `node entrypoint.ts openldap | postfix | dovecot | postgres | proxy`. Renders the
 * configuration, prepares first-time data, and then becomes the daemon (execve(2)): signals and the exit status are the
 * daemon's own, and no process that knows the secrets stays behind.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { openContainer } from './container.ts';
import { engines } from './engines.ts';

// biome-ignore lint/style/noProcessEnv: this is where a container's environment is read
const environment = process.env;
try {
  const name = process.argv[2] ?? '';
  const engine = engines.get(name);
  if (!engine) throw new Error(`name one of ${[...engines.keys()].join(', ')}`);
  const container = openContainer(
    environment,
    environment.CONGVU_CONFIG_DIRECTORY ?? '/run/congvu',
    environment.CONGVU_DATA_DIRECTORY ?? '/var/lib/congvu',
  );
  const { command, args, log } = engine.configure(container);
  await engine.prepare?.(container);
  // Nothing of our environment goes along: it names the secrets' files.
  const bare = { PATH: environment.PATH, LANG: 'C.UTF-8', TZ: 'UTC' };
  if (log) {
    const keeper = [join(import.meta.dirname, 'keep-log.sh'), String(100 * 1024 * 1024), log.file, ...log.reopen];
    spawn('/bin/sh', keeper, { env: bare, stdio: 'ignore', detached: true });
  }
  process.execve?.(command, [command, ...args], bare);
} catch (error) {
  process.stderr.write(`congvu: ${error instanceof ServiceError ? error.detail : (error as Error).message}\n`);
  process.exitCode = 1;
}
