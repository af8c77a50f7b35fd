import { rename, writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
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
