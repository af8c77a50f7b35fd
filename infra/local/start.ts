/**
 * `npm start`: the whole platform on this machine, and on an empty database the main job with its proof. Then it stays up
 * until Ctrl-C, which ends every process that it started; the next start finds all data again.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openDatabase } from '@congvu/database';
import { runMainJob } from './main-job.ts';
import { ensurePackages } from './packages.ts';
import { describeFailure, UsageError } from './process.ts';
import { sampleSheet } from './sample-sheets.ts';
import { type Stack, startStack } from './stack.ts';
import { removeState, repository } from './state.ts';

const log = (line: string): void => console.log(line);
const stateDirectory = join(repository, '.congvu/stack');
const trialSheet = 'danh-sach-ubnd-quynh-luu.xlsx';

const help = `npm start [-- --fresh]

Starts PostgreSQL, OpenLDAP, Dovecot, Postfix and the three services on this machine's loopback, below .congvu/.
On an empty database it runs the main job on the sample province and shows the proof. Ctrl-C stops everything.

  --fresh    begins anew: all its data below .congvu/stack is removed first

CONGVU_PORT_BASE (21000) moves all ports. Where everything is: .congvu/stack.json
`;

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { fresh: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } } });
  if (values.help) return log(help);
  const portBase = Number(process.env.CONGVU_PORT_BASE ?? 21_000);
  if (!Number.isInteger(portBase) || portBase < 1_024 || portBase > 65_000)
    throw new UsageError('CONGVU_PORT_BASE must be a port from 1024 to 65000');

  const stopAsked = new Promise<NodeJS.Signals>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(signal));
  });
  await ensurePackages(log);
  if (values.fresh) removeState(stateDirectory);
  const isRoot = process.getuid?.() === 0;
  if (!isRoot) log('Not root: Postfix is left out; messages go to Dovecot by LMTP.');
  log(`Starting PostgreSQL, OpenLDAP${isRoot ? ', Dovecot and Postfix' : ' and Dovecot'} …`);
  const starting = startStack({ stateDirectory, portBase, log: (line) => log(`  ${line}`) });
  const outcome = await Promise.race([starting, stopAsked]);
  if (typeof outcome === 'string') {
    log(`${outcome}: stopping what has started …`);
    await (await starting).stop();
    log('Stopped; nothing is left running.');
    return;
  }
  try {
    const running = await Promise.race([useStack(outcome), stopAsked]);
    if (running === undefined) log('Up. Ctrl-C stops it.');
    const signal = await stopAsked;
    log(`${signal}: stopping …`);
  } finally {
    await outcome.stop();
    log('Stopped; nothing is left running.');
  }
}

async function useStack(stack: Stack): Promise<void> {
  if (await isEmpty(stack)) await runMainJob(stack.description, log);
  else log('The database holds data; the main job is not run again (npm start -- --fresh begins anew).');
  const { services, ldap, smtp, imap } = stack.description;
  log(
    `Directory ${services.directory}/docs  Mailbox ${services.mailbox}/docs  Certificate ${services.certificate}/docs`,
  );
  log(
    `LDAP ${ldap.url}  IMAPS 127.0.0.1:${imap.tlsPort}${smtp ? `  submission 127.0.0.1:${smtp.submissionPort}` : ''}`,
  );
  const sheet = join(repository, '.congvu', trialSheet);
  await writeFile(sheet, await sampleSheet(trialSheet));
  log(`Clients and secrets to try it with: .congvu/stack.json; a staff list: .congvu/${trialSheet}`);
}

async function isEmpty({ engines }: Stack): Promise<boolean> {
  const database = openDatabase({ url: engines.postgres.url('congvu_directory'), name: 'start', poolSize: 1 });
  try {
    return (await database('directory.agencies').first('id')) === undefined;
  } finally {
    await database.destroy();
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`npm start: ${describeFailure(error)}`);
  process.exit(1);
}
