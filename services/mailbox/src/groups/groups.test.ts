/** Lists as the API changes them: what the record, the audit log and LDAP say then, and what is refused. */
import type { Group, GroupDetail, GroupMember } from '@congvu/contracts';
import { changeAccount, type TestAccount } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from '../app.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';
import { addMember } from './change-members.ts';
import { convergeAgencyLists } from './converge-agency-lists.ts';
import { convergeGroups, groupDn } from './converge-groups.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
let [owner, person, inCommune, elsewhere]: TestAccount[] = [];
const unique = crypto.randomUUID().slice(0, 8);
const actor = { kind: 'client' as const, id: crypto.randomUUID(), ip: null, agencyCode: 'H41' };
const policy = {
  namePattern: `tatca.{shortName}-${unique}`,
  provinceName: `tatca-${unique}`,
  posting: 'members',
  provincePosting: 'moderators',
} as const;

beforeAll(async () => {
  mailbox = await startTestMailbox();
  authority = await createTestAuthority();
  const log = pino({ level: 'silent' });
  app = createMailboxApp({
    ...mailbox,
    authenticate: authority.authenticate,
    issuerUrl: 'https://directory.test',
    log,
  });
  [owner, person, inCommune, elsewhere] = [
    await mailbox.account(),
    await mailbox.account(),
    await mailbox.account({ agencyCode: 'H41.12.05' }),
    await mailbox.account({ agencyCode: 'H41.02' }),
  ];
  await convergeAgencyLists(mailbox, policy, undefined);
});
afterAll(async () => {
  for (const { local_part } of await mailbox.owner('mailbox.groups').select('local_part'))
    await mailbox.ldap.remove(groupDn({ local_part }, mailbox.baseDn));
  await mailbox.stop();
});

interface Call {
  agency?: string;
  body?: object;
  headers?: Record<string, string>;
}
async function call(method: 'get' | 'post' | 'put' | 'patch' | 'delete', path: string, options: Call = {}) {
  const permissions = ['mailboxes:read', 'mailboxes:write'] as const;
  return supertest(app)
    [method](`/v1/groups${path}`)
    .set(
      'Authorization',
      await authority.bearer({ agency: options.agency ?? 'H41', permissions: [...permissions], id: actor.id }),
    )
    .set(options.headers ?? {})
    .send(options.body);
}
let made = 0;
const input = (more: object = {}) => {
  made += 1;
  return {
    localPart: `nhom-${made}-${unique}`,
    name: 'Tổ chuyển đổi số',
    agencyCode: 'H41.12',
    posting: 'members',
    ownerIds: [owner!.id],
    ...more,
  };
};
async function make(more: object = {}): Promise<GroupDetail> {
  const answer = await call('post', '', { body: input(more) });
  expect(answer.status).toBe(201);
  return answer.body;
}
const entryOf = async (group: { address: string }) => {
  await convergeGroups(mailbox);
  const dn = groupDn({ local_part: group.address.split('@')[0] as string }, mailbox.baseDn);
  return (await mailbox.ldap.find(dn, ['mail', 'displayName', 'congvuPosting', 'memberURL']))?.attributes;
};
const actions = (id: string) =>
  mailbox
    .owner('directory.audit_events')
    .where({ subject_id: id })
    .orderBy('id')
    .select('action', 'before', 'after', 'actor_kind');
const agencyList = async (code: string): Promise<Group> =>
  (await call('get', `?agency=${code}&kind=agency`)).body.items.find((one: Group) => one.agencyCode === code);

describe('a new list', () => {
  test('stands whole: record, audit event, entry; the same key makes one', async () => {
    const body = input({ memberRule: { agencyCode: 'H41.12.05', title: 'Kế toán (kiêm)' } });
    const headers = { 'Idempotency-Key': `mot-${unique}` };
    const answers = await Promise.all([1, 2, 3].map(() => call('post', '', { body, headers })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201]);
    const [group] = answers.map((answer) => answer.body as GroupDetail);
    expect(new Set(answers.map((answer) => answer.body.id)).size).toBe(1);
    expect(group).toMatchObject({
      kind: 'hand_made',
      address: `${body.localPart}@nghean.gov.vn`,
      agencyCode: 'H41.12',
      posting: 'members',
      memberRule: { agencyCode: 'H41.12.05', title: 'Kế toán (kiêm)' },
      state: 'active',
      isOwnerless: false,
      owners: [{ accountId: owner!.id, address: owner!.address }],
      version: 1,
    });
    expect(await actions(group!.id)).toMatchObject([{ action: 'group.created', actor_kind: 'client', before: null }]);
    expect(await mailbox.queued()).toContain('groups');
    expect(await entryOf(group!)).toEqual({
      mail: [group!.address],
      displayName: ['Tổ chuyển đổi số'],
      congvuPosting: ['members'],
      memberURL: [
        expect.stringContaining(
          '(congvuAgencyPath=H41.12.05)(congvuAccountKind=person)(congvuMailStatus=active)(title=',
        ),
      ],
    });
    const other = await call('post', '', { body: { ...body, name: 'Khác' }, headers });
    expect(other.body).toMatchObject({ status: 409, code: 'idempotency_key_reused' });
  });

  test('every fault of what was sent is told at once', async () => {
    const body = { localPart: 'x', name: ' ', agencyCode: 'H41.12', posting: 'friends', ownerIds: [], colour: 1 };
    const { status, body: problem } = await call('post', '', { body });
    expect(status).toBe(422);
    expect(problem.errors.map((fault: { pointer: string }) => fault.pointer).sort()).toEqual([
      '/colour',
      '/name',
      '/ownerIds',
      '/posting',
    ]);
  });

  test.each([
    ['Tổ-a', 'format'],
    ['a..b', 'format'],
    ['a@b', 'format'],
    ['tatca', 'local_part_reserved'],
    ['postmaster', 'local_part_reserved'],
  ])('not with %s before the @', async (localPart, code) => {
    const { body } = await call('post', '', { body: input({ localPart }) });
    expect(body).toMatchObject({ status: 422, errors: [{ pointer: '/localPart', code }] });
  });

  test('not with a name that a person, an agency or another list has or had', async () => {
    const closed = await make();
    await call('delete', `/${closed.id}`);
    for (const localPart of [owner!.username, 'h41-12', closed.address.split('@')[0]])
      expect((await call('post', '', { body: input({ localPart }) })).body).toMatchObject({
        status: 409,
        code: 'address_taken',
      });
  });

  test('not for, of or owned by what lies outside the own subtree', async () => {
    const agency = 'H41.12';
    const tried = [{ agencyCode: 'H41.02' }, { memberRule: { agencyCode: 'H41' } }, { ownerIds: [elsewhere!.id] }];
    const answers = [];
    for (const more of tried) answers.push((await call('post', '', { agency, body: input(more) })).body);
    expect(answers).toMatchObject([
      { status: 422, errors: [{ pointer: '/agencyCode', code: 'agency_not_found' }] },
      { status: 422, errors: [{ pointer: '/memberRule/agencyCode', code: 'agency_not_found' }] },
      { status: 404, code: 'account_not_found' },
    ]);
  });
});

describe('changes', () => {
  test('by whoever saw the newest version alone; the entry and the audit log follow', async () => {
    const group = await make();
    const first = await call('patch', `/${group.id}`, {
      body: { name: 'Tên mới', posting: 'province' },
      headers: { 'If-Match': '"1"' },
    });
    expect(first.body).toMatchObject({ name: 'Tên mới', posting: 'province', version: 2 });
    expect(first.headers.etag).toBe('"2"');
    const late = await call('patch', `/${group.id}`, { body: { name: 'Muộn' }, headers: { 'If-Match': '"1"' } });
    expect(late.body).toMatchObject({ status: 412, code: 'stale_version' });
    expect((await call('patch', `/${group.id}`, { body: { name: 'Tên mới' } })).body.version).toBe(2);
    expect(await entryOf(group)).toMatchObject({ displayName: ['Tên mới'], congvuPosting: ['province'] });
    expect(await actions(group.id)).toMatchObject([
      { action: 'group.created' },
      {
        action: 'group.changed',
        before: { name: 'Tổ chuyển đổi số', posting: 'members' },
        after: { name: 'Tên mới', posting: 'province' },
      },
    ]);
  });

  test('members come and go; repeating it is no change; a closed list has no entry and changes no more', async () => {
    const group = await make();
    for (const _ of [1, 2]) expect((await call('put', `/${group.id}/members/${person!.id}`)).status).toBe(200);
    expect(await entryOf(group)).toMatchObject({
      memberURL: [`ldap:///uid=${person!.username},ou=people,${mailbox.baseDn}?mail?base?(congvuMailStatus=active)`],
    });
    for (const _ of [1, 2]) expect((await call('delete', `/${group.id}/members/${person!.id}`)).status).toBe(200);
    expect((await actions(group.id)).map(({ action }) => action)).toEqual([
      'group.created',
      'group.member_added',
      'group.member_removed',
    ]);
    expect((await call('delete', `/${group.id}`)).body.state).toBe('closed');
    expect(await entryOf(group)).toBeUndefined();
    expect((await call('put', `/${group.id}/members/${person!.id}`)).body).toMatchObject({
      status: 409,
      code: 'group_closed',
    });
  });

  test('a list keeps its last owner', async () => {
    const group = await make();
    const remove = (account: TestAccount) => call('delete', `/${group.id}/owners/${account.id}`);
    expect((await remove(owner!)).body).toMatchObject({ status: 409, code: 'last_owner' });
    await call('put', `/${group.id}/owners/${person!.id}`);
    // Two who each see another owner left.
    const both = await Promise.all([remove(owner!), remove(person!)]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect((await call('get', `/${group.id}`)).body.owners).toHaveLength(1);
  });

  test('whose owners are all gone is in the hands of the administrators, and found', async () => {
    const gone = await mailbox.account();
    const group = await make({ ownerIds: [gone.id] });
    const ownerless = async () =>
      (await call('get', '?ownerless=true&limit=500')).body.items.map(({ id }: Group) => id);
    expect(await ownerless()).not.toContain(group.id);
    await changeAccount(mailbox.owner, gone.id, { state: 'retired' });
    expect(await ownerless()).toContain(group.id);
    await call('put', `/${group.id}/owners/${owner!.id}`);
    expect(await ownerless()).not.toContain(group.id);
    expect((await call('delete', `/${group.id}/owners/${gone.id}`)).status).toBe(200);
  });

  test("of an agency's own list: who may write to it, and nothing else", async () => {
    const list = await agencyList('H41.12');
    const refused = [
      await call('patch', `/${list.id}`, { body: { name: 'Khác' } }),
      await call('put', `/${list.id}/members/${person!.id}`),
      await call('put', `/${list.id}/owners/${person!.id}`),
      await call('delete', `/${list.id}`),
    ];
    for (const answer of refused) expect(answer.body).toMatchObject({ status: 409, code: 'group_of_agency' });
    expect((await call('patch', `/${list.id}`, { body: { posting: 'province' } })).body.posting).toBe('province');
    expect((await call('put', `/${list.id}/moderators/${person!.id}`)).body.moderators).toHaveLength(1);
  });
});

describe('lists in lists', () => {
  const nest = (outer: { id: string }, inner: { id: string }) => call('put', `/${outer.id}/members/${inner.id}`);

  test('never contain themselves, straight or by way of others, also when two are added at one moment', async () => {
    const [a, b, c] = [await make(), await make(), await make()];
    expect((await nest(a, a)).body).toMatchObject({ status: 409, code: 'group_loop' });
    await nest(a, b);
    await nest(b, c);
    expect((await nest(c, a)).body).toMatchObject({ status: 409, code: 'group_loop' });
    const [x, y] = [await make(), await make()];
    const both = await Promise.all([nest(x, y), nest(y, x)]);
    expect(both.map(({ status }) => status).sort()).toEqual([200, 409]);
    expect((await call('get', `/${a.id}`)).body.groups).toEqual([{ id: b.id, address: b.address, name: b.name }]);
    expect(await entryOf(a)).toMatchObject({
      memberURL: [
        `ldap:///cn=${b.address.split('@')[0]},ou=groups,${mailbox.baseDn}?mail,memberURL?base?(objectClass=congvuMailGroup)`,
      ],
    });
  });

  test('at most ten deep', async () => {
    let inner = await make();
    for (let depth = 2; depth <= 10; depth += 1) {
      const outer = await make();
      expect((await nest(outer, inner)).status).toBe(200);
      inner = outer;
    }
    expect((await nest(await make(), inner)).body).toMatchObject({ status: 409, code: 'group_too_deep' });
  });

  test('are never more open than what lies in them', async () => {
    const [open, closed] = [await make({ posting: 'anyone' }), await make({ posting: 'moderators' })];
    expect((await nest(open, closed)).body).toMatchObject({ status: 409, code: 'group_too_open' });
    await call('patch', `/${open.id}`, { body: { posting: 'moderators' } });
    expect((await nest(open, closed)).status).toBe(200);
    const widened = await call('patch', `/${open.id}`, { body: { posting: 'anyone' } });
    expect(widened.body).toMatchObject({ status: 409, code: 'group_too_open' });
  });

  test('a closed one is in no other any more', async () => {
    const [outer, inner] = [await make(), await make()];
    await nest(outer, inner);
    await call('delete', `/${inner.id}`);
    expect((await call('get', `/${outer.id}`)).body.groups).toEqual([]);
    expect(await entryOf(outer)).toMatchObject({ memberURL: [expect.stringContaining('nobody')] });
  });

  test('of a place that is not ours to see is not there', async () => {
    const [ours, theirs] = [await make(), await make({ agencyCode: 'H41.02' })];
    const answer = await call('put', `/${ours.id}/members/${theirs.id}`, { agency: 'H41.12' });
    expect(answer.body).toMatchObject({ status: 404, code: 'account_not_found' });
  });
});

describe('who is in a list', () => {
  const addresses = (answer: supertest.Response) => answer.body.items.map((one: GroupMember) => one.address);

  test('by name, rule and list, once each, page by page and as CSV; only who is active', async () => {
    const [inner, outer] = [await make({ memberRule: { agencyCode: 'H41.12.05' } }), await make()];
    for (const id of [inner.id, inCommune!.id, person!.id, elsewhere!.id])
      await addMember(mailbox.database, outer.id, id, actor);
    await changeAccount(mailbox.owner, elsewhere!.id, { state: 'suspended' });
    const all = await call('get', `/${outer.id}/members`);
    await changeAccount(mailbox.owner, elsewhere!.id, { state: 'active' });
    expect(addresses(all)).toEqual([inCommune!.address, person!.address].sort());
    expect((await call('get', `/${inner.id}/members`)).body.items).toEqual([
      {
        accountId: inCommune!.id,
        address: inCommune!.address,
        displayName: inCommune!.displayName,
        agencyCode: 'H41.12.05',
        isDirect: false,
      },
    ]);
    const first = await call('get', `/${outer.id}/members?limit=2`);
    const next = /<(.*)>/.exec(first.headers.link ?? '')?.[1]?.replace('/v1/groups', '') as string;
    const second = await call('get', next);
    expect([...addresses(first), ...addresses(second)]).toEqual(
      [inCommune!, person!, elsewhere!].map(({ address }) => address).sort(),
    );
    const csv = await call('get', `/${outer.id}/members`, { headers: { Accept: 'text/csv' } });
    expect(csv.text.split('\r\n')).toHaveLength(5);
  });

  test('lists are found by part of their name, by agency, and only in the own subtree', async () => {
    const group = await make({ name: 'Ban chỉ đạo Đề án 06', agencyCode: 'H41.12.05' });
    const found = async (query: string, agency = 'H41') =>
      (await call('get', query, { agency })).body.items.map(({ id }: Group) => id);
    expect(await found('?q=de an 06')).toEqual([group.id]);
    expect(await found(`?address=${group.address}`)).toEqual([group.id]);
    expect(await found('?agency=H41.12.05&kind=hand_made')).toEqual([group.id]);
    expect(await found('?q=de an 06', 'H41.12')).toEqual([group.id]);
    expect(await found('?q=de an 06', 'H41.02')).toEqual([]);
  });
});

describe('convergence', () => {
  test('killed before it wrote, and after, the next run completes', async () => {
    const group = await make();
    const down = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(convergeGroups({ ...mailbox, ldap: down })).rejects.toMatchObject({ kind: 'unavailable' });
    const killed = {
      ...mailbox.ldap,
      add: async (...args: Parameters<typeof mailbox.ldap.add>) => {
        await mailbox.ldap.add(...args);
        throw new Error('killed');
      },
    };
    await expect(convergeGroups({ ...mailbox, ldap: killed })).rejects.toThrow('killed');
    expect(await entryOf(group)).toMatchObject({ mail: [group.address] });
    const row = await mailbox.owner('mailbox.groups').where({ id: group.id }).first('version', 'entry_version');
    expect(row.entry_version).toBe(row.version);
  });

  test('of all lists puts right what was done by hand', async () => {
    const [changed, removed] = [await make(), await make()];
    const before = [await entryOf(changed), await entryOf(removed)];
    const dnOf = ({ address }: GroupDetail) => groupDn({ local_part: address.split('@')[0] as string }, mailbox.baseDn);
    await mailbox.ldap.modify(dnOf(changed), [
      { attribute: 'congvuPosting', operation: 'replace', values: ['anyone'] },
    ]);
    await mailbox.ldap.remove(dnOf(removed));
    await convergeGroups(mailbox, 'all');
    expect([await entryOf(changed), await entryOf(removed)]).toEqual(before);
  });

  test('two agencies whose lists would have one name get two names', async () => {
    const taken = `tatca.h41-02-x${unique}`;
    await make({ localPart: taken });
    await mailbox
      .owner('mailbox.groups')
      .where({ kind: 'agency', agency_id: mailbox.owner('directory.agencies').where({ code: 'H41.02' }).select('id') })
      .delete();
    await convergeAgencyLists(mailbox, { ...policy, namePattern: `tatca.{shortName}-x${unique}` }, undefined);
    expect((await agencyList('H41.02')).address).toBe(`${taken}2@nghean.gov.vn`);
  });
});
