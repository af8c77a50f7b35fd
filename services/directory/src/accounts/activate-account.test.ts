/** Activation: the code is shown once, good once, for one account and for a while; the password goes to LDAP and nowhere else. */
import { createHash } from 'node:crypto';
import { permissions } from '@congvu/contracts';
import { testStack } from '@congvu/database/testing';
import { tokenAuthentication } from '@congvu/http';
import { distinguishedName, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Express } from 'express';
import { createLocalJWKSet, jwtVerify } from 'jose';
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
  district = await directory.client('H41.32', ['requests:submit', 'passwords:reset', 'accounts:read']);
  admin = await directory.client('H41', ['requests:approve', 'accounts:write', 'accounts:read']);
});
afterAll(() => directory.stop());

const converge = () =>
  convergeEntries({ database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn }, [account.id]);

async function openAccount(): Promise<void> {
  const word = randomWord();
  const name = `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
  const { id } = await directory.submit(district, 'H41.32', [personLine(name)]);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  if (!opened) throw new Error('an approved line has no account');
  account = opened;
  dn = distinguishedName({ uid: account.username }, `ou=people,${directory.baseDn}`);
}
beforeEach(async () => {
  await openAccount();
  await converge();
  await directory.owner('directory.rate_limits').delete();
});

const issue = (by = district) =>
  supertest(directory.app).post(`/v1/accounts/${account.id}/activation-code`).set('Authorization', by.bearer);
const newCode = async (): Promise<string> => (await issue().expect(201)).body.code;
const activate = (code: string, fields: object = {}, app: Express = directory.app) =>
  supertest(app)
    .post('/v1/activations')
    .send({ account: account.address, code, password, ...fields });
const signIn = (fields: object = {}) =>
  supertest(directory.app)
    .post('/v1/holder-tokens')
    .send({ account: account.address, password, ...fields });
const codes = () => directory.owner('directory.activation_codes').where({ account_id: account.id });
const events = (action: string) => directory.owner('directory.audit_events').where({ subject_id: account.id, action });
const canBind = (word = password) => directory.ldap.verifyPassword(dn, word);
const hash = (code: string) => createHash('sha256').update(code.replaceAll('-', '')).digest();
const setState = (verb: 'suspend' | 'resume') =>
  supertest(directory.app)
    .post(`/v1/accounts/${account.id}/${verb}`)
    .set('Authorization', admin.bearer)
    .send({ reason: 'Thử' })
    .expect(200);

describe('a code', () => {
  it('is shown this once and kept as a hash', async () => {
    const answer = await issue().expect(201);
    expect(answer.headers['cache-control']).toBe('no-store');
    const { code, expiresAt } = answer.body;
    expect(answer.body).toEqual({ accountId: account.id, address: account.address, code, expiresAt });
    expect(code).toMatch(/^([A-HJKMNP-TV-Z2-9]{4}-){3}[A-HJKMNP-TV-Z2-9]{4}$/);
    const days = (Date.parse(expiresAt) - Date.now()) / 86_400_000;
    expect(days).toBeGreaterThan(13.9);
    expect(days).toBeLessThanOrEqual(14);

    const [row, ...more] = await codes();
    expect(more).toEqual([]);
    expect(row).toMatchObject({ code_hash: hash(code), issued_by: district.id, used_at: null });
    const [event] = await events('activation_code.issued');
    expect(event).toMatchObject({ actor_id: district.id, actor_name: district.name, after: { expiresAt } });

    await activate(code).expect(200);
    const kept = JSON.stringify([
      await codes(),
      await directory.owner('directory.audit_events'),
      await directory.owner('directory_jobs._private_jobs'),
    ]);
    for (const text of [kept, directory.logged()]) {
      for (const secret of [code, code.replaceAll('-', ''), password]) expect(text.includes(secret)).toBe(false);
    }
  });

  it('sets the password in LDAP and is spent', async () => {
    const code = await newCode();
    expect(await canBind()).toBe(false);
    const answer = await activate(code).expect(200);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(answer.body).toMatchObject({
      token_type: 'Bearer',
      expires_in: 600,
      account: { id: account.id, address: account.address },
    });
    expect(await canBind()).toBe(true);
    expect((await codes())[0].used_at).not.toBeNull();
    expect(await events('account.activated')).toMatchObject([
      { actor_kind: 'holder', actor_id: account.id, service: 'directory' },
    ]);
    const again = await activate(code, { password: 'mot-mat-khau-khac' });
    expect([again.status, again.body.code]).toEqual([403, 'activation_refused']);
    expect(await canBind()).toBe(true);
  });

  it('is read as people type it, and the account by its username too', async () => {
    const code = await newCode();
    await activate(` ${code.toLowerCase().replaceAll('-', ' ')} `, { account: account.username.toUpperCase() }).expect(
      200,
    );
    expect(await canBind()).toBe(true);
  });

  it('voids the one before', async () => {
    const old = await newCode();
    const code = await newCode();
    expect(await codes()).toHaveLength(1);
    await activate(old).expect(403);
    expect(await canBind()).toBe(false);
    await activate(code).expect(200);
    await newCode(); // a spent one stays in the record
    expect(await codes()).toHaveLength(2);
  });

  it('is for accounts of the own agencies, and only active ones', async () => {
    const neighbour = await directory.client('H41.33', ['activation-codes:issue']);
    expect((await issue(neighbour).expect(404)).body.code).toBe('account_not_found');
    await setState('suspend');
    expect((await issue().expect(409)).body.code).toBe('account_state');
    expect(await codes()).toEqual([]);
  });
});

describe('a refusal', () => {
  it('is one and the same, whatever is wrong', async () => {
    const spent = await newCode();
    await activate(spent).expect(200);
    const code = await newCode();
    const wrong = [
      await activate('AAAA-BBBB-CCCC-DDDD'),
      await activate(spent),
      await activate(code, { account: 'khong.co@nghean.gov.vn' }),
    ];
    await codes()
      .whereNull('used_at')
      .update({ expires_at: new Date(Date.now() - 1_000) });
    wrong.push(await activate(code));
    const fresh = await newCode();
    await setState('suspend');
    wrong.push(await activate(fresh));
    const shown = wrong.map(({ status, body }) => ({ status, ...body, requestId: '' }));
    for (const one of shown) expect(one).toEqual(shown[0]);
    expect(shown[0]).toMatchObject({ status: 403, code: 'activation_refused' });
    expect(await events('account.activated')).toHaveLength(1);
  });

  it('of the password by the policy leaves the code good', async () => {
    const code = await newCode();
    // Already hashed, so that its length cannot be seen.
    const hashed = await activate(code, { password: '{SSHA}AAAAAAAAAAAAAAAAAAAAAAAAAAAA' });
    expect([hashed.status, hashed.body.code]).toEqual([422, 'password_policy']);
    expect(hashed.body.errors).toMatchObject([{ pointer: '/password', code: 'password_policy' }]);
    const short = await activate(code, { password: 'ngan' });
    expect(short.body.errors).toMatchObject([{ pointer: '/password', code: 'too_small' }]);
    expect(await codes()).toMatchObject([{ used_at: null, claimed_until: null }]);
    expect(await events('account.activated')).toEqual([]);
    await activate(code).expect(200);
    expect(await canBind()).toBe(true);
  });

  it('for want of the entry, or of LDAP, leaves the code good', async () => {
    await directory.ldap.remove(dn);
    const code = await newCode();
    const early = await activate(code);
    expect([early.status, early.body.code]).toEqual([503, 'account_not_ready']);
    expect(early.headers['retry-after']).toBe('5');
    const identity = testStack().ldap.identities.directory as { bindDn: string; password: string };
    const gone = openLdap({ url: 'ldap://127.0.0.1:1', ...identity });
    const down = await activate(code, {}, directory.appWith({ ldap: gone }));
    expect([down.status, down.body.code]).toEqual([503, 'ldap_unavailable']);
    expect(await codes()).toMatchObject([{ used_at: null, claimed_until: null }]);
    await converge();
    await activate(code).expect(200);
  });

  it('meets the second of two at once', async () => {
    const code = await newCode();
    const words = ['mat-khau-thu-nhat', 'mat-khau-thu-hai'];
    const answers = await Promise.all(words.map((word) => activate(code, { password: word })));
    expect(answers.map((answer) => answer.status).sort()).toEqual([200, 403]);
    const won = words[answers.findIndex((answer) => answer.status === 200)];
    for (const word of words) expect(await canBind(word)).toBe(word === won);
    expect(await events('account.activated')).toHaveLength(1);
  });

  it('comes after ten attempts for one account within a minute, right or wrong, in any letter case', async () => {
    const code = await newCode();
    for (let attempt = 0; attempt < 10; attempt += 1) {
      await activate('AAAA-BBBB-CCCC-DDDD', {
        account: attempt % 2 ? account.address : account.address.toUpperCase(),
      }).expect(403);
    }
    const answer = await activate(code);
    expect([answer.status, answer.body.code]).toEqual([429, 'too_many_attempts']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(Number(answer.headers['retry-after'])).toBeLessThanOrEqual(60);
    expect((await signIn()).status).toBe(429);
    expect(await codes()).toMatchObject([{ used_at: null }]);
    expect(await canBind()).toBe(false);
  });

  it('comes after sixty attempts from one address within a minute', async () => {
    const attempts = Array.from({ length: 60 }, (_, index) =>
      activate('AAAA-BBBB-CCCC-DDDD', { account: `nguoi${index}` }),
    );
    for (const { status } of await Promise.all(attempts)) expect(status).toBe(403);
    expect((await activate('AAAA-BBBB-CCCC-DDDD', { account: 'nguoi61' })).status).toBe(429);
    const from = (app: Express) =>
      supertest(app)
        .post('/v1/activations')
        .set('X-Forwarded-For', '203.0.113.9')
        .send({ account: 'nguoi61', code: 'x', password });
    // What the header says counts only where a proxy is trusted to set it.
    expect((await from(directory.app)).status).toBe(429);
    expect((await from(directory.appWith({ trustProxy: 'loopback' }))).status).toBe(403);
  });
});

describe('signing in', () => {
  it('gives the holder a token for the own account', async () => {
    await activate(await newCode()).expect(200);
    const { body, headers } = await signIn().expect(200);
    expect(headers['cache-control']).toBe('no-store');
    expect(body.account).toEqual({ id: account.id, address: account.address });
    const keys = createLocalJWKSet(directory.tokens.keySet);
    const { payload } = await jwtVerify(body.access_token, keys, {
      issuer: directory.tokens.issuer,
      audience: 'congvu',
    });
    expect(payload).toMatchObject({ sub: account.id, principal: 'holder', agency: 'H41.32', scope: '' });
  });

  it('is refused alike to a wrong password, an unknown account and a suspended one', async () => {
    await activate(await newCode()).expect(200);
    const refused = [
      await signIn({ password: 'mat-khau-sai-2026' }),
      await signIn({ account: 'khong.co@nghean.gov.vn' }),
      await signIn({ account: `*)(uid=${account.username}` }),
    ];
    await setState('suspend');
    refused.push(await signIn()); // LDAP itself does not know yet
    await converge();
    refused.push(await signIn());
    const shown = refused.map(({ status, body }) => ({ status, ...body, requestId: '' }));
    for (const one of shown) expect(one).toEqual(shown[0]);
    expect(shown[0]).toMatchObject({ status: 403, code: 'sign_in_refused' });
    await setState('resume');
    await converge();
    await signIn().expect(200);
  });

  it('opens nothing to the holder that is a client’s', async () => {
    const { body } = await activate(await newCode()).expect(200);
    const keys = createLocalJWKSet(directory.tokens.keySet);
    const app = directory.appWith({ authenticate: tokenAuthentication({ issuer: directory.tokens.issuer, keys }) });
    const { body: document } = await supertest(app).get('/openapi.json');
    type Operations = Record<string, { security: object[] }>;
    const paths: [string, Operations][] = Object.entries(document.paths as Record<string, Operations>);
    let tried = 0;
    for (const [path, methods] of paths) {
      for (const [method, { security }] of Object.entries(methods)) {
        if (security.length === 0 || security.some((scheme) => 'holder' in scheme)) continue;
        const url = path.replace(/\{\w+\}/, account.id);
        const answer = await supertest(app)[method as 'get'](url).set('Authorization', `Bearer ${body.access_token}`);
        expect([method, path, answer.status]).toEqual([method, path, 403]);
        tried += 1;
      }
    }
    expect(tried).toBeGreaterThan(permissions.length);
    // The same app lets a client's token of the same issuer in: the refusals were for what the token is.
    const { token } = await directory.tokens.issue({
      kind: 'client',
      id: admin.id,
      agencyCode: 'H41',
      permissions: ['accounts:read'],
    });
    await supertest(app).get(`/v1/accounts/${account.id}`).set('Authorization', `Bearer ${token}`).expect(200);
  });
});

describe('once the holder has set a password', () => {
  it('a new code is a reset, and needs the permission for it', async () => {
    await activate(await newCode()).expect(200);
    const agency = await directory.client('H41.32', ['activation-codes:issue']);
    const refused = await issue(agency);
    expect([refused.status, refused.body.code]).toEqual([403, 'already_activated']);
    await issue().expect(201);
    expect(await events('activation_code.issued_for_reset')).toMatchObject([{ actor_id: district.id }]);
  });
});
