/**
 * Child processes that cannot outlive us. Each runs in a session of its own, so that a terminal's Ctrl-C reaches only the
 * supervisor, and behind `setpriv --pdeathsig`, so that the kernel stops it even when the supervisor dies by SIGKILL.
 * After `stop()` or `kill()` no process that the child forked is left either. Output goes to a log file and nowhere else.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';

/** A user of the operating system under which a process runs; undefined means our own. */
export interface Account {
  name: string;
  uid: number;
  gid: number;
}

export interface ProcessOptions {
  name: string;
  command: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  account?: Account | undefined;
  /** Output is appended here (0600). */
  logFile: string;
  /** Asks the program to end in order; also sent by the kernel when we die. */
  stopSignal: 'SIGTERM' | 'SIGINT';
  stopTimeoutMs?: number;
  /**
   * For a program that changes its credentials while it runs: the kernel then forgets its death signal (prctl(2)). A shell in
   * front keeps the signal and passes it on; `pid` is the shell's.
   */
  shepherd?: boolean;
  /** Resolves to true once the program serves. A throw counts as "not yet". */
  ready: () => Promise<boolean>;
  readyTimeoutMs?: number;
  /** Started again with backoff when it ends without having been asked to, as Docker's `restart: unless-stopped`. */
  restart?: boolean;
  log: (line: string) => void;
}

export interface SupervisedProcess {
  readonly name: string;
  /** Undefined while it is not running. */
  readonly pid: number | undefined;
  /** Resolves when the present run ends, with how ("exit code 0", "signal SIGKILL"). */
  readonly exited: Promise<string>;
  /** Starts and waits until ready. @throws ServiceError `unavailable` quoting the last log lines. */
  start(): Promise<void>;
  /** Ends it and everything that it forked: politely, then by SIGKILL. Harmless when it is not running. */
  stop(): Promise<void>;
  restart(): Promise<void>;
  /** SIGKILL to it and everything that it forked: a crash. With `restart` it comes back by itself; otherwise it stays down. */
  kill(): Promise<void>;
}

/** Longest pause between two restarts, and how long a run must last for the pause to begin small again. */
const MAX_BACKOFF_MS = 2_000;
const STABLE_RUN_MS = 10_000;

/** Describes a supervised process; nothing runs before `start()`. */
export function superviseProcess(options: ProcessOptions): SupervisedProcess {
  let child: ChildProcess | undefined;
  let exited: Promise<string> = Promise.resolve('not started');
  let wanted = false;
  let stopAsked = false;
  let backoffMs = 250;

  function launch(): ChildProcess {
    const { command, args } = behindSetpriv(options);
    const log = openSync(options.logFile, 'a', 0o600);
    const started = Date.now();
    const launched = spawn(command, args, {
      cwd: options.cwd ?? '/',
      env: options.env ?? { PATH: process.env.PATH, LANG: 'C.UTF-8', TZ: 'UTC' },
      // A session and process group of its own: see the head of the file.
      detached: true,
      stdio: ['ignore', log, log],
      ...(setpriv === undefined && options.account ? { uid: options.account.uid, gid: options.account.gid } : {}),
    });
    closeSync(log);
    child = launched;
    exited = new Promise((resolve) => {
      const ended = (how: string) => {
        // Whatever shares the group has lost its master and must not keep the ports.
        if (launched.pid !== undefined) signalGroup(launched.pid, 'SIGKILL');
        if (child === launched) child = undefined;
        resolve(how);
        if (wanted) void afterCrash(how, Date.now() - started);
      };
      launched.once('exit', (code, signal) => ended(signal ? `signal ${signal}` : `exit code ${code}`));
      launched.once('error', (error) => ended(error.message));
    });
    return launched;
  }

  async function afterCrash(how: string, ranMs: number): Promise<void> {
    if (!options.restart) {
      wanted = false;
      options.log(`${options.name} ended by itself (${how}); its log is ${options.logFile}`);
      return;
    }
    if (ranMs > STABLE_RUN_MS) backoffMs = 250;
    options.log(`${options.name} ended by itself (${how}); starting it again in ${backoffMs} ms`);
    await sleep(backoffMs);
    backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    if (wanted && child === undefined) launch();
  }

  async function start(): Promise<void> {
    if (child) return;
    const logStart = existsSync(options.logFile) ? statSync(options.logFile).size : 0;
    wanted = false; // Ending before it is ready is a failed start, not a crash to recover from.
    stopAsked = false;
    const launched = launch();
    let ended: string | undefined;
    void exited.then((how) => {
      ended = how;
    });
    const timeoutMs = options.readyTimeoutMs ?? 30_000;
    const deadline = Date.now() + timeoutMs;
    while (ended === undefined) {
      if (await options.ready().catch(() => false)) {
        if (ended !== undefined) break;
        wanted = child === launched && !stopAsked;
        return;
      }
      if (Date.now() > deadline) {
        await killTree(launched);
        throw notStarted(`was not ready after ${timeoutMs / 1000} s`, logStart);
      }
      await sleep(25);
    }
    throw notStarted(`ended while starting (${ended})`, logStart);
  }

  async function stop(): Promise<void> {
    wanted = false;
    stopAsked = true;
    const stopping = child;
    if (stopping?.pid === undefined) return;
    const family = descendants(stopping.pid);
    stopping.kill(options.stopSignal);
    const timeoutMs = options.stopTimeoutMs ?? 10_000;
    if (!(await within(exited, timeoutMs))) {
      options.log(`${options.name} did not end within ${timeoutMs / 1000} s; killing it`);
      await killTree(stopping);
    }
    await killFamily(family, 2_000);
  }

  async function kill(): Promise<void> {
    if (!options.restart) wanted = false;
    if (child) await killTree(child);
  }

  async function killTree(victim: ChildProcess): Promise<void> {
    if (victim.pid === undefined) return;
    const family = descendants(victim.pid);
    const end = child === victim ? exited : Promise.resolve('');
    signalGroup(victim.pid, 'SIGKILL');
    await killFamily(family, 0);
    await end;
  }

  function notStarted(what: string, logStart: number): ServiceError {
    const lines = logTail(options.logFile, logStart);
    return new ServiceError({
      kind: 'unavailable',
      code: 'process_not_started',
      detail: `${options.name} ${what}. Its log ${options.logFile} ends with:\n${lines}`,
    });
  }

  return {
    name: options.name,
    get pid() {
      return child?.pid;
    },
    get exited() {
      return exited;
    },
    start,
    stop,
    kill,
    async restart() {
      await stop();
      await start();
    },
  };
}

export interface RunOptions {
  account?: Account | undefined;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  input?: string;
  timeoutMs?: number;
}

/** Runs a command to its end. @returns its standard output. @throws ServiceError quoting the end of its output. */
export function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const { account } = options;
    const child = execFile(
      command,
      [...args],
      {
        cwd: options.cwd ?? '/',
        env: options.env ?? { PATH: process.env.PATH, LANG: 'C.UTF-8', TZ: 'UTC' },
        timeout: options.timeoutMs ?? 120_000,
        maxBuffer: 64 * 1024 * 1024,
        ...(account ? { uid: account.uid, gid: account.gid } : {}),
      },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout);
        const said = `${stdout}\n${stderr}`.trim().split('\n').slice(-15).join('\n');
        reject(
          new ServiceError({
            kind: 'unavailable',
            code: 'command_failed',
            detail: `${command} failed (${error.code ?? error.signal}): ${said || error.message}`,
          }),
        );
      },
    );
    child.stdin?.on('error', () => {}); // A command that ends without reading its input says why by itself.
    child.stdin?.end(options.input ?? '');
  });
}

const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));

/**
 * The credentials are set before the death signal: the kernel forgets that signal when they change (prctl(2)), and setpriv
 * asks for it last.
 */
function behindSetpriv(options: ProcessOptions): { command: string; args: string[] } {
  if (setpriv === undefined) return { command: options.command, args: [...options.args] };
  const program = [...(options.shepherd ? ['/bin/sh', '-c', SHEPHERD, 'sh'] : []), options.command, ...options.args];
  const { account } = options;
  const credentials = account ? ['--reuid', `${account.uid}`, '--regid', `${account.gid}`, '--clear-groups'] : [];
  const deathSignal = options.stopSignal.slice('SIG'.length);
  return {
    command: setpriv,
    args: ['--pdeathsig', deathSignal, ...credentials, '--', ...program],
  };
}

/** A trapped signal ends the first `wait` early; the second gives the program's own exit status. */
const SHEPHERD = 'trap \'kill -TERM "$child"\' TERM INT; "$@" & child=$!; wait "$child"; wait "$child"';

/** A process by its number and start time: together they are never given to another one. */
interface Identity {
  pid: number;
  startTime: string;
}

/** Fields of /proc/PID/stat after the command, which may itself hold spaces and brackets (proc_pid_stat(5)). */
function processStat(pid: number | string): string[] | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return undefined; // It has ended meanwhile.
  }
}

/** When the process started, in clock ticks since boot, or undefined if there is none (a zombie counts as none). */
function processStartTime(pid: number): string | undefined {
  const stat = processStat(pid);
  return stat && stat[0] !== 'Z' ? stat[19] : undefined;
}

/** Everything below `pid`: PostgreSQL's backends leave its process group, so the group alone does not hold them. */
function descendants(pid: number): Identity[] {
  const children = new Map<number, Identity[]>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = processStat(entry);
    if (!stat) continue;
    const parent = Number(stat[1]);
    const siblings = children.get(parent) ?? [];
    siblings.push({ pid: Number(entry), startTime: stat[19] ?? '' });
    children.set(parent, siblings);
  }
  const found: Identity[] = [];
  const queue = [pid];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    for (const child of children.get(next) ?? []) {
      found.push(child);
      queue.push(child.pid);
    }
  }
  return found;
}

/** Gives the family `graceMs` to end by itself, kills what is left, and waits until it is gone. */
async function killFamily(family: readonly Identity[], graceMs: number): Promise<void> {
  const alive = () => family.filter(({ pid, startTime }) => processStartTime(pid) === startTime);
  const deadline = Date.now() + graceMs;
  while (Date.now() < deadline && alive().length > 0) await sleep(20);
  for (const { pid } of alive()) signal(pid, 'SIGKILL');
  const giveUp = Date.now() + 5_000;
  while (alive().length > 0 && Date.now() < giveUp) await sleep(10);
}

function signalGroup(pid: number, name: NodeJS.Signals): void {
  signal(-pid, name);
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // ESRCH: gone already, which is what was wanted.
  }
}

async function within(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController();
  const timeout = sleep(timeoutMs, false, { signal: timer.signal }).catch(() => false);
  const done = await Promise.race([promise.then(() => true), timeout]);
  timer.abort();
  return done;
}

function logTail(logFile: string, from: number): string {
  const written = existsSync(logFile) ? readFileSync(logFile).subarray(from).toString('utf8').trim() : '';
  return written ? written.split('\n').slice(-12).join('\n') : '(nothing was written)';
}

/** Looks a system user up. @returns undefined when there is none of that name. */
export function findAccount(name: string): Account | undefined {
  const found = spawnSync('getent', ['passwd', name], { encoding: 'utf8' });
  const fields = found.status === 0 ? found.stdout.trim().split(':') : [];
  return fields.length >= 4 ? { name, uid: Number(fields[2]), gid: Number(fields[3]) } : undefined;
}

/** What to tell whoever started us: one line for what they can mend, the whole stack for a fault of ours. */
export function describeFailure(error: unknown): string {
  if (error instanceof ServiceError) return error.detail;
  const { code, name, message, stack } = error as NodeJS.ErrnoException;
  return code?.startsWith('ERR_PARSE_ARGS') || name === 'UsageError' ? message : (stack ?? message);
}

export class UsageError extends Error {
  override readonly name = 'UsageError';
}
