import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { changeAccount, type TestAccount, testStack } from '@congvu/database/testing';
import { type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { connectDoveadm } from '../dovecot/doveadm.ts';
import { sendNotice } from '../notices/send-notice.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { convergeMailboxes, queueLetters } from './converge-mailboxes.ts';

let mailbox: TestMailbox;
beforeAll(async () => {
  mailbox = await startTestMailbox();
});
afterAll(() => mailbox.stop());

const converge = (account: TestAccount, parts: Partial<TestMailbox> = {}) =>
  convergeMailboxes({ ...mailbox, ...parts }, [account.id]);
async function opened(options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> {
  const account = await mailbox.account(options);
  await mailbox.convergeEntry(account);
  return account;
}
async function change(account: TestAccount, changes: Record<string, unknown>): Promise<void> {
  await changeAccount(mailbox.owner, account.id, changes);
  await mailbox.convergeEntry(account);
}
const row = (account: TestAccount) => mailbox.database('mailbox.mailboxes').where({ account_id: account.id }).first();
const events = (account: TestAccount) =>
  mailbox.owner('directory.audit_events').where({ subject_id: account.id }).orderBy('id').select('*');
const part = async (account: TestAccount) =>
  (await mailbox.owner('directory.provisioning').where({ account_id: account.id, part: 'mailbox' }).first()).state;
const attributes = (account: TestAccount, status: string) => ({
  mail: [account.address],
  congvuMailStatus: [status],
  congvuMailQuotaBytes: ['50000000'],
});
async function folders(account: TestAccount): Promise<string[]> {
  const session = await mailbox.imap(account, await mailbox.password(account));
  try {
    return (await session.list()).map(({ path }) => path).sort();
  } finally {
    await session.logout();
  }
}
const everyFolder = ['Drafts', 'INBOX', 'Junk', 'Sent', 'Trash'];

describe('a new mailbox', () => {
  test('stands whole: record, LDAP, folders, audit event, report, and one welcome message', async () => {
    const account = await opened();
    await converge(account);
    expect(await row(account)).toMatchObject({ address: account.address, state: 'active', quota_bytes: '50000000' });
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'active'));
    expect(await events(account)).toMatchObject([
      {
        service: 'mailbox',
        actor_kind: 'system',
        action: 'mailbox.created',
        agency_id: account.agencyId,
        before: null,
        after: { address: account.address, state: 'active', quotaBytes: 50_000_000 },
      },
    ]);
    expect(await part(account)).toBe('done');
    expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
    await sendNotice(mailbox, { kind: 'welcome', subjectId: account.id });
    expect(await folders(account)).toEqual(everyFolder);

    // Again, and again at once: nothing changes and nobody is told twice.
    const before = await row(account);
    await converge(account);
    await Promise.all([
      converge(account),
      converge(account),
      sendNotice(mailbox, { kind: 'welcome', subjectId: account.id }),
    ]);
    expect(await row(account)).toEqual(before);
    expect(await events(account)).toHaveLength(1);
    expect(await arrived(account, 1)).toMatchObject([
      { subject: 'Chào mừng đến với hệ thống thư công vụ', messageId: expect.stringMatching(/@nghean\.gov\.vn>$/) },
    ]);
  });

  test('several jobs at once make one mailbox, one event, one report', async () => {
    const account = await opened();
    await Promise.all(Array.from({ length: 4 }, () => converge(account)));
    expect(await events(account)).toHaveLength(1);
    expect(await folders(account)).toEqual(everyFolder);
    expect(await part(account)).toBe('done');
  });

  test("an agency's gets no welcome", async () => {
    const account = await opened({ kind: 'agency', agencyCode: 'H41.02', displayName: 'Sở Thông tin và Truyền thông' });
    await converge(account);
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'active'));
    expect(await mailbox.queued()).not.toContain(`notice:welcome:${account.id}`);
  });
});

/** Local delivery takes a moment; waits for as many messages, and a little for one too many. */
async function arrived(account: TestAccount, count: number) {
  for (let tries = 0; tries < 100; tries++) {
    if ((await mailbox.messages(account)).length >= count) break;
    await sleep(100);
  }
  await sleep(500);
  return mailbox.messages(account);
}

describe('an account without an entry', () => {
  test('not yet made, or no such account: nothing happens and nothing is wrong', async () => {
    const account = await mailbox.account();
    await converge(account);
    await converge({ ...account, id: crypto.randomUUID() });
    expect(await row(account)).toBeUndefined();
    expect(await part(account)).toBe('waiting');
  });

  test('gone after it was made: an error that names it, and never "nothing to do"', async () => {
    const account = await opened();
    const { url, identities } = testStack().ldap;
    const directory = openLdap({ url, ...(identities.directory as { bindDn: string; password: string }) });
    await directory.remove(mailbox.dn(account));
    await directory.close();
    await expect(converge(account)).rejects.toMatchObject({ kind: 'conflict', code: 'entry_missing' });
    expect(await part(account)).toBe('waiting');
  });
});

describe('a suspended account', () => {
  test('says so in LDAP, ends running sessions, lets nobody in, and comes back', async () => {
    const account = await opened();
    await converge(account);
    const password = await mailbox.password(account);
    const session = await mailbox.imap(account, password);
    const closed = once(session, 'close');
    await change(account, { state: 'suspended' });
    await converge(account);
    await Promise.race([closed, sleep(5_000).then(() => Promise.reject(new Error('the session goes on')))]);
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'suspended'));
    await expect(mailbox.imap(account, password)).rejects.toMatchObject({ authenticationFailed: true });
    expect(await row(account)).toMatchObject({ state: 'suspended' });

    await change(account, { state: 'active' });
    await converge(account);
    await (await mailbox.imap(account, password)).logout();
    expect((await events(account)).map(({ action, before, after }) => [action, before?.state, after.state])).toEqual([
      ['mailbox.created', undefined, 'active'],
      ['mailbox.changed', 'active', 'suspended'],
      ['mailbox.changed', 'suspended', 'active'],
    ]);
  });

  test('before it ever had a mailbox: made closed, and whole with its welcome once it is active', async () => {
    const account = await opened({ state: 'suspended' });
    await converge(account);
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'suspended'));
    expect(await mailbox.queued()).not.toContain(`notice:welcome:${account.id}`);
    expect(await part(account)).toBe('waiting');
    await change(account, { state: 'active' });
    await converge(account);
    expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
    expect(await part(account)).toBe('done');
    expect(await folders(account)).toEqual(everyFolder);
  });

  test('a retired one keeps its mail and is reachable by nobody', async () => {
    const account = await opened();
    await converge(account);
    await change(account, { state: 'retired' });
    await converge(account);
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'retained'));
    await expect(mailbox.imap(account, await mailbox.password(account))).rejects.toMatchObject({
      authenticationFailed: true,
    });
  });
});

describe('an account that passes to another holder', () => {
  const within = (closed: Promise<unknown>, milliseconds: number) =>
    Promise.race([closed.then(() => 'closed'), sleep(milliseconds).then(() => 'open')]);

  test('has no session of the one before once the old password is gone, and keeps those of the new one', async () => {
    const account = await opened();
    await converge(account);
    const password = await mailbox.password(account);
    const session = await mailbox.imap(account, password);
    const closed = once(session, 'close');
    await changeAccount(mailbox.owner, account.id, { credential_epoch: 2 });
    await converge(account); // too early: the old password would open another
    expect([await within(closed, 300), (await row(account)).credential_epoch]).toEqual(['open', 1]);

    await mailbox.convergeEntry(account);
    await converge(account);
    expect([await within(closed, 5_000), (await row(account)).credential_epoch]).toEqual(['closed', 2]);
    await expect(mailbox.imap(account, password)).rejects.toMatchObject({ authenticationFailed: true });

    const next = await mailbox.imap(account, await mailbox.newPassword(account));
    const nextClosed = once(next, 'close');
    await converge(account);
    expect(await within(nextClosed, 300)).toBe('open');
    await next.logout();
  });

  test('while Dovecot does not answer: it is done when it does', async () => {
    const account = await opened();
    await converge(account);
    await change(account, { credential_epoch: 2 });
    const doveadm = connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: 'x' });
    await expect(converge(account, { doveadm })).rejects.toMatchObject({ kind: 'unavailable' });
    expect((await row(account)).credential_epoch).toBe(1);
    await converge(account);
    expect((await row(account)).credential_epoch).toBe(2);
  });
});

describe('when something is down', () => {
  const unavailable = { kind: 'unavailable' };

  test('LDAP: unavailable, and the next run completes', async () => {
    const account = await opened();
    const down = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(converge(account, { ldap: down })).rejects.toMatchObject(unavailable);
    expect(await part(account)).toBe('waiting');
    await converge(account);
    expect(await part(account)).toBe('done');
    expect(await events(account)).toHaveLength(1);
  });

  test("Dovecot's administration: a new mailbox does not need it, its store comes with the first message", async () => {
    const account = await opened();
    const down = connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: mailbox.doveadmApiKey });
    await converge(account, { doveadm: down });
    expect(await part(account)).toBe('done');
    await sendNotice(mailbox, { kind: 'welcome', subjectId: account.id });
    expect(await arrived(account, 1)).toHaveLength(1);
    expect(await folders(account)).toEqual(everyFolder);
  });

  test('Dovecot, while a session has to end: the suspension is tried again', async () => {
    const account = await opened();
    await converge(account);
    await change(account, { state: 'suspended' });
    const down = connectDoveadm({ url: 'http://127.0.0.1:1', apiKey: mailbox.doveadmApiKey });
    await expect(converge(account, { doveadm: down })).rejects.toMatchObject(unavailable);
    await converge(account);
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'suspended'));
  });

  test('killed at the first write, and then at the reading, the next run completes', async () => {
    const account = await opened();
    for (const step of ['applyAll', 'findBy'] as const) {
      const broken: Ldap = {
        ...mailbox.ldap,
        [step]: async () => {
          throw new Error(`killed at ${step}`);
        },
      };
      await expect(converge(account, { ldap: broken })).rejects.toThrow(`killed at ${step}`);
      expect(await part(account)).toBe('waiting');
    }
    await converge(account);
    expect(await part(account)).toBe('done');
    expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'active'));
    expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
    expect(await events(account)).toHaveLength(1);
  });

  test('an entry that was moved before it had its mail attributes is found where it is', async () => {
    const account = await opened();
    const { url, identities } = testStack().ldap;
    const directory = openLdap({ url, ...(identities.directory as { bindDn: string; password: string }) });
    const moved = mailbox.dn(account).replace('uid=', 'uid=moved-');
    await directory.rename(mailbox.dn(account), moved);
    await directory.close();
    await converge(account);
    const entry = await mailbox.ldap.find(moved, ['mail', 'congvuMailStatus', 'congvuMailQuotaBytes']);
    expect(entry?.attributes).toEqual(attributes(account, 'active'));
    expect(await part(account)).toBe('done');
  });

  test('killed before the report is committed, the next run reports, and tells of the welcome', async () => {
    const account = await opened();
    await mailbox.owner.raw(
      `create function directory.forbid() returns trigger language plpgsql as $$ begin raise exception 'killed here'; end $$;
       create trigger forbid before update on directory.provisioning for each row execute function directory.forbid()`,
    );
    try {
      await expect(converge(account)).rejects.toThrow('killed here');
    } finally {
      await mailbox.owner.raw('drop function directory.forbid cascade');
    }
    expect(await mailbox.queued()).not.toContain(`notice:welcome:${account.id}`);
    await converge(account);
    expect(await part(account)).toBe('done');
    expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
  });
});

describe('many at once', () => {
  test('stand all; one that cannot be made gets a job of its own and holds up nobody', async () => {
    const [one, two, suspended, lost, unmade] = [
      await opened(),
      await opened(),
      await opened({ state: 'suspended' }),
      await mailbox.account(),
      await mailbox.account(),
    ];
    await changeAccount(mailbox.owner, lost.id, { entry_version: 1 }); // an entry that was made and is gone
    const all = [one, lost, two, unmade, suspended];
    await convergeMailboxes(
      mailbox,
      all.map(({ id }) => id),
    );
    for (const account of [one, two]) {
      expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'active'));
      expect(await part(account)).toBe('done');
      expect(await events(account)).toMatchObject([{ action: 'mailbox.created', agency_id: account.agencyId }]);
      expect(await mailbox.queued()).toContain(`notice:welcome:${account.id}`);
    }
    expect(await mailbox.mailAttributes(suspended)).toEqual(attributes(suspended, 'suspended'));
    expect(await part(suspended)).toBe('waiting');
    expect(await part(lost)).toBe('waiting');
    expect(await row(unmade)).toBeUndefined();
    const own = (await mailbox.queued()).filter((key) => all.some(({ id }) => key === `mailbox:${id}`));
    expect(own).toContain(`mailbox:${lost.id}`);
    await expect(converge(lost)).rejects.toMatchObject({ code: 'entry_missing' });
  });

  test('overlapping crowds, in any order: one mailbox, one event each', async () => {
    const crowd = [await opened(), await opened(), await opened(), await opened()];
    const ids = crowd.map(({ id }) => id);
    await Promise.all(
      [ids, [...ids].reverse(), ids.slice(1), [ids[2], ids[0]]].map((some) =>
        convergeMailboxes(mailbox, some as string[]),
      ),
    );
    for (const account of crowd) {
      expect(await events(account)).toHaveLength(1);
      expect(await part(account)).toBe('done');
    }
  });
});

test('a crowd of 1,000 stands; one whose address another entry holds waits by itself; the letters come later, one by one', async () => {
  const crowd: TestAccount[] = [];
  while (crowd.length < 1_000) {
    const some = Array.from({ length: 50 }, () => mailbox.account({ certificatePath: 'none' }));
    crowd.push(...(await Promise.all(some)));
  }
  await mailbox.convergeEntry(...crowd);
  const blocked = crowd[333] as TestAccount;
  const holder = await opened();
  await mailbox.ldap.modify(mailbox.dn(holder), [
    { attribute: 'mail', operation: 'replace', values: [blocked.address] },
  ]);

  await convergeMailboxes(
    mailbox,
    crowd.map(({ id }) => id),
  );

  const ids = crowd.map(({ id }) => id);
  const people = `ou=people,${mailbox.baseDn}`;
  const entries = await mailbox.ldap.findBy(people, 'congvuAccountId', ids, ['congvuAccountId', 'mail']);
  const mail = new Map(entries.map(({ attributes }) => [attributes.congvuAccountId?.[0], attributes.mail?.[0]]));
  for (const account of crowd) expect(mail.get(account.id)).toBe(account === blocked ? undefined : account.address);
  const [letters, more] = await mailbox
    .owner('mailbox_jobs._private_jobs as job')
    .join('mailbox_jobs._private_tasks as task', 'task.id', 'job.task_id')
    .where('task.identifier', 'queue-letters')
    .select('job.run_at', 'job.payload');
  expect(more).toBeUndefined();
  expect(letters.run_at.getTime()).toBeGreaterThan(Date.now() + 20_000);
  await queueLetters(mailbox.database, letters.payload.accountIds);
  const jobs = await mailbox.owner('mailbox_jobs._private_jobs').whereNotNull('key').select('key', 'job_queue_id');
  const keyed = new Map(jobs.map((job) => [job.key, job]));
  expect(keyed.has(`mailbox:${blocked.id}`)).toBe(true);
  expect(keyed.has(`notice:welcome:${blocked.id}`)).toBe(false);
  expect(await part(blocked)).toBe('waiting');
  for (const account of crowd) {
    if (account === blocked) continue;
    expect(keyed.has(`mailbox:${account.id}`)).toBe(false);
    const letter = keyed.get(`notice:welcome:${account.id}`);
    expect(letter?.job_queue_id).toEqual(expect.anything());
  }
  const done = await mailbox
    .owner('directory.provisioning')
    .where({ part: 'mailbox', state: 'done' })
    .pluck('account_id');
  expect(crowd.filter(({ id }) => done.includes(id))).toHaveLength(999);

  await mailbox.ldap.modify(mailbox.dn(holder), [{ attribute: 'mail', operation: 'delete', values: [] }]);
  await converge(blocked);
  expect(await part(blocked)).toBe('done');
}, 120_000);

test('of two runs that overlap a change the newer state has the last word', async () => {
  const account = await opened();
  await converge(account);
  await change(account, { title: 'Trưởng phòng' });
  // The older run has read "active" and comes to a halt just before it writes to LDAP.
  const reached = Promise.withResolvers<void>();
  const released = Promise.withResolvers<void>();
  let halted = false;
  const slow: Ldap = {
    ...mailbox.ldap,
    findBy: async (...parameters) => {
      if (!halted) {
        halted = true;
        reached.resolve();
        await released.promise;
      }
      return mailbox.ldap.findBy(...parameters);
    },
  };
  const older = converge(account, { ldap: slow });
  await reached.promise;
  await change(account, { state: 'suspended' });
  await converge(account);
  released.resolve();
  await older;
  expect(await mailbox.mailAttributes(account)).toEqual(attributes(account, 'suspended'));
  expect(await row(account)).toMatchObject({ state: 'suspended' });
});
