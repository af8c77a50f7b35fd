import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { addJobs, startWorker } from '@congvu/database';
import { insertRequest, type TestAccount } from '@congvu/database/testing';
import { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import type { MailTransport, OutgoingNotice } from './mail-transport.ts';
import { type NoticeIdentity, noticeJob } from './notice-store.ts';
import { queueStranded } from './queue-notices.ts';
import { retryNotice } from './retry-notice.ts';
import { sendNotice } from './send-notice.ts';
import { openTemplates } from './templates.ts';

let mailbox: TestMailbox;
beforeAll(async () => {
  mailbox = await startTestMailbox();
});
afterAll(() => mailbox.stop());

async function provisioned(options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> {
  const account = await mailbox.account(options);
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
  return account;
}
const notices = (subjectId: string) =>
  mailbox.owner('mailbox.notices').where({ subject_id: subjectId }).select('kind', 'state', 'recipient', 'message_id');
const send = (kind: 'welcome' | 'decision' | 'return', id: string, mail: Partial<MailTransport> = {}) =>
  sendNotice({ ...mailbox, mail: { ...mailbox.mail, ...mail } }, { kind, subjectId: id });
/** Local delivery takes a moment; waits for as many messages, and a little for one too many. */
async function arrived(account: TestAccount, count: number) {
  for (let tries = 0; tries < 100; tries++) {
    if ((await mailbox.messages(account)).length >= count) break;
    await sleep(100);
  }
  await sleep(700);
  return mailbox.messages(account);
}
const remember = (sent: OutgoingNotice[]): MailTransport['send'] => {
  return async (notice) => void sent.push(notice);
};

test('on record under its Message-ID before it is sent, and sent once', async () => {
  const account = await provisioned();
  let seen: { message_id: string }[] = [];
  await send('welcome', account.id, {
    send: async () => {
      seen = await notices(account.id);
    },
  });
  const messageId = expect.stringMatching(/^<[0-9a-f]{40}@nghean\.gov\.vn>$/);
  expect(seen).toEqual([{ kind: 'welcome', state: 'waiting', recipient: account.address, message_id: messageId }]);
  expect(await notices(account.id)).toMatchObject([{ state: 'sent', message_id: seen[0]?.message_id }]);
  const sent: OutgoingNotice[] = [];
  await send('welcome', account.id, { send: remember(sent) });
  expect(sent).toEqual([]);
});

test('killed after sending and before noting it: sent again, and one message is in the mailbox', async () => {
  const account = await provisioned();
  for (let n = 0; n < 2; n++) {
    const killed = send('welcome', account.id, {
      send: async (notice) => {
        await mailbox.mail.send(notice);
        throw new Error('killed here');
      },
    });
    await expect(killed).rejects.toThrow('killed here');
    expect(await notices(account.id)).toMatchObject([{ state: 'waiting' }]);
  }
  await send('welcome', account.id);
  expect(await notices(account.id)).toMatchObject([{ state: 'sent' }]);
  expect(await arrived(account, 1)).toHaveLength(1);
});

test('a retry is the very same message, dated when it was first made', async () => {
  const account = await provisioned();
  const sent: OutgoingNotice[] = [];
  await send('welcome', account.id, {
    send: async (notice) => {
      sent.push(notice);
      throw new Error('no');
    },
  }).catch(() => undefined);
  await sleep(20);
  await send('welcome', account.id, { send: remember(sent) });
  expect(sent[1]).toEqual(sent[0]);
});

test('an administrator’s template that is broken holds up no notice, and the log says so', async () => {
  const account = await provisioned();
  const directory = mkdtempSync(join(tmpdir(), 'congvu-templates-'));
  mkdirSync(join(directory, 'vi'));
  writeFileSync(join(directory, 'vi/welcome.text.liquid'), '{{ nobody }}');
  writeFileSync(join(directory, 'vi/welcome.subject.liquid'), 'Hộp thư {{ address }}');
  const told: object[] = [];
  const log = { ...mailbox.log, warn: (line: object) => told.push(line) } as unknown as TestMailbox['log'];
  const parts = { templates: openTemplates(directory), log };
  await sendNotice({ ...mailbox, ...parts }, { kind: 'welcome', subjectId: account.id });
  rmSync(directory, { recursive: true });
  expect(told).toMatchObject([{ kind: 'welcome', faults: [expect.stringContaining('undefined variable: nobody')] }]);
  expect(await arrived(account, 1)).toMatchObject([{ subject: `Hộp thư ${account.address}` }]);
});

test('one that waited through the upgrade goes under the Message-ID that it had, to whom it was for', async () => {
  const account = await provisioned();
  const messageId = `<${crypto.randomUUID()}@${mailbox.domain}>`;
  const recipient = 'earlier@elsewhere.test';
  const before = { kind: 'welcome', subject_id: account.id, recipient, message_id: messageId };
  await mailbox.owner('mailbox.notices').insert(before);
  const sent: OutgoingNotice[] = [];
  await send('welcome', account.id, { send: remember(sent) });
  expect(sent).toMatchObject([{ to: recipient, messageId, text: expect.stringContaining(account.address) }]);
  expect(await mailbox.owner('mailbox.notices').where({ subject_id: account.id }).first()).toMatchObject({
    state: 'sent',
    message_id: messageId,
    agency_id: account.agencyId,
  });
});

test('what arrives says who, from whom, and that no machine shall answer (RFC 3834)', async () => {
  const account = await provisioned({ displayName: 'Đặng <Thị> "Ơn" & con' });
  await send('welcome', account.id);
  const [message] = await arrived(account, 1);
  const { source } = message!;
  expect(source).toMatch(/^Auto-Submitted: auto-generated\r?$/m);
  expect(source).toMatch(/^To: <?t[0-9a-f]+@nghean\.gov\.vn>?\r?$/m);
  expect(source).toMatch(/^MIME-Version: 1\.0\r?$/m);
  const html = Buffer.from(/text\/html[\s\S]*?\r?\n\r?\n([\s\S]*?)\r?\n--/.exec(source)![1]!, 'base64').toString();
  const quoted = html.includes('Kính gửi') ? html : source;
  expect(quoted).not.toContain('<Thị>');
});

test('a server that does not answer: unavailable, and the notice waits', async () => {
  const account = await provisioned();
  const down = mailbox.openTransport({ port: 1 });
  try {
    await expect(send('welcome', account.id, down)).rejects.toMatchObject({
      kind: 'unavailable',
      code: 'mail_unavailable',
    });
    await expect(down.ping()).rejects.toThrow();
    expect(await mailbox.owner('mailbox.notices').where({ subject_id: account.id }).first()).toMatchObject({
      state: 'waiting',
      attempts: 1,
      last_error: expect.stringContaining('ECONNREFUSED'),
    });
  } finally {
    down.close();
  }
  await send('welcome', account.id);
  expect(await arrived(account, 1)).toHaveLength(1);
});

test('the worker waits out an outage and sends what waited, once', async () => {
  const account = await provisioned();
  await mailbox.owner.raw('delete from mailbox_jobs._private_jobs');
  const down = mailbox.openTransport({ port: 1 });
  let reached: MailTransport = down;
  const mail: MailTransport = { ...mailbox.mail, send: (notice) => reached.send(notice), ping: () => reached.ping() };
  const worker = await startWorker({
    url: mailbox.testDatabase.urlAs('mailbox'),
    schema: 'mailbox',
    log: mailbox.log,
    concurrency: 2,
    probe: () => mail.ping(),
    tasks: { 'send-notice': (notice: NoticeIdentity) => sendNotice({ ...mailbox, mail }, notice) },
  });
  try {
    await addJobs(mailbox.database, 'mailbox', [noticeJob({ kind: 'welcome', subjectId: account.id })]);
    const row = () => mailbox.owner('mailbox.notices').where({ subject_id: account.id }).first();
    const until = async (done: (notice: { attempts: number; state: string } | undefined) => boolean) => {
      for (let tries = 0; !done(await row()); tries++) {
        if (tries > 300) throw new Error(`still ${JSON.stringify(await row())}`);
        await sleep(100);
      }
    };
    await until((notice) => (notice?.attempts ?? 0) >= 2);
    expect(await row()).toMatchObject({ state: 'waiting' });
    reached = mailbox.mail;
    await until((notice) => notice?.state === 'sent');
    expect(await arrived(account, 1)).toHaveLength(1);
    expect(await mailbox.queued()).toEqual([]);
  } finally {
    await worker.stop();
    down.close();
  }
});

test('a recipient whom the server refuses is no outage: nobody waits for it to end', async () => {
  const notice = {
    to: `nobody-${crypto.randomUUID()}@${mailbox.domain}`,
    messageId: `<${crypto.randomUUID()}@${mailbox.domain}>`,
    date: new Date(),
    subject: 'x',
    text: 'x',
    html: 'x',
  };
  await expect(mailbox.mail.send(notice)).rejects.toMatchObject({ kind: 'conflict', code: 'mail_refused' });
});

test('refused: failed with the reason, and nobody waits; retried by hand under the same Message-ID', async () => {
  const account = await provisioned();
  // On record with a mailbox that the mail system does not know.
  const elsewhere = `${account.username}x@${mailbox.domain}`;
  await mailbox.owner('directory.accounts').where({ id: account.id }).update({ address: elsewhere });
  await mailbox.owner('mailbox.mailboxes').where({ account_id: account.id }).update({ address: elsewhere });
  await send('welcome', account.id);
  const failed = await mailbox.owner('mailbox.notices').where({ subject_id: account.id }).first();
  expect(failed).toMatchObject({
    state: 'failed',
    attempts: 1,
    last_error: expect.stringMatching(/^550 5\.1\.1 .*User unknown in virtual mailbox table$/),
    facts: { address: elsewhere },
  });
  await send('welcome', account.id);
  expect(await notices(account.id)).toMatchObject([{ state: 'failed' }]);
  expect(await mailbox.messages(account)).toEqual([]);

  const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: '10.0.0.7', agencyCode: 'H41.12' };
  await expect(retryNotice(mailbox.database, failed.id, { ...actor, agencyCode: 'H41.02' })).rejects.toMatchObject({
    kind: 'not_found',
  });
  expect(await retryNotice(mailbox.database, failed.id, actor)).toMatchObject({ state: 'waiting', attempts: 1 });
  await expect(retryNotice(mailbox.database, failed.id, actor)).rejects.toMatchObject({
    kind: 'conflict',
    code: 'notice_not_failed',
  });
  expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
  expect(await mailbox.owner('directory.audit_events').where({ subject_id: failed.id }).first()).toMatchObject({
    service: 'mailbox',
    action: 'notice.retried',
    actor_id: actor.id,
    source_ip: '10.0.0.7',
    agency_id: account.agencyId,
    before: { state: 'failed', lastError: failed.last_error },
    after: { state: 'waiting' },
  });
  // The cause is away.
  await mailbox.owner('mailbox.notices').where({ id: failed.id }).update({ recipient: account.address });
  await send('welcome', account.id);
  expect(await mailbox.owner('mailbox.notices').where({ id: failed.id }).first()).toMatchObject({
    state: 'sent',
    attempts: 2,
    message_id: failed.message_id,
    last_error: failed.last_error,
  });
  expect(await arrived(account, 1)).toMatchObject([{ messageId: failed.message_id }]);
});

test('put off by the server: tried again for three days, then failed; an outage is waited for longer', async () => {
  const put = async (code: string, firstAttempt: string): Promise<object> => {
    const account = await provisioned();
    const wait: MailTransport['send'] = () => {
      const cause = Object.assign(new Error('x'), { response: '450 4.2.0 try\r\nlater' });
      return Promise.reject(new ServiceError({ kind: 'unavailable', code, detail: 'x', cause }));
    };
    await expect(send('welcome', account.id, { send: wait })).rejects.toMatchObject({ code });
    const row = mailbox.owner('mailbox.notices').where({ subject_id: account.id });
    await row.clone().update({ first_attempt_at: mailbox.owner.raw(`now() - interval '${firstAttempt}'`) });
    await send('welcome', account.id, { send: wait }).catch(() => undefined);
    return row.first('state', 'attempts', 'last_error');
  };
  const known = { attempts: 2, last_error: '450 4.2.0 try later' };
  expect(await put('mail_deferred', '71 hours')).toEqual({ state: 'waiting', ...known });
  expect(await put('mail_deferred', '73 hours')).toEqual({ state: 'failed', ...known });
  expect(await put('mail_unavailable', '30 days')).toEqual({ state: 'waiting', ...known });
});

test('a notice whose job is gone for good, after an outage of days, gets another; one that waits for its mailbox does not', async () => {
  const stranded = await provisioned();
  const recent = await provisioned();
  const early = await mailbox.account();
  for (const account of [stranded, recent, early])
    await send('welcome', account.id, { send: () => Promise.reject(new Error('no')) }).catch(() => undefined);
  const longAgo = {
    last_attempt_at: mailbox.owner.raw("now() - interval '13 hours'"),
    created_at: '2026-01-01T00:00:00Z',
  };
  for (const { id } of [stranded, early])
    await mailbox.owner('mailbox.notices').where({ subject_id: id }).update(longAgo);
  await mailbox.owner('mailbox.notices').where({ subject_id: early.id }).update({ last_attempt_at: null });
  await mailbox.owner.raw('delete from mailbox_jobs._private_jobs');
  await queueStranded(mailbox.database);
  expect(await mailbox.queued()).toEqual([`notice:welcome:${stranded.id}`]);
});

test('the Message-ID is the same on a database that knows nothing of the notice, another with another key, and one of each addressee', async () => {
  const account = await provisioned();
  const sent: OutgoingNotice[] = [];
  const forget = () => mailbox.owner('mailbox.notices').where({ subject_id: account.id }).delete();
  const mail = { ...mailbox.mail, send: remember(sent) };
  for (const messageKey of [mailbox.messageKey, mailbox.messageKey, 'another key of at least 32 letters'])
    await sendNotice({ ...mailbox, mail, messageKey }, { kind: 'welcome', subjectId: account.id }).then(forget);
  const [first, again, other] = sent.map(({ messageId }) => messageId);
  expect(again).toBe(first);
  expect(other).not.toBe(first);
});

test("a decision waits for the recipient's mailbox, and goes when it stands", async () => {
  const agency = await mailbox.account({ kind: 'agency', agencyCode: 'H41.12', displayName: 'Huyện Quỳnh Lưu' });
  const requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12', remark: 'Đã đối chiếu hồ sơ' });
  const person = await mailbox.account({ requestId });
  await send('decision', requestId, { send: () => Promise.reject(new Error('not yet')) });
  expect(await notices(requestId)).toMatchObject([{ state: 'waiting', recipient: agency.address }]);

  await mailbox.convergeEntry(agency);
  await convergeMailboxes(mailbox, [agency.id]);
  expect(await mailbox.queued()).toContain(`notice:decision:${requestId}`);
  const sent: OutgoingNotice[] = [];
  await send('decision', requestId, {
    send: async (notice) => {
      sent.push(notice);
      await mailbox.mail.send(notice);
    },
  });
  expect(sent).toMatchObject([
    { to: agency.address, subject: 'Yêu cầu cấp tài khoản của Ủy ban nhân dân huyện Quỳnh Lưu đã được phê duyệt' },
  ]);
  for (const part of ['Đã đối chiếu hồ sơ', person.address, 'mã kích hoạt']) expect(sent[0]?.text).toContain(part);
  expect(await arrived(agency, 1)).toMatchObject([{ subject: sent[0]?.subject }]);
  expect(await notices(requestId)).toMatchObject([{ state: 'sent' }]);
});

test('an approval of many names the first, says how many more, and how many lines were not approved', async () => {
  const requestId = await insertRequest(mailbox.owner, {
    agencyCode: 'H41.02',
    contactAddress: 'vanthu@elsewhere.test',
  });
  for (let n = 0; n < 52; n++) await mailbox.account({ requestId, agencyCode: 'H41.02' });
  const last = mailbox.owner('directory.request_lines').where({ request_id: requestId, line_number: 52 });
  await last.update({ state: 'rejected', account_id: null });
  const sent: OutgoingNotice[] = [];
  await send('decision', requestId, { send: remember(sent) });
  expect(sent).toHaveLength(1);
  expect(sent[0]?.text.match(/^- .+@nghean\.gov\.vn$/gm)).toHaveLength(50);
  for (const part of ['và 1 tài khoản khác', 'Trong đó 1 dòng không được duyệt']) expect(sent[0]?.text).toContain(part);
});

test('each return is a letter of its own: why, which lines, by when', async () => {
  const requestId = await insertRequest(mailbox.owner, {
    agencyCode: 'H41.02',
    contactAddress: 'vanthu@elsewhere.test',
  });
  const by = await mailbox.owner('directory.requests').where({ id: requestId }).first();
  await mailbox
    .owner('directory.requests')
    .where({ id: requestId })
    .update({ state: 'returned', due_at: '2026-03-10T16:59:59.999Z' });
  const insertReturn = async (remark: string, lines: object[]): Promise<string> =>
    (
      await mailbox
        .owner('directory.request_returns')
        .insert({ request_id: requestId, returned_by: by.decided_by, remark, lines: JSON.stringify(lines) })
        .returning('id')
    )[0].id;
  const many = Array.from({ length: 53 }, (_, index) => ({ lineNumber: index + 1, remark: 'Sai <ngày> sinh' }));
  const sent: OutgoingNotice[] = [];
  for (const id of [await insertReturn('Thiếu quyết định', many), await insertReturn('Vẫn thiếu', [])]) {
    await send('return', id, { send: remember(sent) });
    expect(await notices(id)).toMatchObject([{ kind: 'return', state: 'sent', recipient: 'vanthu@elsewhere.test' }]);
  }
  expect(sent).toHaveLength(2);
  const [first, second] = sent;
  expect(first?.subject).toContain('Sở Thông tin và Truyền thông');
  expect(first?.text.match(/^- Dòng \d+: /gm)).toHaveLength(50);
  for (const part of ['Thiếu quyết định', 'và 3 dòng khác', '10/03/2026']) expect(first?.text).toContain(part);
  expect(first?.html).not.toContain('<ngày>');
  expect(second?.text).toContain('Vẫn thiếu');
  expect(second?.text).not.toContain('Dòng');
});

test('put on record while the mailbox is just being noted: it is not forgotten', async () => {
  const account = await mailbox.account();
  await mailbox.convergeEntry(account);
  const requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12', contactAddress: account.address });
  const holding = await mailbox.owner.transaction();
  // The run comes to a halt where it queues its first job, with all that it noted not yet committed.
  await holding.raw('lock table mailbox_jobs._private_jobs in exclusive mode');
  const running = convergeMailboxes(mailbox, [account.id]);
  try {
    const blocked = async () =>
      (await mailbox.owner('pg_locks').where({ granted: false, locktype: 'relation' }).select('pid')).length > 0;
    for (let tries = 0; !(await blocked()); tries++) {
      if (tries > 200) throw new Error('the run did not come to a halt');
      await sleep(20);
    }
    await send('decision', requestId, { send: () => Promise.reject(new Error('not yet')) });
    expect(await notices(requestId)).toMatchObject([{ state: 'waiting' }]);
  } finally {
    await holding.commit();
  }
  await running;
  expect(await mailbox.queued()).toContain(`notice:decision:${requestId}`);
});

test('an address outside needs no mailbox here', async () => {
  const requestId = await insertRequest(mailbox.owner, {
    agencyCode: 'H41.02',
    state: 'rejected',
    contactAddress: 'vanthu@example.vn',
  });
  const sent: OutgoingNotice[] = [];
  await send('decision', requestId, { send: remember(sent) });
  expect(sent).toMatchObject([{ to: 'vanthu@example.vn', subject: expect.stringContaining('bị từ chối') }]);
  expect(sent[0]?.text).not.toContain('mã kích hoạt');
});

test('nobody to tell is on record, and told once there is somebody', async () => {
  const requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12.05' });
  const sent: OutgoingNotice[] = [];
  await send('decision', requestId, { send: remember(sent) });
  expect(sent).toEqual([]);
  expect(await notices(requestId)).toMatchObject([{ state: 'no_recipient', recipient: null }]);

  const agency = await provisioned({ kind: 'agency', agencyCode: 'H41.12.05', displayName: 'Xã Quỳnh Thắng' });
  await send('decision', requestId, { send: remember(sent) });
  expect(sent).toMatchObject([{ to: agency.address }]);
  expect(await notices(requestId)).toMatchObject([{ state: 'sent', recipient: agency.address }]);
});

test('no such subject: nothing to say', async () => {
  await send('welcome', crypto.randomUUID());
  await send('decision', crypto.randomUUID());
});

test('two runs at once deliver one message', async () => {
  const account = await provisioned();
  await Promise.all([send('welcome', account.id), send('welcome', account.id), send('welcome', account.id)]);
  expect(await arrived(account, 1)).toHaveLength(1);
  expect(await notices(account.id)).toHaveLength(1);
});
