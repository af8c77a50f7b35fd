/**
 * What Postfix and Dovecot ask OpenLDAP for every message and log-in, on a slapd of its own with a few thousand people: no lookup looks
 * through entries. slapd itself says how many it considered for each search, and which attribute of a filter has no index. The
 * tables and filters are those of infra/postfix and infra/dovecot, none left out.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Ldap, type Operation, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type OpenLdap, startOpenLdap } from './openldap.ts';
import { run } from './process.ts';
import { openState, postfixMaps, renderTemplate, repository, type State } from './state.ts';

const baseDn = 'dc=nghean,dc=gov,dc=vn';
const people = `ou=people,${baseDn}`;
const domain = 'nghean.gov.vn';
const crowd = 3_000;
const home = mkdtempSync(join(tmpdir(), 'congvu-lookups-'));
chmodSync(home, 0o755);
let state: State;
let server: OpenLdap;
/** The same database, read by a slapd that says what it does. */
let talking: ChildProcess;
let said = '';
let url: string;

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

const connect = (name: 'directory' | 'mailbox'): Ldap => {
  const { dn, password } = server.credentials(name);
  return openLdap({ url: server.url, bindDn: dn, password });
};

async function fill(): Promise<void> {
  const [directory, mailbox] = [connect('directory'), connect('mailbox')];
  const names = Array.from({ length: crowd }, (_, number) => `nguoi${number}`);
  const additions = names.map(
    (uid): Operation => ({
      kind: 'add',
      dn: `uid=${uid},${people}`,
      attributes: {
        objectClass: ['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'],
        uid: [uid],
        congvuAccountId: [randomUUID()],
        cn: [uid],
        sn: [uid],
        congvuAccountStatus: ['active'],
        congvuAccountKind: ['person'],
        congvuAgencyCode: ['H41.12'],
      },
    }),
  );
  const addresses = names.map(
    (uid): Operation => ({
      kind: 'modify',
      dn: `uid=${uid},${people}`,
      changes: Object.entries({
        mail: `${uid}@${domain}`,
        congvuMailAlias: `cu.${uid}@${domain}`,
        congvuMailStatus: 'active',
        congvuMailForward: `${uid}@${domain}`,
      }).map(([attribute, value]) => ({ attribute, operation: 'replace' as const, values: [value] })),
    }),
  );
  for (const outcome of [await directory.applyAll(additions), await mailbox.applyAll(addresses)])
    expect(outcome.filter((error) => error)).toEqual([]);
  for (let number = 0; number < 300; number += 1) {
    const isAlias = number % 2 === 1;
    await mailbox.add(`associatedDomain=d${number}.${domain},ou=domains,${baseDn}`, {
      objectClass: ['congvuMailDomain'],
      associatedDomain: [`d${number}.${domain}`],
      congvuDomainKind: [isAlias ? 'alias' : 'agency'],
      congvuDomainTarget: isAlias ? [domain] : [],
    });
  }
  await Promise.all([directory.close(), mailbox.close()]);
}

beforeAll(async () => {
  state = openState(join(home, '.congvu/lookups'));
  server = await startOpenLdap({ state, port: await freePort(), baseDn, domain, log: () => undefined });
  await fill();
  url = `ldap://127.0.0.1:${await freePort()}`;
  // Once: a program of Postfix waits until what it reads is some seconds old.
  writeFileSync(join(home, 'main.cf'), 'compatibility_level = 3.7\n');
  for (const map of postfixMaps()) writeFileSync(join(home, map), template(`postfix/${map}`), { mode: 0o600 });
  const account = state.account('openldap');
  talking = spawn(
    '/usr/sbin/slapd',
    ['-f', join(state.directory, 'openldap/slapd.conf'), '-h', `${url}/`, '-d', 'trace'],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
      ...(account ? { uid: account.uid, gid: account.gid } : {}),
    },
  );
  talking.stderr?.setEncoding('utf8').on('data', (text) => {
    said += text;
  });
  for (let tries = 0; ; tries += 1) {
    if (
      await run('ldapwhoami', ['-x', '-H', url]).then(
        () => true,
        () => false,
      )
    )
      break;
    if (tries === 100) throw new Error(`slapd is not up: ${said.slice(-500)}`);
    await sleep(50);
  }
}, 60_000);
afterAll(async () => {
  if (talking?.exitCode === null) {
    talking.kill('SIGTERM');
    await once(talking, 'exit');
  }
  await server?.stop();
  state?.close();
  rmSync(home, { recursive: true, force: true });
});

interface Search {
  /** Entries that the indexes left to be looked at, search by search. */
  candidates: number[];
  answer: string;
}

/** What slapd did for one lookup. It names a range of ids, which it looks through whole, as -1. */
async function observe(lookup: () => Promise<string>): Promise<Search> {
  const from = said.length;
  const answer = await lookup();
  await sleep(50);
  const searches = said.slice(from).matchAll(/mdb_search_candidates: id=(-?\d+) first=(\d+) last=(\d+)/g);
  return {
    answer: answer.trim(),
    candidates: [...searches].map(([, count, first, last]) =>
      count === '-1' ? Number(last) - Number(first) + 1 : Number(count),
    ),
  };
}

const values = () => ({
  LDAP_URL: url,
  BASE_DN: baseDn,
  MAIL_DOMAIN: domain,
  LDAP_POSTFIX_PASSWORD: server.credentials('postfix').password,
  LDAP_DOVECOT_PASSWORD: server.credentials('dovecot').password,
  MAIL_DIRECTORY: '/mail',
  MAIL_QUOTA_DEFAULT_BYTES: 1,
});
const template = (path: string): string =>
  renderTemplate(path, readFileSync(join(repository, 'infra', path), 'utf8'), values());

const postmap = (map: string, key: string): Promise<string> =>
  run('/usr/sbin/postmap', ['-c', home, '-q', key, `ldap:${join(home, map)}`]).catch((error: { detail: string }) => {
    if (/failed \(1\): Command failed/.test(error.detail)) return ''; // nothing found, and nothing said
    throw error;
  });

test('the measure itself: a filter without an index is noticed', async () => {
  const { dn, password } = server.credentials('directory');
  const bind = ['-x', '-LLL', '-H', url, '-D', dn, '-w', password, '-b', people, '-s', 'one'];
  const { candidates } = await observe(() => run('ldapsearch', [...bind, '(title=Chủ tịch)', '1.1']));
  expect(candidates.length).toBe(1);
  expect(candidates[0]).toBeGreaterThan(crowd);
});

describe('Postfix', () => {
  const known: Record<string, [key: string, answer: string]> = {
    'domains.cf': [`d0.${domain}`, `d0.${domain}`],
    'alias-domains.cf': [`d1.${domain}`, domain],
    'own-domains.cf': [`d1.${domain}`, `553 5.7.1 senders of d1.${domain} use submission and their password`],
    'domain-aliases.cf': [`nguoi7@d1.${domain}`, `nguoi7@${domain}`],
    'addresses.cf': [`cu.nguoi7@${domain}`, `nguoi7@${domain}`],
    'aliases.cf': [`cu.nguoi7@${domain}`, `nguoi7@${domain}`],
    'forwards.cf': [`nguoi7@${domain}`, `nguoi7@${domain}`],
    'mailboxes.cf': [`nguoi7@${domain}`, `nguoi7@${domain}`],
    'senders.cf': [`cu.nguoi7@${domain}`, `nguoi7@${domain}`],
  };

  test.each(postfixMaps())('%s asks by an index, for what there is and for what there is not', async (map) => {
    const [key, answer] = known[map] ?? [`nguoi7@${domain}`, undefined];
    for (const asked of [key, `khong.co@${domain}`, 'a@example.org', `@${domain}`, 'nguoi7', domain]) {
      const search = await observe(() => postmap(map, asked));
      if (asked === key) {
        if (answer !== undefined) expect(search.answer).toBe(answer);
        expect(search.candidates.length).toBeGreaterThan(0); // it was asked at all
      }
      expect(Math.max(0, ...search.candidates)).toBeLessThanOrEqual(1);
      if (map === 'domain-aliases.cf' && asked.endsWith(`@${domain}`)) expect(search.candidates).toEqual([]);
    }
  });
});

describe('Dovecot', () => {
  const filters = readdirSync(join(repository, 'infra/dovecot'))
    .filter((name) => name.startsWith('ldap-'))
    .flatMap((name) =>
      [
        ...readFileSync(join(repository, 'infra/dovecot', name), 'utf8').matchAll(/^(pass|user)_filter *= *(.*)$/gm),
      ].map(([, kind, filter]) => [`${kind}_filter of ${name}`, String(filter)] as const),
    );

  test('has a filter for log-ins and one for deliveries', () => expect(filters.length).toBeGreaterThanOrEqual(2));

  test.each(filters)('%s asks by an index', async (name, filter) => {
    const { dn, password } = server.credentials('dovecot');
    const bind = ['-x', '-LLL', '-H', url, '-D', dn, '-w', password, '-b', baseDn];
    for (const user of [`nguoi7@${domain}`, `khong.co@${domain}`]) {
      const asked = filter.replaceAll(/%[L]?u/g, user);
      const search = await observe(() => run('ldapsearch', [...bind, asked, 'mail']));
      const isThere = user.startsWith('nguoi7') && !name.includes('kept'); // which finds what is not in use any more
      expect(search.candidates).toEqual([isThere ? 1 : 0]);
      expect(search.answer.includes('mail: nguoi7')).toBe(isThere);
    }
  });
});
