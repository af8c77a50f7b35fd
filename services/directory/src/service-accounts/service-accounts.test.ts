/** Connected systems against the real OpenLDAP: each reads what its scopes name and nothing else, and none can write. */
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { ServiceAccount } from '@congvu/contracts';
import { testStack } from '@congvu/database/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { convergeEntries } from '../accounts/converge-entry.ts';
import { convergeAgencies } from '../agencies/converge-agencies.ts';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeServiceAccounts } from './converge-service-accounts.ts';

let directory: TestDirectory;
let admin: TestClient;
let district: TestClient;
const opened: Ldap[] = [];
const made: string[] = [];

interface Person {
  id: string;
  username: string;
  dn: string;
}
/** In the district, in a commune below it, and in another district. */
const people = {} as Record<'district' | 'commune' | 'elsewhere', Person>;
const stack = testStack();
const { url, identities } = stack.ldap;
const as = (identity: { bindDn: string; password: string }): Ldap => {
  const ldap = openLdap({ url, ...identity });
  opened.push(ldap);
  return ldap;
};
const converge = (ids: readonly string[]) =>
  convergeEntries({ database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn }, ids);

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  admin = await directory.client('H41', ['requests:approve', 'service-accounts:write', 'accounts:write']);
  district = await directory.client('H41.32', ['service-accounts:write']);
  const submitter = await directory.client('H41', ['requests:submit']);
  const certificate = new X509Certificate(readFileSync(String(stack.certificateFile))).raw;
  const mailbox = as(identities.mailbox as { bindDn: string; password: string });
  const certificates = as(identities.certificate as { bindDn: string; password: string });
  for (const [key, code] of [
    ['district', 'H41.32'],
    ['commune', 'H41.32.05'],
    ['elsewhere', 'H41.33'],
  ] as const) {
    const word = randomWord();
    const name = `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
    const { id } = await directory.submit(submitter, code, [
      personLine(name, { mobile: '0912345678', title: 'Chuyên viên' }),
    ]);
    const account = (await directory.approve(admin, id)).lines[0]?.account;
    if (!account) throw new Error('an approved line has no account');
    await converge([account.id]);
    const dn = distinguishedName({ uid: account.username }, `ou=people,${directory.baseDn}`);
    people[key] = { id: account.id, username: account.username, dn };
    await mailbox.modify(dn, [{ attribute: 'mail', operation: 'replace', values: [account.address] }]);
    await certificates.modify(dn, [{ attribute: 'userCertificate;binary', operation: 'add', values: [certificate] }]);
  }
  await convergeAgencies(directory.database, directory.ldap, directory.baseDn, AbortSignal.timeout(30_000));
});
afterAll(async () => {
  for (const name of made) await directory.ldap.remove(`cn=${name},ou=services,${directory.baseDn}`);
  for (const ldap of opened) await ldap.close();
  await directory.stop();
});

const call = (method: 'get' | 'post' | 'put', path: string, by = admin) =>
  supertest(directory.app)[method](`/v1/service-accounts${path}`).set('Authorization', by.bearer);
const newName = () => {
  const name = `s-${randomWord()}`;
  made.push(name);
  return name;
};
const create = async (readScopes: readonly string[], fields: object = {}, by = admin): Promise<ServiceAccount> => {
  const body = { name: newName(), displayName: 'Cổng dịch vụ công', agencyCode: 'H41', readScopes, ...fields };
  const answer = await call('post', '', by).send(body);
  expect([answer.status, answer.text]).toEqual([201, expect.any(String)]);
  return answer.body;
};
const issueSecret = async (id: string): Promise<string> =>
  (await call('post', `/${id}/secret`).expect(201)).body.secret;
async function connected(readScopes: readonly string[]) {
  const account = await create(readScopes);
  const secret = await issueSecret(account.id);
  return { account, secret, ldap: as({ bindDn: account.distinguishedName, password: secret }) };
}

const everything = [
  ...['cn', 'displayName', 'title', 'o', 'mail', 'mobile', 'userCertificate;binary', 'userPassword'],
  ...['congvuCredentialEpoch', 'congvuMailQuotaBytes', 'pwdChangedTime', 'entryUUID'],
];
/** What `ldap` reads, by whom and attribute. */
async function sees(ldap: Ldap): Promise<Record<string, string[]>> {
  const seen: Record<string, string[]> = {};
  for (const [key, { username }] of Object.entries(people)) {
    const [entry] = await ldap.findBy(`ou=people,${directory.baseDn}`, 'uid', [username], everything);
    if (entry) seen[key] = everything.filter((name) => (entry.attributes[name] ?? []).length > 0);
  }
  return seen;
}
const names = ['cn', 'displayName', 'title', 'o'];

describe('a connected system reads', () => {
  it.each<[string[], Record<string, string[]>]>([
    [[], {}],
    [['agencies'], {}],
    [['names:H41.32.05'], { commune: names }],
    [['names:H41.32'], { district: names, commune: names }],
    [['names:000.00.32.H41'], { district: names, commune: names }],
    [['mail:H41'], { district: ['mail'], commune: ['mail'], elsewhere: ['mail'] }],
    [['contact:H41.33'], { elsewhere: ['mobile'] }],
    [['certificates:H41.32.05'], { commune: ['userCertificate;binary'] }],
    [
      ['names:H41.32', 'mail:H41.33', 'contact:H41.32.05'],
      { district: names, commune: [...names, 'mobile'], elsewhere: ['mail'] },
    ],
  ])('with %j: %j', async (readScopes, expected) => {
    const { ldap } = await connected(readScopes);
    expect(await sees(ldap)).toEqual(expected);
  });

  it('the agencies only with the scope for them', async () => {
    const agencies = (ldap: Ldap) =>
      ldap.find(`ou=H41.32,ou=agencies,${directory.baseDn}`, ['congvuAgencyCode']).then((entry) => entry?.attributes);
    expect(await agencies((await connected(['agencies'])).ldap)).toEqual({ congvuAgencyCode: ['H41.32'] });
    expect(await agencies((await connected(['names:H41'])).ldap)).toBeUndefined();
  });

  it('nothing by a filter on what it may not read', async () => {
    const { ldap } = await connected(['names:H41']);
    const find = (attribute: string, value: string) =>
      ldap.findBy(`ou=people,${directory.baseDn}`, attribute, [value], ['uid']);
    expect(await find('uid', people.district.username)).toHaveLength(1);
    expect(await find('mail', `${people.district.username}@nghean.gov.vn`)).toEqual([]);
    expect(await find('mobile', '0912345678')).toEqual([]);
  });

  it('itself, and no other service, policy or group', async () => {
    const { ldap, account } = await connected(['names:H41', 'agencies']);
    const other = await connected(['names:H41']);
    expect((await ldap.find(account.distinguishedName, ['congvuReadScope']))?.attributes.congvuReadScope?.length).toBe(
      2,
    );
    expect((await ldap.find(account.distinguishedName, ['userPassword']))?.attributes).toEqual({ userPassword: [] });
    const hidden = ['cn=reader,ou=services', 'cn=directory,ou=services', 'cn=default,ou=policies', 'ou=services'];
    for (const dn of [...hidden.map((rdn) => `${rdn},${directory.baseDn}`), other.account.distinguishedName]) {
      expect({ dn, entry: await ldap.find(dn, ['cn']) }).toEqual({ dn, entry: undefined });
    }
  });

  it('as ldapsearch shows it, too; and without a bind nothing', async () => {
    const { account, secret } = await connected(['mail:H41.33']);
    const search = (...bind: string[]) =>
      spawnSync('ldapsearch', [
        ...[
          '-x',
          '-LLL',
          '-H',
          url,
          ...bind,
          '-b',
          directory.baseDn,
          `(uid=${people.elsewhere.username})`,
          'mail',
          'cn',
        ],
      ]).stdout.toString();
    const found = search('-D', account.distinguishedName, '-w', secret);
    expect(found).toContain(`mail: ${people.elsewhere.username}@nghean.gov.vn`);
    expect(found).not.toContain('cn:');
    expect(search()).toBe('');
  });
});

it('reads many in pages; without pages an answer ends at 500', async () => {
  const crowd = Array.from({ length: 510 }, () => `uid=${randomWord()}${randomWord()},ou=people,${directory.baseDn}`);
  try {
    const outcomes = await directory.ldap.applyAll(
      crowd.map((dn) => ({
        kind: 'add',
        dn,
        attributes: {
          objectClass: ['inetOrgPerson', 'congvuAccount'],
          uid: [dn.slice(4, 20)],
          cn: ['x'],
          sn: ['x'],
          congvuAccountId: [randomUUID()],
          congvuAgencyPath: ['H41.77'],
        },
      })),
    );
    expect(outcomes.filter(Boolean)).toEqual([]);
    const { account, secret } = await connected(['names:H41']);
    const change = { attribute: 'congvuReadScope', operation: 'replace', values: ['names:H41.77'] } as const;
    await directory.ldap.modify(account.distinguishedName, [change]);
    const search = (...controls: string[]) => {
      const bind = ['-x', '-LLL', '-H', url, '-D', account.distinguishedName, '-w', secret];
      const base = ['-b', `ou=people,${directory.baseDn}`, '-s', 'one', '(congvuAgencyPath=H41.77)', 'cn'];
      const { status, stdout } = spawnSync('ldapsearch', [...bind, ...controls, ...base]);
      return [status, stdout.toString().match(/^cn: x$/gm)?.length];
    };
    expect(search()).toEqual([4, 500]); // sizeLimitExceeded
    expect(search('-E', 'pr=200/noprompt')).toEqual([0, 510]);
  } finally {
    for (const dn of crowd) await directory.ldap.remove(dn);
  }
});

describe('a connected system writes nothing', () => {
  it('of people, of agencies, of itself, and adds none', async () => {
    const { ldap, account } = await connected(['names:H41', 'mail:H41', 'contact:H41', 'certificates:H41', 'agencies']);
    const refused = { name: 'InsufficientAccessError' };
    const replace = (dn: string, attribute: string, value: string) =>
      ldap.modify(dn, [{ attribute, operation: 'replace', values: [value] }]);
    await expect(replace(people.district.dn, 'title', 'Chủ tịch')).rejects.toMatchObject(refused);
    await expect(replace(people.district.dn, 'userPassword', 'mat-khau-dai-2026')).rejects.toMatchObject(refused);
    await expect(replace(account.distinguishedName, 'congvuReadScope', 'names:H41')).rejects.toMatchObject(refused);
    await expect(replace(account.distinguishedName, 'userPassword', 'x'.repeat(30))).rejects.toMatchObject(refused);
    await expect(ldap.setPassword(people.district.dn, 'mat-khau-dai-2026')).rejects.toMatchObject(refused);
    await expect(ldap.remove(people.district.dn)).rejects.toMatchObject(refused);
    const uid = randomWord();
    await expect(
      ldap.add(`uid=${uid},ou=people,${directory.baseDn}`, {
        objectClass: ['inetOrgPerson'],
        uid: [uid],
        cn: ['x'],
        sn: ['x'],
      }),
    ).rejects.toMatchObject(refused);
  });

  it('and the directory service itself touches no identity of the platform', async () => {
    const reader = `cn=reader,ou=services,${directory.baseDn}`;
    const refused = { name: 'InsufficientAccessError' };
    for (const attribute of ['userPassword', 'description', 'congvuAccountKind']) {
      const change = { attribute, operation: 'replace', values: ['s'.repeat(30)] } as const;
      await expect(directory.ldap.modify(reader, [change])).rejects.toMatchObject(refused);
    }
    await expect(directory.ldap.remove(reader)).rejects.toMatchObject(refused);
    expect(
      await as(identities.reader as { bindDn: string; password: string }).find(people.district.dn, ['cn']),
    ).toBeDefined();
  });
});

describe('what it may read follows', () => {
  it('its scopes at once, on a connection that is open', async () => {
    const { account, ldap } = await connected(['names:H41']);
    expect(Object.keys(await sees(ldap))).toEqual(['district', 'commune', 'elsewhere']);
    await call('put', `/${account.id}/read-scopes`)
      .send({ readScopes: ['mail:H41.33'] })
      .expect(200);
    await convergeServiceAccounts(directory, AbortSignal.timeout(5_000));
    expect(await sees(ldap)).toEqual({ elsewhere: ['mail'] });
  });

  it('an account that is transferred, and an agency that gets another parent', async () => {
    const { ldap } = await connected(['names:H41.33']);
    const transfer = (agencyCode: string) =>
      supertest(directory.app)
        .post(`/v1/accounts/${people.district.id}/transfer`)
        .set('Authorization', admin.bearer)
        .send({ agencyCode, reason: 'Điều động' })
        .expect(200);
    expect(Object.keys(await sees(ldap))).toEqual(['elsewhere']);
    await transfer('H41.33');
    await converge([people.district.id]);
    expect(Object.keys(await sees(ldap))).toEqual(['district', 'elsewhere']);
    await transfer('H41.32');
    await converge([people.district.id]);

    const agency = (code: string) => directory.owner('directory.agencies').where({ code }).select('id');
    const move = (parent: string) =>
      directory
        .database('directory.agencies')
        .where({ code: 'H41.32.05' })
        .update({ parent_id: agency(parent) });
    await move('H41.33');
    const { rows } = await directory.owner.raw(
      `select payload->'accountIds' as ids from directory_jobs._private_jobs j join directory_jobs._private_tasks t on t.id = j.task_id
       where t.identifier = 'converge-entries' and j.key is null order by j.id desc limit 1`,
    );
    expect(rows).toEqual([{ ids: [people.commune.id] }]);
    await converge([people.commune.id]);
    expect(Object.keys(await sees(ldap))).toEqual(['commune', 'elsewhere']);
    await move('H41.32');
    await converge([people.commune.id]);
    expect(Object.keys(await sees(ldap))).toEqual(['elsewhere']);
  });
});

describe('a secret', () => {
  it('is shown once, is hashed where it lies, and voids the one before', async () => {
    const { account, secret } = await connected(['names:H41']);
    const answer = await call('post', `/${account.id}/secret`).expect(201);
    expect(answer.headers['cache-control']).toBe('no-store');
    const { distinguishedName: dn } = account;
    expect(await directory.ldap.verifyPassword(dn, secret)).toBe(false);
    expect(await directory.ldap.verifyPassword(dn, answer.body.secret)).toBe(true);
    const kept = JSON.stringify([
      await directory.owner('directory.service_accounts'),
      await directory.owner('directory.audit_events'),
      directory.logged(),
    ]);
    for (const word of [secret, answer.body.secret, createHash('sha256').update(secret).digest('hex')])
      expect(kept.includes(word)).toBe(false);
    expect(
      await directory.owner('directory.audit_events').where({ subject_id: account.id }).orderBy('id').pluck('action'),
    ).toEqual(['service_account.created', 'service_account.secret_issued', 'service_account.secret_issued']);
  });

  it('is not there before it is issued, and is never locked by wrong ones', async () => {
    const account = await create(['names:H41']);
    await convergeServiceAccounts(directory, AbortSignal.timeout(5_000));
    expect(await directory.ldap.verifyPassword(account.distinguishedName, '')).toBe(false);
    const secret = await issueSecret(account.id);
    for (let attempt = 0; attempt < 12; attempt += 1) {
      expect(await directory.ldap.verifyPassword(account.distinguishedName, 'sai')).toBe(false);
    }
    expect(await directory.ldap.verifyPassword(account.distinguishedName, secret)).toBe(true);
  });

  it('is not issued while LDAP is away; the old one stays', async () => {
    const { account, secret } = await connected(['names:H41']);
    const identity = identities.directory as { bindDn: string; password: string };
    const away = openLdap({ ...identity, url: 'ldap://127.0.0.1:1' });
    const answer = await supertest(directory.appWith({ ldap: away }))
      .post(`/v1/service-accounts/${account.id}/secret`)
      .set('Authorization', admin.bearer);
    expect([answer.status, answer.body.code]).toEqual([503, 'ldap_unavailable']);
    expect(await directory.ldap.verifyPassword(account.distinguishedName, secret)).toBe(true);
  });
});

it('retired, it is gone from LDAP, its connections read nothing, and its name is not given again', async () => {
  const { account, secret, ldap } = await connected(['names:H41']);
  expect(Object.keys(await sees(ldap))).toHaveLength(3);
  const retired = await call('post', `/${account.id}/retire`).send({ reason: 'Thay hệ thống' }).expect(200);
  expect(retired.body).toMatchObject({ state: 'retired' });
  await convergeServiceAccounts(directory, AbortSignal.timeout(5_000));
  expect(await sees(ldap)).toEqual({});
  expect(await directory.ldap.verifyPassword(account.distinguishedName, secret)).toBe(false);
  expect((await call('post', `/${account.id}/secret`).expect(409)).body.code).toBe('service_account_retired');
  const again = { name: account.name, displayName: 'x', agencyCode: 'H41', readScopes: [] };
  expect((await call('post', '').send(again).expect(409)).body.code).toBe('service_account_name_taken');
});

describe('refused', () => {
  const body = { name: 's-test', displayName: 'x', agencyCode: 'H41.32', readScopes: [] };
  it.each<[string, object, number, string, string | undefined]>([
    ['a name of the platform', { name: 'postfix' }, 409, 'service_account_name_taken', undefined],
    ['a name out of form', { name: 'A b' }, 422, 'request_invalid', '/name'],
    ['a scope out of form', { readScopes: ['names'] }, 422, 'request_invalid', '/readScopes/0'],
    ['another kind of scope', { readScopes: ['passwords:H41.32'] }, 422, 'request_invalid', '/readScopes/0'],
    [
      'a scope beyond the own subtree',
      { readScopes: ['names:H41.32', 'mail:H41'] },
      422,
      'request_invalid',
      '/readScopes/1',
    ],
    ['a scope of no agency', { readScopes: ['mail:H41.32.ZZ'] }, 422, 'request_invalid', '/readScopes/0'],
    ['an agency beyond the own subtree', { agencyCode: 'H41.33' }, 404, 'agency_not_found', undefined],
  ])('%s', async (_what, fields, status, code, pointer) => {
    const before = await directory.owner('directory.service_accounts').count();
    const answer = await call('post', '', district).send({ ...body, ...fields });
    expect([answer.status, answer.body.code, answer.body.errors?.[0].pointer]).toEqual([status, code, pointer]);
    expect(await directory.owner('directory.service_accounts').count()).toEqual(before);
  });

  it('whatever is of another agency, and an old version', async () => {
    const own = await create(['names:H41.32'], { agencyCode: 'H41.32' }, district);
    const { id } = await create(['names:H41']);
    for (const answer of [
      await call('get', `/${id}`, district),
      await call('put', `/${id}/read-scopes`, district).send({ readScopes: [] }),
      await call('post', `/${id}/secret`, district),
      await call('post', `/${id}/retire`, district).send({ reason: 'x' }),
    ])
      expect([answer.status, answer.body.code]).toEqual([404, 'service_account_not_found']);
    const listed = (await call('get', '', district).expect(200)).body.items;
    expect(listed.map((one: ServiceAccount) => one.id)).toEqual([own.id]);
    const stale = await call('put', `/${own.id}/read-scopes`, district).set('If-Match', '"7"').send({ readScopes: [] });
    expect([stale.status, stale.body.code]).toEqual([412, 'stale_version']);
  });
});

it('nobody gets a system’s secret, or says what it reads, who may not read all that it reads', async () => {
  const { id } = await create(['agencies', 'names:H41'], { agencyCode: 'H41.32' });
  for (const answer of [
    await call('put', `/${id}/read-scopes`, district).send({ readScopes: [] }),
    await call('post', `/${id}/secret`, district),
  ])
    expect([answer.status, answer.body.code]).toEqual([403, 'read_scopes_beyond']);
  await call('put', `/${id}/read-scopes`)
    .send({ readScopes: ['agencies', 'names:H41.32'] })
    .expect(200);
  await call('post', `/${id}/secret`, district).expect(201);
});

it('what somebody did to the entries is found, recorded and put right, whatever stands against one of them', async () => {
  const [widened, deleted, blocked] = [
    await connected(['names:H41.33']),
    await connected(['names:H41.33']),
    await connected(['names:H41.33']),
  ];
  const all = () => convergeServiceAccounts(directory, AbortSignal.timeout(30_000), 'all');
  const events = ({ account }: { account: ServiceAccount }) =>
    directory
      .owner('directory.audit_events')
      .where({ subject_id: account.id })
      .whereLike('action', '%.entry_%')
      .select('action', 'actor_kind', 'before', 'after');
  const replace = (dn: string, attribute: string, value: string) =>
    directory.ldap.modify(dn, [{ attribute, operation: 'replace', values: [value] }]);
  await replace(blocked.account.distinguishedName, 'congvuAccountId', randomUUID());
  await replace(widened.account.distinguishedName, 'congvuReadScope', 'names:H41');
  await directory.ldap.remove(deleted.account.distinguishedName);
  await expect(all()).rejects.toMatchObject({ code: 'entry_of_another' });

  expect(Object.keys(await sees(widened.ldap))).toEqual(['elsewhere']);
  expect(await events(widened)).toEqual([
    {
      action: 'service_account.entry_repaired',
      actor_kind: 'system',
      before: { readScopes: ['names:H41'] },
      after: { readScopes: ['names:H41.33'] },
    },
  ]);
  const entry = await directory.ldap.find(deleted.account.distinguishedName, ['congvuReadScope']);
  expect(entry?.attributes).toEqual({ congvuReadScope: ['names:H41.33'] });
  expect(await directory.ldap.verifyPassword(deleted.account.distinguishedName, deleted.secret)).toBe(false);
  expect((await call('get', `/${deleted.account.id}`).expect(200)).body.secretIssuedAt).toBeNull();
  expect(await events(deleted)).toMatchObject([{ action: 'service_account.entry_restored' }]);

  await replace(blocked.account.distinguishedName, 'congvuAccountId', blocked.account.id);
  await all();
  for (const one of [widened, deleted]) expect(await events(one)).toHaveLength(1);
  expect(await events(blocked)).toEqual([]);
});

it('an entry of that name that is not of the account is left alone', async () => {
  const account = await create(['names:H41']);
  await directory.ldap.add(account.distinguishedName, {
    objectClass: ['applicationProcess', 'congvuAccount', 'congvuServiceAccount'],
    cn: [account.name],
    congvuAccountId: [admin.id],
    congvuAccountKind: ['service'],
  });
  expect((await call('post', `/${account.id}/secret`).expect(409)).body.code).toBe('entry_of_another');
  await directory.ldap.remove(account.distinguishedName);
  await convergeServiceAccounts(directory, AbortSignal.timeout(5_000));
  expect((await directory.ldap.find(account.distinguishedName, ['congvuAccountId']))?.attributes).toEqual({
    congvuAccountId: [account.id],
  });
});

it('somebody who authenticates people through it binds as them, by their own password', async () => {
  await directory.ldap.setPassword(people.elsewhere.dn, 'mat-khau-dai-2026');
  const whoami = execFileSync('ldapwhoami', ['-x', '-H', url, '-D', people.elsewhere.dn, '-w', 'mat-khau-dai-2026']);
  expect(whoami.toString()).toContain(people.elsewhere.dn);
});
