/**
 * For tests: the mailbox service on a database of its own and the real OpenLDAP, Dovecot and Postfix, whose people it looks
 * after: each account has a name of its own, and `stop` removes the entries.
 */
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Database } from '@congvu/database';
import {
  createTestDatabase,
  insertAccount,
  insertProvince,
  type TestAccount,
  type TestDatabase,
  testStack,
} from '@congvu/database/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { pino } from 'pino';
import { convergeEntries } from '../../directory/src/accounts/converge-entry.ts';
import { connectDoveadm, type Doveadm } from './dovecot/doveadm.ts';
import type { MailboxRouteDependencies } from './mailboxes/routes.ts';
import { type MailTransport, openMailTransport } from './notices/mail-transport.ts';
import type { NoticeDependencies } from './notices/send-notice.ts';
import type { SigningKey } from './notices/signing-key.ts';
import { openTemplates } from './notices/templates.ts';
import { connectPostfix, type Postfix } from './postfix/postfix.ts';

interface MailServers {
  dovecot: {
    doveadmUrl: string;
    doveadmApiKey: string;
    imapsPort: number;
    lmtpPort: number;
    notifier: { address: string; password: string };
  };
  postfix: { smtpPort: number; submissionPort: number } | null;
  mailLogs: { postfix: string; dovecot: string };
  certificateFile: string;
  mailDomain: string;
}

interface Message {
  subject: string;
  messageId: string;
  source: string;
}

export interface TestMailbox extends MailboxRouteDependencies, NoticeDependencies {
  forwardDomains: readonly string[];
  testDatabase: TestDatabase;
  owner: Database;
  doveadm: Doveadm;
  mail: MailTransport;
  signingKey: SigningKey;
  doveadmUrl: string;
  doveadmApiKey: string;
  /** Files that the running Postfix and Dovecot log to. */
  mailLogs: { postfix: string; dovecot: string };
  postfix: Postfix | undefined;
  tlsCa: string;
  openTransport: (options?: { port?: number }) => MailTransport;
  dn: (account: TestAccount) => string;
  /** An account on record alone. */
  account: (options?: Parameters<typeof insertAccount>[1]) => Promise<TestAccount>;
  /** Brings the LDAP entries to what the accounts say, as the directory service does. */
  convergeEntry: (...accounts: readonly TestAccount[]) => Promise<void>;
  /** What the mail attributes of the entry say. */
  mailAttributes: (account: TestAccount) => Promise<Record<string, unknown> | undefined>;
  password: (account: TestAccount) => Promise<string>;
  /** Another, in place of the one before. */
  newPassword: (account: TestAccount) => Promise<string>;
  /** A session of a mail program. The caller closes it. */
  imap: (account: TestAccount, password: string) => Promise<ImapFlow>;
  /** Hands a message in at Postfix under the account's own login. */
  submit: (from: TestAccount, to: readonly string[], subject: string) => Promise<void>;
  /** In the inbox. What came by a list is left out unless asked for: another test file's lists find these people too. */
  messages: (account: TestAccount, byLists?: 'by lists too') => Promise<Message[]>;
  /** Where Dovecot has the store of the mailbox. */
  store: (address: string) => Promise<string>;
  /** Jobs that wait, by key. */
  queued: () => Promise<string[]>;
  stop: () => Promise<void>;
}

export async function startTestMailbox(): Promise<TestMailbox> {
  const stack = testStack();
  const { dovecot, postfix, mailLogs, certificateFile, mailDomain } = stack as unknown as MailServers;
  const { url, baseDn, identities } = stack.ldap;
  const connect = (name: string): Ldap =>
    openLdap({ url, ...(identities[name] as { bindDn: string; password: string }) });
  const testDatabase = await createTestDatabase();
  const owner = testDatabase.as('owner');
  const directory = { database: testDatabase.as('directory'), ldap: connect('directory'), baseDn };
  const ldap = connect('mailbox');
  const tlsCa = readFileSync(certificateFile, 'utf8');
  const signingKey: SigningKey = {
    domain: mailDomain,
    selector: 'congvu',
    privateKey: generateKeyPairSync('rsa', { modulusLength: 2048 })
      .privateKey.export({ type: 'pkcs8', format: 'pem' })
      .toString(),
  };
  const openTransport = (options: { port?: number } = {}) =>
    openMailTransport({
      transport: postfix ? 'submission' : 'lmtp',
      host: '127.0.0.1',
      port: options.port ?? postfix?.submissionPort ?? dovecot.lmtpPort,
      from: dovecot.notifier.address,
      password: dovecot.notifier.password,
      tlsCa,
      signingKey,
    });
  const transport = openTransport();
  const accounts: TestAccount[] = [];
  const dn = ({ username }: TestAccount) => distinguishedName({ uid: username }, `ou=people,${baseDn}`);
  const passwords = new Map<string, string>();
  await insertProvince(owner);

  const imap = async (account: TestAccount, password: string): Promise<ImapFlow> => {
    const session = new ImapFlow({
      host: '127.0.0.1',
      port: dovecot.imapsPort,
      secure: true,
      auth: { user: account.address, pass: password },
      tls: { ca: tlsCa },
      logger: false,
    });
    session.on('error', () => undefined); // the pending call rejects with it
    await session.connect().catch((error: unknown) => {
      session.close();
      throw error;
    });
    return session;
  };
  const password = async (account: TestAccount): Promise<string> => {
    const known = passwords.get(account.id) ?? randomBytes(18).toString('base64');
    if (!passwords.has(account.id)) await directory.ldap.setPassword(dn(account), known);
    passwords.set(account.id, known);
    return known;
  };

  const newPassword = (account: TestAccount): Promise<string> => {
    passwords.delete(account.id);
    return password(account);
  };

  return {
    testDatabase,
    database: testDatabase.as('mailbox'),
    owner,
    ldap,
    baseDn,
    quotaBytes: 50_000_000,
    suspendedMail: 'accept',
    retentionDays: 90,
    aliasDays: 365,
    forwardDomains: ['moet.gov.vn'],
    doveadm: connectDoveadm({ url: dovecot.doveadmUrl, apiKey: dovecot.doveadmApiKey }),
    doveadmUrl: dovecot.doveadmUrl,
    doveadmApiKey: dovecot.doveadmApiKey,
    mailLogs,
    postfix: postfix ? connectPostfix(`127.0.0.1:${postfix.smtpPort}`) : undefined,
    tlsCa,
    mail: transport,
    openTransport,
    templates: openTemplates(undefined),
    domain: mailDomain,
    messageKey: randomBytes(32).toString('hex'),
    language: 'vi',
    log: pino({ level: 'silent' }),
    signingKey,
    dn,
    account: async (options) => {
      const account = await insertAccount(owner, options);
      accounts.push(account);
      return account;
    },
    convergeEntry: (...some) =>
      convergeEntries(
        directory,
        some.map(({ id }) => id),
      ),
    mailAttributes: async (account) =>
      (await ldap.find(dn(account), ['mail', 'congvuMailStatus', 'congvuMailQuotaBytes']))?.attributes,
    password,
    newPassword,
    imap,
    submit: async (from, to, subject) => {
      const transport = createTransport({
        host: '127.0.0.1',
        port: postfix?.submissionPort,
        requireTLS: true,
        auth: { user: from.address, pass: await password(from) },
        tls: { ca: tlsCa },
      });
      try {
        await transport.sendMail({ from: from.address, to: [...to], subject, text: subject });
      } finally {
        transport.close();
      }
    },
    messages: async (account, byLists) => {
      const session = await imap(account, await password(account));
      try {
        const { exists } = await session.mailboxOpen('INBOX', { readOnly: true });
        if (exists === 0) return [];
        const found: Message[] = [];
        for await (const message of session.fetch('1:*', { envelope: true, source: true })) {
          const { subject = '', messageId = '' } = message.envelope ?? {};
          const source = String(message.source);
          if (byLists || !/^List-Id:/im.test(source)) found.push({ subject, messageId, source });
        }
        return found;
      } finally {
        await session.logout();
      }
    },
    store: async (address) => {
      const response = await fetch(`${dovecot.doveadmUrl}/doveadm/v1`, {
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          Authorization: `X-Dovecot-API ${Buffer.from(dovecot.doveadmApiKey).toString('base64')}`,
        },
        body: JSON.stringify([['user', { userMask: [address] }, 'x']]),
      });
      const [[, found]] = (await response.json()) as [[string, Record<string, { home: string }>]];
      return String(found[address]?.home);
    },
    queued: async () =>
      (await owner.raw('select key from mailbox_jobs._private_jobs order by id')).rows.map(
        (row: { key: string }) => row.key,
      ),
    stop: async () => {
      for (let start = 0; start < accounts.length; start += 32) {
        const some = accounts.slice(start, start + 32);
        await Promise.all(some.map((account) => directory.ldap.remove(dn(account))));
      }
      transport.close();
      await Promise.all([ldap.close(), directory.ldap.close()]);
      await testDatabase.drop();
    },
  };
}
