/** For tests: the mail service with its jobs running on the real engines, and the protocols by which people and other servers meet them. */
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Permission } from '@congvu/contracts';
import { type JobWorker, startWorker } from '@congvu/database';
import { type TestAccount, testStack } from '@congvu/database/testing';
import { createTestAuthority } from '@congvu/http/testing';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from './app.ts';
import { applyQuotas } from './mailboxes/change-quotas.ts';
import { convergeAccess } from './mailboxes/converge-access.ts';
import { convergeMailboxes } from './mailboxes/converge-mailboxes.ts';
import { convergeOwnMailbox } from './mailboxes/converge-own-mailbox.ts';
import { startTestMailbox, type TestMailbox } from './testing.ts';

interface Ports {
  dovecot: { imapsPort: number; lmtpPort: number; sievePort: number };
  postfix: { smtpPort: number; submissionPort: number; repliesPort: number } | null;
  certificateFile: string;
}

export interface Message {
  from: string;
  to: string;
  subject: string;
  text?: string;
  headers?: Record<string, string>;
  envelope?: { from: string; to: string };
}

export interface TestMail extends Omit<TestMailbox, 'submit'> {
  /** As an administrator of the province; throws unless the answer has `status`. */
  ask: (
    method: 'get' | 'post' | 'put' | 'patch' | 'delete',
    path: string,
    body?: object,
    status?: number,
    options?: { agency?: string; permissions?: readonly Permission[]; headers?: Record<string, string> },
  ) => Promise<supertest.Response>;
  /** With entry and mailbox, as the services leave it. */
  person: (options?: Parameters<TestMailbox['account']>[0]) => Promise<TestAccount>;
  /** From another server to Dovecot, on port 25, or by submission. */
  lmtp: (message: Message) => Promise<unknown>;
  smtp: (message: Message) => Promise<unknown>;
  submit: (user: string, password: string, message: Message) => Promise<unknown>;
  reply: (message: Message) => Promise<unknown>;
  open: (address: string, password: string) => Promise<ImapFlow>;
  /** Makes a script the active one (RFC 5804); what the server said to it. */
  putScript: (address: string, password: string, script: string) => Promise<string>;
  withPostfix: boolean;
}

export async function startTestMail(): Promise<TestMail> {
  const mailbox = await startTestMailbox();
  const { dovecot, postfix, certificateFile } = testStack() as unknown as Ports;
  const ca = readFileSync(certificateFile, 'utf8');
  const authority = await createTestAuthority();
  const log = pino({ level: 'error' }, pino.destination(2));
  const app = createMailboxApp({ ...mailbox, authenticate: authority.authenticate, issuerUrl: 'https://x.test', log });
  const worker: JobWorker = await startWorker({
    url: mailbox.testDatabase.urlAs('mailbox'),
    schema: 'mailbox',
    log,
    concurrency: 4,
    probe: () => mailbox.ldap.ping(),
    tasks: {
      'converge-mailboxes': ({ accountIds }: { accountIds: string[] }) => convergeMailboxes(mailbox, accountIds),
      'converge-own-mailbox': ({ mailboxId }: { mailboxId: string }) => convergeOwnMailbox(mailbox, mailboxId),
      'converge-access': ({ mailboxId }: { mailboxId: string }) => convergeAccess(mailbox, mailboxId),
      'apply-quotas': () => applyQuotas(mailbox),
    },
  });
  const plain = async (port: number, message: Message, lmtp = false) => {
    const transport = createTransport({ host: '127.0.0.1', port, lmtp, ignoreTLS: true });
    const sent: { rejectedErrors?: Error[] | undefined } = await transport.sendMail({ text: 'Kính gửi', ...message });
    // By LMTP a recipient can be refused after the message was read.
    if (sent.rejectedErrors?.[0]) throw sent.rejectedErrors[0];
  };
  const atPostfix = (port: keyof NonNullable<Ports['postfix']>) => {
    if (!postfix) throw new Error('there is no Postfix without root');
    return postfix[port];
  };
  return {
    ...mailbox,
    withPostfix: postfix !== null,
    ask: async (method, path, body, status = 200, { agency = 'H41', permissions, headers = {} } = {}) => {
      const bearer = await authority.bearer({
        agency,
        permissions: permissions ?? ['mailboxes:read', 'mailboxes:write'],
      });
      const answer = await supertest(app)
        [method](path)
        .set({ Authorization: bearer, ...headers })
        .send(body);
      if (answer.status !== status)
        throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer;
    },
    person: async (options) => {
      const account = await mailbox.account(options);
      await mailbox.convergeEntry(account);
      await convergeMailboxes(mailbox, [account.id]);
      return account;
    },
    lmtp: (message) => plain(dovecot.lmtpPort, message, true),
    smtp: (message) => plain(atPostfix('smtpPort'), message),
    reply: (message) => plain(atPostfix('repliesPort'), message),
    submit: (user, pass, message) =>
      createTransport({
        host: '127.0.0.1',
        port: atPostfix('submissionPort'),
        requireTLS: true,
        tls: { ca },
        auth: { user, pass },
      }).sendMail({ text: 'Kính gửi', ...message }),
    open: async (user, pass) => {
      const session = new ImapFlow({
        host: '127.0.0.1',
        port: dovecot.imapsPort,
        secure: true,
        auth: { user, pass },
        tls: { ca },
        logger: false,
      });
      session.on('error', () => undefined);
      await session.connect().catch((error: unknown) => {
        session.close();
        throw error;
      });
      return session;
    },
    putScript: (user, pass, script) => putScript(dovecot.sievePort, user, pass, script),
    stop: async () => {
      await worker.stop();
      await mailbox.stop();
    },
  };
}

/** From this machine Dovecot takes the connection as encrypted. */
async function putScript(port: number, user: string, pass: string, script: string): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port });
  let output = '';
  socket.setEncoding('utf8').on('data', (data) => (output += data));
  const say = async (line: string): Promise<string> => {
    output = '';
    socket.write(line);
    await until(async () => /^(OK|NO|BYE)/m.test(output));
    return output;
  };
  const plain = Buffer.from(`\0${user}\0${pass}`).toString('base64');
  await until(async () => /^OK/m.test(output));
  const loggedIn = await say(`AUTHENTICATE "PLAIN" "${plain}"\r\n`);
  if (!/^OK/m.test(loggedIn)) throw new Error(loggedIn);
  const put = await say(`PUTSCRIPT "own" {${Buffer.byteLength(script)}+}\r\n${script}\r\n`);
  if (/^OK/m.test(put)) await say('SETACTIVE "own"\r\n');
  socket.end('LOGOUT\r\n');
  return put;
}

/** How long it took until it held; throws when that is too long. */
export async function until(holds: () => Promise<boolean>, milliseconds = 10_000): Promise<number> {
  const began = performance.now();
  while (!(await holds())) {
    if (performance.now() - began > milliseconds) throw new Error(`not within ${milliseconds} ms`);
    await sleep(25);
  }
  return performance.now() - began;
}
