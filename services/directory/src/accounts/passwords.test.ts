/** Password rules and lockout, as the real OpenLDAP enforces them: what is refused, what locks, what unlocks, and who may change what. */
import { permissions } from '@congvu/contracts';
import { testStack } from '@congvu/database/testing';
import { distinguishedName, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeEntries } from './converge-entry.ts';

const password = 'mat-khau-dai-2026';
let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;
let account: { id: string; username: string; address: string };
let dn: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit', 'activation-codes:issue']);
  admin = await directory.client('H41', ['requests:approve', 'accounts:write', 'passwords:reset']);
});
afterAll(() => directory.stop());

const converge = () =>
  convergeEntries({ database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn }, [account.id]);
const post = (path: string, by: TestClient) =>
  supertest(directory.app).post(`/v1/accounts/${account.id}/${path}`).set('Authorization', by.bearer);
const activate = async (word: string, by = district) => {
  const { code } = (await post('activation-code', by).expect(201)).body;
  return supertest(directory.app).post('/v1/activations').send({ account: account.username, code, password: word });
};

beforeEach(async () => {
  const word = randomWord();
  const name = `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
  const { id } = await directory.submit(district, 'H41.32', [personLine(name)]);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  if (!opened) throw new Error('an approved line has no account');
  account = opened;
  dn = distinguishedName({ uid: account.username }, `ou=people,${directory.baseDn}`);
  await converge();
  await activate(password);
  await directory.owner('directory.rate_limits').delete();
});

const change = (newPassword: string, fields: object = {}) =>
  supertest(directory.app)
    .put('/v1/password')
    .send({ account: account.address, password, newPassword, ...fields });
const canBind = (word = password) => directory.ldap.verifyPassword(dn, word);
const wrongTimes = async (times: number) => {
  for (let attempt = 0; attempt < times; attempt += 1) expect(await canBind('sai-mat-khau')).toBe(false);
};
const events = (action: string) => directory.owner('directory.audit_events').where({ subject_id: account.id, action });

describe('changing the own password', () => {
  it('needs the one before, is on record, and neither is anywhere', async () => {
    const next = 'hoan-toan-moi-2027';
    await change(next).expect(204);
    expect([await canBind(), await canBind(next)]).toEqual([false, true]);
    expect(await events('account.password_changed')).toMatchObject([{ actor_kind: 'holder', actor_id: account.id }]);
    const kept = JSON.stringify([await directory.owner('directory.audit_events'), directory.logged()]);
    for (const word of [password, next]) expect(kept.includes(word)).toBe(false);
  });

  it('is refused with a wrong old one, an unknown account, and while suspended, all alike', async () => {
    const answers = [
      await change('hoan-toan-moi-2027', { password: 'sai-mat-khau' }),
      await change('hoan-toan-moi-2027', { account: 'khong-co-ai' }),
    ];
    await post('suspend', admin).send({ reason: 'x' }).expect(200);
    answers.push(await change('hoan-toan-moi-2027'));
    const seen = answers.map(({ status, body: { instance: _, ...body } }) => ({
      status,
      body: { ...body, requestId: '' },
    }));
    expect(seen[0]).toMatchObject({ status: 403, body: { code: 'sign_in_refused' } });
    expect(seen).toEqual([seen[0], seen[0], seen[0]]);
    await post('resume', admin).send({ reason: 'x' }).expect(200);
    await converge();
    expect(await canBind()).toBe(true);
  });

  it('sets nothing when the account is handed over between the check and the change', async () => {
    const app = directory.appWith({
      ldap: {
        ...directory.ldap,
        setPasswordIf: async (...wanted) => {
          await directory
            .owner('directory.accounts')
            .where({ id: account.id })
            .update({ credential_epoch: 2, version: 9 });
          await converge();
          return directory.ldap.setPasswordIf(...wanted);
        },
      },
    });
    const answer = await supertest(app)
      .put('/v1/password')
      .send({ account: account.address, password, newPassword: 'hoan-toan-moi-2027' });
    expect([answer.status, answer.body.code]).toEqual([409, 'account_changed']);
    expect([await canBind(), await canBind('hoan-toan-moi-2027')]).toEqual([false, false]);
  });

  it('is slowed down like signing in', async () => {
    const statuses = [];
    for (let attempt = 0; attempt < 11; attempt += 1) {
      const fields = { account: 'khong-co-ai', password: 'x' };
      statuses.push((await change('hoan-toan-moi-2027', fields)).status);
    }
    expect(statuses.slice(-1)).toEqual([429]);
  });
});

describe('a password', () => {
  it.each<[string, string, string]>([
    ['too short', 'chin-kytu', 'too_small'],
    ['one letter over and over', 'aaaaaaaaaaaaaaa', 'password_guessable'],
    ['the same as before', password, 'password_policy'],
  ])('%s is refused', async (_what, word, code) => {
    const { status, body } = await change(word);
    expect([status, body.errors[0]]).toMatchObject([422, { pointer: '/newPassword', code }]);
    expect(await canBind()).toBe(true);
  });

  it('with the name of the account in it is refused, also at activation, and the code stays good', async () => {
    const { status, body } = await change(`xin-chao-${account.username}`);
    expect([status, body.errors[0].code]).toEqual([422, 'password_guessable']);
    const { code } = (await post('activation-code', admin).expect(201)).body;
    const redeem = (word: string) =>
      supertest(directory.app).post('/v1/activations').send({ account: account.username, code, password: word });
    expect((await redeem(account.username.toUpperCase() + account.username)).status).toBe(422);
    await redeem('hoan-toan-moi-2027').expect(200);
  });

  it('of the last five cannot be used again, by changing or by a reset; an older one can', async () => {
    const words = Array.from({ length: 6 }, (_, index) => `mat-khau-thu-${index}-2026`);
    let current = password;
    for (const word of words.slice(0, 3)) {
      await change(word, { password: current }).expect(204);
      current = word;
    }
    expect((await change(password, { password: current })).body.code).toBe('password_policy');
    expect((await activate(password, admin)).body.code).toBe('password_policy');
    for (const word of words.slice(3)) {
      await change(word, { password: current }).expect(204);
      current = word;
    }
    await change(password, { password: current }).expect(204);
  });

  it('is measured by the server too: what reaches it directly is no shorter', async () => {
    const own = openLdap({ url: testStack().ldap.url, bindDn: dn, password });
    await expect(own.setPassword(dn, 'ngan')).rejects.toMatchObject({ code: 'password_policy' });
    await expect(own.setPassword(dn, 'x'.repeat(201))).rejects.toMatchObject({ code: 'password_policy' });
    await own.close();
  });
});

describe('too many wrong passwords', () => {
  it('lock, also for the right one, and an administrator unlocks; the failures are forgotten', async () => {
    await wrongTimes(9);
    expect(await canBind()).toBe(true); // and begins to count anew
    await wrongTimes(10);
    expect(await canBind()).toBe(false);
    await directory.owner('directory.rate_limits').delete();
    await post('unlock', admin).expect(204);
    expect(await canBind()).toBe(true);
    await wrongTimes(9);
    expect(await canBind()).toBe(true);
    expect(await events('account.unlocked')).toMatchObject([{ actor_id: admin.id }]);
  });

  it('are all that unlocking ends: a suspension whose lock is written meanwhile stays', async () => {
    const lock = { attribute: 'pwdAccountLockedTime', operation: 'replace', values: ['000001010000Z'] } as const;
    await directory.ldap.modify(dn, [lock]);
    await post('unlock', admin).expect(204);
    expect(await canBind()).toBe(false);
  });

  it('stop locking by themselves after five minutes', async () => {
    await wrongTimes(10);
    const ago = new Date(Date.now() - 301_000).toISOString().replace(/[-:T]|\.\d+/g, '');
    await directory.ldap.modify(dn, [{ attribute: 'pwdAccountLockedTime', operation: 'replace', values: [ago] }]);
    expect(await canBind()).toBe(true);
  });

  it('are over when a reset sets another password', async () => {
    await wrongTimes(10);
    await activate('hoan-toan-moi-2027', admin);
    expect(await canBind('hoan-toan-moi-2027')).toBe(true);
  });

  it('are one thing, a suspension another: unlocking does not end it', async () => {
    await post('suspend', admin).send({ reason: 'x' }).expect(200);
    await converge();
    expect((await post('unlock', admin).expect(409)).body.code).toBe('account_state');
    expect(await canBind()).toBe(false);
  });

  it('are unlocked by nobody from elsewhere, nor without the permission', async () => {
    const elsewhere = await directory.client('H41.33', ['passwords:reset']);
    expect((await post('unlock', elsewhere).expect(404)).body.code).toBe('account_not_found');
    const others = await directory.client(
      'H41',
      permissions.filter((one) => one !== 'passwords:reset'),
    );
    await post('unlock', others).expect(403);
  });
});
