/**
 * `npm test`: formatter, linter and types; then units, routes and adapters on real engines; then the journeys, each on a
 * whole stack of its own. Ends with the line "N passed, N failed" and leaves no process behind.
 *
 * `npm test -- packages/http` runs only what lies there.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Engines, startEngines } from './engines.ts';
import { mailLogsOf } from './mail-logs.ts';
import { LDAP_SERVICES } from './openldap.ts';
import { enginePackages, ensurePackages, JUDGES } from './packages.ts';
import { describeFailure } from './process.ts';
import { migrateAll } from './services.ts';
import { baseDn, domain } from './stack.ts';
import { removeState, repository } from './state.ts';

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

const log = (line: string): void => console.log(line);
const testPaths = process.argv.slice(2);
// Another run beside this one takes other ports, and so a directory of its own.
const portBase = Number(process.env.CONGVU_TEST_PORT_BASE ?? 24_000);
const stateDirectory = join(repository, `.congvu/test-${portBase}`);
const template = 'congvu_template';
const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => stopping.abort());

async function main(): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  await ensurePackages(log, [...enginePackages(), ...JUDGES]);
  if (testPaths.length === 0) {
    for (const task of ['lint', 'typecheck']) add(tally, await runCheck(task));
  }
  if (!stopping.signal.aborted)
    add(tally, await onEngines((environment) => runJest('fast', ['--maxWorkers=2'], environment)));
  if (!stopping.signal.aborted) add(tally, await runJest('journeys', ['--runInBand'], {}));
  return tally;
}

function add(sum: Tally, more: Tally): void {
  sum.passed += more.passed;
  sum.failed += more.failed;
  sum.skipped += more.skipped;
}

async function runCheck(task: string): Promise<Tally> {
  log(`Checking: ${task} …`);
  const code = await execute('turbo', ['run', `//#${task}`, '--output-logs=errors-only', '--no-update-notifier'], {
    TURBO_TELEMETRY_DISABLED: '1',
    DO_NOT_TRACK: '1',
  });
  return { passed: code === 0 ? 1 : 0, failed: code === 0 ? 0 : 1, skipped: 0 };
}

/** Engines of the tests' own, on ports of their own, empty; a migrated database to copy from; where all is, in one file. */
async function onEngines(work: (environment: NodeJS.ProcessEnv) => Promise<Tally>): Promise<Tally> {
  removeState(stateDirectory);
  log('Starting PostgreSQL, OpenLDAP, Dovecot and Postfix for the tests …');
  const engines = await startEngines({ stateDirectory, portBase, domain, baseDn, log: (line) => log(`  ${line}`) });
  try {
    const { postgres } = engines;
    await postgres.createDatabase(template);
    await migrateAll(postgres.url('congvu_owner', template));
    const file = engines.state.writeFile('test.json', JSON.stringify(describe(engines)));
    return await work({ CONGVU_STACK: file });
  } finally {
    await engines.stop();
  }
}

function describe({ state, postgres, openldap, dovecot, postfix, certificateFile, ports }: Engines): object {
  const { doveadmUrl, doveadmApiKey, imapPort, imapsPort, lmtpPort, sievePort, notifier } = dovecot;
  return {
    postgres: {
      urls: {
        superuser: postgres.url('postgres', 'postgres'),
        owner: postgres.url('congvu_owner'),
        directory: postgres.url('congvu_directory'),
        mailbox: postgres.url('congvu_mailbox'),
        certificate: postgres.url('congvu_certificate'),
      },
      template,
    },
    ldap: {
      url: openldap.url,
      baseDn,
      identities: Object.fromEntries(
        LDAP_SERVICES.map((service) => {
          const { dn, password } = openldap.credentials(service);
          return [service, { bindDn: dn, password }];
        }),
      ),
    },
    dovecot: {
      doveadmUrl: new URL(doveadmUrl).origin,
      doveadmApiKey,
      imapPort,
      imapsPort,
      lmtpPort,
      sievePort,
      notifier,
    },
    postfix: postfix
      ? {
          smtpPort: postfix.smtpPort,
          submissionPort: postfix.submissionPort,
          repliesPort: postfix.repliesPort,
          postingPort: ports.posting,
          configDirectory: postfix.configDirectory,
        }
      : null,
    mailLogs: mailLogsOf(state),
    certificateFile,
    mailDomain: domain,
  };
}

async function runJest(project: string, options: readonly string[], environment: NodeJS.ProcessEnv): Promise<Tally> {
  log(`Running the ${project} tests …`);
  const outcome = join(repository, `.congvu/test-${portBase}-${project}.json`);
  rmSync(outcome, { force: true });
  writeFileSync(outcome, '{}');
  const code = await execute(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      join(repository, 'node_modules/jest/bin/jest.js'),
      ...testPaths,
      '--selectProjects',
      project,
      ...options,
      '--passWithNoTests',
      '--json',
      `--outputFile=${outcome}`,
      '--silent=false',
    ],
    environment,
  );
  const result = existsSync(outcome) ? JSON.parse(readFileSync(outcome, 'utf8')) : {};
  const tally = {
    passed: result.numPassedTests ?? 0,
    failed: (result.numFailedTests ?? 0) + (result.numRuntimeErrorTestSuites ?? 0),
    skipped: (result.numPendingTests ?? 0) + (result.numTodoTests ?? 0),
  };
  // A runner that died has not said so in its report.
  if (code !== 0 && tally.failed === 0) tally.failed = 1;
  return tally;
}

/** Runs a command of node_modules/.bin in the repository; its exit code. Its standard output is left out of ours when it is a report. */
function execute(command: string, args: readonly string[], environment: NodeJS.ProcessEnv): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: repository,
      env: { ...process.env, ...environment },
      stdio: ['ignore', args.includes('--json') ? 'ignore' : 'inherit', 'inherit'],
    });
    const stop = () => child.kill('SIGTERM');
    stopping.signal.addEventListener('abort', stop);
    child.once('error', reject);
    child.once('exit', (code) => {
      stopping.signal.removeEventListener('abort', stop);
      resolve(code ?? 1);
    });
  });
}

try {
  const { passed, failed, skipped } = await main();
  console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
  process.exit(failed > 0 || stopping.signal.aborted ? 1 : 0);
} catch (error) {
  console.error(`npm test: ${describeFailure(error)}`);
  console.log('0 passed, 1 failed');
  process.exit(1);
}
