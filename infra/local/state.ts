/**
 * One directory holds everything that a running stack writes: configuration, data, logs, secrets. It is used by one copy at
 * a time, its secrets are made once and read by their owner only, and each engine's user reaches just its own part.
 *
 * As root the engines run under unprivileged users, which must be able to reach their data. A clone below /root or `mktemp -d`
 * (mode 0700) hides it from them; then `.congvu` becomes a link to a directory below /var/lib/congvu.
 */
import { spawnSync } from 'node:child_process';
import { createHash, randomBytes, X509Certificate } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ServiceError } from '@congvu/errors';
import { type Account, findAccount, run } from './process.ts';

/** Where the project lies: `infra/` holds the templates. */
export const repository = resolve(import.meta.dirname, '../..');

/** Where states lie that would be out of the engines' reach inside their clone. */
const SHARED_ROOT = '/var/lib/congvu';

export interface State {
  /** Real path of the state directory. */
  readonly directory: string;
  /** True when the copy before us ended without stopping its engines in order. */
  readonly recovered: boolean;
  /** The secret of that name, made at random (192 bits, base64url) on first asking and kept. */
  secret(name: string): string;
  /** The user that runs an engine: as root the named system user, made if absent; otherwise undefined (ourselves). */
  account(name: string): Account | undefined;
  /** Makes a directory below the state, owned by the engine's user and closed to others. @returns its path. */
  makeDirectory(path: string, owner?: Account, mode?: number): string;
  /** Writes a file below the state as a whole or not at all. @returns its path. */
  writeFile(path: string, content: string, owner?: Account, mode?: number): string;
  /** Fills a template of `infra/` with `values` and writes it below the state. @returns its path. */
  render(template: string, path: string, values: TemplateValues, owner?: Account, mode?: number): string;
  /** The stack's TLS certificate (self-signed: a client trusts it as its own authority), renewed before it expires. */
  certificate(domain: string): Promise<{ certificateFile: string; certificate: string; key: string }>;
  /** Lets the next copy use the directory. */
  close(): void;
}

export type TemplateValues = Readonly<Record<string, string | number>>;

/**
 * Opens (and makes) a state directory `<somewhere>/.congvu/<name>`.
 * @throws ServiceError `conflict` when a living process uses it.
 */
export function openState(path: string): State {
  const directory = locate(path);
  const isRoot = process.getuid?.() === 0;
  // Others may pass through (not list) as root, because each engine's user has its own directory below.
  mkdirSync(directory, { recursive: true });
  assertOwned(directory);
  chmodSync(directory, isRoot ? 0o711 : 0o700);
  const lock = takeLock(directory);
  const secretsFile = join(directory, 'secrets.json');
  const secrets = new Map<string, string>(
    existsSync(secretsFile) ? Object.entries(JSON.parse(readFileSync(secretsFile, 'utf8'))) : [],
  );

  let open = true;
  const state: State = {
    directory,
    recovered: lock.recovered,
    secret(name) {
      const known = secrets.get(name);
      if (known !== undefined) return known;
      const made = randomBytes(24).toString('base64url');
      secrets.set(name, made);
      state.writeFile('secrets.json', `${JSON.stringify(Object.fromEntries(secrets), null, 2)}\n`);
      return made;
    },
    account(name) {
      return isRoot ? requireAccount(name) : undefined;
    },
    makeDirectory(relative, owner, mode = 0o700) {
      const made = join(directory, relative);
      mkdirSync(made, { recursive: true });
      if (isRoot) chownSync(made, owner?.uid ?? 0, owner?.gid ?? 0);
      chmodSync(made, mode);
      return made;
    },
    writeFile(relative, content, owner, mode = 0o600) {
      const target = join(directory, relative);
      const draft = `${target}.new`;
      rmSync(draft, { force: true });
      writeFileSync(draft, content, { mode, flag: 'wx' });
      chmodSync(draft, mode);
      if (isRoot) chownSync(draft, owner?.uid ?? 0, owner?.gid ?? 0);
      renameSync(draft, target);
      return target;
    },
    render(template, relative, values, owner, mode) {
      const text = readFileSync(join(repository, 'infra', template), 'utf8');
      return state.writeFile(relative, renderTemplate(template, text, values), owner, mode);
    },
    certificate: (domain) => requireCertificate(state, domain),
    close() {
      if (!open) return;
      open = false;
      lock.release();
    },
  };
  return state;
}

/** The lookup tables among Postfix's templates: all but its own two files. */
export const postfixMaps = (): string[] =>
  readdirSync(join(repository, 'infra/postfix')).filter((name) => !['main.cf', 'master.cf'].includes(name));

/**
 * Replaces every `${NAME}` (upper case) of a template; the programs' own `${lowercase}` and `$name` stay as they are.
 * @throws ServiceError when the template names a value that is not given.
 */
export function renderTemplate(name: string, text: string, values: TemplateValues): string {
  return text.replace(/\$\{([A-Z][A-Z0-9_]*)\}/g, (_, key: string) => {
    const value = values[key];
    if (value === undefined) {
      throw new ServiceError({
        kind: 'invalid',
        code: 'template_value_missing',
        detail: `infra/${name} needs the value ${key}, which is not given.`,
      });
    }
    return String(value);
  });
}

/** Removes a state directory with all its data. @throws ServiceError `conflict` when a living process uses it. */
export function removeState(path: string): void {
  const directory = locate(path);
  if (!existsSync(directory)) return;
  removeLocked(directory);
}

function removeLocked(directory: string): void {
  const lock = takeLock(directory);
  rmSync(directory, { recursive: true, force: true });
  lock.release();
}

/**
 * Throws unless every port can be listened on.
 * @param ports what listens there (for the message) and the port
 * @param waitMs how long a taken port may still become free, e.g. when engines of a killed copy are just ending
 */
export async function assertPortsFree(ports: Readonly<Record<string, number>>, waitMs = 0): Promise<void> {
  const deadline = Date.now() + waitMs;
  for (const [name, port] of Object.entries(ports)) {
    while (!(await isFree(port))) {
      if (Date.now() >= deadline) {
        throw new ServiceError({
          kind: 'conflict',
          code: 'port_taken',
          detail: `port ${port} (${name}) is taken; another copy may be running; set CONGVU_PORT_BASE to use other ports`,
        });
      }
      await sleep(100);
    }
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: '127.0.0.1', exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/** Follows `.congvu` to where the data really lies, making the link if the engines' users need it. */
function locate(path: string): string {
  const wanted = resolve(path);
  const root = dirname(wanted);
  const name = wanted.slice(root.length + 1);
  const elsewhere = join(SHARED_ROOT, createHash('sha256').update(root).digest('hex').slice(0, 16));
  let link = lstatSync(root, { throwIfNoEntry: false });
  if (link?.isSymbolicLink()) {
    const target = resolve(dirname(root), readlinkSync(root));
    if (dirname(target) !== SHARED_ROOT || belongsTo(target, root)) {
      mkdirSync(target, { recursive: true });
      return join(realpathSync(root), name);
    }
    rmSync(root); // Came along when a clone was copied: the data there is the other clone's.
    link = undefined;
  }
  if (process.getuid?.() !== 0 || isReachable(dirname(root))) {
    mkdirSync(root, { recursive: true });
    const real = realpathSync(root);
    if (process.getuid?.() === 0) chmodSync(real, 0o711);
    return join(real, name);
  }
  if (link) {
    throw new ServiceError({
      kind: 'conflict',
      code: 'state_unreachable',
      detail: `${root} lies where the engines' unprivileged users cannot reach it; remove it, or open the directories above it to others (chmod o+x)`,
    });
  }
  // Data without a link belongs to a clone that was deleted, or whose link was: this one begins anew, and nothing is deleted.
  if (existsSync(elsewhere)) setAside(elsewhere);
  mkdirSync(elsewhere, { recursive: true });
  chmodSync(SHARED_ROOT, 0o711);
  chmodSync(elsewhere, 0o711);
  belongsTo(elsewhere, root);
  symlinkSync(elsewhere, root);
  return join(elsewhere, name);
}

/**
 * Whether the data in `elsewhere` are those of the clone that links to it by `root`, and not those of one that it was copied from:
 * the data remember the link's path, and one that is gone was moved here.
 */
function belongsTo(elsewhere: string, root: string): boolean {
  const record = join(elsewhere, 'clone');
  const recorded = existsSync(record) ? readFileSync(record, 'utf8') : root;
  if (recorded !== root && lstatSync(recorded, { throwIfNoEntry: false })) return false;
  mkdirSync(elsewhere, { recursive: true });
  writeFileSync(record, root, { mode: 0o600 });
  return true;
}

/** Keeps the data under another name. @throws ServiceError `conflict` when a living process uses them. */
function setAside(elsewhere: string): void {
  const states = readdirSync(elsewhere).map((state) => join(elsewhere, state));
  for (const state of states) if (statSync(state).isDirectory()) takeLock(state).release();
  renameSync(elsewhere, `${elsewhere}-left-${Date.now()}`);
}

/** Whether every user may pass through the directory and all above it. */
function isReachable(path: string): boolean {
  for (let at = realpathSync(path); ; at = dirname(at)) {
    if ((statSync(at).mode & 0o001) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function assertOwned(directory: string): void {
  const owner = statSync(directory).uid;
  const uid = process.getuid?.() ?? owner;
  if (owner === uid) return;
  throw new ServiceError({
    kind: 'conflict',
    code: 'state_of_another_user',
    detail: `${directory} was made by user ${owner} and we run as user ${uid}; run as that user, or begin anew with --fresh`,
  });
}

/**
 * The kernel's lock (flock(2)) on an open file: it cannot be had twice, and it is gone with its process, whatever ended it. The
 * file says who has it; it is empty when that copy has let go in order.
 * @throws ServiceError `conflict` when a living process has it.
 */
function takeLock(directory: string): Lock {
  const file = join(directory, 'lock');
  for (;;) {
    const descriptor = openSync(file, 'a+', 0o600);
    const { status, error } = spawnSync('flock', ['--nonblock', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', descriptor],
    });
    const holder = readFileSync(file, 'utf8').trim();
    if (status === 0 && isSameFile(descriptor, file)) {
      ftruncateSync(descriptor);
      writeSync(descriptor, `${process.pid}\n`);
      return {
        recovered: holder !== '',
        release() {
          ftruncateSync(descriptor);
          closeSync(descriptor);
        },
      };
    }
    closeSync(descriptor);
    if (status === 0) continue; // Removed with its directory between opening and locking.
    if (error) {
      const detail = `flock (package util-linux) could not be run: ${error.message}`;
      throw new ServiceError({ kind: 'unavailable', code: 'lock_unavailable', detail });
    }
    throw new ServiceError({
      kind: 'conflict',
      code: 'state_in_use',
      detail: `another copy (process ${holder || 'just starting'}) is running on ${directory}; stop it first`,
    });
  }
}

interface Lock {
  /** True when the holder before did not let go in order. */
  readonly recovered: boolean;
  release(): void;
}

function isSameFile(descriptor: number, path: string): boolean {
  const [open, named] = [fstatSync(descriptor), statSync(path, { throwIfNoEntry: false })];
  return open.ino === named?.ino && open.dev === named.dev;
}

/** Debian's packages bring `openldap`, `dovecot` and `postfix`; `postgres` may have to be made. */
function requireAccount(name: string): Account {
  const known = findAccount(name);
  return known ?? createAccount(name);
}

function createAccount(name: string): Account {
  const made = spawnSync('useradd', ['--system', '--no-create-home', '--shell', '/usr/sbin/nologin', name], {
    encoding: 'utf8',
  });
  const account = findAccount(name);
  if (account) return account;
  throw new ServiceError({
    kind: 'unavailable',
    code: 'account_missing',
    detail: `the system user ${name}, under which an engine runs, could not be made: ${made.stderr?.trim() || made.error?.message}`,
  });
}

/** RFC 6125: names in subjectAltName. The key is kept by the owner; engines get copies in their own directories. */
async function requireCertificate(state: State, domain: string) {
  const directory = state.makeDirectory('tls', undefined, 0o711);
  const certificateFile = join(directory, 'server.crt');
  const keyFile = join(directory, 'server.key');
  const renewBefore = Date.now() + 30 * 24 * 3600 * 1000;
  if (!existsSync(certificateFile) || !existsSync(keyFile) || expiresBefore(certificateFile, renewBefore)) {
    const key = await run('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256']);
    state.writeFile('tls/server.key', key);
    const subject = [`/CN=mail.${domain}`, '-addext', `subjectAltName=DNS:localhost,DNS:mail.${domain},IP:127.0.0.1`];
    const request = ['req', '-x509', '-new', '-key', keyFile, '-sha256', '-days', '825', '-subj', ...subject];
    state.writeFile('tls/server.crt', await run('openssl', request), undefined, 0o644);
  }
  return {
    certificateFile,
    certificate: readFileSync(certificateFile, 'utf8'),
    key: readFileSync(keyFile, 'utf8'),
  };
}

function expiresBefore(certificateFile: string, time: number): boolean {
  return Date.parse(new X509Certificate(readFileSync(certificateFile)).validTo) < time;
}
