/**
 * What the record says of mail, proven on the programs that move it: for each rule a message is sent, fetched or refused by the running
 * Postfix and Dovecot, and what was changed a moment before holds.
 */
import type { ApiClient, RequestLineInput } from '@congvu/contracts';
import { type Credentials, canLogIn, listFolders, readInbox, waitForMessage } from '@congvu/local/mail-client';
import {
  activate,
  approve,
  type Holder,
  importAgencies,
  person,
  submit,
  waitForAccounts,
  waitUntil,
} from '@congvu/local/province';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { activateScript, byLmtp, doveadm, fromOutside, type Letter, postmap, submitAs } from './mail-programs.ts';
import { type Platform, startPlatform } from './platform.ts';

// Postfix needs root; without, all of this is left out.
const onPostfix = process.getuid?.() === 0 ? describe : describe.skip;

const province = 'nghean.gov.vn';
const outside = 'nguoidan@vidu.vn';
const Anything = z.looseObject({});
const Items = z.looseObject({ items: z.array(z.looseObject({})) });

let platform: Platform;
let admin: ApiClient;
let [an, binh, cuc, dung, giang]: Holder[] = [];

const write = (
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body?: object,
  service = 'mailbox' as const,
) => admin.fetch(service, path, { method, ...(body && { body }) });
const atDirectory = (path: string, body: object) => admin.fetch('directory', path, { method: 'POST', body });

/** How long each change took to take effect; the last test says what is demanded of them. */
const delays: { what: string; milliseconds: number }[] = [];
async function soon<T>(what: string, ask: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  const began = performance.now();
  const value = await waitUntil(what, ask, done, 20_000);
  delays.push({ what, milliseconds: Math.round(performance.now() - began) });
  return value;
}
const isSent = (reply: string): boolean => reply === 'sent';

let count = 0;
/** A message of its own subject; once it is taken it comes to each of the readers. */
async function reaches(letter: Omit<Letter, 'subject'>, readers: readonly Credentials[]): Promise<void> {
  count += 1;
  const subject = `Thư số ${count} của bài kiểm thử`;
  await soon(`${letter.to} to take mail`, () => fromOutside(platform, { ...letter, subject }), isSent);
  for (const reader of readers) await waitForMessage(platform.description, reader, new RegExp(subject));
}
/** A server that asked in vain just before would remember that for a minute or two; nobody has asked of this domain yet. */
const opened = (domain: string, map: string): Promise<unknown> =>
  soon(
    `${domain} to open`,
    () => postmap(platform, map, domain),
    (found) => found !== undefined,
  );
const refusal = (to: string): Promise<string> => fromOutside(platform, { from: outside, to, subject: 'Thư lạ' });

onPostfix('mail', () => {
  beforeAll(async () => {
    platform = await startPlatform('mail', 25_600);
    admin = platform.clients.administrator;
    await importAgencies(platform.clients);
    // Every agency gets its list; what is asked of single mailboxes from here on has not to wait for that.
    await waitUntil(
      'the lists of 845 agencies',
      () =>
        platform.query<{ behind: number }>(
          'select count(*)::int as behind from mailbox_jobs._private_jobs where run_at <= now()',
        ),
      ([jobs]) => jobs?.behind === 0,
    );
    const people: RequestLineInput[] = [
      person('Lê Văn An', '1980-01-02', 'male', 'Chuyên viên', 'none'),
      person('Trần Thị Bình', '1981-02-03', 'female', 'Chuyên viên', 'none'),
      person('Phạm Thị Cúc', '1982-03-04', 'female', 'Chuyên viên', 'none'),
      person('Võ Trung Dũng', '1983-04-05', 'male', 'Chuyên viên', 'none'),
      person('Đinh Thị Giang', '1984-05-06', 'female', 'Chuyên viên', 'none'),
    ];
    const { requester, administrator } = platform.clients;
    const request = await submit(requester, 'H41.32', people);
    await approve(administrator, request.id);
    const { lines } = await waitForAccounts(requester, request.id);
    const ids = lines.map(({ account }) => account?.id as string);
    [an, binh, cuc, dung, giang] = await Promise.all(
      ids.map((id) => activate(platform.clients, platform.description, id)),
    );
  }, 180_000);
  afterAll(() => platform?.stop(), 60_000);

  describe('addresses', () => {
    test('a further address receives; nothing catches all', async () => {
      await write('POST', `/v1/mailboxes/${an!.accountId}/aliases`, { address: `gop-y@${province}` });
      await reaches({ from: outside, to: `gop-y@${province}` }, [an!]);
      expect(await refusal(`khong-co@${province}`)).toMatch(/^550 5\.1\.1/);
      expect(await postmap(platform, 'aliases', `gop-y@${province}`)).toEqual([an!.address]);
      expect(await postmap(platform, 'aliases', `@${province}`)).toBeUndefined();
    });

    test('an old domain stands for the new one, for the addresses that there are and no others', async () => {
      await write('POST', '/v1/domains', { kind: 'alias', name: 'nghean-cu.vn', target: province });
      await opened('nghean-cu.vn', 'alias-domains');
      const old = an!.address.replace(province, 'nghean-cu.vn');
      await reaches({ from: outside, to: old }, [an!]);
      expect(await refusal('khong-co@nghean-cu.vn')).toMatch(/^550/);
      expect(await fromOutside(platform, { from: old, to: binh!.address, subject: 'Giả mạo' })).toMatch(/^553/);
    });

    test('a former name receives until its day, and is counted; then it is refused', async () => {
      const former = cuc!.address;
      await admin.fetch('directory', `/v1/accounts/${cuc!.accountId}/name`, {
        method: 'PUT',
        body: { fullName: 'Phạm Thị Hồng', newAddress: true },
      });
      const renamed = await soon(
        'another address',
        () => admin.call('mailbox', `/v1/mailboxes/${cuc!.accountId}`, Anything),
        ({ address }) => address !== former,
      );
      cuc = { ...cuc!, address: String(renamed.address) };
      await reaches({ from: outside, to: former }, [cuc]);
      await reaches({ from: outside, to: cuc.address }, [cuc]);
      expect(await canLogIn(platform.description, { ...cuc, address: former })).toBe(true);
      await waitUntil(
        'the use to be counted',
        () => admin.call('mailbox', `/v1/aliases/${former}`, Anything),
        ({ uses }) => Number(uses) >= 1,
        20_000,
      );
      await write('DELETE', `/v1/aliases/${former}`);
      await soon(
        'the former name to end',
        () => refusal(former),
        (reply) => reply.startsWith('550'),
      );
    });

    test('a person goes to an agency of another domain: the mail stays, and both addresses receive', async () => {
      const unit = 'H41.32.S01';
      await reaches({ from: outside, to: dung!.address }, [dung!]);
      const before = await readInbox(platform.description, dung!);
      await admin.fetch('directory', `/v1/agencies/${unit}`, {
        method: 'PATCH',
        body: { mailDomain: `yte.${province}` },
      });
      await atDirectory(`/v1/accounts/${dung!.accountId}/transfer`, { agencyCode: unit, reason: 'Điều động' });
      const former = dung!.address;
      dung = { ...dung!, address: former.replace(province, `yte.${province}`) };
      await opened(`yte.${province}`, 'domains');
      await reaches({ from: outside, to: dung.address }, [dung]);
      await reaches({ from: outside, to: former }, [dung]);
      const subjects = (await readInbox(platform.description, dung)).map(({ subject }) => subject);
      for (const { subject } of before) expect(subjects).toContain(subject);
      expect(await refusal(`${binh!.address.split('@')[0]}@yte.${province}`)).toMatch(/^550/);
    });

    test('mail is forwarded inside, never outside, and never in a circle', async () => {
      const forward = (holder: Holder, addresses: string[], keepCopy = true) =>
        write('PUT', `/v1/mailboxes/${holder.accountId}/forwarding`, { addresses, keepCopy });
      await forward(an!, [binh!.address]);
      await soon(
        'Postfix to forward',
        () => postmap(platform, 'forwards', an!.address),
        (found) => found !== undefined,
      );
      await reaches({ from: outside, to: an!.address }, [an!, binh!]);
      await expect(forward(binh!, ['ai-do@gmail.com'])).rejects.toMatchObject({ kind: 'invalid' });
      await expect(forward(binh!, [an!.address])).rejects.toThrow();
      await forward(an!, []);
    });
  });

  describe('mailboxes', () => {
    test('suspended: no log-in; mail is accepted, or refused where that was said', async () => {
      await atDirectory(`/v1/accounts/${giang!.accountId}/suspend`, { reason: 'Kiểm tra' });
      await soon(
        'IMAP to refuse',
        () => canLogIn(platform.description, giang!),
        (allowed) => !allowed,
      );
      expect(await fromOutside(platform, { from: outside, to: giang!.address, subject: 'Trong khi khoá' })).toBe(
        'sent',
      );
      await write('PATCH', `/v1/mailboxes/${giang!.accountId}`, { suspendedMail: 'refuse' });
      await soon(
        'mail to be refused',
        () => refusal(giang!.address),
        (reply) => /^550 5\.2\.1/.test(reply),
      );
      await atDirectory(`/v1/accounts/${giang!.accountId}/resume`, { reason: 'Xong' });
      await soon(
        'IMAP to admit',
        () => canLogIn(platform.description, giang!),
        (allowed) => allowed,
      );
      await waitForMessage(platform.description, giang!, /Trong khi khoá/);
    });

    test('over quota: refused at the door, and at the mail store', async () => {
      await write('PATCH', `/v1/mailboxes/${giang!.accountId}`, { quotaBytes: 1024 ** 2 });
      const letter = (lines: number) => ({
        from: outside,
        to: giang!.address,
        subject: 'Thư nặng',
        text: 'x'.repeat(70).concat('\r\n').repeat(lines),
      });
      // 844 KiB fit; the next 197 KiB too, within the tenth that Dovecot lets a last message overrun; then it is full.
      for (const lines of [12_000, 2_800]) expect(await fromOutside(platform, letter(lines))).toBe('sent');
      await waitUntil(
        'the mailbox to be full',
        () => fromOutside(platform, letter(1)),
        (reply) => /^552 5\.2\.2/.test(reply),
        10_000,
      );
      expect(await byLmtp(platform, letter(1))).toMatch(/^552/);
      const [storage] = (await doveadm(platform, 'quotaGet', { user: giang!.address })) as [{ limit: string }];
      expect(storage.limit).toBe('1024');
      await expect(
        write('PATCH', `/v1/mailboxes/${giang!.accountId}`, { quotaBytes: 1024 ** 2 - 1 }),
      ).rejects.toThrow();
      await write('PATCH', `/v1/mailboxes/${giang!.accountId}`, { quotaBytes: null });
    });

    test('an address is sent from by those who hold it, and by nobody else', async () => {
      const to = binh!.address;
      expect(await submitAs(platform, an!, { to, subject: 'Đúng tên' })).toBe('sent');
      expect(await submitAs(platform, an!, { from: cuc!.address, to, subject: 'Tên người khác' })).toMatch(/^553/);
      expect(await submitAs(platform, an!, { from: `gop-y@${province}`, to, subject: 'Tên thứ hai' })).toBe('sent');
      expect(await fromOutside(platform, { from: an!.address, to, subject: 'Từ ngoài' })).toMatch(/^553/);
    });

    test('a shared mailbox is read and written in the name of by those who were given the right', async () => {
      const shared = await admin.call('mailbox', '/v1/mailboxes', Anything, {
        body: { kind: 'shared', localPart: 'mot-cua.ql', displayName: 'Bộ phận Một cửa', agencyCode: 'H41.32' },
      });
      const address = String(shared.address);
      await reaches({ from: outside, to: address }, []);
      const rights = `/v1/mailboxes/${shared.accountId}/rights/${an!.accountId}`;
      await write('PUT', rights, { rights: ['read', 'send_as'] });
      await soon(
        'the shared folder to appear',
        () => folders(an!),
        (names) => names.some((name) => name.includes('mot-cua')),
      );
      expect((await folders(binh!)).filter((name) => name.includes('mot-cua'))).toEqual([]);
      const letter = { from: address, to: binh!.address, subject: 'Thay mặt' };
      await soon('send as', () => submitAs(platform, an!, letter), isSent);
      expect(await submitAs(platform, binh!, letter)).toMatch(/^553/);
      await write('DELETE', rights);
      await soon(
        'the right to end',
        () => submitAs(platform, an!, letter),
        (reply) => reply.startsWith('553'),
      );
    });

    test('after a reset the old password opens nothing', async () => {
      const code = await admin.call('directory', `/v1/accounts/${binh!.accountId}/activation-code`, Anything, {
        method: 'POST',
      });
      const password = 'Mật khẩu mới của tôi 2026';
      await platform.clients.stranger.fetch('directory', '/v1/activations', {
        body: { account: binh!.address, code: code.code, password },
      });
      await soon(
        'the old password to end',
        () => canLogIn(platform.description, binh!),
        (allowed) => !allowed,
      );
      binh = { ...binh!, password };
      expect(await canLogIn(platform.description, binh)).toBe(true);
      expect(await submitAs(platform, binh, { to: an!.address, subject: 'Mật khẩu mới' })).toBe('sent');
    });

    test('own Sieve scripts sort mail and send none; the absence reply comes once', async () => {
      const isOk = (answers: string[]) => answers.map((answer) => answer.slice(0, 2));
      const leaking = 'redirect "ai-do@gmail.com";\r\n';
      expect(isOk(await activateScript(platform, an!, leaking))).toEqual(['OK', 'OK', 'OK']);
      await reaches({ from: outside, to: an!.address }, [an!]);
      expect((await platform.engines.postfix?.queue())?.filter((address) => address.endsWith('gmail.com'))).toEqual([]);
      const sorting =
        'require ["fileinto","mailbox"];\r\nif header :contains "subject" "Xếp" { fileinto :create "Việc"; }\r\n';
      expect(isOk(await activateScript(platform, an!, sorting))).toEqual(['OK', 'OK', 'OK']);
      expect(await fromOutside(platform, { from: outside, to: an!.address, subject: 'Xếp vào đây' })).toBe('sent');
      await waitUntil(
        'the folder',
        () => folders(an!),
        (names) => names.includes('Việc'),
        10_000,
      );
      await write('PUT', `/v1/mailboxes/${cuc!.accountId}/vacation`, { subject: 'Đi vắng', text: 'Tôi đi công tác.' });
      for (const subject of ['Hỏi một', 'Hỏi hai'])
        await waitUntil('a question', () => submitAs(platform, binh!, { to: cuc!.address, subject }), isSent, 5_000);
      await waitForMessage(platform.description, binh!, /Đi vắng/);
      await waitForMessage(platform.description, cuc!, /Hỏi hai/);
      const replies = (await readInbox(platform.description, binh!)).filter(({ subject }) => /Đi vắng/.test(subject));
      expect(replies).toHaveLength(1);
    });
  });

  describe('lists', () => {
    let district: Record<string, unknown>;
    beforeAll(async () => {
      const { items } = await waitUntil(
        "the district's own list",
        () => admin.call('mailbox', '/v1/groups?agency=H41.32&limit=500', Items),
        (page) => page.items.some(({ agencyCode, kind }) => agencyCode === 'H41.32' && kind === 'agency'),
        60_000,
      );
      district = items.find(({ agencyCode, kind }) => agencyCode === 'H41.32' && kind === 'agency') as typeof district;
    }, 90_000);

    test("the agency's list is everybody active at and below it, and of nobody else", async () => {
      const everybody = [an!, binh!, cuc!, dung!, giang!].map(({ address }) => address).sort();
      expect(await postmap(platform, 'groups', String(district.address))).toEqual(everybody);
      await write('PATCH', `/v1/groups/${district.id}`, { posting: 'members' });
      const letter = { to: String(district.address), subject: 'Gửi toàn huyện' };
      await soon('a member to be let through', () => submitAs(platform, an!, letter), isSent);
      for (const reader of [binh!, dung!]) await waitForMessage(platform.description, reader, /Gửi toàn huyện/);
    });

    const makeList = (localPart: string, name: string, posting: string) =>
      admin.call('mailbox', '/v1/groups', Anything, {
        body: { localPart, name, agencyCode: 'H41.32', posting, ownerIds: [an!.accountId] },
      });

    test('from outside a list of members is refused, one for anyone is not; a list in a list receives', async () => {
      expect(await refusal(String(district.address))).toMatch(/^550/);
      const open = await makeList('hoi-dap.ql', 'Hỏi đáp', 'anyone');
      await write('PUT', `/v1/groups/${open.id}/members/${cuc!.accountId}`);
      await reaches({ from: outside, to: String(open.address) }, [cuc!]);
      await expect(write('PUT', `/v1/groups/${open.id}/members/${district.id}`)).rejects.toThrow(/more open/);
      const made = await makeList('ban-chi-dao.ql', 'Ban chỉ đạo', 'members');
      await write('PUT', `/v1/groups/${made.id}/members/${district.id}`);
      await soon(
        'the nested list',
        () => postmap(platform, 'groups', String(made.address)),
        (found) => found?.length === 5,
      );
      expect(await refusal(String(made.address))).toMatch(/^550/);
      const subject = 'Qua danh sách lồng nhau';
      expect(await submitAs(platform, an!, { to: String(made.address), subject })).toBe('sent');
      for (const reader of [binh!, dung!]) await waitForMessage(platform.description, reader, new RegExp(subject));
      await expect(write('PUT', `/v1/groups/${made.id}/members/${made.id}`)).rejects.toThrow();
      await expect(write('DELETE', `/v1/groups/${made.id}/owners/${an!.accountId}`)).rejects.toMatchObject({
        kind: 'conflict',
      });
    });

    test('who leaves the agency leaves its list', async () => {
      await atDirectory(`/v1/accounts/${giang!.accountId}/transfer`, { agencyCode: 'H41.03', reason: 'Điều động' });
      await soon(
        'the list to follow',
        () => postmap(platform, 'groups', String(district.address)),
        (found) => found !== undefined && !found.includes(giang!.address),
      );
    });
  });

  test('use is counted from the logs: what came, what went, who logged in', async () => {
    const used = await waitUntil(
      'the figures of use',
      () => admin.call('mailbox', `/v1/mailboxes?address=${binh!.address}&include=usage`, Items),
      ({ items: [figures] }) =>
        Number(figures?.receivedCount) > 0 && Number(figures?.sentCount) > 0 && figures?.lastLoginAt !== null,
      30_000,
    );
    expect(used.items).toHaveLength(1);
    const report = await admin.call('mailbox', '/v1/usage/agencies/H41.32', Anything);
    expect(report).toMatchObject({ agencyCode: 'H41.32' });
  });

  test('while Dovecot is down the service says so; what came meanwhile is delivered afterwards', async () => {
    await platform.engines.dovecot.kill();
    const ready = async () => (await fetch(`${platform.description.services.mailbox}/readyz`)).status;
    await waitUntil('not ready', ready, (status) => status === 503, 20_000);
    expect(await fromOutside(platform, { from: outside, to: an!.address, subject: 'Khi kho đóng' })).toBe('sent');
    await platform.engines.dovecot.start();
    await waitUntil('ready', ready, (status) => status === 200, 20_000);
    await waitForMessage(platform.description, an!, /Khi kho đóng/, 30_000);
  });

  test('changes took effect within two seconds, one interrupted by the machine excepted', () => {
    expect(delays.length).toBeGreaterThan(10);
    const late = delays.filter(({ milliseconds }) => milliseconds > 2_000);
    if (late.length > 0) process.stderr.write(`took longer: ${JSON.stringify(late)}\n`);
    expect(late.length).toBeLessThanOrEqual(Math.ceil(delays.length / 10));
  });
});

const folders = (holder: Credentials): Promise<string[]> => listFolders(platform.description, holder);
