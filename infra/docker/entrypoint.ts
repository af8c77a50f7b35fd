/**
 * Entry program of the engines' containers: `node entrypoint.ts openldap | postfix | dovecot | postgres | proxy`. Renders the
 * configuration, prepares first-time data, and then becomes the daemon (execve(2)): signals and the exit status are the
 * daemon's own, and no process that knows the secrets stays behind.
 */
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
  const { command, args } = engine.configure(container);
  await engine.prepare?.(container);
  // Nothing of our environment goes along: it names the secrets' files.
  process.execve?.(command, [command, ...args], { PATH: environment.PATH, LANG: 'C.UTF-8', TZ: 'UTC' });
} catch (error) {
  process.stderr.write(`congvu: ${error instanceof ServiceError ? error.detail : (error as Error).message}\n`);
  process.exitCode = 1;
}
