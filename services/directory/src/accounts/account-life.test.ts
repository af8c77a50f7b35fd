/** What happens to an account after it was opened: every act in every state, by whom, what the record, LDAP and the audit say then. */
import type { Account } from '@congvu/contracts';
import type { Transaction } from '@congvu/database';
import { distinguishedName } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { systemActor } from '../audit/audit-event.ts';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { changeTitle } from './change-title.ts';
import { convergeEntries } from './converge-entry.ts';
import { endSuspensions } from './end-suspensions.ts';
import { retireAccount } from './retire-account.ts';
import { transferAccount } from './transfer-account.ts';

const password = 'mat-khau-dai-2026';
const lockedForGood = '000001010000Z';

let directory: TestDirectory;
let submitter: TestClient;
let admin: TestClient;
let district: TestClient;
/** The account of the running test, of H41.32. */
let account: Account;
let dn: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  submitter = await directory.client('H41', ['requests:submit']);
  admin = await directory.client('H41', [
    ...(['requests:approve', 'accounts:read', 'accounts:write', 'passwords:reset'] as const),
  ]);
  district = await directory.client('H41.32', ['accounts:read', 'accounts:write', 'activation-codes:issue']);
});
afterAll(() => directory.stop());

const read = async (id: string): Promise<Account> =>
  (await supertest(directory.app).get(`/v1/accounts/${id}`).set('Authorization', admin.bearer).expect(200)).body;
const converge = (...ids: string[]) =>
  convergeEntries({ database: directory.database, ldap: directory.ldap, baseDn: directory.baseDn }, ids);
const dnOf = ({ username }: { username: string }) =>
  distinguishedName({ uid: username }, `ou=people,${directory.baseDn}`);
async function openAccount(agencyCode = 'H41.32', line = personLine(uniqueName())): Promise<Account> {
  const { id } = await directory.submit(submitter, agencyCode, [line]);
  const opened = (await directory.approve(admin, id)).lines[0]?.account;
  if (!opened) throw new Error('an approved line has no account');
  await converge(opened.id);
  return read(opened.id);
}
function uniqueName(): string {
  const word = randomWord();
  return `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
}
beforeEach(async () => {
  account = await openAccount();
  dn = dnOf(account);
});

const act = (verb: string, body: object, by = admin, id = account.id, ifMatch?: string) => {
  const method = ['name', 'title', 'holder'].includes(verb) ? 'put' : 'post';
  const request = supertest(directory.app)[method](`/v1/accounts/${id}/${verb}`).set('Authorization', by.bearer);
  if (ifMatch !== undefined) request.set('If-Match', ifMatch);
  return request.send(body);
};
const reason = 'Theo quyết định';
const row = (id = account.id) => directory.owner('directory.accounts').where({ id }).first();
const events = (id = account.id) =>
  directory.owner('directory.audit_events').where({ subject_id: id, service: 'directory' }).orderBy('id');
const entry = async (...names: string[]) => (await directory.ldap.find(dn, names))?.attributes;
const canBind = () => directory.ldap.verifyPassword(dn, password);
const bodies: Record<string, object> = {
  suspend: { reason },
  resume: { reason },
  retire: { reason },
  reactivate: { reason },
  transfer: { agencyCode: 'H41.32.05', reason },
  name: { fullName: 'Lê Thị Hoa' },
  title: { title: 'Phó phòng' },
  'activation-code': {},
  unlock: {},
};

describe('every act in every state', () => {
  const toState: Record<string, string[]> = {
    active: [],
    suspended: ['suspend'],
    retired: ['retire'],
    'suspended and retired': ['suspend', 'retire'],
    'retired and reactivated': ['retire', 'reactivate'],
  };
  const after: Record<string, Partial<Record<string, string>>> = {
    active: {
      suspend: 'suspended',
      retire: 'retired',
      transfer: '',
      name: '',
      title: '',
      'activation-code': '',
      unlock: '',
    },
    suspended: { resume: 'active', retire: 'retired', transfer: '', name: '', title: '' },
    retired: { reactivate: 'active' },
  };
  after['suspended and retired'] = after.retired as object;
  after['retired and reactivated'] = after.active as object;
  const table = Object.keys(toState).flatMap((state) => Object.keys(bodies).map((verb) => [state, verb] as const));

  it.each(table)('%s: %s', async (state, verb) => {
    for (const step of toState[state] ?? []) await act(step, bodies[step] as object).expect(200);
    const before = [await row(), await events()] as const;
    const becomes = after[state]?.[verb];
    const answer = await act(verb, bodies[verb] as object);
    if (becomes === undefined) {
      expect([answer.status, answer.body.code]).toEqual([409, 'account_state']);
      expect([await row(), await events()]).toEqual(before);
      return;
    }
    expect([answer.status, answer.text]).toEqual([expect.any(Number), expect.any(String)]);
    expect(answer.status).toBeLessThan(300);
    const now = await row();
    expect(now.state).toBe(becomes || before[0].state);
    const changes = !['activation-code', 'unlock'].includes(verb);
    expect(now.version).toBe(before[0].version + (changes ? 1 : 0));
    expect((await events()).length).toBeGreaterThan(before[1].length);
  });
});

describe('every act', () => {
  const verbs = Object.keys(bodies);
  it.each(verbs)('%s is refused beyond the own subtree', async (verb) => {
    const all = await directory.client('H41.33', ['accounts:write', 'activation-codes:issue', 'passwords:reset']);
    const before = [await row(), await events()];
    const answer = await act(verb, bodies[verb] as object, all);
    // A transfer names an agency too, which is looked for first.
    expect([answer.status, answer.body.code]).toEqual([
      404,
      verb === 'transfer' ? 'agency_not_found' : 'account_not_found',
    ]);
    expect([await row(), await events()]).toEqual(before);
  });

  it.each(['suspend', 'retire', 'transfer', 'name', 'title'])(
    '%s is refused on an old version, and of two at once one is done',
    async (verb) => {
      const body = bodies[verb] as object;
      const stale = await act(verb, body, admin, account.id, '"7"');
      expect([stale.status, stale.body.code]).toEqual([412, 'stale_version']);
      const tag = `"${account.version}"`;
      const both = await Promise.all([
        act(verb, body, admin, account.id, tag),
        act(verb, body, district, account.id, tag),
      ]);
      expect(both.map(({ status }) => status).sort()).toEqual([200, 412]);
      expect((await row()).version).toBe(account.version + 1);
    },
  );

  it.each(['suspend', 'retire', 'transfer', 'name', 'title'])(
    '%s asks all three services for their part',
    async (verb) => {
      for (const schema of ['directory', 'mailbox', 'certificate'])
        await directory.owner(`${schema}_jobs._private_jobs`).delete();
      await act(verb, bodies[verb] as object).expect(200);
      for (const [schema, key] of [
        ['directory', 'entry'],
        ['mailbox', 'mailbox'],
        ['certificate', 'certificates'],
      ])
        expect(await directory.owner(`${schema}_jobs._private_jobs`).pluck('key')).toContain(`${key}:${account.id}`);
    },
  );
});

describe('a suspension', () => {
  const until = (seconds: number) => new Date(Date.now() + seconds * 1_000).toISOString();

  it('with an end is shown with it, ends by itself, and is on record as of the system', async () => {
    const end = until(3_600);
    const { body } = await act('suspend', { reason, until: end }).expect(200);
    expect(body).toMatchObject({ state: 'suspended', suspensionReason: reason, suspendedUntil: end });
    await directory.ldap.setPassword(dn, password);
    await converge(account.id);
    expect(await canBind()).toBe(false);
    await endSuspensions(directory.database, AbortSignal.timeout(5_000));
    expect((await row()).state).toBe('suspended');

    await directory
      .owner('directory.accounts')
      .where({ id: account.id })
      .update({ suspended_until: until(-1) });
    await endSuspensions(directory.database, AbortSignal.timeout(5_000));
    expect(await row()).toMatchObject({ state: 'active', suspended_until: null, suspension_reason: null });
    expect((await events()).at(-1)).toMatchObject({
      action: 'account.resumed',
      actor_kind: 'system',
      before: { state: 'suspended' },
      after: { state: 'active' },
    });
    await converge(account.id);
    expect(await canBind()).toBe(true);
  });

  it('that is over while nothing ran, of many, ends once for each, by however many workers', async () => {
    const others = await Promise.all([openAccount(), openAccount()]);
    const ids = [account, ...others].map(({ id }) => id);
    await directory
      .owner('directory.accounts')
      .whereIn('id', ids)
      .update({ state: 'suspended', suspension_reason: 'x', suspended_until: until(-86_400) });
    await Promise.all([1, 2, 3].map(() => endSuspensions(directory.database, AbortSignal.timeout(5_000))));
    for (const id of ids) {
      expect((await row(id)).state).toBe('active');
      expect((await events(id)).filter(({ action }) => action === 'account.resumed')).toHaveLength(1);
    }
  });

  it('does not end by itself without an end, or after the account was retired', async () => {
    await act('suspend', { reason }).expect(200);
    const other = await openAccount();
    await act('suspend', { reason, until: until(60) }, admin, other.id).expect(200);
    await act('retire', { reason }, admin, other.id).expect(200);
    await endSuspensions(directory.database, AbortSignal.timeout(5_000));
    expect((await row()).state).toBe('suspended');
    expect(await row(other.id)).toMatchObject({ state: 'retired', suspended_until: null });
  });

  it.each([[until(-5)], ['hôm qua'], ['2026-13-01T00:00:00Z'], ['']])('until %j is refused', async (end) => {
    const { status, body } = await act('suspend', { reason, until: end });
    expect([status, body.errors?.[0].pointer]).toEqual([422, '/until']);
    expect((await row()).state).toBe('active');
  });
});

describe('a transfer', () => {
  it('changes agency and title; name, username, address and DN stay, and LDAP follows', async () => {
    const { body } = await act('transfer', { agencyCode: '000.05.32.H41', title: 'Văn thư', reason }).expect(200);
    expect(body).toMatchObject({
      agencyCode: 'H41.32.05',
      title: 'Văn thư',
      username: account.username,
      address: account.address,
      displayName: account.displayName,
    });
    await converge(account.id);
    expect(await entry('congvuAgencyCode', 'congvuAgencyPath', 'title', 'o')).toEqual({
      congvuAgencyCode: ['H41.32.05'],
      congvuAgencyPath: ['H41', 'H41.32', 'H41.32.05'],
      title: ['Văn thư'],
      o: [body.agencyName],
    });
    const [left, received] = (await events()).slice(-2);
    const agency = (code: string) => directory.owner('directory.agencies').where({ code }).first('id');
    expect(left).toMatchObject({
      action: 'account.transferred',
      agency_id: (await agency('H41.32')).id,
      actor_id: admin.id,
      before: { agencyCode: 'H41.32', title: null },
      after: { agencyCode: 'H41.32.05', title: 'Văn thư', reason },
    });
    expect(received).toMatchObject({ action: 'account.received', agency_id: (await agency('H41.32.05')).id });
  });

  it('to an agency with a mail domain of its own takes the address along: what stands before the @ stays', async () => {
    const domain = 'quynhluu.nghean.gov.vn';
    const code = 'H41.32.07';
    await directory.owner('directory.agencies').where({ code }).update({ mail_domain: domain });
    const { body } = await act('transfer', { agencyCode: code, reason }).expect(200);
    expect(body).toMatchObject({ username: account.username, address: `${account.username}@${domain}` });
    expect((await events()).slice(-2)).toMatchObject([
      { before: { address: account.address }, after: { address: body.address } },
      { action: 'account.received', after: { address: body.address } },
    ]);
    const jobs = await directory.owner('mailbox_jobs._private_jobs').pluck('key');
    expect(jobs).toContain(`mailbox:${account.id}`);
    await converge(account.id);
    expect(await directory.ldap.find(dn, ['uid'])).toBeDefined();
    expect((await act('transfer', { agencyCode: 'H41.32', reason })).body.address).toBe(account.address);
  });

  it('leaves the title as it is unless told, and removes it when told null', async () => {
    await act('title', { title: 'Phó phòng' }).expect(200);
    expect((await act('transfer', { agencyCode: 'H41.32.05', reason })).body.title).toBe('Phó phòng');
    expect((await act('transfer', { agencyCode: 'H41.32', title: null, reason })).body.title).toBeNull();
  });

  it.each<[string, object, number, string]>([
    ['to the same agency', { agencyCode: 'H41.32' }, 409, 'nothing_changes'],
    ['to no agency', { agencyCode: 'H41.99' }, 404, 'agency_not_found'],
    ['to something that is no code', { agencyCode: 'xyz' }, 422, 'agency_code_invalid'],
    ['without a reason', { agencyCode: 'H41.32.05', reason: ' ' }, 422, 'request_invalid'],
  ])('%s is refused', async (_what, body, status, code) => {
    const answer = await act('transfer', { reason, ...body });
    expect([answer.status, answer.body.code]).toEqual([status, code]);
  });

  it('out of the own subtree, or into it, is refused', async () => {
    const out = await act('transfer', { agencyCode: 'H41.33', reason }, district);
    expect([out.status, out.body.code]).toEqual([404, 'agency_not_found']);
    const stranger = await openAccount('H41.33');
    const into = await act('transfer', { agencyCode: 'H41.32', reason }, district, stranger.id);
    expect([into.status, into.body.code]).toEqual([404, 'account_not_found']);
    expect([(await read(account.id)).agencyCode, (await read(stranger.id)).agencyCode]).toEqual(['H41.32', 'H41.33']);
  });

  it('to an agency that was closed, and of the account of an agency, is refused', async () => {
    const closed = 'H41.32.08';
    await directory.owner('directory.agencies').where({ code: closed }).update({ valid_to: '2025-07-01' });
    const answer = await act('transfer', { agencyCode: closed, reason });
    expect([answer.status, answer.body.code]).toEqual([409, 'agency_closed']);
    const { id } = await directory.submit(submitter, 'H41.32.06', [{ kind: 'agency', certificate: 'none' }]);
    const own = (await directory.approve(admin, id)).lines[0]?.account?.id ?? '';
    for (const verb of ['transfer', 'name']) {
      const refused = await act(verb, bodies[verb] as object, admin, own);
      expect([refused.status, refused.body.code]).toEqual([409, 'account_kind']);
    }
  });

  it('by a request is on record with it; what fails leaves nothing', async () => {
    const agency = await directory.owner('directory.agencies').where({ code: 'H41.32.05' }).first('id');
    const cause = { actor: systemActor, requestId: account.requestId };
    const both = directory.database.transaction(async (transaction: Transaction) => {
      await transferAccount(transaction, { accountId: account.id, toAgencyId: agency.id }, cause);
      await changeTitle(transaction, { accountId: account.id, title: account.title }, cause);
    });
    await expect(both).rejects.toMatchObject({ code: 'nothing_changes' });
    expect((await row()).version).toBe(account.version);
    await directory.database.transaction((transaction) =>
      transferAccount(transaction, { accountId: account.id, toAgencyId: agency.id }, cause),
    );
    expect((await events()).at(-1)).toMatchObject({ actor_kind: 'system', request_id: account.requestId });
  });
});

describe('a new address with another name', () => {
  const names = () => directory.owner('directory.usernames').where({ account_id: account.id }).pluck('username');
  const rename = (fullName: string, newAddress = true) => act('name', { fullName, newAddress });

  it('is made of it by the policy; username and DN stay, and the name is taken for ever', async () => {
    const word = randomWord();
    const { body } = await rename(`Đặng Thị ${word}`).expect(200);
    expect(body).toMatchObject({ username: account.username, address: `${word}dt@nghean.gov.vn` });
    expect((await names()).sort()).toEqual([account.username, `${word}dt`].sort());
    expect((await events()).at(-1)).toMatchObject({
      action: 'account.renamed',
      before: { displayName: account.displayName, address: account.address },
      after: { displayName: body.displayName, address: body.address },
    });
    const next = await openAccount('H41.32', personLine(`Đỗ Thị ${word}`));
    expect(next.username).not.toBe(`${word}dt`);
    expect((await rename(body.displayName)).body.code).toBe('nothing_changes');
  });

  it('is the former one again when the name is', async () => {
    const { body } = await rename(`Đặng Thị ${randomWord()}`).expect(200);
    expect((await rename(account.displayName)).body.address).toBe(account.address);
    expect((await rename(body.displayName)).body.address).toBe(body.address);
    expect(await names()).toHaveLength(2);
  });

  it('two at once take two', async () => {
    const other = await openAccount();
    const fullName = `Đặng Thị ${randomWord()}`;
    const answers = await Promise.all([rename(fullName), act('name', { fullName, newAddress: true }, admin, other.id)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(new Set(answers.map(({ body }) => body.address)).size).toBe(2);
  });
});

describe('another name', () => {
  it('is that of the person, the account and the entry; username and address stay', async () => {
    const { body } = await act('name', { fullName: '  Đặng   thị hoà ' }).expect(200);
    expect(body).toMatchObject({ username: account.username, address: account.address });
    const { person_id } = await row();
    const person = await directory.owner('directory.people').where({ id: person_id }).first();
    expect(person).toMatchObject({ full_name: body.displayName, given_name: body.displayName.split(' ').at(-1) });
    await converge(account.id);
    expect(await entry('cn', 'sn', 'displayName', 'uid')).toEqual({
      cn: [body.displayName],
      sn: ['Đặng'],
      displayName: [body.displayName],
      uid: [account.username],
    });
    const found = await supertest(directory.app)
      .get(`/v1/accounts?q=dang%20thi%20hoa`)
      .set('Authorization', admin.bearer);
    expect(found.body.items.map(({ id }: Account) => id)).toContain(account.id);
    expect((await events()).at(-1)).toMatchObject({
      action: 'account.renamed',
      before: { displayName: account.displayName },
      after: { displayName: body.displayName },
    });
  });

  it.each([['Nguyễn 123'], [''], ['x'.repeat(150)]])('%j is refused', async (fullName) => {
    const { status, body } = await act('name', { fullName });
    expect([status, body.errors?.[0].pointer]).toEqual([422, '/fullName']);
  });

  it('that is the same is refused', async () => {
    expect((await act('name', { fullName: account.displayName }).expect(409)).body.code).toBe('nothing_changes');
  });
});

describe('retirement', () => {
  const day = (offset: number) => new Date(Date.now() + 7 * 3_600_000 + offset * 86_400_000).toISOString().slice(0, 10);

  it('voids password and code, locks the entry, keeps username and mailbox for the retention', async () => {
    const code = (await act('activation-code', {}).expect(201)).body.code;
    await directory.ldap.setPassword(dn, password);
    expect(await canBind()).toBe(true);
    const { body } = await act('retire', { reason }).expect(200);
    expect(body).toMatchObject({ state: 'retired', retainedUntil: day(90) });
    await converge(account.id);
    expect(await canBind()).toBe(false);
    expect(await entry('congvuAccountStatus', 'pwdAccountLockedTime')).toEqual({
      congvuAccountStatus: ['retired'],
      pwdAccountLockedTime: [lockedForGood],
    });
    const redeemed = await supertest(directory.app)
      .post('/v1/activations')
      .send({ account: account.username, code, password: 'mat-khau-khac-2026' });
    expect(redeemed.body.code).toBe('activation_refused');
    const taken = await directory.owner('directory.usernames').where({ username: account.username });
    expect(taken).toMatchObject([{ account_id: account.id }]);
    await expect(
      directory.database.raw('delete from directory.usernames where username = ?', [account.username]),
    ).rejects.toMatchObject({ code: '42501' });
  });

  it('of one that is suspended leaves it locked', async () => {
    await directory.ldap.setPassword(dn, password);
    await act('suspend', { reason }).expect(200);
    await converge(account.id);
    await act('retire', { reason }).expect(200);
    await converge(account.id);
    expect(await entry('pwdAccountLockedTime')).toEqual({ pwdAccountLockedTime: [lockedForGood] });
  });

  it('ends when it is taken back: the same account, another password by another code', async () => {
    await act('activation-code', {}).expect(201);
    await directory
      .owner('directory.activation_codes')
      .where({ account_id: account.id })
      .update({ used_at: new Date() });
    await directory.ldap.setPassword(dn, password);
    await act('retire', { reason, retainedUntil: day(0) }).expect(200);
    await converge(account.id);
    const { body } = await act('reactivate', { reason }).expect(200);
    expect(body).toMatchObject({ state: 'active', retainedUntil: null, username: account.username });
    await converge(account.id);
    expect(await canBind()).toBe(false);
    // The agency may hand out the code: nobody's password is taken over.
    const issued = await act('activation-code', {}, district).expect(201);
    await supertest(directory.app)
      .post('/v1/activations')
      .send({ account: account.username, code: issued.body.code, password })
      .expect(200);
    expect(await canBind()).toBe(true);
  });

  it('cannot be taken back after the retention, beside another account, or into a closed agency', async () => {
    const refused = async (code: string) => {
      const answer = await act('reactivate', { reason });
      expect([answer.status, answer.body.code]).toEqual([409, code]);
      expect((await row()).state).toBe('retired');
    };
    await act('retire', { reason }).expect(200);
    await directory
      .owner('directory.accounts')
      .where({ id: account.id })
      .update({ retained_until: day(-1) });
    await refused('retention_over');
    await directory
      .owner('directory.accounts')
      .where({ id: account.id })
      .update({ retained_until: day(1) });

    const { person_id } = await row();
    const other = await openAccount();
    const { person_id: otherPerson } = await row(other.id);
    await directory.owner('directory.accounts').where({ id: other.id }).update({ person_id });
    await refused('account_exists');
    await directory.owner('directory.accounts').where({ id: other.id }).update({ person_id: otherPerson });

    await directory.owner('directory.agencies').where({ code: 'H41.32' }).update({ valid_to: '2025-07-01' });
    await refused('agency_closed');
    await directory.owner('directory.agencies').where({ code: 'H41.32' }).update({ valid_to: null });
    await act('reactivate', { reason }).expect(200);
  });

  it('must not be over before it begins', async () => {
    const { status, body } = await act('retire', { reason, retainedUntil: day(-1) });
    expect([status, body.errors?.[0].pointer]).toEqual([422, '/retainedUntil']);
  });

  it('by a request keeps for ninety days unless told', async () => {
    await directory.database.transaction((transaction) =>
      retireAccount(
        transaction,
        { accountId: account.id, reason },
        { actor: systemActor, requestId: account.requestId },
      ),
    );
    expect((await read(account.id)).retainedUntil).toBe(day(90));
  });
});

it('the account of an agency is suspended, resumed, given codes and retired like any other', async () => {
  const { id: request } = await directory.submit(submitter, 'H41.32.07', [{ kind: 'agency', certificate: 'none' }]);
  const own = (await directory.approve(admin, request)).lines[0]?.account?.id ?? '';
  for (const verb of ['suspend', 'resume', 'activation-code', 'retire', 'reactivate', 'retire'])
    expect((await act(verb, bodies[verb] as object, admin, own)).status).toBeLessThan(300);
  // The agency can have another then, and the old one cannot come back beside it.
  const { id: again } = await directory.submit(submitter, 'H41.32.07', [{ kind: 'agency', certificate: 'none' }]);
  await directory.approve(admin, again);
  expect((await act('reactivate', { reason }, admin, own).expect(409)).body.code).toBe('account_exists');
});
