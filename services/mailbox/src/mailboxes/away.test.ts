/** Answers of those who are away, and people's own scripts, on the real Dovecot and Postfix. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Message, startTestMail, type TestMail, until } from '../testing-mail.ts';

let mail: TestMail;
beforeAll(async () => {
  mail = await startTestMail();
});
afterAll(() => mail.stop());

const day = (offset: number) => new Date(Date.now() + offset * 86_400_000 + 7 * 3_600_000).toISOString().slice(0, 10);
// Nothing of it is a variable, to Dovecot or to Sieve.
const marks = ['%u', '%%', '%{env:HOME}', '"$', '{from}"'].join('');
const text = `Tôi nghỉ phép, 100% không đọc thư.\nViệc gấp: gọi Văn phòng ${marks}.`;
const away = (account: TestAccount, vacation: object, status = 200) =>
  mail.ask('put', `/v1/mailboxes/${account.id}/vacation`, { subject: 'Đi vắng', text, ...vacation }, status);
const inLdap = async (account: TestAccount) => {
  const entry = await mail.ldap.find(mail.dn(account), ['congvuVacationText']);
  return entry?.attributes.congvuVacationText?.[0]?.toString().replaceAll('%%', '%');
};
const send = async (who: TestAccount, to: TestAccount, more: Partial<Message> = {}) =>
  mail.submit(who.address, await mail.password(who), { from: who.address, to: to.address, subject: 'hỏi', ...more });
const answers = async (who: TestAccount) =>
  (await mail.messages(who)).filter(({ source }) => /^Auto-Submitted: auto-replied/im.test(source));
/** A message that arrived after all before, so that whatever they set off has come. */
async function settled(account: TestAccount, from: TestAccount): Promise<void> {
  const count = (await mail.messages(account)).length;
  await send(from, account, { subject: 'cuối', to: account.address, headers: { Precedence: 'bulk' } });
  await until(async () => (await mail.messages(account)).length > count);
  await sleep(700);
}

describe('who is away', () => {
  test('answers each sender once a day, as LDAP says from one moment to the next, and stops', async () => {
    if (!mail.withPostfix) return;
    const [absent, sender, other] = [await mail.person(), await mail.person(), await mail.person()];
    await away(absent, {});
    await until(async () => (await inLdap(absent)) === text);
    await send(sender, absent);
    await until(async () => (await answers(sender)).length === 1);
    const [answer] = await answers(sender);
    expect(answer?.subject).toBe('Đi vắng');
    expect(answer?.source).toMatch(new RegExp(`^From: .*${absent.address}`, 'm'));
    expect(answer?.source).toMatch(/^Return-Path: <>/m);
    expect(answer?.source.replaceAll('\r', '')).toContain(`\n${text}\n`);
    await send(sender, absent);
    await send(other, absent);
    await until(async () => (await answers(other)).length === 1);
    await settled(absent, other);
    expect([(await answers(sender)).length, (await answers(other)).length]).toEqual([1, 1]);

    const { body } = await mail.ask('get', `/v1/mailboxes/${absent.id}/vacation`);
    expect(body.vacation).toEqual({ subject: 'Đi vắng', text, from: null, until: null });
    await mail.ask('delete', `/v1/mailboxes/${absent.id}/vacation`);
    await until(async () => (await inLdap(absent)) === undefined);
    const third = await mail.person();
    await send(third, absent);
    await settled(absent, other);
    expect(await answers(third)).toEqual([]);
  });

  test('answers no list, no robot, no bounce, and nothing that does not name the mailbox', async () => {
    if (!mail.withPostfix) return;
    const [absent, sender] = [await mail.person(), await mail.person()];
    await away(absent, {});
    await until(async () => (await inLdap(absent)) === text);
    await send(sender, absent, { headers: { 'List-Id': '<tatca.nghean.gov.vn>' } });
    await send(sender, absent, { headers: { 'Auto-Submitted': 'auto-generated' } });
    await send(sender, absent, { to: 'tatca@nghean.gov.vn', envelope: { from: sender.address, to: absent.address } });
    await mail.lmtp({
      from: sender.address,
      to: absent.address,
      subject: 'Undelivered',
      envelope: { from: '', to: absent.address },
    });
    await settled(absent, sender);
    expect(await answers(sender)).toEqual([]);
  });

  test('within the days that were given alone', async () => {
    if (!mail.withPostfix) return;
    const sender = await mail.person();
    const [before, during, after] = [await mail.person(), await mail.person(), await mail.person()];
    await away(before, { from: day(1) });
    await away(during, { from: day(0), until: day(0) });
    await away(after, { from: day(-9), until: day(-1) });
    for (const one of [before, during, after]) await until(async () => (await inLdap(one)) === text);
    for (const one of [before, after, during]) await send(sender, one);
    await until(async () => (await answers(sender)).length >= 1);
    await settled(before, sender);
    await settled(after, sender);
    expect((await answers(sender)).map(({ source }) => /^From: .*?([^<\s]+@[^>\s]+)/m.exec(source)?.[1])).toEqual([
      during.address,
    ]);
    expect((await away(during, { from: day(1), until: day(0) }, 422)).body.errors[0].pointer).toBe('/until');
    expect((await away(during, { text: 'a\u0000b' }, 422)).body.errors[0].pointer).toBe('/text');
  });

  test('with the longest text that is taken, mail still arrives; a longer one is refused', async () => {
    const absent = await mail.person();
    const longest = { subject: 'ế'.repeat(200), text: `${'ế%'.repeat(999)}\n%x` };
    await away(absent, longest);
    await until(async () => (await inLdap(absent)) === longest.text);
    await mail.lmtp({ from: 'a@example.org', to: absent.address, subject: 'đến' });
    expect((await mail.messages(absent)).map(({ subject }) => subject)).toEqual(['đến']);
    expect((await away(absent, { text: 'ế'.repeat(1_700) }, 422)).body.errors[0].code).toBe('too_long');
  });

  test('answers come in at a port that takes nothing else', async () => {
    if (!mail.withPostfix) return;
    const [one, two] = [await mail.person(), await mail.person()];
    const answer = { from: one.address, to: two.address, subject: 'x' };
    const null_ = { from: '', to: two.address };
    await mail.reply({ ...answer, envelope: null_ });
    await until(async () => (await mail.messages(two)).length === 1);
    await expect(mail.reply(answer)).rejects.toMatchObject({ responseCode: 550 });
    const outside = { ...answer, envelope: { from: '', to: 'ai@example.org' } };
    await expect(mail.reply(outside)).rejects.toMatchObject({ responseCode: 550 });
    const nobody = { ...answer, envelope: { from: '', to: 'khongco@nghean.gov.vn' } };
    await expect(mail.reply(nobody)).rejects.toMatchObject({ responseCode: 550 });
  });
});

describe("people's own scripts", () => {
  test('sort mail and answer; pass nothing on, refuse nothing, read nothing of the system', async () => {
    const [owner, sender] = [await mail.person(), await mail.person()];
    const put = async (script: string) => mail.putScript(owner.address, await mail.password(owner), script);
    for (const extension of ['enotify', 'reject', 'ereject', 'vnd.dovecot.environment', 'vnd.dovecot.execute'])
      expect(await put(`require ["${extension}"];`)).toMatch(/^NO /m);
    // A redirection is not carried out, and the message stays.
    await put('redirect "ngoai@example.org";');
    await mail.lmtp({ from: sender.address, to: owner.address, subject: 'ở lại' });
    expect((await mail.messages(owner)).map(({ subject }) => subject)).toEqual(['ở lại']);
    const script = `require ["fileinto", "mailbox", "vacation"];
      if header :contains "subject" "hỏi" { fileinto :create "Hoi"; vacation :days 2 "Của tôi"; }`;
    expect(await put(script)).toMatch(/^OK/m);
    if (!mail.withPostfix) return;
    await send(sender, owner);
    await until(async () => (await answers(sender)).length === 1);
    expect((await answers(sender))[0]?.source).toContain('Của tôi');
    const session = await mail.imap(owner, await mail.password(owner));
    expect((await session.status('Hoi', { messages: true })).messages).toBe(1);
    await session.logout();

    // An administrator's answer comes first, and there are never two.
    await away(owner, {});
    await until(async () => (await inLdap(owner)) === text);
    const second = await mail.person();
    await send(second, owner);
    await until(async () => (await answers(second)).length >= 1);
    await settled(owner, sender);
    expect((await answers(second)).map(({ subject }) => subject)).toEqual(['Đi vắng']);
  });
});
