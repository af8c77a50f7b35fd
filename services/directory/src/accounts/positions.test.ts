/** Positions pass from holder to holder: one at a time, each with an access of the own, and nothing is left to the one before. */
import { randomUUID } from 'node:crypto';
import type { Account, PositionHolding } from '@congvu/contracts';
import { testStack } from '@congvu/database/testing';
import { distinguishedName, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { decodeJwt } from 'jose';
import supertest from 'supertest';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { insertAccounts } from './account-store.ts';
import { convergeEntries } from './converge-entry.ts';
import { queueEntries } from './queue-convergence.ts';
import { takeUsernames } from './usernames.ts';

const password = 'mat-khau-dai-2026';
let directory: TestDirectory;
let submitter: TestClient;
let admin: TestClient;
let district: TestClient;
let first: Account;
let second: Account;
/** The position of the running test, of H41.32, vacant. */
let position: { id: string; username: string };
let dn: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  submitter = await directory.client('H41', ['requests:submit']);
  admin = await directory.client('H41', ['requests:approve', 'accounts:read', 'accounts:write', 'passwords:reset']);
  district = await directory.client('H41.32', ['accounts:read', 'accounts:write', 'activation-codes:issue']);
});
afterAll(() => directory.stop());

const call = (method: 'get' | 'post' | 'put', path: string, by: TestClient) =>
  supertest(directory.app)[method](`/v1/accounts/${path}`).set('Authorization', by.bearer);
const read = async (id: string): Promise<Account> => (await call('get', id, admin).expect(200)).body;
const converge = (...ids: string[]) =>
  convergeEntries({ database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn }, ids);
const dnOf = (username: string) => distinguishedName({ uid: username }, `ou=people,${directory.baseDn}`);

async function openPerson(agencyCode: string): Promise<Account> {
  const word = randomWord();
  const name = `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
  const { id } = await directory.submit(submitter, agencyCode, [personLine(name)]);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  if (!opened) throw new Error('an approved line has no account');
  await converge(opened.id);
  return read(opened.id);
}

async function openPosition(agencyCode = 'H41.32'): Promise<{ id: string; username: string }> {
  const id = randomUUID();
  const agency = await directory.owner('directory.agencies').where({ code: agencyCode }).first('id');
  const username = await directory.database.transaction(async (transaction) => {
    const candidates = [`chutich.${randomWord()}`];
    const names = await takeUsernames(transaction, [{ accountId: id, candidates, mayTakeAgencyName: false }]);
    const own = names.get(id) as string;
    const displayName = 'Chủ tịch UBND huyện Quỳnh Lưu';
    await insertAccounts(transaction, [
      {
        ...{
          id,
          kind: 'position',
          username: own,
          address: `${own}@nghean.gov.vn`,
          agencyId: agency.id,
          personId: null,
        },
        ...{ displayName, surname: displayName, givenName: displayName, title: 'Chủ tịch' },
        certificatePath: 'server_key',
      },
    ]);
    await queueEntries(transaction, [id]);
    return own;
  });
  await converge(id);
  return { id, username };
}

beforeEach(async () => {
  [first, second, position] = await Promise.all([openPerson('H41.32'), openPerson('H41.32.05'), openPosition()]);
  dn = dnOf(position.username);
  await directory.owner('directory.rate_limits').delete();
});

const reason = 'Theo quyết định bổ nhiệm';
const hand = (holder: string | null, by = admin, id = position.id) =>
  call('put', `${id}/holder`, by).send({ holderAccountId: holder, reason });
const holders = async (): Promise<PositionHolding[]> =>
  (await call('get', `${position.id}/holders`, admin).expect(200)).body.items;
const row = () => directory.owner('directory.accounts').where({ id: position.id }).first();
const entry = async (...names: string[]) => (await directory.ldap.find(dn, names))?.attributes;
const newCode = async (): Promise<string> =>
  (await call('post', `${position.id}/activation-code`, district).expect(201)).body.code;
const activate = (code: string, word = password) =>
  supertest(directory.app).post('/v1/activations').send({ account: position.username, code, password: word });
const epochOf = (answer: { body: { access_token: string } }) => decodeJwt(answer.body.access_token).epoch;

it('passes from one to the next: password, code, token and entry are the new one’s alone', async () => {
  const taken = await hand(first.id).expect(200);
  expect(taken.body.holder).toEqual({ accountId: first.id, displayName: first.displayName, address: first.address });
  await converge(position.id);
  expect(await entry('roleOccupant')).toEqual({ roleOccupant: [dnOf(first.username)] });
  const activated = await activate(await newCode()).expect(200);
  expect(epochOf(activated)).toBe(1);
  expect(await directory.ldap.verifyPassword(dn, password)).toBe(true);
  const open = openLdap({ url: testStack().ldap.url, bindDn: dn, password });
  await open.ping();

  const passed = await hand(second.id, admin).expect(200);
  expect(passed.body).toMatchObject({ state: 'active', holder: { accountId: second.id }, username: position.username });
  await converge(position.id);
  expect(await entry('roleOccupant', 'congvuCredentialEpoch')).toEqual({
    roleOccupant: [dnOf(second.username)],
    congvuCredentialEpoch: ['2'],
  });
  expect(await directory.ldap.verifyPassword(dn, password)).toBe(false);
  expect(await row()).toMatchObject({ credential_epoch: 2, entry_credential_epoch: 2 });
  await open.close();

  // The agency makes the code: nobody has a password that it would take over.
  const next = await activate(await newCode(), 'mat-khau-cua-nguoi-moi').expect(200);
  expect(epochOf(next)).toBe(2);
  await converge(position.id);
  expect(await directory.ldap.verifyPassword(dn, 'mat-khau-cua-nguoi-moi')).toBe(true);

  const [now, before, ...more] = await holders();
  expect(more).toEqual([]);
  expect(now).toMatchObject({ accountId: second.id, to: null, reason });
  expect(before).toMatchObject({ accountId: first.id, to: now?.from, endReason: reason });
  const events = await directory
    .owner('directory.audit_events')
    .where({ subject_id: position.id })
    .whereLike('action', 'position.%')
    .orderBy('id');
  expect(events).toMatchObject([
    { action: 'position.handed_over', before: { holderAccountId: null }, after: { holderAccountId: first.id, reason } },
    { action: 'position.handed_over', before: { holderAccountId: first.id }, after: { holderAccountId: second.id } },
  ]);
});

describe('what the one before still has in hand', () => {
  it('a code that was not redeemed is void', async () => {
    await hand(first.id).expect(200);
    const code = await newCode();
    await hand(second.id).expect(200);
    await converge(position.id);
    expect((await activate(code).expect(403)).body.code).toBe('activation_refused');
  });

  it('a code that is just being redeemed sets no password, before or after LDAP follows', async () => {
    await hand(first.id).expect(200);
    const code = await newCode();
    // The hand-over commits, and LDAP follows it, between the check of the code and the password.
    const app = directory.appWith({
      ldap: {
        ...directory.ldap,
        setPasswordIf: async (...change) => {
          await hand(second.id).expect(200);
          await converge(position.id);
          return directory.ldap.setPasswordIf(...change);
        },
      },
    });
    const late = await supertest(app).post('/v1/activations').send({ account: position.username, code, password });
    expect([late.status, late.body.code]).toEqual([503, 'account_not_ready']);
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(false);

    // Or LDAP has not followed yet: then the password goes with it.
    const again = await newCode();
    const sooner = directory.appWith({
      ldap: {
        ...directory.ldap,
        setPasswordIf: async (...change) => {
          await hand(first.id).expect(200);
          return directory.ldap.setPasswordIf(...change);
        },
      },
    });
    await supertest(sooner).post('/v1/activations').send({ account: position.username, code: again, password });
    await converge(position.id);
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(false);
  });

  it('its mailbox and certificates are asked about once the password is gone', async () => {
    await hand(first.id).expect(200);
    await converge(position.id);
    await hand(null).expect(200);
    for (const schema of ['mailbox', 'certificate']) await directory.owner(`${schema}_jobs._private_jobs`).delete();
    await converge(position.id);
    const keys = await directory.owner('mailbox_jobs._private_jobs').pluck('key');
    expect(keys).toEqual([`mailbox:${position.id}`]);
    await converge(position.id);
    expect(await directory.owner('certificate_jobs._private_jobs').pluck('key')).toEqual([
      `certificates:${position.id}`,
    ]);
  });
});

describe('a vacant position', () => {
  it('gets no code, and takes nothing from its next holder', async () => {
    const refused = await call('post', `${position.id}/activation-code`, district);
    expect([refused.status, refused.body.code]).toEqual([409, 'position_vacant']);
    await hand(first.id).expect(200);
    expect((await row()).credential_epoch).toBe(1);
    await hand(null).expect(200);
    expect((await read(position.id)).holder).toBeNull();
    await converge(position.id);
    expect(await entry('roleOccupant')).toEqual({ roleOccupant: [] });
    expect((await call('post', `${position.id}/activation-code`, admin)).body.code).toBe('position_vacant');
    await hand(second.id).expect(200);
    expect((await row()).credential_epoch).toBe(2);
  });

  it.each(['retire', 'transfer'])('is what a position becomes when its holder goes: %s', async (verb) => {
    const other = await openPosition('H41.32.05');
    await hand(first.id).expect(200);
    await hand(first.id, admin, other.id).expect(200);
    const body = verb === 'transfer' ? { agencyCode: 'H41.33', reason } : { reason };
    await call('post', `${first.id}/${verb}`, admin).send(body).expect(200);
    for (const id of [position.id, other.id]) {
      expect(await read(id)).toMatchObject({ state: 'active', holder: null });
      expect(await directory.owner('directory.accounts').where({ id }).first()).toMatchObject({ credential_epoch: 2 });
    }
    expect((await holders())[0]).toMatchObject({ accountId: first.id, to: expect.any(String) });
  });

  it('is what is left of one that was retired and taken back', async () => {
    await hand(first.id).expect(200);
    await call('post', `${position.id}/retire`, admin).send({ reason }).expect(200);
    expect((await hand(second.id)).body.code).toBe('account_state');
    await call('post', `${position.id}/reactivate`, admin).send({ reason }).expect(200);
    expect((await read(position.id)).holder).toBeNull();
    await hand(second.id).expect(200);
  });
});

it('is called by its office and its agency, whichever of them gets another name', async () => {
  const called = async (name: string) => {
    await converge(position.id);
    expect(await entry('cn', 'displayName', 'sn', 'givenName')).toEqual({
      ...{ cn: [name], displayName: [name], sn: [name], givenName: [name] },
    });
    const q = name.split(' ').slice(1).join(' ');
    const found = await supertest(directory.app).get('/v1/accounts').query({ q }).set('Authorization', admin.bearer);
    expect(found.body.items.map(({ id }: Account) => id)).toContain(position.id);
  };
  const agency = directory.owner('directory.agencies').where({ code: 'H41.33' });
  const { name } = await agency.clone().first('name');
  await call('post', `${position.id}/transfer`, admin).send({ agencyCode: 'H41.33', reason }).expect(200);
  await called(`Chủ tịch ${name}`);
  await call('put', `${position.id}/title`, admin).send({ title: 'Phó Chủ tịch' }).expect(200);
  await called(`Phó Chủ tịch ${name}`);
  await directory.database('directory.agencies').where({ code: 'H41.33' }).update({ name: 'Xã Vừa Đổi Tên' });
  await called('Phó Chủ tịch Xã Vừa Đổi Tên');
  const own = { kind: 'agency', agency_id: agency.clone().select('id') };
  for (const row of await directory.owner('directory.accounts').where(own))
    expect(row.display_name).toBe('Xã Vừa Đổi Tên');
  await directory.database('directory.agencies').where({ code: 'H41.33' }).update({ name });
});

describe('refused', () => {
  it('a holder who is not an active person of the own subtree', async () => {
    const stranger = await openPerson('H41.33');
    const suspended = await openPerson('H41.32');
    await call('post', `${suspended.id}/suspend`, admin).send({ reason }).expect(200);
    const other = await openPosition();
    for (const [holder, by, status, code] of [
      [stranger.id, district, 404, 'account_not_found'],
      [randomUUID(), admin, 404, 'account_not_found'],
      [suspended.id, admin, 409, 'account_state'],
      [other.id, admin, 409, 'holder_kind'],
      [null, admin, 409, 'nothing_changes'],
    ] as const) {
      const answer = await hand(holder, by);
      expect([answer.status, answer.body.code]).toEqual([status, code]);
    }
    expect(await holders()).toEqual([]);
    await hand(first.id).expect(200);
    expect((await hand(first.id)).body.code).toBe('nothing_changes');
  });

  it('an account that is no position, a position of others, an old version, no reason', async () => {
    expect((await hand(second.id, admin, first.id).expect(409)).body.code).toBe('account_kind');
    const elsewhere = await openPosition('H41.33');
    expect((await hand(first.id, district, elsewhere.id).expect(404)).body.code).toBe('account_not_found');
    expect((await call('get', `${elsewhere.id}/holders`, district).expect(404)).body.code).toBe('account_not_found');
    const stale = await hand(first.id).set('If-Match', '"9"');
    expect([stale.status, stale.body.code]).toEqual([412, 'stale_version']);
    const silent = await call('put', `${position.id}/holder`, admin).send({ holderAccountId: first.id });
    expect(silent.status).toBe(422);
  });
});

it('two hand it over at once: both, one after the other, and the history has no overlap', async () => {
  const answers = await Promise.all([hand(first.id), hand(second.id), hand(first.id, district), hand(null)]);
  expect(answers.every(({ status }) => [200, 409].includes(status))).toBe(true);
  const history = (await holders()).reverse();
  for (const [index, one] of history.entries()) {
    const next = history[index + 1];
    if (next) expect(Date.parse(one.to as string)).toBeLessThanOrEqual(Date.parse(next.from));
  }
  const done = answers.filter(({ status }) => status === 200).length;
  expect((await row()).version).toBe(1 + done);
});

it('a holder who is being retired while the position is handed over never keeps it', async () => {
  for (let round = 0; round < 5; round += 1) {
    const person = await openPerson('H41.32');
    const [handed, retired] = await Promise.all([
      hand(person.id),
      call('post', `${person.id}/retire`, admin).send({ reason }),
    ]);
    expect([200, 409]).toContain(handed.status);
    expect(retired.status).toBe(200);
    expect((await read(position.id)).holder).toBeNull();
  }
});

it('the database itself refuses a second holder at the same time', async () => {
  await hand(first.id).expect(200);
  const second_ = { position_id: position.id, holder_id: second.id, begun_by: 'x', begun_reason: 'x' };
  const inserted = directory.database('directory.position_holdings').insert({ ...second_, held_from: new Date() });
  await expect(inserted).rejects.toMatchObject({
    constraint: expect.stringMatching(/^position_holdings_(current|one_holder)$/),
  });
  const past = {
    ...second_,
    held_from: '2020-01-01',
    held_to: new Date(Date.now() + 1_000),
    ended_by: 'x',
    ended_reason: 'x',
  };
  await expect(directory.database('directory.position_holdings').insert(past)).rejects.toMatchObject({
    constraint: 'position_holdings_one_holder',
  });
});
