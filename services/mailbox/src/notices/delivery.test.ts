/** Every kind of notice as it lies in the mailbox: once, in the recipient's language, as text and HTML, with a signature that holds. */
import { createRequire } from 'node:module';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NoticeKind, NoticeLanguage } from '@congvu/contracts';
import { changeAccount, insertRequest, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { chooseLanguage } from './choose-language.ts';
import type { NoticeIdentity } from './notice-store.ts';
import { queueDigests } from './queue-digests.ts';
import { queueExpiries } from './queue-expiries.ts';
import { sendNotice } from './send-notice.ts';
import { publicRecord } from './signing-key.ts';

const { dkimVerify } = createRequire(import.meta.url)('mailauth/lib/dkim/verify.js') as typeof import('mailauth');

let mailbox: TestMailbox;
let agency: TestAccount;
beforeAll(async () => {
  mailbox = await startTestMailbox();
  agency = await provisioned({ kind: 'agency', displayName: 'Ủy ban nhân dân huyện Quỳnh Lưu' });
});
afterAll(() => mailbox.stop());

async function provisioned(options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> {
  const account = await mailbox.account(options);
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
  return account;
}
async function change(account: TestAccount, changes: Record<string, unknown>): Promise<void> {
  await changeAccount(mailbox.owner, account.id, changes);
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
}

/** Does what the worker does with the jobs that wait, and again with all that were ever queued. */
const queued: NoticeIdentity[] = [];
async function sendQueued(): Promise<void> {
  const jobs = await mailbox.owner.raw(
    "delete from mailbox_jobs._private_jobs where key like 'notice:%' returning payload",
  );
  queued.push(...jobs.rows.map(({ payload }: { payload: NoticeIdentity }) => payload));
  for (const identity of queued) await sendNotice(mailbox, identity);
}

interface Read {
  subject: string;
  messageId: string;
  source: Buffer;
  text: string;
  html: string;
}
/** As a mail program shows them: decoded by the server's own idea of their structure. */
async function read(account: TestAccount): Promise<Read[]> {
  const session = await mailbox.imap(account, await mailbox.password(account));
  try {
    const { exists } = await session.mailboxOpen('INBOX', { readOnly: true });
    const messages: Read[] = [];
    for (let number = 1; number <= exists; number++) {
      const found = await session.fetchOne(String(number), { envelope: true, source: true, bodyStructure: true });
      if (!found || !(found.source && found.bodyStructure)) throw new Error('a message cannot be read');
      expect(found.bodyStructure.type).toBe('multipart/alternative');
      expect(found.bodyStructure.childNodes?.map(({ type }) => type)).toEqual(['text/plain', 'text/html']);
      const body = async (part: string): Promise<string> => {
        const chunks: Buffer[] = [];
        for await (const chunk of (await session.download(String(number), part)).content) chunks.push(chunk as Buffer);
        return Buffer.concat(chunks).toString();
      };
      const { subject = '', messageId = '' } = found.envelope ?? {};
      messages.push({ subject, messageId, source: found.source, text: await body('1'), html: await body('2') });
    }
    return messages;
  } finally {
    await session.logout();
  }
}
/** Local delivery takes a moment; waits for as many messages, and a little for one too many. */
async function arrived(account: TestAccount, count: number): Promise<Read[]> {
  for (let tries = 0; tries < 100 && (await mailbox.messages(account)).length < count; tries++) await sleep(100);
  await sleep(700);
  return read(account);
}

/** By a resolver that knows our record alone. */
async function verified(source: Buffer): Promise<string[]> {
  const record = publicRecord(mailbox.signingKey);
  const resolver = async (name: string, type: string): Promise<string[][]> => {
    if (name === record.name && type === 'TXT') return [[record.value]];
    throw Object.assign(new Error('no such record'), { code: 'ENOTFOUND' });
  };
  const { results } = await dkimVerify(source, { resolver });
  return results.map(({ status, signingDomain }) => `${signingDomain} ${status.result}`);
}

/** What each letter to the holder and to the agency holds, in both of its forms. */
const expected: Record<
  NoticeLanguage,
  Record<'holder' | 'agency', Partial<Record<NoticeKind, [subject: string, words: string[]]>>>
> = {
  vi: {
    holder: {
      welcome: ['Chào mừng đến với hệ thống thư công vụ', ['Kính gửi', 'đã được cấp']],
      suspension: ['Tạm khóa hộp thư công vụ', ['đã bị tạm khóa đến 15:30 ngày', 'ông/bà']],
      resumption: ['Mở lại hộp thư công vụ', ['đã được mở lại']],
    },
    agency: {
      decision: ['đã được phê duyệt', ['Đã đối chiếu', '1 dòng', 'bởi Người duyệt']],
      return: ['cần bổ sung, chỉnh sửa', ['Thiếu quyết định', 'Dòng 3: Sai ngày sinh']],
      suspension: ['Tạm khóa hộp thư công vụ', ['Lý do: Nghỉ không lương']],
      resumption: ['Mở lại hộp thư công vụ', ['đã được mở lại']],
      expiry: ['Sắp hết thời hạn lưu giữ', ['bị xóa và không khôi phục được']],
      digest: ['Tổng hợp tuần', ['Chờ phê duyệt: 0', 'Chưa từng kích hoạt']],
    },
  },
  en: {
    holder: {
      welcome: ['Welcome to the official mail system', ['Dear', 'ready for use']],
      suspension: ['has been suspended', ['until 15:30 on', 'Dear']],
      resumption: ['is open again', ['has ended']],
    },
    agency: {
      decision: ['has been approved', ['Đã đối chiếu', '1 line', 'by Người duyệt']],
      return: ['needs corrections', ['Thiếu quyết định', 'Line 3: Sai ngày sinh']],
      suspension: ['has been suspended', ['Reason: Nghỉ không lương']],
      resumption: ['is open again', ['has ended']],
      expiry: ['The retention of the mailbox', ['cannot be brought back']],
      digest: ['official mail of', ['Waiting for approval: 0', 'Never activated']],
    },
  },
};

describe.each(['vi', 'en'] as const)('in %s', (language) => {
  let holder: TestAccount;
  const letters: Partial<Record<'holder' | 'agency', Read[]>> = {};

  beforeAll(async () => {
    const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
    const earlier = (await mailbox.messages(agency)).length;
    holder = await provisioned({ displayName: 'Trần Thị <b>Ơn</b> & con' });
    const leaver = await provisioned({ displayName: 'Lê Văn Lưu' });
    for (const { id } of [agency, holder]) {
      expect(await chooseLanguage(mailbox, id, language, actor)).toEqual({ language, noticeLanguage: language });
    }
    const requestId = await insertRequest(mailbox.owner, { agencyCode: 'H41.12', remark: 'Đã đối chiếu' });
    await mailbox.account({ requestId });
    const { decided_by } = await mailbox.owner('directory.requests').where({ id: requestId }).first();
    const [{ id: returnId }] = await mailbox
      .owner('directory.request_returns')
      .insert({
        request_id: requestId,
        returned_by: decided_by,
        remark: 'Thiếu quyết định',
        lines: JSON.stringify([{ lineNumber: 3, remark: 'Sai ngày sinh' }]),
      })
      .returning('id');
    await sendNotice(mailbox, { kind: 'decision', subjectId: requestId });
    await sendNotice(mailbox, { kind: 'return', subjectId: returnId });
    const until = `${new Date(Date.now() + 3 * 24 * 3_600_000).toISOString().slice(0, 10)}T08:30:00Z`;
    await change(holder, { state: 'suspended', suspension_reason: 'Nghỉ không lương', suspended_until: until });
    await change(leaver, { state: 'retired', retained_until: until.slice(0, 10) });
    await queueExpiries(mailbox.database, 7);
    await change(holder, { state: 'active', suspension_reason: null, suspended_until: null });
    await queueDigests(
      mailbox,
      [{ address: agency.address, agencyCode: 'H41.12' }],
      new Date(language === 'vi' ? '2026-03-09T08:00:00Z' : '2026-03-16T08:00:00Z'),
    );
    await sendQueued();
    await sendQueued();
    letters.holder = await arrived(holder, 3);
    letters.agency = (await arrived(agency, earlier + 6)).slice(earlier);
  }, 120_000);

  test.each(['holder', 'agency'] as const)('the %s gets each once, as text and as HTML', (addressee) => {
    const wanted = Object.entries(expected[language][addressee]);
    const got = letters[addressee] as Read[];
    for (const [kind, [subject, words]] of wanted) {
      const matching = got.filter((letter) => letter.subject.includes(subject));
      expect([kind, matching.length]).toEqual([kind, 1]);
      const [letter] = matching as [Read];
      for (const word of words) {
        expect(letter.text).toContain(word);
        expect(letter.html).toContain(word);
      }
      expect(letter.html).toContain(`<html lang="${language}">`);
    }
    expect(got).toHaveLength(wanted.length);
  });

  test('no name becomes markup, and the reason is the agency’s to know', () => {
    for (const letter of [...(letters.holder as Read[]), ...(letters.agency as Read[])]) {
      expect(letter.html).not.toContain('<b>Ơn</b>');
    }
    const toHolder = (letters.holder as Read[]).map(({ text, html }) => text + html).join();
    expect(toHolder).toContain('Trần Thị &lt;b&gt;Ơn&lt;/b&gt; &amp; con');
    expect(toHolder).toContain('Trần Thị <b>Ơn</b> & con');
    expect(toHolder).not.toContain('Nghỉ không lương');
  });

  test('each signature holds on the message as delivered', async () => {
    for (const { source, messageId } of [...(letters.holder as Read[]), ...(letters.agency as Read[])]) {
      expect(await verified(source)).toEqual(['nghean.gov.vn pass']);
      expect(messageId).toMatch(/^<[0-9a-f]{40}@nghean\.gov\.vn>$/);
      const signed = /^DKIM-Signature:[\s\S]*?[;\s]h=([\s\S]*?);/im.exec(source.toString())?.[1] ?? '';
      for (const field of ['from', 'to', 'subject', 'date', 'message-id', 'content-type', 'auto-submitted'])
        expect(signed.toLowerCase().replace(/\s/g, '').split(':')).toContain(field);
    }
  });

  test('and on nothing that was changed on the way', async () => {
    const [{ source }] = letters.holder as [Read];
    const changed = (from: RegExp, to: string) => Buffer.from(source.toString('latin1').replace(from, to), 'latin1');
    expect(await verified(changed(/^Subject: .*/m, 'Subject: another'))).toEqual(['nghean.gov.vn fail']);
    expect(await verified(changed(/\r\n\r\n/, '\r\n\r\nmore'))).not.toEqual(['nghean.gov.vn pass']);
  });

  test('the log says that each was sent, and no more what it told', async () => {
    const rows = await mailbox.database('mailbox.notices').where({ recipient: holder.address }).select('*');
    expect(rows.map(({ kind, state, attempts, facts }) => [kind, state, attempts, facts]).sort()).toEqual([
      ['resumption', 'sent', 1, null],
      ['suspension', 'sent', 1, null],
      ['welcome', 'sent', 1, null],
    ]);
  });
});
