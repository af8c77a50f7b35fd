import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type TestAccount, testStack } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { createTransport } from 'nodemailer';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from '../app.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { followLogs } from './follow-logs.ts';
import { measureQuota } from './measure-quota.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
const log = pino({ level: 'silent' });
const { lmtpPort } = (testStack() as unknown as { dovecot: { lmtpPort: number } }).dovecot;
const lmtp = createTransport({ host: '127.0.0.1', port: lmtpPort, lmtp: true, ignoreTLS: true });
const run = promisify(execFile);
const never = new AbortController().signal;

beforeAll(async () => {
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  app = createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl: 'https://directory.test',
    log,
  });
});
afterAll(() => mailbox.stop());

const get = async (path: string, agency = 'H41', accept = 'application/json') =>
  supertest(app)
    .get(path)
    .set('Authorization', await authority.bearer({ agency, permissions: ['mailboxes:read'] }))
    .set('Accept', accept);
const opened = async (options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> => {
  const account = await mailbox.account(options);
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
  return account;
};
async function until<T>(ask: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await ask();
    if (done(value) || Date.now() > deadline) return value;
    await sleep(100);
  }
}

/** Another server, which takes whatever it is given. */
async function startReceiver() {
  const recipients: string[] = [];
  const server = createServer((socket) => {
    let isText = false;
    socket.write('220 x ESMTP\r\n');
    const lines = createInterface({ input: socket });
    lines.on('error', () => undefined); // the client may close on QUIT; the socket's errors are passed on here
    lines.on('line', (line) => {
      if (isText && line !== '.') return;
      isText = line === 'DATA';
      const recipient = /^RCPT TO:<(.+?)>/.exec(line)?.[1];
      if (recipient) recipients.push(recipient);
      socket.write(isText ? '354 go on\r\n' : '250 2.0.0 Ok\r\n');
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return { recipients, port: (server.address() as AddressInfo).port, stop: () => server.close() };
}
/** Mail for the domain goes to that port, until what is returned is called. */
async function routeTo(domain: string, port: number): Promise<() => Promise<void>> {
  const { configDirectory } = testStack().postfix as unknown as { configDirectory: string };
  const set = async (value: string) => {
    await run('/usr/sbin/postconf', ['-c', configDirectory, '-e', `transport_maps=${value}`]);
    await run('/usr/sbin/postfix', ['-c', configDirectory, 'reload']);
  };
  await set(`inline:{${domain}=smtp:[127.0.0.1]:${port}}`);
  return () => set('');
}

describe('on the running Postfix and Dovecot', () => {
  const onPostfix = testStack().postfix ? test : test.skip; // there is none without root
  onPostfix('mail sent, received and read shows in the API within seconds', async () => {
    const [sender, receiver] = [await opened(), await opened()];
    const follower = followLogs({
      database: mailbox.database,
      logs: [
        { name: 'postfix', path: mailbox.mailLogs.postfix },
        { name: 'dovecot', path: mailbox.mailLogs.dovecot },
      ],
      log,
    });
    try {
      await mailbox.submit(sender, [receiver.address], 'Kính gửi');
      const session = await mailbox.imap(receiver, await mailbox.password(receiver));
      await session.logout();
      const usage = async (account: TestAccount) => (await get(`/v1/mailboxes/${account.id}/usage`)).body;
      const received = await until(
        () => usage(receiver),
        (body) => body.receivedCount > 0 && body.lastLoginAt !== null,
      );
      expect(received).toMatchObject({ receivedCount: 1, sentCount: 0, quotaUsedBytes: null });
      expect(Date.now() - Date.parse(received.lastReceivedAt)).toBeLessThan(10_000);
      expect(Date.now() - Date.parse(received.lastLoginAt)).toBeLessThan(10_000);
      expect(received.days).toEqual([{ day: received.to, received: 1, sent: 0 }]);
      const sent = await until(
        () => usage(sender),
        (body) => body.sentCount > 0,
      );
      expect(sent).toMatchObject({ receivedCount: 0, sentCount: 1, lastLoginAt: null });

      await measureQuota(mailbox, { usedSince: true }, never);
      const measured = await usage(receiver);
      expect(measured.messageCount).toBe(1);
      expect(measured.quotaUsedBytes).toBeGreaterThan(0);
    } finally {
      await follower.stop();
    }
  });

  onPostfix('a further address whose mail goes on outside, without a copy, is used', async () => {
    const [sender, account] = [await opened(), await opened()];
    const address = `cu.${account.address}`;
    const outside = await startReceiver();
    const restore = await routeTo('moet.gov.vn', outside.port);
    const follower = followLogs({
      database: mailbox.database,
      logs: [{ name: 'postfix', path: mailbox.mailLogs.postfix }],
      log,
    });
    try {
      await mailbox
        .owner('mailbox.aliases')
        .insert({ address, mailbox_id: account.id, reason: 'former_name', created_by: 'thu' });
      await mailbox.owner('mailbox.forwardings').insert({ mailbox_id: account.id, keep_copy: false });
      await mailbox
        .owner('mailbox.forwards')
        .insert({ mailbox_id: account.id, position: 0, address: 'ban.be@moet.gov.vn' });
      await convergeMailboxes(mailbox, [account.id]);
      await mailbox.submit(sender, [address], 'Kính gửi');
      const alias = await until(
        async () => (await get(`/v1/aliases/${address}`)).body,
        ({ uses }) => uses > 0,
      );
      expect(outside.recipients).toEqual(['ban.be@moet.gov.vn']);
      expect(alias.uses).toBe(1);
      expect((await get(`/v1/mailboxes/${account.id}/usage`)).body.receivedCount).toBe(0);
    } finally {
      await follower.stop();
      await restore();
      outside.stop();
    }
  });

  test('a store that cannot be opened is left out, and those after it are measured', async () => {
    const accounts = [await opened(), await opened()].sort((one, other) => (one.id < other.id ? -1 : 1));
    const [sick, well] = accounts as [TestAccount, TestAccount];
    for (const { address } of accounts) {
      const letter = { from: 'ai@example.org', to: address, subject: 'Kính gửi', text: 'Kính gửi' };
      await lmtp.sendMail(letter);
    }
    const ids = accounts.map(({ id }) => id);
    const rows = () => mailbox.database('mailbox.usage').whereIn('mailbox_id', ids).orderBy('mailbox_id');
    await mailbox
      .owner('mailbox.usage')
      .whereIn('mailbox_id', ids)
      .update({ touched_at: new Date(), measured_at: null });
    const store = await mailbox.store(sick.address);
    await rename(`${store}/Maildir`, `${store}/aside`);
    await writeFile(`${store}/Maildir`, '');
    await expect(mailbox.doveadm.quotas([sick.address])).rejects.toMatchObject({ kind: 'unavailable' });

    await measureQuota(mailbox, { usedSince: true }, never);
    expect(await rows()).toMatchObject([{ quota_used_bytes: null }, { message_count: '1' }]);
    expect([...(await mailbox.doveadm.quotas([sick.address, well.address])).keys()]).toEqual([well.address]);
  });
});
