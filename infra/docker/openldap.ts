/**
 * OpenLDAP in a container. An existing database is never removed and never loaded over: the base tree is loaded into a draft
 * beside it that gets the database's name only when it is complete. One that an older version made gets the nodes that it lacks. The service identities' passwords are brought to what
 * the secret files say at each start, so that changing one is: write the file, start again.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { LDAP_SERVICES, missingNodes, treeVersion } from '../local/openldap.ts';
import { run } from '../local/process.ts';
import type { Container, Engine } from './container.ts';

const databaseOf = (container: Container): string => join(container.data, 'openldap');

export const openldap: Engine = {
  configure(container) {
    container.write('server.crt', container.text('TLS_CERTIFICATE'));
    container.write('server.key', container.text('TLS_PRIVATE_KEY'));
    container.render('openldap/congvu.schema', 'congvu.schema', {});
    const config = renderConfig(container, 'slapd.conf', databaseOf(container));
    const { LISTEN_ADDRESS, LDAP_PORT } = container.values('LISTEN_ADDRESS', 'LDAP_PORT');
    // `-d` keeps it in the foreground; the statistics name entries and attributes, never values.
    const args = ['-f', config, '-h', `ldap://${LISTEN_ADDRESS}:${LDAP_PORT}/`, '-d', 'none'];
    return { command: '/usr/sbin/slapd', args };
  },
  async prepare(container) {
    const database = databaseOf(container);
    const hashes = new Map<string, string>();
    for (const service of LDAP_SERVICES) {
      hashes.set(service, await hashPassword(container, container.value(`LDAP_${service.toUpperCase()}_PASSWORD`)));
    }
    if (existsSync(join(database, 'data.mdb'))) {
      await completeTree(container);
      await setPasswords(container, hashes);
    } else await loadTree(container, database, hashes);
  },
};

function renderConfig(container: Container, file: string, database: string): string {
  const accesslog = join(container.data, 'openldap-accesslog');
  mkdirSync(accesslog, { recursive: true, mode: 0o700 }); // slapd refuses to make it itself
  return container.render('openldap/slapd.conf', file, {
    ...baseOf(container),
    SCHEMA_DIRECTORY: '/etc/ldap/schema',
    LDAP_MODULE_DIRECTORY: '/usr/lib/ldap',
    LDAP_CONFIG_DIRECTORY: container.config,
    LDAP_RUN_DIRECTORY: container.config,
    LDAP_DATA_DIRECTORY: database,
    LDAP_ACCESSLOG_DIRECTORY: accesslog,
    ROOT_PASSWORD: '', // There is none: nobody is above the access rules.
  });
}

const baseOf = (container: Container) => ({
  ...container.values('BASE_DN', 'MAIL_DOMAIN'),
  BASE_DC: container.value('BASE_DN').replace(/^dc=([^,]+).*$/i, '$1'),
});

async function loadTree(container: Container, database: string, hashes: ReadonlyMap<string, string>): Promise<void> {
  const draft = `${database}.new`;
  rmSync(draft, { recursive: true, force: true }); // What an earlier attempt left half-way is no data yet.
  mkdirSync(draft, { mode: 0o700 });
  const config = renderConfig(container, 'slapadd.conf', draft);
  const tree = container.render('openldap/tree.ldif', 'tree.ldif', baseOf(container));
  await run('/usr/sbin/slapadd', ['-f', config, '-l', tree]);
  for (const [service, hash] of hashes) {
    const values = { ...baseOf(container), SERVICE: service, PASSWORD_HASH: hash };
    const entry = container.render('openldap/service.ldif', 'service.ldif', values);
    await run('/usr/sbin/slapadd', ['-f', config, '-l', entry]);
    rmSync(entry);
  }
  rmSync(config);
  rmSync(tree);
  // slapd refuses to make this directory itself; an empty one may be there.
  rmSync(database, { recursive: true, force: true });
  renameSync(draft, database);
}

async function completeTree(container: Container): Promise<void> {
  const file = container.render('openldap/tree.ldif', 'tree.ldif', baseOf(container));
  const tree = readFileSync(file, 'utf8');
  const marker = join(container.data, 'openldap-tree');
  try {
    if (existsSync(marker) && readFileSync(marker, 'utf8') === treeVersion(tree)) return;
    const config = join(container.config, 'slapd.conf');
    const missing = await missingNodes(config, tree);
    container.write('tree.ldif', missing);
    if (missing !== '') await run('/usr/sbin/slapadd', ['-f', config, '-l', file]);
    writeFileSync(marker, treeVersion(tree));
  } finally {
    rmSync(file);
  }
}

/** Offline, before slapd starts: no identity could do it later, since there is no root password. */
async function setPasswords(container: Container, hashes: ReadonlyMap<string, string>): Promise<void> {
  const { BASE_DN } = container.values('BASE_DN');
  const changes = [...hashes].map(
    ([service, hash]) =>
      `dn: cn=${service},ou=services,${BASE_DN}\nchangetype: modify\nreplace: userPassword\nuserPassword: ${hash}\n\n`,
  );
  const file = container.write('passwords.ldif', changes.join(''));
  try {
    await run('/usr/sbin/slapmodify', ['-f', join(container.config, 'slapd.conf'), '-l', file]);
  } finally {
    rmSync(file);
  }
}

/** Hashed by OpenLDAP itself, as in the local stack. Handed over in a file: an argument would show in the process list. */
async function hashPassword(container: Container, password: string): Promise<string> {
  const file = container.write('password', password);
  try {
    const scheme = ['-n', '-o', 'module-load=pw-sha2', '-h', '{SSHA512}'];
    return (await run('/usr/sbin/slappasswd', [...scheme, '-T', file])).trim();
  } finally {
    rmSync(file);
  }
}
