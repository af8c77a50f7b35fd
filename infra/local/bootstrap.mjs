/**
 * The first step of `npm start`, `npm test` and `npm run bench` on a machine that has only Node 20 and npm: installs the
 * dependencies when they are absent or out of date, then runs infra/local/<command>.ts on the pinned Node 24. Uses nothing but
 * Node's own modules. Whatever ends this process, a SIGKILL to it or to npm included, also ends what it started.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { delimiter, join, resolve } from 'node:path';

const repository = resolve(import.meta.dirname ?? new URL('.', import.meta.url).pathname, '../..');
const modules = join(repository, 'node_modules');
const commands = ['start', 'test', 'bench'];
const [command, ...args] = process.argv.slice(2);

if (!command || !commands.includes(command)) {
  fail(`usage: node infra/local/bootstrap.mjs <${commands.join('|')}> [arguments]`, 2);
}
// Before anything that takes time: who is gone later cannot be found any more.
const ancestors = callers();
await installDependencies();
await runCommand(pinnedNode());

/** `npm ci` when node_modules does not belong to the present package-lock.json. */
async function installDependencies() {
  const lockFile = join(repository, 'package-lock.json');
  const marker = join(modules, '.congvu-lock');
  const hash = createHash('sha256').update(readFileSync(lockFile)).digest('hex');
  if (existsSync(marker) && readFileSync(marker, 'utf8').trim() === hash) return;
  // npm notes what it installed here; newer than the lock file means that somebody ran `npm ci` or `npm install` by hand.
  const installed = join(modules, '.package-lock.json');
  const isCurrent = existsSync(installed) && statSync(installed).mtimeMs >= statSync(lockFile).mtimeMs;
  if (!isCurrent || existsSync(marker)) {
    const why = existsSync(modules) ? 'package-lock.json has changed' : 'first start';
    say(`installing dependencies with npm ci (${why}; this takes a minute or two)`);
    const exact = await npm(['ci', '--loglevel', 'error']);
    if (exact.code !== 0) {
      if (exact.stopped) fail('npm ci was stopped', 130);
      // `npm ci` insists that the lock file lists the packages of every platform. A lock file written where a registry lacks
      // those of others does not; `npm install` takes the same versions from it, and leaves it as it is.
      say('npm ci refused; installing the same versions with npm install');
      const lenient = await npm(['install', '--no-save', '--loglevel', 'error']);
      if (lenient.stopped) fail('npm install was stopped', 130);
      if (lenient.code !== 0) {
        process.stderr.write(exact.stderr + lenient.stderr);
        fail(`the dependencies could not be installed (exit code ${lenient.code}); see above`);
      }
    }
  }
  writeFileSync(marker, `${hash}\n`);
}

/** Runs the npm that runs us, or the one on PATH; it says nothing unless it fails. */
function npm(args) {
  const path = process.env.npm_execpath;
  const [program, before] = path?.endsWith('.js') ? [process.execPath, [path]] : ['npm', []];
  return run([program, ...before, ...args], {
    stdio: ['ignore', 'ignore', 'pipe'],
    killAfterMs: 1_000, // npm goes on installing when it is asked to end; a half-made node_modules is made again
  });
}

/** Path of a Node 24: npm's `node` package, or the one that runs this file. */
function pinnedNode() {
  const candidates = [join(modules, '.bin', 'node'), process.execPath];
  const found = candidates.find((path) => {
    const version = spawnSync(path, ['--version'], { encoding: 'utf8' }).stdout;
    return version !== null && Number(/^v(\d+)\./.exec(version)?.[1]) >= 24;
  });
  return (
    found ??
    fail(
      `Node 24 is needed: npm's package "node" did not install it and this is ${process.version}; remove node_modules and start again, or use Node 24`,
    )
  );
}

/** Runs infra/local/<command>.ts and ends with its exit code. */
async function runCommand(node) {
  const program = [
    node,
    '--disable-warning=ExperimentalWarning',
    join(repository, `infra/local/${command}.ts`),
    ...args,
  ];
  const env = { ...process.env, PATH: `${join(modules, '.bin')}${delimiter}${process.env.PATH ?? ''}` };
  const { code } = await run(program, { stdio: 'inherit', env });
  process.exit(code);
}

/**
 * Runs a program in a session of its own: a terminal's Ctrl-C reaches this process alone, which passes it on once. So it does
 * when npm, or the shell that npm runs us in, is gone: they cannot tell us of their own SIGKILL. And when we are, the kernel
 * ends the program.
 */
function run(program, options) {
  const { killAfterMs, ...spawnOptions } = options;
  const setpriv = ['/usr/bin/setpriv', '/bin/setpriv'].find((path) => existsSync(path));
  const [file, ...rest] = setpriv ? [setpriv, '--pdeathsig', 'TERM', '--', ...program] : program;
  const child = spawn(file, rest, { cwd: repository, detached: true, ...spawnOptions });
  let stderr = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    stderr += text;
  });
  let stopped = false;
  const passOn = (signal) => {
    if (stopped) return; // npm passes on the Ctrl-C that we have had ourselves.
    stopped = true;
    child.kill(signal);
    if (killAfterMs) setTimeout(() => killGroup(child.pid), killAfterMs).unref();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, passOn);
  const watch = setInterval(() => {
    if (!ancestors.every(({ pid, startTime }) => processStat(pid)?.[19] === startTime)) passOn('SIGTERM');
  }, 500);
  return new Promise((resolve) => {
    child.once('error', (error) => fail(`${program[0]} could not be started: ${error.message}`));
    child.once('exit', (code, signal) => {
      clearInterval(watch);
      for (const each of signals) process.off(each, passOn);
      // What npm had started in its session goes with it.
      if (stopped) killGroup(child.pid);
      const number = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 }[signal];
      resolve({ code: code ?? 128 + (number ?? 0), stopped, stderr });
    });
  });
}

function killGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // nobody is left in it
  }
}

/** Our parent, and npm above it when the parent is the shell that npm runs scripts in. */
function callers() {
  const found = [];
  let pid = process.ppid;
  for (let level = 0; level < 2 && pid > 1; level += 1) {
    const stat = processStat(pid);
    if (!stat) break;
    found.push({ pid, startTime: stat[19] });
    if (process.env.npm_lifecycle_event === undefined || !/^(sh|dash|bash)$/.test(stat.name)) break;
    pid = Number(stat[1]);
  }
  return found;
}

/** Fields of /proc/PID/stat after the command's name (proc_pid_stat(5)); undefined once it has ended. */
function processStat(pid) {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    if (fields[0] === 'Z') return undefined;
    return Object.assign(fields, { name: text.slice(text.indexOf('(') + 1, text.lastIndexOf(')')) });
  } catch {
    return undefined;
  }
}

function say(line) {
  process.stderr.write(`congvu: ${line}\n`);
}

function fail(line, code = 1) {
  say(line);
  process.exit(code);
}
