/** Which notices go on record, when and once: suspensions and resumptions, ends that draw near, the weekly digest. */
import { randomBytes } from 'node:crypto';
import { changeAccount, insertAccount, insertRequest, type TestAccount } from '@congvu/database/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { changeState } from '../mailboxes/change-mailbox.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { createMailbox } from '../mailboxes/create-mailbox.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import type { DigestFacts } from './facts.ts';
import { queueDigests } from './queue-digests.ts';
import { queueExpiries } from './queue-expiries.ts';
import { sendNotice } from './send-notice.ts';

let mailbox: TestMailbox;
let agency: TestAccount;
beforeAll(async () => {
  mailbox = await startTestMailbox();
  agency = await provisioned({ kind: 'agency', displayName: 'Ủy ban nhân dân huyện Quỳnh Lưu' });
});
afterAll(() => mailbox.stop());
beforeEach(async () => {
  await mailbox.owner.raw('delete from mailbox_jobs._private_jobs');
});

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
const notices = (subjectId: string, kind: string) =>
  mailbox
    .database('mailbox.notices')
    .where({ subject_id: subjectId, kind })
    .orderBy(['created_at', 'addressee'])
    .select('*');
const inDays = (days: number): string => new Date(Date.now() + days * 24 * 3_600_000).toISOString();

describe('a suspension and its end', () => {
  test('are told to the holder and to the agency, once each time, with what held when it happened', async () => {
    const account = await provisioned();
    const until = inDays(30);
    await change(account, { state: 'suspended', suspension_reason: 'Đang xác minh', suspended_until: until });
    await convergeMailboxes(mailbox, [account.id]);
    const about = {
      displayName: account.displayName,
      address: account.address,
      agencyName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
    };
    const suspensions = await notices(account.id, 'suspension');
    expect(suspensions).toMatchObject([
      {
        addressee: 'agency',
        recipient: agency.address,
        state: 'waiting',
        agency_id: account.agencyId,
        message_id: null,
      },
      { addressee: 'holder', recipient: account.address, state: 'waiting', agency_id: account.agencyId },
    ]);
    expect(suspensions.map(({ facts }) => facts)).toEqual([
      { ...about, toHolder: false, reason: 'Đang xác minh', until },
      { ...about, toHolder: true, reason: null, until },
    ]);
    const keys = (kind: string, version: number) =>
      ['holder', 'agency'].map((addressee) => `notice:${kind}:${account.id}:v${version}:${addressee}`);
    expect(await mailbox.queued()).toEqual(expect.arrayContaining(keys('suspension', 2)));

    await change(account, { state: 'active', suspension_reason: null, suspended_until: null });
    await change(account, { state: 'suspended', suspension_reason: 'Lần hai' });
    expect(await notices(account.id, 'resumption')).toHaveLength(2);
    expect((await notices(account.id, 'suspension')).map(({ occasion }) => occasion)).toEqual(['v2', 'v2', 'v4', 'v4']);
    expect(await mailbox.queued()).toEqual(
      expect.arrayContaining([...keys('resumption', 3), ...keys('suspension', 4)]),
    );
  });

  test('of the agency’s own mailbox are told it alone', async () => {
    const department = await provisioned({ kind: 'agency', agencyCode: 'H41.02', displayName: 'Sở TT&TT' });
    await change(department, { state: 'suspended' });
    expect(await notices(department.id, 'suspension')).toMatchObject([
      { addressee: 'holder', recipient: department.address },
    ]);
  });

  test('where the agency has no mailbox are told the holder alone', async () => {
    const account = await provisioned({ agencyCode: 'H41.12.05' });
    await change(account, { state: 'suspended' });
    expect(await notices(account.id, 'suspension')).toMatchObject([{ addressee: 'holder' }]);
  });

  test('are no news of a mailbox that was never in use, nor is a retirement or a return from it', async () => {
    const early = await provisioned({ state: 'suspended' });
    await change(early, { state: 'active' });
    const retired = await provisioned();
    await change(retired, { state: 'retired' });
    await change(retired, { state: 'active' });
    for (const { id } of [early, retired]) {
      expect([...(await notices(id, 'suspension')), ...(await notices(id, 'resumption'))]).toEqual([]);
    }
  });

  test('whose recording is undone leave no notice and no job', async () => {
    const account = await provisioned();
    await changeAccount(mailbox.owner, account.id, { state: 'suspended' });
    await mailbox.convergeEntry(account);
    await mailbox.owner.raw('revoke insert on mailbox.notices from congvu_mailbox');
    await expect(convergeMailboxes(mailbox, [account.id])).rejects.toThrow('permission denied');
    await mailbox.owner.raw('grant insert on mailbox.notices to congvu_mailbox');
    expect((await mailbox.queued()).filter((key) => key.includes('suspension'))).toEqual([]);
    expect(await notices(account.id, 'suspension')).toEqual([]);
    await convergeMailboxes(mailbox, [account.id]);
    expect(await notices(account.id, 'suspension')).toHaveLength(2);
  });

  test('of a crowd go one after the other', async () => {
    const crowd = await Promise.all(Array.from({ length: 12 }, () => mailbox.account()));
    await mailbox.convergeEntry(...crowd);
    const ids = crowd.map(({ id }) => id);
    await convergeMailboxes(mailbox, ids);
    await Promise.all(ids.map((id) => changeAccount(mailbox.owner, id, { state: 'suspended' })));
    await mailbox.convergeEntry(...crowd);
    await mailbox.owner.raw('delete from mailbox_jobs._private_jobs');
    await convergeMailboxes(mailbox, ids);
    const { rows } = await mailbox.owner.raw(
      `select q.queue_name, count(*)::int from mailbox_jobs._private_jobs j
       left join mailbox_jobs._private_job_queues q on q.id = j.job_queue_id where j.key like 'notice:suspension:%' group by 1`,
    );
    expect(rows).toEqual([{ queue_name: 'letters', count: 24 }]);
  });
});

describe('an end that draws near', () => {
  const toldOf = async (account: TestAccount) => (await notices(account.id, 'expiry')).map(({ occasion }) => occasion);

  test('is told the agency once, in time and not before; one that is put off is another', async () => {
    const [soon, later, over] = [inDays(6.9), inDays(7.1), inDays(-0.1)];
    const account = await provisioned();
    for (const [until, count] of [
      [later, 0],
      [over, 0],
      [soon, 1],
      [soon, 1],
      [later, 1],
    ] as const) {
      await changeAccount(mailbox.owner, account.id, { state: 'suspended', suspended_until: until });
      await queueExpiries(mailbox.database, 7);
      expect([until, await toldOf(account)]).toEqual([until, Array(count).fill(`suspension:${soon.slice(0, 16)}`)]);
    }
    await queueExpiries(mailbox.database, 8);
    expect(await notices(account.id, 'expiry')).toMatchObject([
      {
        recipient: agency.address,
        agency_id: account.agencyId,
        state: 'waiting',
        facts: { what: 'suspension', endsAt: soon },
      },
      { recipient: agency.address, occasion: `suspension:${later.slice(0, 16)}`, facts: { endsAt: later } },
    ]);
    expect(await mailbox.queued()).toContain(`notice:expiry:${account.id}:suspension:${soon.slice(0, 16)}`);
  });

  test('is not told of a suspension whose own letter is as new', async () => {
    const account = await provisioned();
    await change(account, { state: 'suspended', suspended_until: inDays(3) });
    await queueExpiries(mailbox.database, 7);
    expect(await toldOf(account)).toEqual([]);
    // As if that letter had gone out two months ago.
    await mailbox
      .owner('mailbox.notices')
      .where({ subject_id: account.id })
      .update({ created_at: inDays(-60) });
    await queueExpiries(mailbox.database, 7);
    expect(await toldOf(account)).toHaveLength(1);
  });

  test('is also that of the mail that is kept of a retired account, at midnight in Việt Nam after its last day', async () => {
    const account = await provisioned();
    const day = inDays(5).slice(0, 10);
    await change(account, { state: 'retired', retained_until: day });
    await queueExpiries(mailbox.database, 7);
    const endsAt = new Date(Date.parse(`${day}T00:00:00+07:00`) + 86_400_000).toISOString();
    expect(await notices(account.id, 'expiry')).toMatchObject([
      { recipient: agency.address, facts: { what: 'retention', endsAt, address: account.address } },
    ]);
  });

  test('is told of a shared mailbox that was closed too, to the agency whose it is', async () => {
    const actor = { kind: 'client', id: 'test', ip: null, agencyCode: 'H41' } as const;
    const input = {
      kind: 'shared',
      localPart: 'phongmot',
      displayName: 'Phòng một cửa',
      agencyCode: 'H41.12',
    } as const;
    const { id } = await createMailbox(mailbox, input, actor, undefined);
    const day = inDays(5).slice(0, 10);
    await changeState(mailbox.database, 'close', { id }, { reason: 'giải thể', retainedUntil: day }, actor);
    await queueExpiries(mailbox.database, 7);
    await queueExpiries(mailbox.database, 7);
    const endsAt = new Date(Date.parse(`${day}T00:00:00+07:00`) + 86_400_000).toISOString();
    expect(await notices(id, 'expiry')).toMatchObject([
      {
        recipient: agency.address,
        agency_id: agency.agencyId,
        facts: { what: 'retention', endsAt, displayName: 'Phòng một cửa', address: `phongmot@${mailbox.domain}` },
      },
    ]);
  });

  test('is told of a further address only while its mailbox takes mail', async () => {
    const [used, retired] = [await provisioned(), await provisioned()];
    for (const { id, username } of [used, retired]) {
      await mailbox.owner('mailbox.aliases').insert({
        address: `cu.${username}@${mailbox.domain}`,
        mailbox_id: id,
        reason: 'former_name',
        valid_until: inDays(5).slice(0, 10),
        created_by: 'test',
      });
    }
    await change(retired, { state: 'retired', retained_until: inDays(60).slice(0, 10) });
    await queueExpiries(mailbox.database, 7);
    expect(await notices(used.id, 'expiry')).toMatchObject([{ recipient: used.address, facts: { what: 'alias' } }]);
    expect(await toldOf(retired)).toEqual([]);
  });

  test('is left for later where the agency has no mailbox yet', async () => {
    const account = await provisioned({ agencyCode: 'H41.12.05' });
    await changeAccount(mailbox.owner, account.id, { state: 'suspended', suspended_until: inDays(2) });
    await queueExpiries(mailbox.database, 7);
    expect(await toldOf(account)).toEqual([]);
    await insertAccount(mailbox.owner, { kind: 'agency', agencyCode: 'H41.12.05' });
    await queueExpiries(mailbox.database, 7);
    expect(await toldOf(account)).toHaveLength(1);
  });

  test('of many are told all, some at a time', async () => {
    await mailbox.owner.raw(
      `insert into directory.accounts (kind, state, username, address, agency_id, display_name, surname, given_name,
         certificate_path, suspended_until)
       select 'position', 'suspended', 'many' || n, 'many' || n || '@nghean.gov.vn', ?, 'Văn thư', 'Văn thư', '', 'none', now() + interval '1 day'
       from generate_series(1, 1203) n`,
      [agency.agencyId],
    );
    await Promise.all([queueExpiries(mailbox.database, 7), queueExpiries(mailbox.database, 7)]);
    const row = await mailbox
      .owner('mailbox.notices')
      .where({ kind: 'expiry' })
      .whereRaw("facts->>'displayName' = 'Văn thư'")
      .count()
      .first();
    expect(row?.count).toBe('1203');
    await mailbox
      .owner('directory.accounts')
      .where('username', 'like', 'many%')
      .update({ state: 'retired', suspended_until: null });
  });
});

describe('the weekly digest', () => {
  /** A province of its own numbers, beside what the other tests left. */
  let digest: TestMailbox;
  const monday = new Date('2026-03-09T00:00:00Z');
  const address = 'cntt@elsewhere.test';
  const facts = async (code: string): Promise<DigestFacts> => {
    const row = await digest
      .owner('mailbox.notices as n')
      .join('directory.agencies as a', 'a.id', 'n.subject_id')
      .where({ kind: 'digest', code, occasion: '2026-03-09' })
      .first('facts');
    return row?.facts;
  };

  beforeAll(async () => {
    digest = await startTestMailbox();
    const { owner } = digest;
    await owner('directory.agencies').where({ code: 'H41.12' }).update({ head_count: 4 });
    await owner('directory.agencies').where({ code: 'H41.02' }).update({ head_count: 2 });
    const request = async (agencyCode: string, changes: Record<string, unknown>) => {
      const id = await insertRequest(owner, { agencyCode });
      await owner('directory.requests')
        .where({ id })
        .update({ decided_by: null, decided_at: null, ...changes });
    };
    const [late, due] = ['2026-03-06T10:00:00Z', '2026-03-10T10:00:00Z'];
    await request('H41.12', { state: 'submitted', due_at: late, submitted_at: '2026-03-02T02:00:00Z' });
    await request('H41.12.05', { state: 'submitted', due_at: late, submitted_at: '2026-03-03T02:00:00Z' });
    await request('H41.12.05', { state: 'submitted', due_at: due, submitted_at: '2026-03-04T02:00:00Z' });
    await request('H41.12', { state: 'returned', due_at: late });
    await request('H41.12', { state: 'returned', due_at: null });
    await request('H41.02', { state: 'submitted', due_at: due, submitted_at: '2026-03-05T02:00:00Z' });
    await insertRequest(owner, { agencyCode: 'H41.12' }); // decided: nobody waits
    const account = async (created: string, options: Parameters<typeof insertAccount>[1], isActivated: boolean) => {
      const { id } = await insertAccount(owner, options);
      await owner('directory.accounts').where({ id }).update({ created_at: created });
      if (!isActivated) return;
      const [client] = await owner('directory.clients').select('id');
      await owner('directory.activation_codes').insert({
        account_id: id,
        code_hash: randomBytes(32),
        issued_by: client.id,
        expires_at: created,
        used_at: created,
      });
    };
    const [before, within] = ['2026-02-01T00:00:00Z', '2026-03-04T00:00:00Z'];
    await account(before, { agencyCode: 'H41.12' }, true);
    await account(before, { agencyCode: 'H41.12', state: 'suspended' }, true);
    await account(within, { agencyCode: 'H41.12' }, false);
    await account(within, { agencyCode: 'H41.12.05' }, false);
    await account(before, { agencyCode: 'H41.12.05' }, false);
    await account(before, { agencyCode: 'H41.12', state: 'retired' }, false);
    await account(before, { agencyCode: 'H41.02' }, true);
    const failed = { kind: 'welcome', state: 'failed', last_error: 'x' };
    const { id: district } = await owner('directory.agencies').where({ code: 'H41.12' }).first('id');
    for (const last_attempt_at of ['2026-03-05T00:00:00Z', '2026-02-05T00:00:00Z'])
      await owner('mailbox.notices').insert({
        ...failed,
        subject_id: crypto.randomUUID(),
        agency_id: district,
        last_attempt_at,
      });
    await queueDigests(
      digest,
      [
        { address, agencyCode: undefined },
        { address, agencyCode: 'H41.12' },
        { address, agencyCode: 'H49' },
      ],
      new Date(monday.getTime() + 90 * 60_000),
    );
  });
  afterAll(() => digest.stop());

  test('tells of the agency and all below it what the record holds', async () => {
    expect(await facts('H41.12')).toEqual({
      agencyName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
      from: '2026-03-02T00:00:00.000Z',
      to: '2026-03-09T00:00:00.000Z',
      requests: {
        waiting: 3,
        late: 2,
        returned: 2,
        returnedLate: 1,
        oldestAt: '2026-03-02T02:00:00.000Z',
        agencies: [
          { code: 'H41.12.05', name: 'Ủy ban nhân dân xã Quỳnh Thắng', waiting: 2, late: 1 },
          { code: 'H41.12', name: 'Ủy ban nhân dân huyện Quỳnh Lưu', waiting: 1, late: 1 },
        ],
      },
      accounts: {
        total: 5,
        opened: 2,
        suspended: 1,
        neverActivated: 3,
        agencies: [
          { code: 'H41.12.05', name: 'Ủy ban nhân dân xã Quỳnh Thắng', neverActivated: 2, total: 2 },
          { code: 'H41.12', name: 'Ủy ban nhân dân huyện Quỳnh Lưu', neverActivated: 1, total: 3 },
        ],
      },
      coverage: {
        headCount: 4,
        accounts: 2,
        agencies: [{ code: 'H41.12', name: 'Ủy ban nhân dân huyện Quỳnh Lưu', headCount: 4, accounts: 2 }],
      },
      nearlyFull: null,
      failedNotices: 1,
    });
  });

  test('tells the province of all', async () => {
    expect(await facts('H41')).toMatchObject({
      agencyName: 'Ủy ban nhân dân tỉnh Nghệ An',
      requests: { waiting: 4, late: 2, agencies: [{}, {}, { code: 'H41.02', waiting: 1, late: 0 }] },
      accounts: { total: 6, neverActivated: 3 },
      coverage: {
        headCount: 6,
        accounts: 3,
        agencies: [
          { code: 'H41.12', accounts: 2 },
          { code: 'H41.02', accounts: 1 },
        ],
      },
    });
  });

  test('is sent in that form, once a week and recipient, and made up for when a Monday was missed', async () => {
    const recipients = [{ address, agencyCode: 'H41.12' }];
    const week = async (day: string) => {
      await queueDigests(digest, recipients, new Date(day));
      return (
        await digest.owner('mailbox.notices').where({ kind: 'digest' }).distinct('occasion').orderBy('occasion')
      ).map(({ occasion }) => occasion);
    };
    expect(await week('2026-03-09T00:00:00Z')).toEqual(['2026-03-09']);
    expect(await week('2026-03-15T23:59:59Z')).toEqual(['2026-03-09']);
    expect(await week('2026-03-18T12:00:00Z')).toEqual(['2026-03-09', '2026-03-16']);
    await Promise.all([week('2026-03-23T00:00:01Z'), week('2026-03-23T00:00:01Z')]);
    const [{ id: district }] = await digest.owner('directory.agencies').where({ code: 'H41.12' }).select('id');
    const rows = digest.owner('mailbox.notices').where({ kind: 'digest', subject_id: district });
    expect(await rows).toHaveLength(3);
    const sent: { to: string; text: string }[] = [];
    const mail = { ...digest.mail, send: async (message: { to: string; text: string }) => void sent.push(message) };
    await sendNotice(
      { ...digest, mail },
      { kind: 'digest', subjectId: district, occasion: '2026-03-09', addressee: address },
    );
    expect(sent).toMatchObject([
      { to: address, text: expect.stringContaining('Chờ phê duyệt: 3, trong đó quá hạn: 2') },
    ]);
  });
});
