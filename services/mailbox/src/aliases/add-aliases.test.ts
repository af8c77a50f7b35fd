/** Further addresses of many mailboxes in one request: all or none, every fault, again without harm, and what LDAP says then. */
import type { TestAccount } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createMailboxApp } from '../app.ts';
import { convergeMailboxes } from '../mailboxes/converge-mailboxes.ts';
import { startTestMailbox, type TestMailbox } from '../testing.ts';

let mailbox: TestMailbox;
let authority: TestAuthority;
let app: Express;
let [first, second, elsewhere, retained]: TestAccount[] = [];
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
  first = await mailbox.account();
  second = await mailbox.account();
  elsewhere = await mailbox.account({ agencyCode: 'H41.02' });
  retained = await mailbox.account({ state: 'retired' });
  const all = [first, second, elsewhere, retained] as TestAccount[];
  await mailbox.convergeEntry(...all);
  await convergeMailboxes(
    mailbox,
    all.map(({ id }) => id),
  );
});
afterAll(() => mailbox.stop());

const send = async (items: object[], agency = 'H41.12') => {
  const bearer = await authority.bearer({ agency, permissions: ['mailboxes:write'] });
  return supertest(app).post('/v1/aliases').set('Authorization', bearer).send({ items });
};
const former = (account: TestAccount | undefined, name = 'cu') => `${name}.${account?.username}@nghean.gov.vn`;
const rows = () => mailbox.owner('mailbox.aliases').orderBy('address').pluck('address');
const added = () => mailbox.owner('directory.audit_events').where({ action: 'mailbox.alias_added' }).orderBy('id');
const inLdap = async (account: TestAccount) =>
  (await mailbox.ldap.find(mailbox.dn(account), ['congvuMailAlias']))?.attributes.congvuMailAlias;

describe('a list of further addresses', () => {
  test('is refused whole, with every fault of it', async () => {
    const [one, two] = [first?.address, second?.address];
    const answer = await send([
      { mailbox: one, address: former(first) },
      { mailbox: 'nobody@nghean.gov.vn', address: 'a@nghean.gov.vn' },
      { mailbox: elsewhere?.address, address: former(elsewhere) },
      { mailbox: retained?.address, address: former(retained) },
      { mailbox: two, address: former(first) },
      { mailbox: two, address: 'ten@gmail.com' },
      { mailbox: two, address: 'postmaster@nghean.gov.vn', validUntil: '2020-01-01' },
      { mailbox: two, address: two },
    ]);
    expect([answer.status, answer.body.code]).toEqual([422, 'aliases_invalid']);
    expect(
      answer.body.errors.map(({ pointer, code }: { pointer: string; code: string }) => `${pointer} ${code}`),
    ).toEqual([
      '/items/1/mailbox mailbox_not_found',
      '/items/2/mailbox mailbox_not_found',
      '/items/3/mailbox mailbox_state',
      '/items/4/address alias_twice',
      '/items/5/address domain_not_ours',
      '/items/6/address address_reserved',
      '/items/6/validUntil past',
      '/items/7/address address_taken',
    ]);
    // Names that others have are found when they are taken: in one domain, and in another of the same name.
    const taken = await send([
      { mailbox: one, address: former(first) },
      { mailbox: two, address: `${first?.username}@nghean.gov.vn` },
    ]);
    expect(taken.body.errors).toMatchObject([{ pointer: '/items/1/address', code: 'address_taken' }]);
    expect([await rows(), await added()]).toEqual([[], []]);
  });

  test('is added with an event each, is in LDAP after the jobs, and may be sent again', async () => {
    const items = [
      { mailbox: first?.address, address: former(first), validUntil: '2099-01-01' },
      { mailbox: first?.address, address: former(first, 'ten.cu') },
      { mailbox: second?.address, address: former(second) },
    ];
    const answer = await send(items);
    expect([answer.status, answer.body]).toEqual([200, { added: 3, unchanged: 0 }]);
    expect(await added()).toMatchObject([
      {
        subject_id: first?.id,
        agency_id: first?.agencyId,
        after: { address: former(first), validUntil: '2099-01-01' },
      },
      { subject_id: first?.id, after: { address: former(first, 'ten.cu'), validUntil: null } },
      { subject_id: second?.id, actor_kind: 'client', after: { address: former(second), validUntil: null } },
    ]);
    const jobs = await mailbox
      .owner('mailbox_jobs._private_jobs as j')
      .join('mailbox_jobs._private_tasks as t', 't.id', 'j.task_id')
      .where('t.identifier', 'converge-mailboxes')
      .orderBy('j.id', 'desc')
      .pluck('j.payload');
    expect(new Set(jobs[0].accountIds)).toEqual(new Set([first?.id, second?.id]));
    await convergeMailboxes(mailbox, jobs[0].accountIds);
    expect(new Set(await inLdap(first as TestAccount))).toEqual(new Set([former(first), former(first, 'ten.cu')]));
    expect(await inLdap(second as TestAccount)).toEqual([former(second)]);

    const more = { mailbox: second?.address, address: former(second, 'them') };
    expect((await send([...items, more])).body).toEqual({ added: 1, unchanged: 3 });
    expect(await added()).toHaveLength(4);
    const other = await send([{ mailbox: first?.address, address: former(first), validUntil: '2098-01-01' }]);
    expect(other.body.errors).toMatchObject([{ pointer: '/items/0/validUntil', code: 'alias_open' }]);
    const another = await send([{ mailbox: second?.address, address: former(first), validUntil: '2099-01-01' }]);
    expect(another.body.errors).toMatchObject([{ pointer: '/items/0/address', code: 'address_taken' }]);
  });

  test('of two that want one name at one moment, one gets all and the other nothing', async () => {
    const lists = [first, second].map((account) => [
      { mailbox: account?.address, address: former(account, 'rieng') },
      { mailbox: account?.address, address: 'tranh.nhau@nghean.gov.vn' },
    ]);
    const answers = await Promise.all(lists.map((items) => send(items)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 422]);
    const names = (await rows()).filter((address: string) => /^(rieng|tranh)/.test(address));
    const winner = answers[0]?.status === 200 ? first : second;
    expect(names).toEqual([former(winner, 'rieng'), 'tranh.nhau@nghean.gov.vn']);
  });
});
