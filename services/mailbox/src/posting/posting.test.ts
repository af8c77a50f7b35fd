/** Lists as mail meets them: the real Postfix, OpenLDAP and Dovecot, what each says to whom, and whom a message reaches. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { GroupInput } from '@congvu/contracts';
import { changeAccount, holdShared, type TestAccount, testStack } from '@congvu/database/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { pino } from 'pino';
import { openSmtp } from '../../../../infra/local/smtp-session.ts';
import { convergeDomains } from '../domains/converge-domains.ts';
import { changeGroup, closeGroup } from '../groups/change-group.ts';
import { addMember, addToRole, removeMember } from '../groups/change-members.ts';
import { convergeAgencyLists } from '../groups/converge-agency-lists.ts';
import { convergeGroups, groupDn } from '../groups/converge-groups.ts';
import { createGroup } from '../groups/create-group.ts';
import { type GroupRow, requireGroup } from '../groups/group-store.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { type PostingServer, startPostingServer } from './posting-server.ts';

interface Servers {
  postfix: { smtpPort: number; submissionPort: number; postingPort: number };
  certificateFile: string;
}

const { postfix: ports, certificateFile } = testStack() as unknown as Servers;
const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
const policy = {
  namePattern: 'tatca.{shortName}',
  provinceName: 'tatca',
  posting: 'members',
  provincePosting: 'moderators',
} as const;
const unique = crypto.randomUUID().slice(0, 8);

let mailbox: TestMailbox;
let postingServer: PostingServer | undefined;
const startServer = async () => {
  const dependencies = { ...mailbox, maxListMessageBytes: 5_000, log: pino({ level: 'silent' }) };
  postingServer = await startPostingServer(dependencies, { host: '127.0.0.1', port: ports.postingPort });
};
beforeAll(async () => {
  mailbox = await startTestMailbox();
  await startServer();
});
afterAll(async () => {
  await postingServer?.stop();
  for (const { local_part } of await mailbox.owner('mailbox.groups').select('local_part'))
    await mailbox.ldap.remove(groupDn({ local_part }, mailbox.baseDn));
  await mailbox.stop();
});

async function opened(options?: Parameters<TestMailbox['account']>[0]): Promise<TestAccount> {
  const account = await mailbox.account(options);
  await follow(account);
  return account;
}
const follow = async (account: TestAccount): Promise<void> => {
  await mailbox.convergeEntry(account);
  await convergeMailboxes(mailbox, [account.id]);
};
async function change(account: TestAccount, changes: Record<string, unknown>): Promise<void> {
  await changeAccount(mailbox.owner, account.id, changes);
  await follow(account);
}
const agencyId = async (code: string): Promise<string> =>
  (await mailbox.owner('directory.agencies').where({ code }).first('id')).id;
const groupRow = (id: string): Promise<GroupRow> => mailbox.owner('mailbox.groups').where({ id }).first();

let made = 0;
async function makeGroup(
  input: Partial<GroupInput> & { ownerIds: string[] },
  members: string[] = [],
): Promise<GroupRow> {
  made += 1;
  const wanted = {
    localPart: `to-${made}-${unique}`,
    name: 'Tổ công tác',
    agencyCode: 'H41',
    posting: 'anyone' as const,
  };
  const { id } = await createGroup(mailbox, { ...wanted, ...input }, actor, undefined);
  for (const member of members) await addMember(mailbox.database, id, member, actor);
  await convergeGroups(mailbox);
  return groupRow(id);
}

const login = async (account: TestAccount) => ({
  ca: readFileSync(certificateFile, 'utf8'),
  user: account.address,
  password: await mailbox.password(account),
});

/** The reply that ends it: to RCPT when that refuses, else to the message. Without an author it comes from outside, on port 25. */
async function post(
  author: TestAccount | undefined,
  to: string | readonly string[],
  subject = 'x',
  { from, messageId = crypto.randomUUID(), size }: { from?: string; messageId?: string; size?: number } = {},
) {
  const session = await openSmtp(
    author ? { port: ports.submissionPort, login: await login(author) } : { port: ports.smtpPort },
  );
  try {
    const sender = from ?? author?.address ?? 'ai-do@example.org';
    const first = await session.command(`MAIL FROM:<${sender}>${size ? ` SIZE=${size}` : ''}`);
    if (!first.startsWith('250')) return first;
    for (const recipient of [to].flat()) {
      const answer = await session.command(`RCPT TO:<${recipient}>`);
      if (!answer.startsWith('250')) return answer;
    }
    await session.command('DATA');
    const header = `From: <${sender || 'mailer-daemon@example.org'}>\nTo: <${[to].flat()[0]}>\nSubject: ${subject}`;
    return await session.message(`${header}\nMessage-ID: <${messageId}@example.org>\n\nx\n`);
  } finally {
    session.close();
  }
}

/** How often a message of that subject is in each inbox, once all that should have it do, and a little later. */
async function arrivals(subject: string, expected: number, accounts: readonly TestAccount[]): Promise<number[]> {
  let counts: number[] = [];
  for (let tries = 0; tries < 60; tries += 1) {
    counts = await Promise.all(
      accounts.map(
        async (account) =>
          (await mailbox.messages(account, 'by lists too')).filter((one) => one.subject === subject).length,
      ),
    );
    if (counts.reduce((sum, count) => sum + count, 0) >= expected) break;
    await sleep(100);
  }
  await sleep(400);
  return Promise.all(
    accounts.map(
      async (account) =>
        (await mailbox.messages(account, 'by lists too')).filter((one) => one.subject === subject).length,
    ),
  );
}

describe('the list of an agency', () => {
  let [district, commune, department, office]: TestAccount[] = [];
  let lists: Record<string, GroupRow>;
  beforeAll(async () => {
    [district, commune, department, office] = [
      await opened(),
      await opened({ agencyCode: 'H41.12.05' }),
      await opened({ agencyCode: 'H41.02' }),
      await opened({ kind: 'agency', agencyCode: 'H41', displayName: 'Ủy ban nhân dân tỉnh' }),
    ];
    await convergeAgencyLists(mailbox, policy, undefined);
    await convergeGroups(mailbox);
    const rows = await mailbox
      .owner('mailbox.groups as g')
      .join('directory.agencies as a', 'a.id', 'g.agency_id')
      .select('g.*', 'a.code');
    lists = Object.fromEntries(rows.map((row) => [row.code, row]));
  });

  test('is there for each, with a name of its own, and holds one search however many people there are', async () => {
    expect(
      Object.entries(lists)
        .map(([code, list]) => [code, list.address, list.posting])
        .sort(),
    ).toEqual([
      ['H41', 'tatca@nghean.gov.vn', 'moderators'],
      ['H41.02', 'tatca.h41-02@nghean.gov.vn', 'members'],
      ['H41.12', 'tatca.h41-12@nghean.gov.vn', 'members'],
      ['H41.12.05', 'tatca.h41-12-05@nghean.gov.vn', 'members'],
    ]);
    const entry = await mailbox.ldap.find(groupDn(lists['H41.12']!, mailbox.baseDn), [
      'memberURL',
      'mail',
      'congvuPosting',
    ]);
    expect(entry?.attributes).toEqual({
      mail: ['tatca.h41-12@nghean.gov.vn'],
      congvuPosting: ['members'],
      memberURL: [
        `ldap:///ou=people,${mailbox.baseDn}?mail?one?(&(congvuAgencyPath=H41.12)(congvuAccountKind=person)(congvuMailStatus=active))`,
      ],
    });
  });

  test('reaches every person at and below the agency once, and no office', async () => {
    expect(await post(district, lists['H41.12']!.address, 'toàn huyện 1')).toMatch(/^250/);
    expect(await arrivals('toàn huyện 1', 2, [district!, commune!, department!, office!])).toEqual([1, 1, 0, 0]);
  });

  test('is written to by its members, not by others of the province, nor from outside', async () => {
    expect(await post(commune, lists['H41.12']!.address)).toMatch(/^250/);
    expect(await post(department, lists['H41.12']!.address)).toMatch(/^550 5\.7\.1 .*only members/);
    expect(await post(undefined, lists['H41.12']!.address)).toMatch(/^550 5\.7\.1 .*only members/);
    expect(await post(undefined, lists['H41.12']!.address.toUpperCase())).toMatch(/^550 5\.7\.1/);
  });

  test("the province's: by its moderators and its own office alone", async () => {
    const { address, id } = lists.H41!;
    expect(await post(district, address)).toMatch(/^550 5\.7\.1 .*moderators/);
    expect(await post(office, address)).toMatch(/^250/);
    await addToRole(mailbox.database, id, 'moderator', district!.id, actor);
    expect(await post(district, address, 'toàn tỉnh 1')).toMatch(/^250/);
    expect(await arrivals('toàn tỉnh 1', 3, [district!, commune!, department!, office!])).toEqual([1, 1, 1, 0]);
  });

  test('a transfer, a suspension and a retirement hold at once, in both lists', async () => {
    const person = await opened();
    const [from, to] = [lists['H41.12']!, lists['H41.02']!];
    await change(person, { agency_id: await agencyId('H41.02') });
    expect(await post(person, from.address)).toMatch(/^550/);
    expect(await post(person, to.address, 'chuyển đến')).toMatch(/^250/);
    expect(await post(district, from.address, 'chuyển đi')).toMatch(/^250/);
    expect(await arrivals('chuyển đến', 2, [person, department!])).toEqual([1, 1]);
    expect(await arrivals('chuyển đi', 2, [person, district!, commune!])).toEqual([0, 1, 1]);

    await change(person, { state: 'suspended' });
    expect(await post(department, to.address, 'khi tạm ngưng')).toMatch(/^250/);
    await arrivals('khi tạm ngưng', 1, [department!]);
    await change(person, { state: 'active' });
    expect(await arrivals('khi tạm ngưng', 1, [person, department!])).toEqual([0, 1]);
    await change(person, { state: 'retired' });
    expect(await post(department, to.address, 'khi đã nghỉ')).toMatch(/^250/);
    expect(await arrivals('khi đã nghỉ', 1, [department!])).toEqual([1]);
    // Nobody is told of a mailbox that is no more: no bounce either.
    expect(
      (await mailbox.messages(department!, 'by lists too')).filter(({ subject }) => /Undelivered/.test(subject)),
    ).toEqual([]);
  });

  test("in the agency's own domain takes mail as soon as the agency has one; so does a list made by hand", async () => {
    // Another file that looks after domains has another record, and would remove these from the one ou=domains.
    const domains = await holdShared('ou=domains');
    const [ofAgency, byHand] = [`soyte-${unique}.nghean.gov.vn`, `ubnd-${unique}.nghean.gov.vn`];
    const agency = (code: string) => mailbox.owner('directory.agencies').where({ code });
    const isQueued = async () => (await mailbox.queued()).includes('domains');
    const setAside = () => mailbox.owner('mailbox_jobs._private_jobs').where({ key: 'domains' }).delete();
    await agency('H41.02').update({ mail_domain: ofAgency });
    await agency('H41.12').update({ mail_domain: byHand });
    try {
      await setAside();
      await convergeAgencyLists(mailbox, policy, [lists['H41.02']!.agency_id]);
      expect(await isQueued()).toBe(true);
      await setAside();
      const group = await makeGroup({ ownerIds: [district!.id], agencyCode: 'H41.12' }, [district!.id]);
      expect(await isQueued()).toBe(true);
      // The record of both is there: the job itself need not look for domains of agencies.
      expect(await mailbox.owner('mailbox.domains').whereIn('name', [ofAgency, byHand]).count('* as count')).toEqual([
        { count: '2' },
      ]);
      await convergeDomains(mailbox);
      await convergeGroups(mailbox);
      expect(await post(undefined, group.address, 'miền riêng 1')).toMatch(/^250/);
      const list = await groupRow(lists['H41.02']!.id);
      expect(list.address).toBe(`tatca.h41-02@${ofAgency}`);
      expect(await post(department, list.address, 'miền riêng 2')).toMatch(/^250/);
      expect(await arrivals('miền riêng 1', 1, [district!, department!])).toEqual([1, 0]);
      expect(await arrivals('miền riêng 2', 1, [district!, department!])).toEqual([0, 1]);
    } finally {
      await agency('H41.02').update({ mail_domain: 'nghean.gov.vn' });
      await agency('H41.12').update({ mail_domain: 'nghean.gov.vn' });
      await convergeAgencyLists(mailbox, policy, undefined);
      await convergeGroups(mailbox);
      await mailbox.owner('mailbox.domains').whereIn('name', [ofAgency, byHand]).update({ until: '2020-01-01' });
      await convergeDomains(mailbox);
      await domains.release();
    }
  });

  test('follows the agency: its name, its end, its coming back; running it again changes nothing', async () => {
    const list = lists['H41.12.05']!;
    await mailbox
      .owner('directory.agencies')
      .where({ code: 'H41.12.05' })
      .update({ name: 'Xã Quỳnh Mới', valid_to: '2020-01-01' });
    await convergeAgencyLists(mailbox, policy, [list.agency_id]);
    await convergeGroups(mailbox);
    expect(await groupRow(list.id)).toMatchObject({ name: 'Xã Quỳnh Mới', state: 'closed' });
    expect(await mailbox.ldap.find(groupDn(list, mailbox.baseDn), ['mail'])).toBeUndefined();
    expect(await post(commune, list.address)).toMatch(/^550 5\.1\.1/);
    await mailbox.owner('directory.agencies').where({ code: 'H41.12.05' }).update({ valid_to: null });
    await convergeAgencyLists(mailbox, policy, undefined);
    await convergeGroups(mailbox);
    expect(await post(commune, list.address)).toMatch(/^250/);
    const before = await mailbox.owner('mailbox.groups').orderBy('id').select('*');
    await Promise.all([1, 2].map(() => convergeAgencyLists(mailbox, policy, undefined)));
    await convergeGroups(mailbox);
    expect(await mailbox.owner('mailbox.groups').orderBy('id').select('*')).toEqual(before);
    const events = await mailbox
      .owner('directory.audit_events')
      .where({ subject_id: list.id })
      .orderBy('id')
      .pluck('action');
    expect(events).toEqual(['group.created', 'group.closed', 'group.changed']);
  });
});

describe('a list made by hand', () => {
  test('reaches people by name, by rule and through a list in it, each once', async () => {
    const [one, two, three, outside] = [
      await opened(),
      await opened({ agencyCode: 'H41.02' }),
      await opened({ agencyCode: 'H41.12.05' }),
      await opened({ agencyCode: 'H41.02' }),
    ];
    const inner = await makeGroup({ ownerIds: [one!.id] }, [one!.id, two!.id]);
    const middle = await makeGroup({ ownerIds: [one!.id] }, [inner.id, two!.id]);
    const outer = await makeGroup({ ownerIds: [one!.id], memberRule: { agencyCode: 'H41.12.05' } }, [
      inner.id,
      middle.id,
      one!.id,
    ]);
    const all = [one!, two!, three!, outside!];
    expect(await post(undefined, outer.address, 'lồng nhau')).toMatch(/^250/);
    expect(await arrivals('lồng nhau', 3, all)).toEqual([1, 1, 1, 0]);

    await removeMember(mailbox.database, outer.id, one!.id, actor);
    await closeGroup(mailbox.database, { id: inner.id }, actor);
    await convergeGroups(mailbox);
    expect(await post(undefined, outer.address, 'sau khi đóng')).toMatch(/^250/);
    expect(await arrivals('sau khi đóng', 2, all)).toEqual([0, 1, 1, 0]);
    expect(await post(undefined, inner.address)).toMatch(/^550 5\.1\.1/);
  });

  test('says that it came by a list; what came straight does not', async () => {
    const [owner, other] = [await opened(), await opened()];
    const group = await makeGroup({ ownerIds: [owner.id], posting: 'moderators' }, [owner.id]);
    const header = async (subject: string) =>
      /^List-Id: .*$/m.exec(
        (await mailbox.messages(owner, 'by lists too')).find((one) => one.subject === subject)?.source ?? '',
      )?.[0];
    await post(owner, group.address, 'qua danh sách');
    await post(other, owner.address, 'thẳng');
    await arrivals('qua danh sách', 1, [owner]);
    await arrivals('thẳng', 1, [owner]);
    expect(await header('qua danh sách')).toContain(`List-Id: <${group.local_part}.nghean.gov.vn>`);
    expect(await header('thẳng')).toBeUndefined();
  });

  test('two lists, and one of their members by name, in one message: one copy; another message is another', async () => {
    const [owner, other] = [await opened(), await opened()];
    const first = await makeGroup({ ownerIds: [owner.id] }, [owner.id, other.id]);
    const second = await makeGroup({ ownerIds: [owner.id] }, [owner.id]);
    const all = [owner.address, first.address, second.address];
    for (const subject of ['ba địa chỉ', 'lần nữa']) {
      await post(undefined, all, subject);
      expect(await arrivals(subject, 2, [owner, other])).toEqual([1, 1]);
    }
  });

  test('a message that comes round again reaches nobody twice', async () => {
    const owner = await opened();
    const group = await makeGroup({ ownerIds: [owner.id] }, [owner.id]);
    const messageId = crypto.randomUUID();
    for (const _ of [1, 2]) expect(await post(undefined, group.address, 'quay vòng', { messageId })).toMatch(/^250/);
    expect(await arrivals('quay vòng', 2, [owner])).toEqual([1]);
  });

  test('a message too large for so many is refused before it is sent', async () => {
    const owner = await opened();
    const group = await makeGroup({ ownerIds: [owner.id], posting: 'members' }, [owner.id]);
    expect(await post(owner, group.address, 'x', { size: 5_000 })).toMatch(/^250/);
    expect(await post(owner, group.address, 'x', { size: 5_001 })).toMatch(/^552 5\.3\.4/);
    expect(await post(owner, owner.address, 'x', { size: 5_001 })).toMatch(/^250/);
  });

  test('by a title, spelt as the record spells it', async () => {
    const [chief, other] = [await opened(), await opened()];
    await change(chief, { title: 'Chánh Văn phòng (kiêm nhiệm)' });
    const rule = { agencyCode: 'H41', title: 'Chánh Văn phòng (kiêm nhiệm)' };
    const group = await makeGroup({ ownerIds: [other.id], memberRule: rule });
    expect(await post(undefined, group.address, 'theo chức vụ')).toMatch(/^250/);
    expect(await arrivals('theo chức vụ', 1, [chief, other])).toEqual([1, 0]);
  });

  test('with nobody in it has no address to send to', async () => {
    const owner = await opened();
    const group = await makeGroup({ ownerIds: [owner.id] });
    expect(await post(undefined, group.address)).toMatch(/^550 5\.1\.1/);
  });

  test.each([
    ['anyone', { member: 250, moderator: 250, owner: 250, province: 250, outside: 250 }],
    ['province', { member: 250, moderator: 250, owner: 250, province: 250, outside: 550 }],
    ['members', { member: 250, moderator: 250, owner: 250, province: 550, outside: 550 }],
    ['moderators', { member: 550, moderator: 250, owner: 250, province: 550, outside: 550 }],
  ] as const)('%s may write: %j', async (posting, answers) => {
    const [member, moderator, owner, province] = [await opened(), await opened(), await opened(), await opened()];
    const group = await makeGroup({ ownerIds: [owner.id], posting }, [member.id]);
    await addToRole(mailbox.database, group.id, 'moderator', moderator.id, actor);
    const senders = { member, moderator, owner, province, outside: undefined };
    const seen: Record<string, number> = {};
    for (const [name, account] of Object.entries(senders))
      seen[name] = Number((await post(account, group.address)).slice(0, 3));
    expect(seen).toEqual(answers);
  });

  test.each(['members', 'moderators'] as const)(
    'a list of its own around another for %s is no way round it',
    async (posting) => {
      const [member, stranger] = [await opened(), await opened({ agencyCode: 'H41.02' })];
      const inner = await makeGroup({ ownerIds: [member.id], posting }, [member.id]);
      const middle = await makeGroup({ ownerIds: [stranger.id], posting }, [inner.id]);
      const outer = await makeGroup({ ownerIds: [stranger.id, member.id], posting }, [
        middle.id,
        stranger.id,
        member.id,
      ]);
      const refused = new RegExp(`^550 5\\.7\\.1 .*${inner.address}`);
      expect(await post(stranger, inner.address)).toMatch(/^550 5\.7\.1/);
      expect(await post(stranger, outer.address)).toMatch(refused);
      // Whoever may write to each of them may write to all at once.
      await addToRole(mailbox.database, middle.id, 'moderator', member.id, actor);
      expect(await post(member, outer.address)).toMatch(/^250/);
      await addToRole(mailbox.database, inner.id, 'moderator', stranger.id, actor);
      expect(await post(stranger, outer.address)).toMatch(/^250/);
    },
  );

  test('whoever is transferred away from its agency runs it no more, and is in it still', async () => {
    const [leaving, staying] = [await opened(), await opened()];
    const posting = 'moderators' as const;
    const ours = { agencyCode: 'H41.12', posting };
    const list = await makeGroup({ ...ours, ownerIds: [leaving.id, staying.id] }, [leaving.id]);
    await addToRole(mailbox.database, list.id, 'moderator', leaving.id, actor);
    const alone = await makeGroup({ ...ours, ownerIds: [leaving.id] }, [staying.id]);
    // Named from elsewhere on purpose: a transfer changes nothing of that.
    const other = await makeGroup({ agencyCode: 'H41.12.05', posting, ownerIds: [leaving.id] }, [staying.id]);
    const seen = async () => {
      const answers = [];
      for (const { address } of [list, alone, other]) answers.push(Number((await post(leaving, address)).slice(0, 3)));
      return answers;
    };
    const roles = () => mailbox.owner('mailbox.group_roles').where({ account_id: leaving.id });
    expect(await seen()).toEqual([250, 250, 250]);

    await changeAccount(mailbox.owner, leaving.id, { agency_id: await agencyId('H41.02') });
    expect(await seen()).toEqual([550, 550, 250]);
    for (const _ of [1, 2]) await follow(leaving);
    expect(await roles().orderBy('group_id').pluck('group_id')).toEqual([alone.id, other.id].sort());
    const events = await mailbox
      .owner('directory.audit_events')
      .where({ subject_id: list.id, actor_kind: 'system' })
      .orderBy('action')
      .select('action', 'before');
    expect(events).toEqual([
      { action: 'group.moderator_removed', before: { accountId: leaving.id } },
      { action: 'group.owner_removed', before: { accountId: leaving.id } },
    ]);
    const isOwnerless = async ({ id }: GroupRow) => (await requireGroup(mailbox.database, id, 'H41')).is_ownerless;
    expect([await isOwnerless(list), await isOwnerless(alone), await isOwnerless(other)]).toEqual([false, true, false]);
    expect(await post(staying, list.address, 'vẫn là thành viên')).toMatch(/^250/);
    expect(await arrivals('vẫn là thành viên', 1, [leaving])).toEqual([1]);

    // A platform administrator names them where they are now.
    await addToRole(mailbox.database, alone.id, 'owner', leaving.id, actor);
    expect(await isOwnerless(alone)).toBe(false);
    expect(await seen()).toEqual([550, 250, 250]);
    await follow(leaving);
    expect(await seen()).toEqual([550, 250, 250]);
  });

  test('who may write changes at once', async () => {
    const [owner, member] = [await opened(), await opened()];
    const group = await makeGroup({ ownerIds: [owner.id], posting: 'anyone' }, [member.id]);
    await changeGroup(mailbox.database, { id: group.id }, { posting: 'members' }, actor);
    await convergeGroups(mailbox);
    expect(await post(undefined, group.address)).toMatch(/^550/);
  });
});

describe('what must not be', () => {
  test('nobody sends as a list, neither who owns it nor from outside', async () => {
    const owner = await opened();
    const group = await makeGroup({ ownerIds: [owner.id] }, [owner.id]);
    expect(await post(owner, owner.address, 'x', { from: group.address })).toMatch(/^553 5\.7\.1/);
    expect(await post(undefined, owner.address, 'x', { from: group.address })).toMatch(/^553 5\.7\.1/);
  });

  test('a bounce or an automatic answer goes to no list', async () => {
    const owner = await opened();
    for (const posting of ['anyone', 'province', 'members', 'moderators'] as const) {
      const group = await makeGroup({ ownerIds: [owner.id], posting }, [owner.id]);
      expect(await post(undefined, group.address, 'x', { from: '' })).toMatch(/^550 5\.7\.1/);
    }
  });

  test('no other spelling of the address leads around the rule', async () => {
    const owner = await opened();
    const { address, local_part } = await makeGroup({ ownerIds: [owner.id], posting: 'members' }, [owner.id]);
    for (const spelling of [
      address.toUpperCase(),
      `"${local_part}"@nghean.gov.vn`,
      `@nghean.gov.vn:${address}`,
      `${local_part}%nghean.gov.vn@nghean.gov.vn`,
      `nghean.gov.vn!${local_part}@nghean.gov.vn`,
    ])
      expect([spelling, await post(undefined, spelling)]).toEqual([spelling, expect.stringMatching(/^5/)]);
  });

  test("another province's list of the same name is none of ours", async () => {
    const owner = await opened();
    const { local_part } = await makeGroup({ ownerIds: [owner.id], posting: 'moderators' }, [owner.id]);
    const other = await opened();
    // This stack sends nothing out: that is what is answered, and not the list's rule.
    expect(await post(other, `${local_part}@hatinh.gov.vn`)).toMatch(/^550 5\.7\.1 .*local stack/);
  });
});

describe('while nobody answers who may write', () => {
  test('lists for some are put off, lists for anyone and all other mail flow', async () => {
    const owner = await opened();
    const open = await makeGroup({ ownerIds: [owner.id], posting: 'anyone' }, [owner.id]);
    const closed = await makeGroup({ ownerIds: [owner.id], posting: 'members' }, [owner.id]);
    await postingServer?.stop();
    try {
      expect(await post(owner, closed.address)).toMatch(/^450 4\.3\.0/);
      expect(await post(owner, open.address)).toMatch(/^250/);
      expect(await post(owner, owner.address)).toMatch(/^250/);
      expect(await post(undefined, owner.address)).toMatch(/^250/);
    } finally {
      await startServer();
    }
    expect(await post(owner, closed.address)).toMatch(/^250/);
  });

  test('the record that cannot be asked is no permission', async () => {
    const owner = await opened();
    const group = await makeGroup({ ownerIds: [owner.id], posting: 'members' }, [owner.id]);
    await postingServer?.stop();
    const gone = {
      ...mailbox,
      maxListMessageBytes: 5_000,
      database: mailbox.testDatabase.as('mailbox'),
      log: pino({ level: 'silent' }),
    };
    await gone.database.destroy();
    const server = await startPostingServer(gone, { host: '127.0.0.1', port: ports.postingPort });
    try {
      expect(await post(owner, group.address)).toMatch(/^450 4\.3\.0/);
    } finally {
      await server.stop();
      await startServer();
    }
  });
});
