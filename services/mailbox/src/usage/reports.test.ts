import { randomBytes, randomUUID } from 'node:crypto';
import { type AgencyUsage, AgencyUsageDetail, MailboxInList, MailboxSort, MailboxUsage } from '@congvu/contracts';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from '../app.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { keepUsage } from './keep-usage.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
const log = pino({ level: 'silent' });
beforeAll(async () => {
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  app = createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl: 'https://directory.test',
    log,
  });
  await insertPeople();
});
afterAll(() => mailbox.stop());

const get = async (path: string, agency = 'H41', accept = 'application/json') =>
  supertest(app)
    .get(path)
    .set('Authorization', await authority.bearer({ agency, permissions: ['mailboxes:read'] }))
    .set('Accept', accept);
const nextOf = (answer: supertest.Response): string =>
  /^<(.*)>; rel="next"$/.exec(answer.headers.link ?? '')?.[1] ?? '';
const day = 24 * 3600 * 1000;
const ago = (days: number): Date => new Date(Date.now() - days * day);

interface Use {
  quota_used_bytes?: number;
  received_count?: number;
  last_login_at?: Date;
  last_sent_at?: Date;
}
const people: Record<string, TestAccount> = {};
async function person(
  name: string,
  options: Parameters<TestMailbox['account']>[0],
  state: string,
  use: Use = {},
): Promise<TestAccount> {
  const account = await mailbox.account({ displayName: name, ...options });
  const { id, address } = account;
  await mailbox.database('mailbox.mailboxes').insert({ account_id: id, address, state, quota_bytes: 1_000 });
  await mailbox
    .database('mailbox.usage')
    .where({ mailbox_id: id })
    .update({ sent_count: 0, ...use });
  people[name] = account;
  return account;
}

/** In order of the Vietnamese alphabet, people by given name, an agency by its name; of whom some were never measured or never logged in. */
const names = [
  'Trần Văn An',
  'Nguyễn Thị Bình',
  'Hồ Sỹ Đạt',
  'Huỳnh Thanh Điền',
  'Phan Thị Hoa',
  'Đỗ Hoà',
  'Phòng Nội vụ',
  'Cao Quý',
];
async function insertPeople(): Promise<void> {
  const { owner } = mailbox;
  for (const [code, count] of [
    ['H41.12', 10],
    ['H41.12.05', 5],
    ['H41.02', 4],
  ] as const)
    await owner('directory.agencies').where({ code }).update({ head_count: count });
  const district = { agencyCode: 'H41.12' };
  const commune = { agencyCode: 'H41.12.05' };
  const [an, binh, dat, dien, hoa, hoaa, office, quy] = names as [
    string,
    string,
    string,
    string,
    string,
    string,
    string,
    string,
  ];
  const activated = [
    await person(quy, district, 'active', { quota_used_bytes: 700, received_count: 9, last_login_at: ago(0.1) }),
    await person(dat, district, 'suspended', { quota_used_bytes: 0, last_login_at: ago(40) }),
    await person(hoa, commune, 'active', { quota_used_bytes: 700, received_count: 3, last_sent_at: ago(29) }),
  ];
  await person(an, district, 'active', { received_count: 9 });
  await person(dien, { ...district, state: 'retired' }, 'retained', { last_login_at: ago(1) });
  await person(hoaa, commune, 'active');
  await person(office, { ...district, kind: 'agency' }, 'active', { quota_used_bytes: 5, last_login_at: ago(2) });
  await person(binh, { agencyCode: 'H41' }, 'active', { quota_used_bytes: 6, received_count: 1 });
  const client = randomUUID();
  await owner('directory.clients').insert({
    id: client,
    name: 'x',
    agency_code: 'H41',
    permissions: [],
    secret_hash: randomBytes(32),
  });
  const code = { issued_by: client, expires_at: ago(0), used_at: ago(1) };
  for (const { id } of activated)
    await owner('directory.activation_codes').insert({ ...code, account_id: id, code_hash: randomBytes(32) });
  const agency = (await owner('directory.agencies').where({ code: 'H41.12' }).first()).id;
  for (const [days, received] of [
    [0, 3],
    [29, 4],
    [31, 100],
  ] as const)
    await owner('mailbox.agency_days').insert({ agency_id: agency, day: ago(days - 7 / 24), received, sent: 1 });
}

describe('the list of mailboxes', () => {
  /** By every page. */
  async function walk(query: string, agency?: string): Promise<MailboxInList[]> {
    const items: MailboxInList[] = [];
    for (let next = `/v1/mailboxes?limit=3&${query}`; next !== ''; ) {
      const answer = await get(next, agency);
      expect(answer.status).toBe(200);
      items.push(...answer.body.items);
      next = nextOf(answer);
      if (items.length > 50) throw new Error('the list does not end');
    }
    return items;
  }
  const keys: Record<string, (item: MailboxInList) => number | string> = {
    name: (item) => names.indexOf(item.displayName),
    address: (item) => item.address,
    quotaUsed: (item) => item.quotaUsedBytes ?? -1,
    lastLogin: (item) => item.lastLoginAt ?? '',
    received: (item) => item.receivedCount ?? -1,
  };
  const inOrder = (items: MailboxInList[], sort: string): MailboxInList[] => {
    const key = keys[sort.replace('-', '')] as (item: MailboxInList) => number | string;
    const compare = (a: MailboxInList, b: MailboxInList): number =>
      key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : a.accountId < b.accountId ? -1 : 1;
    const sorted = [...items].sort(compare);
    return sort.startsWith('-') ? sorted.reverse() : sorted;
  };

  test.each(MailboxSort.options)('sorted by %s, page by page, for the province and for a district', async (sort) => {
    const everything = await walk('include=usage');
    expect(everything.map((item) => MailboxInList.parse(item))).toEqual(everything);
    expect(everything).toHaveLength(8);
    expect(await walk(`include=usage&sort=${sort}`)).toEqual(inOrder(everything, sort));
    const district = everything.filter(({ agencyCode }) => agencyCode !== 'H41');
    expect(district).toHaveLength(7);
    expect(await walk(`include=usage&sort=${sort}`, 'H41.12')).toEqual(inOrder(district, sort));
    const active = district.filter(({ state }) => state === 'active');
    expect(await walk(`include=usage&sort=${sort}&state=active`, 'H41.12')).toEqual(inOrder(active, sort));
    expect(await walk(`sort=${sort}`, 'H41.02')).toEqual([]);
  });

  test('says nothing of usage unless asked', async () => {
    const [first] = await walk('sort=name');
    expect(first).toMatchObject({ displayName: names[0] });
    expect(first).not.toHaveProperty('receivedCount');
  });

  test('as CSV, with the figures', async () => {
    const { text } = await get('/v1/mailboxes?include=usage&sort=-quotaUsed', 'H41.12', 'text/csv');
    const [header, first] = text.split('\r\n');
    expect(header).toMatch(
      /,quotaUsedBytes,messageCount,measuredAt,receivedCount,sentCount,lastReceivedAt,lastSentAt,lastLoginAt$/,
    );
    expect(first).toMatch(/,700,,,\d,0,/);
  });

  test.each(MailboxSort.options)('a cursor that the list by %s did not give is a fault', async (sort) => {
    const id = randomUUID();
    for (const key of [
      ['x', 'y', id],
      [sort, '9999-99-99T00:00:00Z', 'x'],
      [sort.replace(/\w+/, (name) => (name === 'name' ? 'address' : 'name')), 'a', id],
      ...(/name|address/.test(sort) ? [] : [[sort, 'x', id]]),
    ]) {
      const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
      const { body } = await get(`/v1/mailboxes?sort=${sort}&cursor=${cursor}`);
      expect(body).toMatchObject({ status: 422, code: 'cursor_invalid' });
    }
  });

  test('name and agency are followed, by the convergence of the account', async () => {
    const account = await mailbox.account({ displayName: 'Vũ Xuân', agencyCode: 'H41.12' });
    await mailbox.convergeEntry(account);
    await convergeMailboxes(mailbox, [account.id]);
    const order = async (agency: string) => (await walk('sort=name', agency)).map(({ displayName }) => displayName);
    expect((await order('H41.12')).at(-1)).toBe('Vũ Xuân');
    const agency = await mailbox.owner('directory.agencies').where({ code: 'H41.02' }).first();
    const renamed = { display_name: 'Vũ An', given_name: 'An', agency_id: agency.id };
    await changeAccount(mailbox.owner, account.id, renamed);
    await mailbox.convergeEntry(account);
    await convergeMailboxes(mailbox, [account.id]);
    expect(await order('H41.02')).toEqual(['Vũ An']);
    expect((await order('H41')).indexOf('Vũ An')).toBe(1);
    expect(await order('H41.12')).not.toContain('Vũ An');
    await changeAccount(mailbox.owner, account.id, { state: 'retired' });
    await mailbox.owner('mailbox.mailboxes').where({ account_id: account.id }).delete();
    await mailbox.owner('mailbox.usage').where({ mailbox_id: account.id }).delete();
  });
});

describe('one mailbox', () => {
  test('day by day, within bounds', async () => {
    const { id } = people['Cao Quý'] as TestAccount;
    await mailbox.database('mailbox.usage_days').insert([
      { mailbox_id: id, day: '2026-03-01', received: 2, sent: 0 },
      { mailbox_id: id, day: '2026-03-31', received: 1, sent: 4 },
    ]);
    const { body } = await get(`/v1/mailboxes/${id}/usage?from=2026-03-01&to=2026-03-30`, 'H41.12');
    expect(MailboxUsage.parse(body)).toEqual(body);
    expect(body).toMatchObject({ quotaBytes: 1_000, quotaUsedBytes: 700, receivedCount: 9 });
    expect(body.days).toEqual([{ day: '2026-03-01', received: 2, sent: 0 }]);
    expect((await get(`/v1/mailboxes/${id}/usage?to=2026-03-31`)).body).toMatchObject({
      from: '2026-03-02',
      to: '2026-03-31',
    });
    for (const period of [
      'from=2026-04-01&to=2026-03-01',
      'from=2024-01-01&to=2026-03-01',
      'from=2026-02-30',
      'from=0000-01-01',
    ])
      expect((await get(`/v1/mailboxes/${id}/usage?${period}`)).status).toBe(422);
    expect((await get(`/v1/mailboxes/${id}/usage`, 'H41.02')).body.code).toBe('mailbox_not_found');
  });
});

describe('the report by agency', () => {
  const district = {
    agencyCode: 'H41.12',
    agencyName: 'Ủy ban nhân dân huyện Quỳnh Lưu',
    level: 'district',
    parentCode: 'H41',
    headCount: 10,
    accounts: 3,
    coverage: 0.2,
    activeIn30Days: 1,
    neverActivated: 1,
    useRate: 0.1,
    receivedIn30Days: 7,
    sentIn30Days: 2,
  };
  const figures = (items: AgencyUsage[]) =>
    items.map((one) => [
      one.rank,
      one.agencyCode,
      one.headCount,
      one.accounts,
      one.coverage,
      one.activeIn30Days,
      one.useRate,
    ]);

  test('counts the people of each agency', async () => {
    const { body } = await get('/v1/usage/agencies');
    expect(body.items.map((one: AgencyUsage) => one.agencyCode)).toEqual(['H41', 'H41.02', 'H41.12', 'H41.12.05']);
    expect(body.items[2]).toEqual({ rank: 2, ...district });
    expect(figures(body.items)).toEqual([
      [4, 'H41', null, 1, null, 0, 0],
      [3, 'H41.02', 4, 0, 0, 0, 0],
      [2, 'H41.12', 10, 3, 0.2, 1, 0.1],
      [1, 'H41.12.05', 5, 2, 0.4, 1, 0.2],
    ]);
  });

  test('with all that lie below, as a rank, page by page', async () => {
    const items: AgencyUsage[] = [];
    for (let next = '/v1/usage/agencies?of=subtree&sort=rank&limit=1'; next !== ''; ) {
      const answer = await get(next);
      items.push(...answer.body.items);
      next = nextOf(answer);
      if (items.length > 10) throw new Error('the list does not end');
    }
    expect(figures(items)).toEqual([
      [1, 'H41.12.05', 5, 2, 0.4, 1, 0.2],
      [2, 'H41.12', 15, 5, 0.2667, 2, 0.1333],
      [3, 'H41', 19, 6, 0.2632, 2, 0.1053],
      [4, 'H41.02', 4, 0, 0, 0, 0],
    ]);
  });

  test('an agency sees itself and what lies below it, and the rank among those', async () => {
    expect(
      figures((await get('/v1/usage/agencies?sort=rank', 'H41.12')).body.items).map(([rank, code]) => [rank, code]),
    ).toEqual([
      [1, 'H41.12.05'],
      [2, 'H41.12'],
    ]);
    expect((await get('/v1/usage/agencies?level=commune', 'H41.12')).body.items).toHaveLength(1);
    const { body } = await get('/v1/usage/agencies/H41.12', 'H41.12');
    expect(AgencyUsageDetail.parse(body)).toEqual(body);
    const { agencyCode, agencyName, level, parentCode, ...own } = district;
    expect(body).toMatchObject({
      agencyCode,
      agencyName,
      level,
      parentCode,
      own,
      subtree: { headCount: 15, accounts: 5 },
    });
    for (const [code, client] of [
      ['H41', 'H41.12'],
      ['H41.02', 'H41.12'],
      ['H41.99', 'H41'],
    ])
      expect((await get(`/v1/usage/agencies/${code}`, client)).body).toMatchObject({
        status: 404,
        code: 'agency_not_found',
      });
  });

  test('as CSV', async () => {
    const { text } = await get('/v1/usage/agencies?sort=rank', 'H41.12', 'text/csv');
    expect(text.split('\r\n').slice(0, 2)).toEqual([
      '\uFEFFrank,agencyCode,agencyName,level,parentCode,headCount,accounts,coverage,activeIn30Days,neverActivated,useRate,receivedIn30Days,sentIn30Days',
      '1,H41.12.05,Ủy ban nhân dân xã Quỳnh Thắng,commune,H41.12,5,2,0.4,1,1,0.2,0,0',
    ]);
  });

  test('a cursor that it did not give is a fault', async () => {
    for (const [sort, key] of [
      ['code', ['rank', 1, 'H41']],
      ['rank', ['code', 'H41']],
      ['rank', ['rank', 1e30, 'H41']],
      ['code', ['code', 5]],
    ] as const) {
      const cursor = Buffer.from(JSON.stringify(key)).toString('base64url');
      expect((await get(`/v1/usage/agencies?sort=${sort}&cursor=${cursor}`)).body.code).toBe('cursor_invalid');
    }
  });
});

describe('every night', () => {
  test('all are measured; interrupted, the next time what is left; a store that is down is waited for', async () => {
    for (let count = 0; count < 50; count++) await person(`Người thứ ${count}`, { agencyCode: 'H41.02' }, 'active');
    const left = async () =>
      (
        await mailbox
          .database('mailbox.usage')
          .join('mailbox.mailboxes', 'account_id', 'mailbox_id')
          .whereNot('state', 'retained')
          .whereNull('measured_at')
      ).length;
    const before = await left();
    let asked = 0;
    const stopping = new AbortController();
    const doveadm = {
      ...mailbox.doveadm,
      quotas: (users: readonly string[]) => {
        asked += users.length;
        if (asked >= 40) stopping.abort();
        return mailbox.doveadm.quotas(users);
      },
    };
    const keep = (signal: AbortSignal) => keepUsage({ database: mailbox.database, doveadm, log, days: 60 }, signal);
    await expect(keep(stopping.signal)).rejects.toThrow('aborted');
    expect(await left()).toBe(before - 40);
    await keep(new AbortController().signal);
    expect(await left()).toBe(0);
    expect(asked).toBe(before);
    await keep(new AbortController().signal);
    expect(asked).toBe(before);
    expect((await mailbox.database('mailbox.usage_days').count().first())?.count).toBe('0');
    const kept = mailbox.database('mailbox.usage').where({ mailbox_id: people['Cao Quý']?.id });
    expect(await kept.first()).toMatchObject({ quota_used_bytes: '700' });
  });
});
