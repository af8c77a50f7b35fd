/** How long a store is kept: never deleted before its day, then wholly, whatever is killed on the way. */
import { existsSync } from 'node:fs';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { startTestMail, type TestMail, until } from '../testing-mail.ts';
import { convergeAccess } from './converge-access.ts';
import { convergeMailboxes } from './converge-mailboxes.ts';
import { purgeMailboxes } from './purge-mailboxes.ts';

let mail: TestMail;
beforeAll(async () => {
  mail = await startTestMail();
});
afterAll(() => mail.stop());

const purge = (parts: Partial<TestMail> = {}) => purgeMailboxes({ ...mail, ...parts }, new AbortController().signal);
const dayFromNow = (days: number) =>
  new Date(Date.now() + days * 86_400_000 + 7 * 3_600_000).toISOString().slice(0, 10);
const state = async (id: string) => (await mail.database('mailbox.mailboxes').where({ account_id: id }).first()).state;

/** Retired with mail in the store, which is kept until that day; where the store lies. */
async function retired(until: string): Promise<{ account: TestAccount; store: string }> {
  const account = await mail.person();
  await mail.lmtp({ from: 'a@example.org', to: account.address, subject: 'cũ' });
  const store = await mail.store(account.address);
  expect(existsSync(`${store}/Maildir/new`)).toBe(true);
  await retain(account, until);
  return { account, store };
}
async function retain(account: TestAccount, until: string | null): Promise<void> {
  await changeAccount(mail.owner, account.id, { state: until ? 'retired' : 'active', retained_until: until });
  await mail.convergeEntry(account);
  await convergeMailboxes(mail, [account.id]);
}

test('a store is kept through the last day of its retention, and deleted after it', async () => {
  const { account, store } = await retired(dayFromNow(0));
  const other = await retired(dayFromNow(30));
  await purge();
  expect([await state(account.id), existsSync(store)]).toEqual(['retained', true]);
  const { body } = await mail.ask('get', `/v1/mailboxes/${account.id}`);
  expect(body).toMatchObject({ state: 'retained', retainedUntil: dayFromNow(0) });

  await retain(account, dayFromNow(-2));
  await purge();
  expect([await state(account.id), existsSync(store)]).toEqual(['purged', false]);
  expect([await state(other.account.id), existsSync(other.store)]).toEqual(['retained', true]);
  const entry = await mail.ldap.find(mail.dn(account), ['congvuMailStatus']);
  expect(entry?.attributes.congvuMailStatus).toEqual(['purged']);
  const [{ mail_status }] = await mail.owner('mailbox.mail_attributes_v').where({ account_id: account.id });
  expect(mail_status).toBe('purged');
  const events = await mail.owner('directory.audit_events').where({ subject_id: account.id }).orderBy('id');
  expect(events.map(({ action }) => action).slice(-2)).toEqual(['mailbox.purge_started', 'mailbox.purged']);
  // Nothing brings it back, and nothing more can be said of it.
  await convergeMailboxes(mail, [account.id]);
  expect(await state(account.id)).toBe('purged');
  const again = await mail.ask('patch', `/v1/mailboxes/${account.id}`, { quotaBytes: 1024 ** 2 }, 409);
  expect(again.body.code).toBe('mailbox_purged');
  await purge();
  expect(events).toHaveLength((await mail.owner('directory.audit_events').where({ subject_id: account.id })).length);
});

test('an account that comes back within its retention finds its mail', async () => {
  const { account } = await retired(dayFromNow(1));
  await retain(account, null);
  await purge();
  const { body } = await mail.ask('get', `/v1/mailboxes/${account.id}`);
  expect(body).toMatchObject({ state: 'active', retainedUntil: null });
  expect((await mail.messages(account)).map(({ subject }) => subject)).toEqual(['cũ']);
});

test('the account is asked again: a record that is behind deletes nothing', async () => {
  const { account, store } = await retired(dayFromNow(-2));
  // Its retention was prolonged, and the mailbox does not know yet.
  await changeAccount(mail.owner, account.id, { retained_until: dayFromNow(30) });
  await purge();
  expect([await state(account.id), existsSync(store)]).toEqual(['retained', true]);
  await changeAccount(mail.owner, account.id, { state: 'active', retained_until: null });
  await purge();
  expect([await state(account.id), existsSync(store)]).toEqual(['retained', true]);
});

test('killed at any step, the next run goes on; others are not held up', async () => {
  const killed = async () => {
    throw new Error('killed here');
  };
  const { account, store } = await retired(dayFromNow(-3));
  await expect(purge({ ldap: { ...mail.ldap, modify: killed } })).rejects.toThrow('killed here');
  expect([await state(account.id), existsSync(store)]).toEqual(['purging', true]);
  await expect(purge({ doveadm: { ...mail.doveadm, removeStore: killed } })).rejects.toThrow('killed here');
  expect([await state(account.id), existsSync(store)]).toEqual(['purging', true]);
  const second = await retired(dayFromNow(-3));
  const removeStore = async (user: string, id: string) => {
    await mail.doveadm.removeStore(user, id);
    if (id === account.id) await killed();
  };
  await expect(purge({ doveadm: { ...mail.doveadm, removeStore } })).rejects.toThrow('killed here');
  expect([await state(account.id), existsSync(store)]).toEqual(['purging', false]);
  expect([await state(second.account.id), existsSync(second.store)]).toEqual(['purged', false]);
  await purge();
  expect(await state(account.id)).toBe('purged');
});

test('a shared mailbox that was closed is kept, comes back, and is purged after its day', async () => {
  const input = { kind: 'shared', localPart: 'tamthoi', displayName: 'Tạm thời', agencyCode: 'H41' };
  const { accountId, address } = (await mail.ask('post', '/v1/mailboxes', input, 201)).body;
  const arrives = () =>
    mail.lmtp({ from: 'a@example.org', to: address, subject: 'x' }).then(
      () => true,
      () => false,
    );
  await until(arrives);
  const store = await mail.store(address);
  const reader = await mail.person();
  await mail.ask('put', `/v1/mailboxes/${accountId}/rights/${reader.id}`, { rights: ['read'] });
  const act = (name: string) => mail.ask('post', `/v1/mailboxes/${accountId}/${name}`, { reason: 'thử' });
  const dn = `uid=tamthoi,ou=mailboxes,${mail.baseDn}`;
  try {
    await act('close');
    await until(async () => !(await arrives()));
    await act('resume');
    await until(arrives);
    await act('close');
    await purge();
    expect([await state(accountId), existsSync(store)]).toEqual(['retained', true]);
    await mail
      .owner('mailbox.mailboxes')
      .where({ account_id: accountId })
      .update({ retained_until: dayFromNow(-2) });
    await until(async () => !(await arrives()));
    await purge();
    expect([await state(accountId), existsSync(store)]).toEqual(['purged', false]);
    expect((await mail.ldap.find(dn, ['congvuMailStatus']))?.attributes.congvuMailStatus).toEqual(['purged']);
    // Nor does it, when something of those changes who had rights on it.
    await convergeAccess(mail, accountId);
    expect(existsSync(store)).toBe(false);
  } finally {
    await mail.ldap.remove(dn);
  }
});
