/**
 * The engines as the services meet them, on the real programs: who may do what in PostgreSQL and OpenLDAP, how mail comes in
 * and is read, and that what was asked to stop is gone. Without root Postfix is left out, as in a stack of an ordinary user.
 */

import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ImapFlow } from 'imapflow';
import nodemailer from 'nodemailer';
import pg from 'pg';
import { NOTIFIER_QUOTA_BYTES } from './dovecot.ts';
import { type Engines, startEngines } from './engines.ts';
import type { LdapService } from './openldap.ts';
import { startServices } from './services.ts';
import { assertPortsFree } from './state.ts';

const domain = 'nghean.gov.vn';
const baseDn = 'dc=nghean,dc=gov,dc=vn';
const people = `ou=people,${baseDn}`;
const isRoot = process.getuid?.() === 0;
const withPostfix = isRoot ? it : it.skip;
const directory = mkdtempSync(join(tmpdir(), 'congvu-engines-'));
chmodSync(directory, 0o755);
const logLines: string[] = [];
let engines: Engines;

const start = () =>
  startEngines({
    stateDirectory: join(directory, '.congvu/engines'),
    portBase: 27_000,
    domain,
    baseDn,
    log: (line) => logLines.push(line),
  });

/** Runs one of OpenLDAP's own tools as a DN. @returns exit status (the LDAP result code) and output. */
function ldap(tool: string, dn: string, password: string, args: string[], input = '') {
  const file = join(directory, 'password');
  writeFileSync(file, password, { mode: 0o600 });
  const bind = ['-x', '-H', engines.openldap.url, '-D', dn, '-y', file];
  const { status, stdout, stderr } = spawnSync(tool, [...bind, ...args], { input, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

function as(service: LdapService, tool: string, args: string[], input = '') {
  const { dn, password } = engines.openldap.credentials(service);
  return ldap(tool, dn, password, args, input);
}

const change = (service: LdapService, uid: string, lines: string) =>
  as(service, 'ldapmodify', [], `dn: uid=${uid},${people}\nchangetype: modify\n${lines}\n`);

const INSUFFICIENT_ACCESS = 50;
const INVALID_CREDENTIALS = 49;
const CONSTRAINT_VIOLATION = 19;

/** How many passwords each has had: the policy takes none of the last five again. */
const passwords = new Map<string, number>();
const password = (uid: string) => `mat-khau-${passwords.get(uid) ?? 0}-cua-${uid}`;
function nextPassword(uid: string): string {
  passwords.set(uid, (passwords.get(uid) ?? 0) + 1);
  return password(uid);
}
const address = (uid: string) => `${uid}@${domain}`;

/** A connection that stays open: records given to it one by one under one bind. Resolves to the result code of each. */
function holdConnection(dn: string, secret: string) {
  const file = join(directory, 'held-password');
  writeFileSync(file, secret, { mode: 0o600 });
  const bind = ['-x', '-H', engines.openldap.url, '-D', dn, '-y', file];
  // It keeps what it says to a pipe until its end, unless told to give each line.
  const held = spawn('stdbuf', ['-oL', 'ldapmodify', '-c', ...bind], { stdio: ['pipe', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [held.stdout, held.stderr]) stream.on('data', (data) => (output += data));
  return {
    async modify(lines: string): Promise<number> {
      output = '';
      held.stdin.write(`dn: ${dn}\nchangetype: modify\n${lines}\n\n`);
      // The next record's announcement can only follow the answer to this one.
      held.stdin.write(`dn: ${dn}\nchangetype: modify\nadd: objectClass\nobjectClass: top\n\n`);
      await until(
        async () => output.match(/modifying entry/g)?.length ?? 0,
        (count) => count >= 2,
      );
      const first = output.split('modifying entry')[1] ?? '';
      return Number(/ldap_modify: .*\((\d+)\)/.exec(first)?.[1] ?? 0);
    },
    async close(): Promise<void> {
      held.stdin.end();
      await once(held, 'exit');
    },
  };
}

function addAccount(uid: string, number: number): void {
  const entry = [
    `dn: uid=${uid},${people}`,
    ...['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser'].map((name) => `objectClass: ${name}`),
    `uid: ${uid}`,
    'cn: Huỳnh Thanh Điền',
    'sn: Huỳnh',
    `congvuAccountId: 0190a000-0000-7000-8000-00000000000${number}`,
    'congvuAccountStatus: active',
    `userPassword: ${password(uid)}`,
  ];
  expect(as('directory', 'ldapadd', [], `${entry.join('\n')}\n`)).toMatchObject({ status: 0 });
  const mail = `add: mail\nmail: ${address(uid)}\n-\nadd: congvuMailStatus\ncongvuMailStatus: active\n-\nadd: congvuMailAlias\ncongvuMailAlias: ${uid}.khac@${domain}`;
  expect(change('mailbox', uid, mail)).toMatchObject({ status: 0 });
}

async function withInbox<T>(uid: string, use: (client: ImapFlow) => Promise<T>): Promise<T> {
  const client = new ImapFlow({
    host: 'localhost',
    port: engines.dovecot.imapPort,
    secure: false,
    doSTARTTLS: true,
    tls: { ca: readFileSync(engines.certificateFile, 'utf8') },
    auth: { user: address(uid), pass: password(uid) },
    logger: false,
  });
  client.on('error', () => {});
  await client.connect();
  try {
    await client.mailboxOpen('INBOX');
    return await use(client);
  } finally {
    await client.logout().catch(() => {});
  }
}

const subjects = (uid: string) =>
  withInbox(uid, async (client) => {
    const all = await client.fetchAll('1:*', { envelope: true }).catch(() => []);
    return all.map((message) => message.envelope?.subject);
  });

async function until<T>(read: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const value = await read();
    if (holds(value) || Date.now() > deadline) return value;
    await sleep(150);
  }
}

function submit(
  user: string,
  pass: string,
  message: { from: string; to: string; subject: string },
  envelope?: { from: string; to: string },
) {
  const transport = nodemailer.createTransport({
    host: 'localhost',
    port: engines.ports.submission,
    requireTLS: true,
    tls: { ca: readFileSync(engines.certificateFile, 'utf8') },
    auth: { user, pass },
  });
  return transport.sendMail({ ...message, text: 'Kính gửi', ...(envelope ? { envelope } : {}) });
}

/** Without STARTTLS and password: as another server, on port 25 or LMTP. */
function deliver(port: number, message: object, lmtp = false) {
  return nodemailer.createTransport({ host: '127.0.0.1', port, lmtp, ignoreTLS: true }).sendMail(message);
}

/** Makes a script the active one (RFC 5804). From this machine Dovecot takes the connection as encrypted. */
async function putScript(uid: string, script: string): Promise<{ output: string }> {
  const socket = connect({ host: '127.0.0.1', port: engines.dovecot.sievePort });
  let output = '';
  socket.setEncoding('utf8').on('data', (data) => (output += data));
  const plain = Buffer.from(`\0${address(uid)}\0${password(uid)}`).toString('base64');
  const say = async (line: string) => {
    output = '';
    socket.write(line);
    await until(
      async () => output,
      (answer) => /^(OK|NO|BYE)/m.test(answer),
    );
  };
  await say(`AUTHENTICATE "PLAIN" "${plain}"\r\n`);
  expect(output).toMatch(/^OK/m);
  await say(`PUTSCRIPT "own" {${Buffer.byteLength(script)}+}\r\n${script}\r\n`);
  const put = output;
  if (put.startsWith('OK')) await say('SETACTIVE "own"\r\n');
  socket.destroy();
  return { output: put };
}

/** A command of the doveadm API. @returns its answer. */
async function doveadm(command: string, parameters: object): Promise<unknown> {
  const response = await fetch(engines.dovecot.doveadmUrl, {
    method: 'POST',
    headers: { authorization: engines.dovecot.doveadmAuthorization, 'content-type': 'application/json' },
    body: JSON.stringify([[command, parameters, 'tag']]),
  });
  const [[kind, answer]] = (await response.json()) as [[string, unknown]];
  expect([kind, answer]).toEqual(['doveadmResponse', answer]);
  return answer;
}

/** Every engine's process has its working directory below the state or names it in its arguments. */
function worksIn(pid: string, path: string): boolean {
  try {
    return [readFileSync(`/proc/${pid}/cmdline`, 'utf8'), readlinkSync(`/proc/${pid}/cwd`)].join(' ').includes(path);
  } catch {
    return false; // Ended meanwhile, or another user's.
  }
}

beforeAll(async () => {
  engines = await start();
  addAccount('dienht', 1);
  addAccount('lanvt', 2);
});

afterAll(async () => {
  await engines?.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe('PostgreSQL', () => {
  async function as<T>(role: Parameters<Engines['postgres']['url']>[0], use: (client: pg.Client) => Promise<T>) {
    const client = new pg.Client({ connectionString: engines.postgres.url(role) });
    await client.connect();
    try {
      return await use(client);
    } finally {
      await client.end();
    }
  }

  it('takes nobody without the password, neither by its socket nor by TCP', async () => {
    const bySocket = new URL(engines.postgres.url('congvu_directory'));
    expect(bySocket.searchParams.get('host')).toMatch(/\/sockets$/);
    const byTcp = new URL(bySocket);
    byTcp.search = '';
    const userOf = async (url: URL): Promise<string> => {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      const { rows } = await client.query('SELECT current_user AS name');
      await client.end();
      return rows[0].name;
    };
    for (const url of [bySocket, byTcp]) {
      expect(await userOf(url)).toBe('congvu_directory');
      url.password = 'another';
      await expect(userOf(url)).rejects.toMatchObject({ code: '28P01' });
    }
  });

  it('lets a service do what it was granted, define nothing, and see no other service’s rows', async () => {
    await as('congvu_owner', (client) =>
      client.query(
        'CREATE TABLE directory.probe (id int PRIMARY KEY); GRANT SELECT, INSERT ON directory.probe TO congvu_directory',
      ),
    );
    await as('congvu_directory', async (client) => {
      await client.query('INSERT INTO directory.probe VALUES (1)');
      for (const statement of [
        'CREATE TABLE directory.own (id int)',
        'CREATE TABLE public.own (id int)',
        'CREATE SCHEMA own',
        'CREATE TEMPORARY TABLE own (id int)',
        'DELETE FROM directory.probe',
        'DROP TABLE directory.probe',
        'ALTER TABLE directory.probe ADD COLUMN more int',
        'CREATE TABLE mailbox_jobs.own (id int)',
      ]) {
        await expect(client.query(statement)).rejects.toMatchObject({ code: '42501' });
      }
    });
    for (const role of ['congvu_mailbox', 'congvu_certificate'] as const) {
      const reading = as(role, (client) => client.query('SELECT * FROM directory.probe'));
      await expect(reading).rejects.toMatchObject({ code: '42501' });
    }
  });

  it('writes no row into its log', async () => {
    await as('congvu_directory', async (client) => {
      const insert = 'INSERT INTO directory.probe_people VALUES ($1)';
      await as('congvu_owner', (owner) =>
        owner.query(
          `CREATE TABLE directory.probe_people (name text PRIMARY KEY CHECK (name <> ''));
           GRANT INSERT ON directory.probe_people TO congvu_directory`,
        ),
      );
      await client.query(insert, ['Nguyễn Văn Kín']);
      await expect(client.query(insert, ['Nguyễn Văn Kín'])).rejects.toMatchObject({ code: '23505' });
    });
    const log = readFileSync(join(engines.stateDirectory, 'logs/postgres.log'), 'utf8');
    expect(log).toContain('duplicate key value violates unique constraint "probe_people_pkey"');
    expect(log).not.toContain('Văn Kín');
  });

  it('sorts Vietnamese by ICU, makes databases from a template, and keeps committed rows through SIGKILL', async () => {
    await engines.postgres.createDatabase('from_template', 'congvu');
    await as('congvu_directory', (client) => client.query('INSERT INTO directory.probe VALUES (2)'));
    await engines.postgres.kill();
    await engines.postgres.start();
    const rows = await as('congvu_directory', (client) => client.query('SELECT id FROM directory.probe ORDER BY id'));
    expect(rows.rows).toEqual([{ id: 1 }, { id: 2 }]);
    await engines.postgres.dropDatabase('from_template');
    const collation = `SELECT string_agg(x, '' ORDER BY x COLLATE "vi-x-icu") FROM unnest(ARRAY['đ', 'e', 'd', 'á', 'ă', 'a']) x`;
    const sorted = await as('congvu_mailbox', (client) => client.query(collation));
    expect(sorted.rows[0].string_agg).toBe('aáădđe');
  });
});

describe('OpenLDAP', () => {
  let certificate = '';
  let der = '';
  beforeAll(() => {
    der = new X509Certificate(readFileSync(engines.certificateFile)).raw.toString('base64');
    certificate = `userCertificate;binary:: ${der}`;
  });

  it.each<[LdapService, string]>([
    ['directory', 'replace: mail\nmail: other@nghean.gov.vn'],
    ['directory', 'replace: congvuMailStatus\ncongvuMailStatus: suspended'],
    ['directory', 'replace: congvuMailAlias\ncongvuMailAlias: x@nghean.gov.vn'],
    ['directory', 'delete: congvuMailQuotaBytes'],
    ['directory', 'add: userCertificate;binary\nCERTIFICATE'],
    ['mailbox', 'replace: cn\ncn: other'],
    ['mailbox', 'replace: congvuAccountStatus\ncongvuAccountStatus: retired'],
    ['mailbox', 'replace: userPassword\nuserPassword: another-long-one'],
    ['mailbox', 'add: userCertificate;binary\nCERTIFICATE'],
    ['mailbox', 'add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z'],
    ['certificate', 'replace: mail\nmail: other@nghean.gov.vn'],
    ['certificate', 'replace: cn\ncn: other'],
    ['certificate', 'replace: userPassword\nuserPassword: another-long-one'],
    ['postfix', 'replace: mail\nmail: other@nghean.gov.vn'],
    ['dovecot', 'replace: congvuMailQuotaBytes\ncongvuMailQuotaBytes: 1'],
    ['reader', 'replace: cn\ncn: other'],
  ])('refuses %s: %s', (service, lines) => {
    expect(change(service, 'dienht', lines.replace('CERTIFICATE', certificate))).toMatchObject({
      status: INSUFFICIENT_ACCESS,
    });
  });

  it.each(['mailbox', 'certificate', 'reader'] as const)('refuses %s to add, rename or delete an entry', (service) => {
    const entry = `dn: uid=new,${people}\nobjectClass: inetOrgPerson\nuid: new\ncn: n\nsn: n\n`;
    expect(as(service, 'ldapadd', [], entry)).toMatchObject({ status: INSUFFICIENT_ACCESS });
    expect(as(service, 'ldapdelete', [`uid=dienht,${people}`])).toMatchObject({ status: INSUFFICIENT_ACCESS });
    const renaming = [`uid=dienht,${people}`, 'uid=other'];
    expect(as(service, 'ldapmodrdn', ['-r', ...renaming])).toMatchObject({ status: INSUFFICIENT_ACCESS });
  });

  it('refuses the directory an entry that brings mail attributes or a certificate along', () => {
    for (const line of [`mail: new@${domain}`, certificate]) {
      const entry = `dn: uid=new,${people}\nobjectClass: inetOrgPerson\nobjectClass: pkiUser\nuid: new\ncn: n\nsn: n\n${line}\n`;
      expect(as('directory', 'ldapadd', [], entry)).toMatchObject({ status: INSUFFICIENT_ACCESS });
    }
  });

  it('shows passwords to nobody, people to no stranger, and each reader what it needs', () => {
    const search = ['-LLL', '-o', 'ldif-wrap=no', '-b', people, '(mail=dienht@nghean.gov.vn)', '*', '+'];
    const user = ldap('ldapsearch', `uid=dienht,${people}`, password('dienht'), search).output;
    expect(user).toContain('cn::');
    for (const service of ['directory', 'mailbox', 'certificate', 'reader', 'postfix', 'dovecot'] as const) {
      const { output } = as(service, 'ldapsearch', search);
      expect(output).toContain('mail: dienht@nghean.gov.vn');
      expect(output).not.toMatch(/userPassword|ARGON2/i);
      if (service !== 'directory') expect(output).not.toMatch(/^pwd/m);
      expect(/^cn:/m.test(output)).toBe(!['postfix', 'dovecot'].includes(service));
    }
    expect(user).not.toMatch(/userPassword|ARGON2|lanvt/i);
    const stranger = spawnSync('ldapsearch', ['-x', '-H', engines.openldap.url, '-LLL', '-b', people], {
      encoding: 'utf8',
    });
    expect(stranger.stdout).not.toContain('uid');
    const authorities = spawnSync(
      'ldapsearch',
      ['-x', '-H', engines.openldap.url, '-LLL', '-b', `ou=authorities,${baseDn}`, 'ou'],
      { encoding: 'utf8' },
    );
    expect(authorities.stdout).toContain('ou: authorities');
  });

  it('lets the certificate service publish certificates and authorities', () => {
    expect(change('certificate', 'dienht', `add: userCertificate;binary\n${certificate}`)).toMatchObject({ status: 0 });
    expect(change('certificate', 'dienht', 'delete: userCertificate;binary')).toMatchObject({ status: 0 });
    const dn = `cn=Root,ou=authorities,${baseDn}`;
    const authority = `dn: ${dn}\nobjectClass: applicationProcess\nobjectClass: pkiCA\ncn: Root\ncACertificate;binary:: ${der}\n`;
    expect(as('directory', 'ldapadd', [], authority)).toMatchObject({ status: INSUFFICIENT_ACCESS });
    expect(as('certificate', 'ldapadd', [], authority)).toMatchObject({ status: 0 });
    expect(as('certificate', 'ldapdelete', [dn])).toMatchObject({ status: 0 });
  });

  it('keeps a suspended person out, also one whose connection is still open', async () => {
    const dn = `uid=lanvt,${people}`;
    const bind = (secret: string) => ldap('ldapwhoami', dn, secret, []).status;
    const held = holdConnection(dn, password('lanvt'));
    const setOwn = (secret: string) => held.modify(`replace: userPassword\nuserPassword: ${secret}`);
    try {
      // By the service's API alone, also of one that is active: who held a position until now may still be connected.
      expect(await setOwn('mat-khau-tu-doi')).toBe(INSUFFICIENT_ACCESS);
      const suspend = 'replace: congvuAccountStatus\ncongvuAccountStatus: suspended';
      const lock = 'add: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z';
      expect(change('directory', 'lanvt', `${suspend}\n-\n${lock}`)).toMatchObject({ status: 0 });
      expect(bind(password('lanvt'))).toBe(INVALID_CREDENTIALS);
      expect(await setOwn('mat-khau-tu-doi')).toBe(INSUFFICIENT_ACCESS);
      expect(bind('mat-khau-tu-doi')).toBe(INVALID_CREDENTIALS);
      // A password set by the directory service takes ppolicy's lock away; the state alone keeps the account shut.
      const set = as('directory', 'ldappasswd', ['-s', nextPassword('lanvt'), dn]);
      expect(set).toMatchObject({ status: 0 });
      const { output } = as('directory', 'ldapsearch', ['-LLL', '-b', dn, '-s', 'base', 'pwdAccountLockedTime']);
      expect(output).not.toContain('000001010000Z');
      expect(bind(password('lanvt'))).toBe(INVALID_CREDENTIALS);
    } finally {
      await held.close();
      change('directory', 'lanvt', 'replace: congvuAccountStatus\ncongvuAccountStatus: active');
      as('directory', 'ldappasswd', ['-s', nextPassword('lanvt'), dn]);
    }
    expect(bind(password('lanvt'))).toBe(0);
  });

  it('lets no address be another’s alias, also when both are written at one moment', async () => {
    const write = (uid: string, attribute: string, value: string) =>
      change('mailbox', uid, `replace: ${attribute}\n${attribute}: ${value}`).status;
    expect(write('dienht', 'mail', `lanvt.khac@${domain}`)).toBe(INSUFFICIENT_ACCESS);
    expect(write('dienht', 'congvuMailAlias', address('lanvt').toUpperCase())).toBe(INSUFFICIENT_ACCESS);
    expect(write('dienht', 'congvuMailAlias', `lanvt.khac@${domain}`)).toBe(CONSTRAINT_VIOLATION);
    expect(write('dienht', 'mail', address('lanvt'))).toBe(CONSTRAINT_VIOLATION);
    for (const value of ['*', 'a)(mail=*', 'ten', address('dienht').replace('@', '*@')])
      expect(write('dienht', 'congvuMailAlias', value)).toBe(INSUFFICIENT_ACCESS);
    expect(write('dienht', 'congvuMailAlias', `dienht.khac@${domain}`)).toBe(0);

    const { dn, password: secret } = engines.openldap.credentials('mailbox');
    const file = join(directory, 'mailbox-password');
    writeFileSync(file, secret, { mode: 0o600 });
    const racing = ['dienht', 'lanvt'].map((uid) => {
      const writer = spawn('ldapmodify', ['-c', '-x', '-H', engines.openldap.url, '-D', dn, '-y', file]);
      const record = (number: number) =>
        `dn: uid=${uid},${people}\nchangetype: modify\nadd: congvuMailAlias\ncongvuMailAlias: chung${number}@${domain}\n`;
      writer.stdin.end(Array.from({ length: 60 }, (_, number) => record(number)).join('\n'));
      writer.stdout.resume();
      writer.stderr.resume();
      return once(writer, 'exit');
    });
    await Promise.all(racing);
    const { output } = as('mailbox', 'ldapsearch', [
      '-LLL',
      '-b',
      people,
      '(congvuMailAlias=chung*)',
      'congvuMailAlias',
    ]);
    const held = output.match(/^congvuMailAlias: chung.*$/gm) ?? [];
    expect(held).toHaveLength(60);
    expect(new Set(held).size).toBe(60);
    for (const uid of ['dienht', 'lanvt']) expect(write(uid, 'congvuMailAlias', `${uid}.khac@${domain}`)).toBe(0);
  });

  it('keeps addresses and account ids single, and passwords long and hashed with Argon2', () => {
    const taken = `replace: mail\nmail: ${address('lanvt')}`;
    expect(change('mailbox', 'dienht', taken)).toMatchObject({ status: CONSTRAINT_VIOLATION });
    const short = as('directory', 'ldappasswd', ['-s', 'short', `uid=lanvt,${people}`]);
    expect(short.output).toContain('Constraint violation (19)');
    const set = as('directory', 'ldappasswd', ['-s', nextPassword('lanvt'), `uid=lanvt,${people}`]);
    expect(set).toMatchObject({ status: 0 });
    const config = join(engines.stateDirectory, 'openldap/slapd.conf');
    const stored = execFileSync('/usr/sbin/slapcat', ['-f', config, '-a', '(uid=lanvt)', '-o', 'ldif-wrap=no'], {
      encoding: 'utf8',
    });
    const hash = /^userPassword:: (.*)$/m.exec(stored)?.[1] ?? '';
    expect(Buffer.from(hash, 'base64').toString()).toMatch(/^\{ARGON2\}\$argon2id?\$v=19\$m=19456,t=3,p=1\$/);
  });
});

describe('mail', () => {
  const home = '/01/0190a000-0000-7000-8000-000000000001';

  it('discards the second delivery of the same notice, and of nothing else', async () => {
    const notice = (messageId: string, subject: string, headers = {}) =>
      deliver(
        engines.dovecot.lmtpPort,
        { from: address('thongbao'), to: address('dienht'), subject, messageId, text: 'Chào', headers },
        true,
      );
    const marked = { 'X-Congvu-Notice': 'welcome' };
    await notice('<1@nghean.gov.vn>', 'notice', marked);
    await notice('<1@nghean.gov.vn>', 'notice', marked);
    await notice('<2@nghean.gov.vn>', 'plain');
    await notice('<2@nghean.gov.vn>', 'plain');
    // What a Dovecot leaves that is killed between storing a message and noting it.
    rmSync(join(engines.stateDirectory, `dovecot/mail${home}/.dovecot.lda-dupes`));
    await notice('<1@nghean.gov.vn>', 'notice', marked);
    await notice('<1.@nghean.gov.vn>', 'another notice', marked);
    expect((await subjects('dienht')).sort()).toEqual(['another notice', 'notice', 'plain', 'plain']);
  });

  it('answers the doveadm API, and only with its key', async () => {
    const call = async (authorization: string, command: string, parameters: object) =>
      fetch(engines.dovecot.doveadmUrl, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify([[command, parameters, 'tag']]),
      });
    const key = engines.dovecot.doveadmAuthorization;
    const user = address('dienht');
    expect((await call('X-Dovecot-API d3Jvbmc=', 'user', { userMask: [user] })).status).toBe(401);
    const ask = async (command: string, parameters: object) => {
      const [[kind, answer]] = (await (await call(key, command, parameters)).json()) as [[string, unknown]];
      return { kind, answer };
    };
    const { answer: found } = await ask('user', { userMask: [user] });
    expect(found).toMatchObject({ [user]: { home: expect.stringMatching(`${home}$`) } });
    expect(await ask('mailboxCreate', { user, mailbox: ['Archive'] })).toMatchObject({ kind: 'doveadmResponse' });
  });

  it('sorts by people’s scripts, which answer but pass nothing on', async () => {
    for (const extension of ['enotify', 'reject', 'ereject', 'vnd.dovecot.execute'])
      expect((await putScript('dienht', `require ["${extension}"];`)).output).toMatch(/^NO /m);
    const answering = await putScript('dienht', 'require ["vacation"]; vacation "Đi vắng";');
    expect(answering.output).toMatch(/^OK/m);
    const sorting = await putScript('dienht', 'require ["fileinto"]; if header "subject" "đi" { fileinto "Archive"; }');
    expect(sorting.output).toMatch(/^OK/m);
    const redirect = await putScript('dienht', 'redirect "ngoai@example.org";');
    if (/^OK/m.test(redirect.output)) {
      const subject = 'not redirected';
      const message = { from: 'a@example.org', to: address('dienht'), subject, text: 'x' };
      await deliver(engines.dovecot.lmtpPort, message, true);
      expect(await subjects('dienht')).toContain(subject);
    } else expect(redirect.output).toMatch(/redirect/);
  });

  it('gives the notices’ sender a limit, since it takes the mail for postmaster', async () => {
    const answer = await doveadm('quotaGet', { user: engines.dovecot.notifier.address });
    const storage = (answer as { type: string; limit: string }[]).find(({ type }) => type === 'STORAGE');
    expect(storage?.limit).toBe(String(NOTIFIER_QUOTA_BYTES / 1024));
  });

  it('refuses a retained mailbox its mail (550) and its holder', async () => {
    const retain = change('mailbox', 'lanvt', 'replace: congvuMailStatus\ncongvuMailStatus: retained');
    expect(retain).toMatchObject({ status: 0 });
    try {
      await expect(subjects('lanvt')).rejects.toMatchObject({ authenticationFailed: true });
      const addresses = [address('lanvt'), `lanvt.khac@${domain}`];
      for (const to of addresses) {
        const message = { from: 'a@example.org', to, subject: 'retained', text: 'x' };
        await expect(deliver(engines.dovecot.lmtpPort, message, true)).rejects.toMatchObject({ responseCode: 550 });
        if (!engines.postfix) continue;
        await expect(deliver(engines.postfix.smtpPort, message)).rejects.toMatchObject({ responseCode: 550 });
        const own = { from: address('dienht'), to, subject: 'retained' };
        await expect(submit(address('dienht'), password('dienht'), own)).rejects.toMatchObject({ responseCode: 550 });
      }
    } finally {
      change('mailbox', 'lanvt', 'replace: congvuMailStatus\ncongvuMailStatus: active');
    }
  });

  withPostfix(
    'takes a submission from the sender’s own addresses only, and delivers it, aliases included',
    async () => {
      const own = { from: address('dienht'), to: `lanvt.khac@${domain}`, subject: 'own' };
      await submit(address('dienht'), password('dienht'), own);
      await submit(address('dienht'), password('dienht'), { ...own, from: `dienht.khac@${domain}`, subject: 'alias' });
      const arrived = await until(
        () => subjects('lanvt'),
        (found) => found.length === 2,
      );
      expect(arrived.sort()).toEqual(['alias', 'own']);
      for (const from of [address('lanvt'), address('thongbao'), 'someone@example.org']) {
        const other = submit(address('dienht'), password('dienht'), { ...own, from });
        await expect(other).rejects.toMatchObject({ responseCode: 553 });
      }
      const outside = submit(address('dienht'), password('dienht'), { ...own, to: 'someone@example.org' });
      await expect(outside).rejects.toMatchObject({
        response: expect.stringContaining('delivers to nghean.gov.vn only'),
      });
      const bounce = submit(address('dienht'), password('dienht'), own, { from: '', to: own.to });
      await expect(bounce).rejects.toMatchObject({
        responseCode: 550,
        response: expect.stringContaining('needs a sender'),
      });
      const wrong = submit(address('dienht'), 'wrong-password', own);
      await expect(wrong).rejects.toMatchObject({ responseCode: 535 });
      const { address: notifier, password: secret } = engines.dovecot.notifier;
      await submit(notifier, secret, { from: notifier, to: address('lanvt'), subject: 'notice' });
      await until(
        () => subjects('lanvt'),
        (found) => found.includes('notice'),
      );
    },
  );

  withPostfix('is no relay on port 25, takes known recipients only, and no sender of ours', async () => {
    const message = { from: 'a@example.org', to: address('lanvt'), subject: 'outside', text: 'x' };
    const { smtpPort } = engines.postfix!;
    await deliver(smtpPort, message);
    await expect(deliver(smtpPort, { ...message, to: address('nobody') })).rejects.toMatchObject({ responseCode: 550 });
    await expect(deliver(smtpPort, { ...message, to: 'b@example.org' })).rejects.toMatchObject({ responseCode: 554 });
    await expect(deliver(smtpPort, { ...message, from: address('dienht') })).rejects.toMatchObject({
      responseCode: 553,
    });
    await deliver(smtpPort, { ...message, to: `postmaster@${domain}` });
    const waiting = await until(
      () => engines.postfix!.queue(),
      (queued) => queued.length === 0,
    );
    expect(waiting).toEqual([]);
  });

  it('refuses a suspended account at once: IMAP, submission and LDAP; and takes it back', async () => {
    const suspend =
      'replace: congvuAccountStatus\ncongvuAccountStatus: suspended\n-\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z';
    expect(change('directory', 'lanvt', suspend)).toMatchObject({ status: 0 });
    const bind = () => ldap('ldapwhoami', `uid=lanvt,${people}`, password('lanvt'), []).status;
    expect(bind()).toBe(INVALID_CREDENTIALS);
    await expect(subjects('lanvt')).rejects.toMatchObject({ authenticationFailed: true });
    const active = 'replace: congvuAccountStatus\ncongvuAccountStatus: active\n-\ndelete: pwdAccountLockedTime';
    expect(change('directory', 'lanvt', active)).toMatchObject({ status: 0 });
    expect(bind()).toBe(0);
    await subjects('lanvt');
    expect(change('mailbox', 'lanvt', 'replace: congvuMailStatus\ncongvuMailStatus: suspended')).toMatchObject({
      status: 0,
    });
    await expect(subjects('lanvt')).rejects.toMatchObject({ authenticationFailed: true });
    if (isRoot) {
      const sending = submit(address('lanvt'), password('lanvt'), {
        from: address('lanvt'),
        to: address('dienht'),
        subject: 'suspended',
      });
      await expect(sending).rejects.toMatchObject({ responseCode: 535 });
    }
    const restore = change('mailbox', 'lanvt', 'replace: congvuMailStatus\ncongvuMailStatus: active');
    expect(restore).toMatchObject({ status: 0 });
    await subjects('lanvt');
  });

  withPostfix('lets no message smuggle another in behind line ends that are none (CVE-2023-51764)', async () => {
    const socket = connect({ host: '127.0.0.1', port: engines.postfix!.smtpPort });
    let output = '';
    socket.setEncoding('utf8').on('data', (data) => (output += data));
    const answered = (pattern: RegExp) =>
      until(
        async () => output,
        (text) => pattern.test(text),
      );
    await answered(/^220 /m);
    const envelope = (from: string) => `MAIL FROM:<${from}>\r\nRCPT TO:<postmaster@${domain}>\r\n`;
    for (const [line, pattern] of [
      ['EHLO out.example.org\r\n', /^250 /m],
      ['MAIL FROM:<a@example.org>\r\n', /^250 2\.1\.0/m],
      [`RCPT TO:<postmaster@${domain}>\r\n`, /^250 2\.1\.5/m],
      ['DATA\r\n', /^354 /m],
    ] as const) {
      socket.write(line);
      await answered(pattern);
    }
    output = '';
    socket.write(
      `Subject: carrier\r\n\r\ntext\n.\n${envelope('b@example.org')}DATA\r\nSubject: smuggled\r\n\r\nx\r\n.\r\nQUIT\r\n`,
    );
    await answered(/^221 /m);
    socket.destroy();
    expect(output.match(/queued as/g)).toHaveLength(1);
  });

  withPostfix('answers "later", never "unknown", while the directory is down', async () => {
    await engines.openldap.stop();
    try {
      const message = { from: 'a@example.org', to: address('lanvt'), subject: 'later', text: 'x' };
      const sending = deliver(engines.postfix!.smtpPort, message);
      await expect(sending).rejects.toMatchObject({ responseCode: 451 });
    } finally {
      await engines.openldap.start();
    }
    await submit(address('dienht'), password('dienht'), {
      from: address('dienht'),
      to: address('lanvt'),
      subject: 'after',
    });
  });
});

describe('the whole', () => {
  it('says in one line that another copy runs', async () => {
    await expect(start()).rejects.toMatchObject({ code: 'state_in_use' });
    const elsewhere = startEngines({
      stateDirectory: join(directory, '.congvu/second'),
      portBase: 27_000,
      domain,
      baseDn,
      log: () => {},
    });
    await expect(elsewhere).rejects.toMatchObject({
      detail: expect.stringMatching(/^port \d+ \(.*\) is taken; another copy may be running; set CONGVU_PORT_BASE/),
    });
  });

  it('is one copy’s, also when several start at once over the lock of one that was killed', async () => {
    const stateDirectory = join(directory, '.congvu/raced');
    const program = `
      const { openState } = await import(${JSON.stringify(join(import.meta.dirname, 'state.ts'))});
      let state;
      try {
        state = openState(${JSON.stringify(stateDirectory)});
        console.log('won', state.recovered);
      } catch (error) {
        console.log(error.code);
      }
      process.stdin.resume().on('end', () => { if (process.argv[1] === 'close') state?.close(); process.exit(); });
    `;
    const open = (ending: string) => {
      const args = ['--disable-warning=ExperimentalWarning', '--input-type=module-typescript', '-e', program, ending];
      const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
      const said = once(child.stdout.setEncoding('utf8'), 'data').then(([text]) => String(text).trim());
      const end = async () => {
        child.stdin.end();
        await once(child, 'exit');
      };
      return { child, said, end };
    };
    const race = async (ending: string) => {
      const copies = Array.from({ length: 5 }, () => open(ending));
      const said = await Promise.all(copies.map((copy) => copy.said));
      await Promise.all(copies.map((copy) => copy.end()));
      return said.sort();
    };
    const beaten = Array.from({ length: 4 }, () => 'state_in_use');
    expect(await race('die')).toEqual([...beaten, 'won false']);
    expect(await race('close')).toEqual([...beaten, 'won true']);
    expect(await race('die')).toEqual([...beaten, 'won false']);
    writeFileSync(join(stateDirectory, 'lock'), '');
    expect(await race('close')).toEqual([...beaten, 'won false']);
  });

  it('runs the services with no secret in their environment, and as root under a user of their own', async () => {
    const services = await startServices(engines, (line) => logLines.push(line));
    try {
      const secrets: string[] = Object.values(
        JSON.parse(readFileSync(join(engines.stateDirectory, 'secrets.json'), 'utf8')),
      );
      for (const { pid } of Object.values(services.processes)) {
        const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
        expect(secrets.filter((secret) => environment.includes(secret))).toEqual([]);
        const files = [...environment.matchAll(/(?:PASSWORD|PASSPHRASE|API_KEY|DATABASE_URL|_KEY)_FILE=([^\0]+)/g)];
        expect(files.length).toBeGreaterThan(2);
        for (const [, file] of files) expect(statSync(file as string).mode & 0o077).toBe(0);
        const uid = Number(/^Uid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
        const isReported = logLines.some((line) => line.startsWith('the services run as root'));
        expect(uid === 0).toBe(isReported);
      }
    } finally {
      await services.stop();
    }
  });

  it('keeps secrets from others, and passwords out of every log', () => {
    expect(statSync(join(engines.stateDirectory, 'secrets.json')).mode & 0o077).toBe(0);
    const secrets: string[] = Object.values(
      JSON.parse(readFileSync(join(engines.stateDirectory, 'secrets.json'), 'utf8')),
    );
    const written = ['logs', 'mail-logs']
      .map((name) => join(engines.stateDirectory, name))
      .flatMap((logs) => readdirSync(logs).map((file) => readFileSync(join(logs, file), 'utf8')));
    for (const secret of [...secrets, password('lanvt'), password('dienht'), 'cua-lanvt', 'mot-mat-khau-khac']) {
      expect(written.some((text) => text.includes(secret))).toBe(false);
    }
  });

  it('stops whole, leaves no process behind, and finds all data when started again', async () => {
    const mailBefore = await subjects('dienht');
    await engines.stop();
    const left = readdirSync('/proc').filter((pid) => /^\d+$/.test(pid) && worksIn(pid, engines.stateDirectory));
    expect(left).toEqual([]);
    await assertPortsFree(Object.fromEntries(Object.entries(engines.ports)));
    engines = await start();
    expect(await subjects('dienht')).toEqual(mailBefore);
    const client = new pg.Client({ connectionString: engines.postgres.url('congvu_directory') });
    await client.connect();
    const { rowCount } = await client.query('SELECT FROM directory.probe');
    await client.end();
    expect(rowCount).toBe(2);
  });
});
