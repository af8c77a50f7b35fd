/** Converging makes the entry say what the record says, on a real OpenLDAP: whole, minimal, repeatable, and never somebody else's. */
import { randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { testStack } from '@congvu/database/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { personLine, randomWord, startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { convergeEntries } from './converge-entry.ts';

const password = 'mat-khau-dai-2026';
const lockedForGood = '000001010000Z';

let directory: TestDirectory;
let district: TestClient;
let admin: TestClient;
/** As the mailbox and the certificate service, whose attributes the directory must leave alone. */
let others: Record<'mailbox' | 'certificate', Ldap>;

/** The account of the running test. */
let id: string;
let dn: string;
let username: string;

beforeAll(async () => {
  directory = await startTestDirectory();
  await directory.importSample();
  district = await directory.client('H41.32', ['requests:submit']);
  admin = await directory.client('H41', ['requests:approve', 'accounts:write']);
  const { url, identities } = testStack().ldap;
  const as = (name: string) => openLdap({ url, ...(identities[name] as { bindDn: string; password: string }) });
  others = { mailbox: as('mailbox'), certificate: as('certificate') };
});
afterAll(async () => {
  await others.mailbox.close();
  await others.certificate.close();
  await directory.stop();
});

/** Opens an account whose username no other test has, since the LDAP server is shared. */
async function openAccount(title?: string): Promise<void> {
  const word = randomWord();
  const name = `Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`;
  const { id: request } = await directory.submit(district, 'H41.32', [personLine(name, title ? { title } : {})]);
  const account = (await directory.approve(admin, request)).lines[0]?.account;
  if (!account) throw new Error('an approved line has no account');
  ({ id, username } = account);
  dn = distinguishedName({ uid: username }, `ou=people,${directory.baseDn}`);
  expect(username).toBe(`${word}ht`);
}
beforeEach(() => openAccount('Chuyên viên'));

const converge = (ids: readonly string[] = [id], ldap: Ldap = directory.ldap) =>
  convergeEntries({ database: directory.database, ldap, baseDn: directory.baseDn }, ids);
const own = [
  'uid',
  'cn',
  'sn',
  'givenName',
  'displayName',
  'title',
  'o',
  'congvuAccountId',
  'congvuAccountKind',
  'congvuAccountStatus',
  'congvuAgencyCode',
];
const read = async (...names: string[]) => (await directory.ldap.find(dn, names.length > 0 ? names : own))?.attributes;
const stamp = () => read('entryCSN', 'modifyTimestamp', 'modifiersName');
const account = () => directory.owner('directory.accounts').where({ id }).first();
const entryPart = () => directory.owner('directory.provisioning').where({ account_id: id, part: 'entry' }).first();
const jobs = async (schema: string) =>
  (
    await directory
      .owner(`${schema}_jobs._private_jobs`)
      .whereRaw('key like ?', [`%${id}`])
      .pluck('key')
  ).sort();
const setState = (verb: 'suspend' | 'resume') =>
  supertest(directory.app)
    .post(`/v1/accounts/${id}/${verb}`)
    .set('Authorization', admin.bearer)
    .send({ reason: 'Thử' })
    .expect(200);

describe('a new account', () => {
  it('gets an entry with every class and nothing that is not its own', async () => {
    expect(await read()).toBeUndefined();
    await converge();
    expect(await read('*')).toEqual({
      '*': [], // as the client library names what was asked for
      objectClass: expect.arrayContaining(['inetOrgPerson', 'congvuAccount', 'congvuMailAccount', 'pkiUser']),
      uid: [username],
      cn: [expect.stringMatching(/^Huỳnh Thanh /)],
      displayName: [expect.stringMatching(/^Huỳnh Thanh /)],
      sn: ['Huỳnh'],
      givenName: [expect.any(String)],
      title: ['Chuyên viên'],
      o: ['UBND huyện Quỳnh Lưu'],
      congvuAccountId: [id],
      congvuAccountKind: ['person'],
      congvuAccountStatus: ['active'],
      congvuAgencyCode: ['H41.32'],
      congvuAgencyPath: ['H41', 'H41.32'],
      congvuCredentialEpoch: ['1'],
    });
  });

  it('is marked as converged, its part as done, and the others are asked for theirs', async () => {
    expect(await jobs('mailbox')).toEqual([]);
    await converge();
    expect(await account()).toMatchObject({ version: 1, entry_version: 1 });
    expect(await entryPart()).toMatchObject({ state: 'done' });
    expect(await jobs('directory')).toEqual([`entry:${id}`]);
    expect((await jobs('mailbox')).length).toBe(1);
    expect((await jobs('certificate')).length).toBe(1);
  });

  it('without a title has none, and the mailbox of an agency has a name for a surname', async () => {
    await openAccount();
    const { id: request } = await directory.submit(district, 'H41.32.S02', [{ kind: 'agency', certificate: 'none' }]);
    const agency = (await directory.approve(admin, request)).lines[0]?.account;
    await converge([id, agency?.id as string]);
    expect(await read('title')).toEqual({ title: [] });
    dn = distinguishedName({ uid: agency?.username as string }, `ou=people,${directory.baseDn}`);
    const name = 'Trung tâm GDNN - GDTX huyện Quỳnh Lưu';
    expect(await read()).toMatchObject({
      cn: [name],
      sn: [name],
      congvuAccountKind: ['agency'],
      congvuAgencyCode: ['H41.32.S02'],
    });
  });

  it('is told apart by many at once', async () => {
    const ids = [id];
    for (let more = 0; more < 4; more += 1) {
      await openAccount();
      ids.push(id);
    }
    await converge(ids);
    const rows = await directory.owner('directory.accounts').whereIn('id', ids);
    for (const row of rows) {
      dn = distinguishedName({ uid: row.username }, `ou=people,${directory.baseDn}`);
      expect(await read('congvuAccountId')).toEqual({ congvuAccountId: [row.id] });
      expect(row.entry_version).toBe(1);
    }
  });
});

describe('an entry that is there', () => {
  it('is not touched when it says what it should', async () => {
    await converge();
    const before = await stamp();
    await converge();
    await directory.owner('directory.accounts').where({ id }).update({ entry_version: 0 }); // as after a crash
    await converge();
    expect(await stamp()).toEqual(before);
    expect(await account()).toMatchObject({ entry_version: 1 });
  });

  it('is repaired where its own attributes were changed by hand', async () => {
    await converge();
    const before = await read();
    await directory.ldap.modify(dn, [
      { attribute: 'cn', operation: 'replace', values: ['Ai đó', 'Ai khác'] },
      { attribute: 'sn', operation: 'add', values: ['Thừa'] },
      { attribute: 'title', operation: 'delete', values: [] },
      { attribute: 'o', operation: 'replace', values: ['Nơi khác'] },
      { attribute: 'congvuAccountStatus', operation: 'replace', values: ['suspended'] },
      { attribute: 'congvuAgencyCode', operation: 'replace', values: ['H41'] },
    ]);
    expect(await read()).not.toEqual(before);
    await converge();
    expect(await read()).toEqual(before);
  });

  it('follows the record: another title, another agency', async () => {
    await converge();
    const [{ id: agencyId, name: agencyName }] = await directory.owner('directory.agencies').where({ code: 'H41.33' });
    const changed = { title: null, agency_id: agencyId, version: 2 };
    await directory.owner('directory.accounts').where({ id }).update(changed);
    await converge();
    expect(await read()).toMatchObject({ title: [], o: [agencyName], congvuAgencyCode: ['H41.33'] });
    expect(await account()).toMatchObject({ version: 2, entry_version: 2 });
  });

  it('keeps what belongs to the other services, its password and what nobody owns', async () => {
    await converge();
    await directory.ldap.setPassword(dn, password);
    const mail = `${username}@nghean.gov.vn`;
    const certificate = new X509Certificate(readFileSync(String(testStack().certificateFile))).raw;
    await others.mailbox.modify(dn, [
      { attribute: 'mail', operation: 'replace', values: [mail] },
      { attribute: 'congvuMailStatus', operation: 'replace', values: ['active'] },
    ]);
    await others.certificate.modify(dn, [
      { attribute: 'userCertificate;binary', operation: 'add', values: [certificate] },
    ]);
    await directory.ldap.modify(dn, [
      { attribute: 'description', operation: 'replace', values: ['ghi chú'] },
      { attribute: 'cn', operation: 'replace', values: ['Ai đó'] },
    ]);
    const foreign = ['mail', 'congvuMailStatus', 'userCertificate;binary', 'description'];
    const before = await read(...foreign);
    expect(before).toMatchObject({ mail: [mail], 'userCertificate;binary': [certificate], description: ['ghi chú'] });
    await converge();
    expect(await read(...foreign)).toEqual(before);
    expect(await read('cn')).not.toEqual({ cn: ['Ai đó'] });
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(true);
  });

  it('of another account under the wished name is never taken over', async () => {
    const stranger = randomUUID();
    const theirs = {
      objectClass: ['inetOrgPerson', 'congvuAccount'],
      uid: [username],
      cn: ['Người khác'],
      sn: ['Khác'],
      congvuAccountId: [stranger],
    };
    await directory.ldap.add(dn, theirs);
    const before = await stamp();
    await expect(converge()).rejects.toMatchObject({ kind: 'conflict', code: 'entry_of_another' });
    expect(await stamp()).toEqual(before);
    expect(await read('congvuAccountId', 'cn')).toEqual({ congvuAccountId: [stranger], cn: ['Người khác'] });
    expect(await account()).toMatchObject({ entry_version: 0 });
    expect(await entryPart()).toMatchObject({ state: 'waiting' });
    expect(await jobs('mailbox')).toEqual([]);
    await directory.ldap.remove(dn);
  });

  it('is found by the account’s id, under whatever name it stands, and gets its own name back', async () => {
    await converge();
    const moved = distinguishedName({ uid: `${username}.cu` }, `ou=people,${directory.baseDn}`);
    await directory.ldap.rename(dn, moved);
    await directory.owner('directory.accounts').where({ id }).update({ title: 'Trưởng phòng', version: 2 });
    await converge();
    expect(await read('title')).toEqual({ title: ['Trưởng phòng'] });
    expect(await directory.ldap.find(moved, ['uid'])).toBeUndefined(); // no second entry
  });

  it('that was deleted by hand is made again', async () => {
    await converge();
    await directory.ldap.remove(dn);
    await converge();
    expect(await read('congvuAccountId')).toEqual({ congvuAccountId: [id] });
  });
});

describe('a suspended account', () => {
  it('is locked, cannot bind, and can again when it resumes', async () => {
    await converge();
    await directory.ldap.setPassword(dn, password);
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(true);

    await setState('suspend');
    expect(await jobs('directory')).toContain(`entry:${id}`);
    await converge();
    expect(await read('pwdAccountLockedTime', 'congvuAccountStatus')).toEqual({
      pwdAccountLockedTime: [lockedForGood],
      congvuAccountStatus: ['suspended'],
    });
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(false);
    const before = await stamp();
    await converge();
    expect(await stamp()).toEqual(before);

    await setState('resume');
    await converge();
    expect(await read('pwdAccountLockedTime', 'congvuAccountStatus')).toEqual({
      pwdAccountLockedTime: [],
      congvuAccountStatus: ['active'],
    });
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(true);
    expect(await account()).toMatchObject({ version: 3, entry_version: 3, suspension_reason: null });
  });

  it('is locked from the start when it was suspended before it had an entry', async () => {
    await setState('suspend');
    await converge();
    expect(await read('pwdAccountLockedTime')).toEqual({ pwdAccountLockedTime: [lockedForGood] });
  });

  it('is locked again when somebody unlocked it by hand', async () => {
    await setState('suspend');
    await converge();
    await directory.ldap.modify(dn, [{ attribute: 'pwdAccountLockedTime', operation: 'delete', values: [] }]);
    await converge();
    expect(await read('pwdAccountLockedTime')).toEqual({ pwdAccountLockedTime: [lockedForGood] });
  });

  it('is another thing than a lock after failed attempts, which is left to the policy', async () => {
    await converge();
    const byPolicy = '20260101000000Z';
    await directory.ldap.modify(dn, [{ attribute: 'pwdAccountLockedTime', operation: 'replace', values: [byPolicy] }]);
    await converge();
    expect(await read('pwdAccountLockedTime')).toEqual({ pwdAccountLockedTime: [byPolicy] });
  });
});

describe('a crowd of 1,000', () => {
  it('gets its entries; one that another’s entry stands in the way of gets a job of its own and holds up nobody', async () => {
    const accounts: { id: string; username: string }[] = [];
    for (let request = 0; request < 2; request += 1) {
      const lines = Array.from({ length: 500 }, () => {
        const word = randomWord();
        return personLine(`Huỳnh Thanh ${word[0]?.toUpperCase()}${word.slice(1)}`, { certificate: 'none' });
      });
      const { id: made } = await directory.submit(district, 'H41.32', lines);
      await directory.approve(admin, made);
    }
    for (const row of await directory.owner('directory.accounts').where({ certificate_path: 'none', kind: 'person' }))
      accounts.push(row);
    expect(accounts).toHaveLength(1_000);
    const blocked = accounts[640] as (typeof accounts)[number];
    const before = accounts[77] as (typeof accounts)[number];
    const theirs = distinguishedName({ uid: blocked.username }, `ou=people,${directory.baseDn}`);
    const stranger = randomUUID();
    await directory.ldap.add(theirs, {
      objectClass: ['inetOrgPerson', 'congvuAccount'],
      uid: [blocked.username],
      cn: ['Người khác'],
      sn: ['Khác'],
      congvuAccountId: [stranger],
    });
    // A run that was killed after it wrote to LDAP left this one; nothing of it is on record.
    await converge([before.id], directory.ldap);
    await directory.owner('directory.accounts').where({ id: before.id }).update({ entry_version: 0 });
    await directory.owner('directory.provisioning').where({ account_id: before.id }).update({ state: 'waiting' });

    const ids = new Set(accounts.map((one) => one.id));
    await converge([...ids]);

    const people = `ou=people,${directory.baseDn}`;
    const entries = await directory.ldap.findBy(people, 'congvuAccountId', [...ids], ['uid', 'congvuAccountId']);
    const names = new Map(entries.map(({ attributes }) => [attributes.congvuAccountId?.[0], attributes.uid?.[0]]));
    expect(entries).toHaveLength(999);
    for (const one of accounts) if (one !== blocked) expect(names.get(one.id)).toBe(one.username);
    expect((await directory.ldap.find(theirs, ['congvuAccountId']))?.attributes.congvuAccountId).toEqual([stranger]);
    const waiting = await directory
      .owner('directory.provisioning')
      .where({ part: 'entry', state: 'waiting' })
      .pluck('account_id');
    expect(waiting.filter((one) => accounts.some((account) => account.id === one))).toEqual([blocked.id]);
    const keys: string[] = await directory.owner('directory_jobs._private_jobs').whereNotNull('key').pluck('key');
    expect(keys.filter((key) => accounts.some((one) => key === `entry:${one.id}`))).toEqual([`entry:${blocked.id}`]);
    // Mailboxes are asked for all that stand, certificates for none of those that were asked none.
    const asked = async (schema: string) =>
      (await directory.owner(`${schema}_jobs._private_jobs`).pluck('payload')).flatMap(
        (payload: { accountIds?: string[] }) => payload.accountIds ?? [],
      );
    const mailboxes = new Set((await asked('mailbox')).filter((one) => ids.has(one)));
    expect(mailboxes.size).toBe(999);
    expect((await asked('certificate')).filter((one) => ids.has(one))).toEqual([]);
    await directory.ldap.remove(theirs);
  }, 120_000);
});

describe('trouble', () => {
  it('an LDAP that does not answer is an error, and nothing is marked', async () => {
    const { identities } = testStack().ldap;
    const identity = identities.directory as { bindDn: string; password: string };
    const gone = openLdap({ url: 'ldap://127.0.0.1:1', ...identity });
    await expect(converge([id], gone)).rejects.toMatchObject({ name: 'ServiceError', kind: 'unavailable' });
    expect(await account()).toMatchObject({ entry_version: 0 });
    expect(await entryPart()).toMatchObject({ state: 'waiting' });
    expect([await jobs('mailbox'), await jobs('certificate')]).toEqual([[], []]);

    await converge();
    const before = await stamp();
    await directory.owner('directory.accounts').where({ id }).update({ title: 'Mới', version: 2 });
    await expect(converge([id], gone)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await stamp()).toEqual(before);
    expect(await account()).toMatchObject({ version: 2, entry_version: 1 });
    await gone.close();
  });

  it('a state that changes meanwhile is the one that stands at the end', async () => {
    await converge();
    await directory.ldap.setPassword(dn, password);
    await setState('suspend');
    // Between the write to LDAP and the mark, the account resumes.
    let resumed = false;
    const racing: Ldap = {
      ...directory.ldap,
      applyAll: async (operations) => {
        const outcomes = await directory.ldap.applyAll(operations);
        if (operations.length > 0 && !resumed) {
          resumed = true;
          await setState('resume');
        }
        return outcomes;
      },
    };
    await converge([id], racing);
    expect(resumed).toBe(true);
    expect(await read('pwdAccountLockedTime', 'congvuAccountStatus')).toEqual({
      pwdAccountLockedTime: [],
      congvuAccountStatus: ['active'],
    });
    expect(await account()).toMatchObject({ version: 3, entry_version: 3 });
    expect(await directory.ldap.verifyPassword(dn, password)).toBe(true);
  });

  it('two that converge the same new account at once make one entry', async () => {
    await Promise.all([converge(), converge(), converge()]);
    expect(await read('congvuAccountId')).toEqual({ congvuAccountId: [id] });
    expect(await account()).toMatchObject({ entry_version: 1 });
    expect((await jobs('mailbox')).length).toBe(1);
  });

  it('an account that is not there is passed over', async () => {
    await converge([randomUUID()]);
  });
});
