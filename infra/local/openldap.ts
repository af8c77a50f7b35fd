/**
 * OpenLDAP (Debian's slapd) on our own configuration, data and port. On first use the base tree and the service identities
 * are loaded offline, their passwords hashed; the database counts as made only once that is complete. One that an older version made
 * gets the nodes of the tree that it lacks, before slapd starts.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type Account, run, type SupervisedProcess, superviseProcess } from './process.ts';
import { renderTemplate, repository, type State, type TemplateValues } from './state.ts';

/** The identities below ou=services; what each may do is said in infra/openldap/slapd.conf. */
export const LDAP_SERVICES = ['directory', 'mailbox', 'certificate', 'postfix', 'dovecot', 'reader'] as const;
export type LdapService = (typeof LDAP_SERVICES)[number];

export interface OpenLdap extends Pick<SupervisedProcess, 'start' | 'stop' | 'restart' | 'kill' | 'pid'> {
  readonly host: string;
  readonly port: number;
  /** `ldap://host:port`; StartTLS is offered with the stack's certificate. */
  readonly url: string;
  readonly baseDn: string;
  /** DN and password with which a service binds. */
  credentials(service: LdapService): { dn: string; password: string };
  /** The database's root DN; it can be bound as only where a root password was asked for. */
  readonly rootDn: string;
}

export interface OpenLdapOptions {
  state: State;
  port: number;
  baseDn: string;
  domain: string;
  log: (line: string) => void;
  /** A password for the root DN, for measuring against the bare server; never in a stack that serves. */
  rootPassword?: string;
}

/** Starts slapd, waits until it answers, and starts it again whenever it dies. */
export async function startOpenLdap(options: OpenLdapOptions): Promise<OpenLdap> {
  const { state, port, baseDn, domain, log } = options;
  const host = '127.0.0.1';
  const account = state.account('openldap');
  const home = state.makeDirectory('openldap', account);
  const data = state.makeDirectory('openldap/data', account);
  const tls = await state.certificate(domain);
  state.writeFile('openldap/server.crt', tls.certificate, account);
  state.writeFile('openldap/server.key', tls.key, account);
  const base = { BASE_DN: baseDn, BASE_DC: baseDn.replace(/^dc=([^,]+).*$/i, '$1'), MAIL_DOMAIN: domain };
  state.render('openldap/congvu.schema', 'openldap/congvu.schema', {}, account);
  const values = {
    ...base,
    SCHEMA_DIRECTORY: '/etc/ldap/schema',
    LDAP_MODULE_DIRECTORY: '/usr/lib/ldap',
    LDAP_CONFIG_DIRECTORY: home,
    LDAP_RUN_DIRECTORY: home,
    LDAP_DATA_DIRECTORY: data,
    LDAP_ACCESSLOG_DIRECTORY: state.makeDirectory('openldap/accesslog', account),
    ROOT_PASSWORD: options.rootPassword ? `rootpw ${await hashPassword(state, 'root', options.rootPassword)}` : '',
  };
  const config = state.render('openldap/slapd.conf', 'openldap/slapd.conf', values, account);
  const complete = join(home, 'tree-loaded');
  if (!existsSync(complete)) {
    log('OpenLDAP: loading the base tree and the service identities');
    await loadTree(state, config, base, account);
  } else await completeTree(state, config, base, account);
  state.writeFile('openldap/tree-loaded', treeVersion(treeOf(base)));

  const url = `ldap://${host}:${port}`;
  const server = superviseProcess({
    name: 'OpenLDAP',
    command: '/usr/sbin/slapd',
    // `-d` keeps it in the foreground; nothing is said of single operations.
    args: ['-f', config, '-h', `${url}/`, '-d', 'none'],
    cwd: home,
    account,
    logFile: join(state.makeDirectory('logs'), 'openldap.log'),
    stopSignal: 'SIGTERM',
    ready: () => run('ldapwhoami', ['-x', '-H', url, '-o', 'nettimeout=2']).then(() => true),
    // A client that is killed in the middle of a transaction can take slapd 2.5.13 along (packages/ldap/src/transaction.ts).
    restart: true,
    log,
  });
  await server.start();
  return {
    host,
    port,
    url,
    baseDn,
    rootDn: `cn=internal,${baseDn}`,
    credentials: (service) => ({
      dn: `cn=${service},ou=services,${baseDn}`,
      password: state.secret(`ldap/${service}`),
    }),
    get pid() {
      return server.pid;
    },
    start: server.start,
    stop: server.stop,
    restart: server.restart,
    kill: server.kill,
  };
}

async function completeTree(state: State, config: string, base: TemplateValues, account: Account | undefined) {
  const tree = treeOf(base);
  if (readFileSync(join(state.directory, 'openldap/tree-loaded'), 'utf8') === treeVersion(tree)) return;
  const missing = await missingNodes(config, tree, account);
  if (missing === '') return;
  const file = state.writeFile('openldap/missing.ldif', missing, account);
  try {
    await run('/usr/sbin/slapadd', ['-f', config, '-l', file], { account });
  } finally {
    rmSync(file, { force: true });
  }
}

const treeOf = (base: TemplateValues): string =>
  renderTemplate('openldap/tree.ldif', readFileSync(join(repository, 'infra/openldap/tree.ldif'), 'utf8'), base);

/** By which one sees that a database was made, or completed, from this very tree: looking for what it lacks reads all of it. */
export const treeVersion = (tree: string): string => createHash('sha256').update(tree).digest('hex');

/** LDIF of the nodes of `tree` that the database of `config` lacks; nothing may write to it meanwhile. What is there stays as it is. */
export async function missingNodes(config: string, tree: string, account?: Account): Promise<string> {
  const kinds = '(|(objectClass=organization)(objectClass=organizationalUnit)(objectClass=organizationalRole))';
  const nodes = `(&${kinds}(!(objectClass=congvuAgency))(!(objectClass=congvuAccount)))`;
  const dump = await run('/usr/sbin/slapcat', ['-f', config, '-o', 'ldif-wrap=no', '-a', nodes], { account });
  const there = new Set([...dump.matchAll(/^dn: (.*)$/gm)].map(([, dn = '']) => dn.toLowerCase()));
  const entries = tree.replace(/^#.*\n/gm, '').split(/\n{2,}/);
  const missing = entries.filter((entry) => {
    const dn = /^dn: (.*)$/m.exec(entry)?.[1];
    return dn !== undefined && !there.has(dn.toLowerCase());
  });
  return missing.map((entry) => `${entry.trim()}\n\n`).join('');
}

async function loadTree(state: State, config: string, base: TemplateValues, account: Account | undefined) {
  const template = readFileSync(join(repository, 'infra/openldap/service.ldif'), 'utf8');
  const hashes = await Promise.all(
    LDAP_SERVICES.map((service) => hashPassword(state, service, state.secret(`ldap/${service}`))),
  );
  const entries = LDAP_SERVICES.map((service, index) =>
    renderTemplate('openldap/service.ldif', template, {
      ...base,
      SERVICE: service,
      PASSWORD_HASH: hashes[index] ?? '',
    }),
  );
  const ldif = treeOf(base) + entries.join('');
  // What an earlier attempt left half-way is no data yet.
  rmSync(join(state.directory, 'openldap/data'), { recursive: true, force: true });
  state.makeDirectory('openldap/data', account);
  const file = state.writeFile('openldap/tree.ldif', ldif, account);
  try {
    await run('/usr/sbin/slapadd', ['-f', config, '-l', file], { account });
  } finally {
    rmSync(file, { force: true });
  }
}

/** Hashed by OpenLDAP itself; our secrets are random, so the hash need not be slow. The password is handed over in a file: an argument would be visible to every user. */
async function hashPassword(state: State, name: string, password: string): Promise<string> {
  state.makeDirectory('passwords');
  const file = state.writeFile(`passwords/${name}`, password);
  try {
    const hash = await run('/usr/sbin/slappasswd', ['-n', '-o', 'module-load=pw-sha2', '-h', '{SSHA512}', '-T', file]);
    return hash.trim();
  } finally {
    rmSync(file, { force: true });
  }
}
