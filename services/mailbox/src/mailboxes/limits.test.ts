/** How large a mailbox may be and what it takes, on the real programs: quota by hand and by class, full, suspended, disabled. */
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startTestMail, type TestMail, until } from '../testing-mail.ts';
import { applySettings } from './apply-settings.ts';
import { convergeMailboxes } from './converge-mailboxes.ts';

let mail: TestMail;
beforeAll(async () => {
  mail = await startTestMail();
});
afterAll(() => mail.stop());

const mebibyte = 1024 ** 2;
const from = 'a@example.org';
const outcome = (sent: Promise<unknown>): Promise<number> =>
  sent.then(
    () => 250,
    (error) => error.responseCode,
  );
const inLdap = async (account: TestAccount, attribute: string) =>
  (await mail.ldap.find(mail.dn(account), [attribute]))?.attributes[attribute]?.[0];
const limitOf = async (account: TestAccount) => (await mail.doveadm.quota(account.address))?.limitBytes;
/** Dovecot counts in kibibytes. */
const byDefault = () => Math.ceil(mail.quotaBytes / 1024) * 1024;
const patch = (account: TestAccount, change: object, status = 200) =>
  mail.ask('patch', `/v1/mailboxes/${account.id}`, change, status);

describe('quota', () => {
  test('by hand reaches LDAP and Dovecot at once; a full mailbox takes nothing, by LMTP nor by SMTP; below its use it is refused', async () => {
    const account = await mail.person();
    const letter = (octets: number) => ({ from, to: account.address, subject: 'thư', text: 'x'.repeat(octets) });
    await patch(account, { quotaBytes: mebibyte });
    await until(async () => (await limitOf(account)) === mebibyte);
    expect(await inLdap(account, 'congvuMailQuotaBytes')).toBe(String(mebibyte));
    expect(await outcome(mail.lmtp(letter(600_000)))).toBe(250);
    expect(await outcome(mail.lmtp(letter(700_000)))).toBe(552);
    expect(await outcome(mail.lmtp(letter(490_000)))).toBe(250); // into the tenth that is allowed above
    expect(await outcome(mail.lmtp(letter(10)))).toBe(552);
    if (mail.withPostfix) {
      expect(await outcome(mail.smtp(letter(10)))).toBe(552);
      const sender = await mail.person();
      const own = { ...letter(10), from: sender.address };
      expect(await outcome(mail.submit(sender.address, await mail.password(sender), own))).toBe(552);
    }

    await patch(account, { quotaBytes: 5 * mebibyte });
    await until(async () => (await limitOf(account)) === 5 * mebibyte);
    if (mail.withPostfix) expect(await outcome(mail.smtp(letter(10)))).toBe(250);
    const { body } = await patch(account, { quotaBytes: mebibyte }, 409);
    expect(body).toMatchObject({ code: 'quota_below_usage', detail: expect.stringMatching(/1\d{6} octets.*1048576/) });
    expect(await inLdap(account, 'congvuMailQuotaBytes')).toBe(String(5 * mebibyte));

    const read = (await mail.ask('get', `/v1/mailboxes/${account.id}`)).body;
    expect(read).toMatchObject({ quotaBytes: 5 * mebibyte, quotaByHand: true, quotaClass: null });
    await mail.ask('post', '/v1/quota-classes', { code: 'be', name: 'Bé', quotaBytes: mebibyte }, 201);
    await mail.ask('put', '/v1/quota-assignments', [{ quotaClass: 'be' }]);
    expect((await patch(account, { quotaClass: 'be' }, 409)).body.code).toBe('quota_below_usage');
    expect((await patch(account, { quotaBytes: null }, 409)).body.code).toBe('quota_below_usage');
    await mail.ask('put', '/v1/quota-assignments', []);
    await patch(account, { quotaBytes: null });
    await until(async () => (await limitOf(account)) === byDefault());
    expect((await patch(account, { quotaBytes: 5 * mebibyte, quotaClass: 'x' }, 422)).body.errors).toHaveLength(2);
    expect((await patch(account, { displayName: 'Khác' }, 422)).body.errors[0].code).toBe('name_of_account');
  });

  test('at the version that was read alone', async () => {
    const account = await mail.person();
    const { version } = (await mail.ask('get', `/v1/mailboxes/${account.id}`)).body;
    const headers = { 'If-Match': `"${version}"` };
    const path = `/v1/mailboxes/${account.id}`;
    await mail.ask('patch', path, { suspendedMail: 'refuse' }, 200, { headers });
    const { body } = await mail.ask('patch', path, { suspendedMail: 'accept' }, 412, { headers });
    expect(body.code).toBe('stale_version');
  });

  test('of a class: the most specific assignment wins, a changed class or assignment reaches LDAP and Dovecot', async () => {
    const make = (code: string, quotaBytes: number) =>
      mail.ask('post', '/v1/quota-classes', { code, name: code, quotaBytes }, 201);
    await make('nho', 2 * mebibyte);
    await make('vua', 3 * mebibyte);
    await make('lon', 4 * mebibyte);
    await mail.ask('post', '/v1/quota-classes', { code: 'lon', name: 'x', quotaBytes: mebibyte }, 409);
    const [inCommune, inDistrict, inDepartment, chair] = [
      await mail.person({ agencyCode: 'H41.12.05' }),
      await mail.person(),
      await mail.person({ agencyCode: 'H41.02' }),
      await mail.person(),
    ];
    await changeAccount(mail.owner, chair.id, { title: 'Chủ tịch' });
    const byHand = await mail.person();
    await patch(byHand, { quotaClass: 'vua' });
    await mail.ask('put', '/v1/quota-assignments', [
      { quotaClass: 'nho', kind: 'person' },
      { quotaClass: 'vua', agencyCode: 'H41.12' },
      { quotaClass: 'lon', title: 'chủ tịch' },
    ]);
    const everybody = [inCommune, inDistrict, inDepartment, chair, byHand];
    const limits = () => Promise.all(everybody.map(limitOf));
    const wanted = [3, 3, 2, 4, 3].map((size) => size * mebibyte);
    await until(async () => (await limits()).join() === wanted.join());

    await mail.ask('patch', '/v1/quota-classes/vua', { quotaBytes: 6 * mebibyte });
    const larger = [6, 6, 2, 4, 6].map((size) => size * mebibyte);
    await until(async () => (await limits()).join() === larger.join());
    expect(await inLdap(inCommune, 'congvuMailQuotaBytes')).toBe(String(6 * mebibyte));
    // A new one has it from the beginning, and its reconciliation finds nothing.
    const fresh = await mail.person({ agencyCode: 'H41.02' });
    expect(await inLdap(fresh, 'congvuMailQuotaBytes')).toBe(String(2 * mebibyte));

    expect((await mail.ask('delete', '/v1/quota-classes/lon', undefined, 409)).body.code).toBe('quota_class_in_use');
    const wrong = [
      { quotaClass: 'khong' },
      { quotaClass: 'nho', agencyCode: 'H99' },
      { quotaClass: 'nho', kind: 'person' },
      { quotaClass: 'lon', kind: 'person' },
    ];
    const { body } = await mail.ask('put', '/v1/quota-assignments', wrong, 422);
    expect(body.errors.map(({ pointer }: { pointer: string }) => pointer)).toEqual([
      '/0/quotaClass',
      '/1/agencyCode',
      '/3',
    ]);
    await mail.ask('put', '/v1/quota-assignments', []);
    await until(async () => (await limitOf(inDepartment)) === byDefault());
    await mail.ask('delete', '/v1/quota-classes/lon', undefined, 204);
  });
});

describe('a suspended mailbox', () => {
  const suspend = async (account: TestAccount) => {
    await changeAccount(mail.owner, account.id, { state: 'suspended' });
    await mail.convergeEntry(account);
    await convergeMailboxes(mail, [account.id]);
  };
  const letter = (account: TestAccount) => ({ from, to: account.address, subject: 'thư' });

  test('takes mail, or refuses it, as was said for it, at once', async () => {
    const account = await mail.person();
    await suspend(account);
    expect(await inLdap(account, 'congvuMailStatus')).toBe('suspended');
    expect(await outcome(mail.lmtp(letter(account)))).toBe(250);
    if (mail.withPostfix) expect(await outcome(mail.smtp(letter(account)))).toBe(250);

    await patch(account, { suspendedMail: 'refuse' });
    await until(async () => (await inLdap(account, 'congvuMailStatus')) === 'disabled');
    expect(await outcome(mail.lmtp(letter(account)))).toBe(550);
    if (mail.withPostfix) {
      const refused = mail.smtp(letter(account));
      await expect(refused).rejects.toMatchObject({
        response: expect.stringMatching(/^550 5\.2\.1 .*mailbox disabled/),
      });
      const sender = await mail.person();
      const own = { ...letter(account), from: sender.address };
      expect(await outcome(mail.submit(sender.address, await mail.password(sender), own))).toBe(550);
    }
    await expect(mail.imap(account, await mail.password(account))).rejects.toMatchObject({
      authenticationFailed: true,
    });
    // What the directory's reconciliation compares with says the same.
    const [{ mail_status }] = await mail.owner('mailbox.mail_attributes_v').where({ account_id: account.id });
    expect(mail_status).toBe('disabled');
    expect((await mail.ask('get', `/v1/mailboxes/${account.id}`)).body).toMatchObject({
      state: 'suspended',
      suspendedMail: 'refuse',
    });

    await changeAccount(mail.owner, account.id, { state: 'active' });
    await mail.convergeEntry(account);
    await convergeMailboxes(mail, [account.id]);
    expect(await outcome(mail.lmtp(letter(account)))).toBe(250);
  });

  test('follows a changed configuration at the next start', async () => {
    const account = await mail.person();
    await suspend(account);
    const refusing = { ...mail, suspendedMail: 'refuse' } as const;
    await applySettings(refusing);
    expect(await mail.queued()).toContain(`mailbox:${account.id}`);
    await convergeMailboxes(refusing, [account.id]);
    expect(await inLdap(account, 'congvuMailStatus')).toBe('disabled');
  });
});

test('the list is cut by kind, state, agency and words', async () => {
  const shown = await mail.person({ agencyCode: 'H41.02', displayName: 'Nguyễn Thị Ánh Tuyết' });
  const list = async (query: string) => {
    const { body } = await mail.ask('get', `/v1/mailboxes?limit=500&${query}`);
    return body.items.map(({ accountId }: { accountId: string }) => accountId);
  };
  for (const query of [
    'q=anh tuyet',
    `q=${shown.username.slice(0, 9)}`,
    'kind=person',
    'agencyCode=H41.02',
    'state=active',
  ])
    expect(await list(query)).toContain(shown.id);
  for (const query of ['q=tuyet nam', 'kind=shared', 'agencyCode=H41.12', 'state=suspended', 'q=hong'])
    expect(await list(query)).not.toContain(shown.id);
});
