/**
 * Real drift in a real OpenLDAP of the test's own: found with time and DN, repaired by the services' own converging, and never when
 * LDAP itself is what is wrong.
 */
import { createHash, randomBytes, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Permission, Reconciliation, ReconciliationFinding } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { changeAccount, insertAccount, insertProvince, type TestAccount, testStack } from '@congvu/database/testing';
import { type Attributes, distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import supertest from 'supertest';
import { findAccount } from '../../../certificate/src/enrolments/enrolment-store.ts';
import { publishCertificates } from '../../../certificate/src/enrolments/publish-certificates.ts';
import { convergeMailboxes } from '../../../mailbox/src/mailboxes/converge-mailboxes.ts';
import { convergeEntries } from '../accounts/converge-entry.ts';
import { convergeAgencies } from '../agencies/converge-agencies.ts';
import { startTestDirectory, type TestClient, type TestDirectory } from '../testing.ts';
import { startTestOpenLdap, type TestOpenLdap } from '../testing-openldap.ts';
import { comparedNames, digestOfExpected } from './compare-entry.ts';
import type { DigestedEntry } from './digest-entries.ts';
import { listExpected } from './expected-store.ts';
import { type ReconcileDependencies, runReconciliation } from './run-reconciliation.ts';
import { startScheduled } from './start-reconciliation.ts';

const quotaBytes = 50_000_000;
const never = new AbortController().signal;

let openldap: TestOpenLdap;
let directory: TestDirectory;
let admin: TestClient;
let second: TestClient;
let district: TestClient;
/** Bound as the root DN: whoever changes things by hand. */
let byHand: Ldap;
let mailbox: { database: Database; ldap: Ldap };
let certificate: { database: Database; ldap: Ldap };
let people: string;

const everything: Permission[] = ['reconciliations:read', 'reconciliations:write', 'audit:read'];

beforeAll(async () => {
  openldap = await startTestOpenLdap();
  byHand = openLdap({ url: openldap.url, ...(openldap.identities.root as { bindDn: string; password: string }) });
  people = `ou=people,${openldap.baseDn}`;
});
afterAll(async () => {
  await byHand.close();
  await openldap.stop();
});

beforeEach(async () => {
  directory = await startTestDirectory(openldap);
  await insertProvince(directory.owner);
  await convergeAgencies(directory.database, directory.ldap, directory.baseDn, never);
  admin = await directory.client('H41', everything);
  second = await directory.client('H41', everything);
  district = await directory.client('H41.12', everything);
  const as = (name: string) =>
    openLdap({ url: openldap.url, ...(openldap.identities[name] as { bindDn: string; password: string }) });
  mailbox = { database: directory.as('mailbox'), ldap: as('mailbox') };
  certificate = { database: directory.as('certificate'), ldap: as('certificate') };
});
afterEach(async () => {
  await mailbox.ldap.close();
  await certificate.ldap.close();
  for (const base of [people, `ou=agencies,${openldap.baseDn}`]) {
    for await (const batch of byHand.stream(base, { scope: 'one', attributes: ['1.1'] })) {
      for (const { dn } of batch) await byHand.remove(dn);
    }
  }
  await directory.stop();
});

const dnOf = ({ username }: TestAccount): string => distinguishedName({ uid: username }, people);

const mailService = () => ({
  ...directory,
  ...mailbox,
  doveadm: {} as never,
  quotaBytes,
  suspendedMail: 'accept' as const,
  domain: 'nghean.gov.vn',
  aliasDays: 365,
});

/** Accounts with entry, mailbox and, for the first, a certificate: everything as the three services leave it. */
async function provisioned(count: number, options: Parameters<typeof insertAccount>[1] = {}): Promise<TestAccount[]> {
  const accounts: TestAccount[] = [];
  for (let index = 0; index < count; index++) accounts.push(await insertAccount(directory.owner, options));
  const ids = accounts.map(({ id }) => id);
  await convergeEntries(directory, ids);
  await convergeMailboxes(mailService(), ids);
  const [first] = accounts as [TestAccount];
  await insertCertificate(first);
  await publish(first.id);
  await clearJobs();
  return accounts;
}

/** A further address, and a forward with a copy, as the mailbox service leaves them. */
async function routeOnRecord(account: TestAccount, address: string, target: TestAccount): Promise<void> {
  const { database } = mailbox;
  const mailbox_id = account.id;
  await database('mailbox.aliases').insert({ address, mailbox_id, reason: 'by_hand', created_by: 'test' });
  await database('mailbox.forwardings').insert({ mailbox_id, keep_copy: true });
  await database('mailbox.forwards').insert({
    mailbox_id,
    position: 0,
    address: target.address,
    target_id: target.id,
  });
  await convergeMailboxes(mailService(), [account.id]);
}

async function insertCertificate(account: TestAccount): Promise<void> {
  const der = new X509Certificate(readFileSync(String(testStack().certificateFile))).raw;
  randomBytes(8).copy(der, der.length - 8); // another signature, another fingerprint
  const owner = directory.owner;
  const [authority] = await owner('certificate.authorities')
    .insert({ name: randomUUID(), kind: 'issuing', subject_key_identifier: randomBytes(20), certificate: der })
    .returning('id');
  const [enrolment] = await owner('certificate.enrolments')
    .insert({ account_id: account.id, profile: 'test', path: 'csr', state: 'issued' })
    .returning('id');
  await owner('certificate.certificates').insert({
    authority_id: authority.id,
    serial_number: randomBytes(8),
    enrolment_id: enrolment.id,
    account_id: account.id,
    agency_id: account.agencyId,
    address: account.address,
    profile: 'test',
    key_kind: 'p256',
    state: 'valid',
    certificate: der,
    fingerprint_sha256: createHash('sha256').update(der).digest(),
    not_before: new Date(),
    not_after: new Date(Date.now() + 86_400_000),
  });
}

async function publish(id: string): Promise<void> {
  const source = await findAccount(certificate.database, id);
  if (source) await publishCertificates({ ...directory, ...certificate }, [source]);
}

const jobsOf = async (schema: string, task: string): Promise<string[]> => {
  const { rows } = await directory.owner.raw(
    `select j.payload from ${schema}_jobs._private_jobs j join ${schema}_jobs._private_tasks t on t.id = j.task_id
     where t.identifier = ?`,
    [task],
  );
  return rows.flatMap((row: { payload: { accountIds: string[] } }) => row.payload.accountIds);
};
async function clearJobs(): Promise<void> {
  for (const schema of ['directory', 'mailbox', 'certificate'])
    await directory.owner(`${schema}_jobs._private_jobs`).delete();
}

/** Runs `work` while mailbox and certificate service do what they are asked for, as their workers would. */
async function withOtherServices<T>(work: () => Promise<T>): Promise<T> {
  let over = false;
  const serving = (async () => {
    while (!over) {
      const ids = await jobsOf('mailbox', 'converge-mailboxes');
      // One that is refused is tried again, as a job is.
      if (ids.length > 0) await convergeMailboxes(mailService(), ids).catch(() => undefined);
      for (const id of await jobsOf('certificate', 'converge-certificates')) await publish(id).catch(() => undefined);
      await sleep(100);
    }
  })();
  try {
    return await work();
  } finally {
    over = true;
    await serving;
  }
}

const get = (path: string, by = admin) => supertest(directory.app).get(path).set('Authorization', by.bearer);
const post = (path: string, body: object = {}, by = admin) =>
  supertest(directory.app).post(path).set('Authorization', by.bearer).send(body);
const read = async (id: string): Promise<Reconciliation> => (await get(`/v1/reconciliations/${id}`).expect(200)).body;

const run = (id: string, parts: Partial<ReconcileDependencies> = {}, signal = never) =>
  runReconciliation(
    { ...directory, limits: { percent: 5, atLeast: 10 }, confirmAfterMs: 0, patienceMs: 5_000, ...parts },
    id,
    signal,
  );

async function start(mode: 'report' | 'repair', body: object = {}, by = admin): Promise<string> {
  return (await post('/v1/reconciliations', { mode, ...body }, by).expect(202)).body.id;
}
async function reconcile(mode: 'report' | 'repair', body: object = {}, by = admin): Promise<Reconciliation> {
  const id = await start(mode, body, by);
  await run(id);
  return read(id);
}
const findings = async (id: string, by = admin): Promise<ReconciliationFinding[]> =>
  (await get(`/v1/reconciliations/${id}/findings?limit=500`, by).expect(200)).body.items;

/** All that LDAP holds, with operational attributes that a repair need not bring back left out. */
async function everyEntry(): Promise<Map<string, Attributes>> {
  const entries = new Map<string, Attributes>();
  for (const base of [people, `ou=agencies,${openldap.baseDn}`]) {
    for await (const batch of byHand.stream(base, { scope: 'one', attributes: ['*', 'pwdAccountLockedTime'] })) {
      for (const { dn, attributes } of batch) {
        const { userPassword: _, ...rest } = attributes;
        entries.set(
          dn,
          Object.fromEntries(Object.entries(rest).map(([name, values]) => [name, values.map(String).sort()])),
        );
      }
    }
  }
  return entries;
}
const events = (action: string) =>
  directory.owner('directory.audit_events').where({ action }).orderBy('id').select('*');

const rootDn = () => String(openldap.identities.root?.bindDn);
const recently = (time: string | null) => Math.abs(Date.parse(String(time)) - Date.now()) < 60_000;

describe('what was changed by hand', () => {
  it('is reported whole with DN and time, and brought back whole', async () => {
    const accounts = await provisioned(8);
    const [deleted, titled, locked, mailed, bare, renamed, suspended, right] = accounts as [
      TestAccount,
      TestAccount,
      TestAccount,
      TestAccount,
      TestAccount,
      TestAccount,
      TestAccount,
      TestAccount,
    ];
    await changeAccount(directory.owner, suspended.id, { state: 'suspended' });
    await convergeEntries(directory, [suspended.id]);
    await insertCertificateFor(bare);
    // What the record says of further addresses and forwarding is no drift.
    await routeOnRecord(right, `cu.${right.address}`, titled);
    const before = await everyEntry();
    expect(before.get(dnOf(right))).toMatchObject({
      congvuMailAlias: [`cu.${right.address}`],
      congvuMailForward: expect.arrayContaining([right.address, titled.address]),
    });

    await byHand.remove(dnOf(deleted));
    await byHand.modify(dnOf(titled), [
      { attribute: 'title', operation: 'replace', values: ['Giám đốc'] },
      { attribute: 'congvuAgencyCode', operation: 'replace', values: ['H41'] },
    ]);
    await byHand.modify(dnOf(locked), [
      { attribute: 'pwdAccountLockedTime', operation: 'replace', values: ['000001010000Z'] },
    ]);
    await byHand.modify(dnOf(mailed), [
      { attribute: 'mail', operation: 'replace', values: ['khac@nghean.gov.vn'] },
      { attribute: 'congvuMailStatus', operation: 'replace', values: ['suspended'] },
      { attribute: 'congvuMailAlias', operation: 'add', values: ['lanh@nghean.gov.vn'] },
      { attribute: 'congvuMailForward', operation: 'add', values: ['ngoai@gmail.com'] },
    ]);
    await byHand.modify(dnOf(bare), [{ attribute: 'userCertificate;binary', operation: 'replace', values: [] }]);
    await byHand.rename(dnOf(renamed), distinguishedName({ uid: 'someone-else' }, people));
    await byHand.modify(dnOf(suspended), [
      { attribute: 'congvuAccountStatus', operation: 'replace', values: ['active'] },
      { attribute: 'pwdAccountLockedTime', operation: 'replace', values: [] },
    ]);
    const foreign = distinguishedName({ uid: 'foreign' }, people);
    await byHand.add(foreign, {
      objectClass: ['inetOrgPerson', 'congvuAccount'],
      uid: ['foreign'],
      cn: ['Người lạ'],
      sn: ['Người'],
      congvuAccountId: [randomUUID()],
    });
    const agency = `ou=H41.12,ou=agencies,${openldap.baseDn}`;
    await byHand.modify(agency, [{ attribute: 'description', operation: 'replace', values: ['Huyện khác'] }]);

    // The report.
    const drifted = await everyEntry();
    const report = await reconcile('report');
    expect(report).toMatchObject({
      state: 'completed',
      findings: { missing: 1, extra: 1, changed: 7, repaired: 0, failed: 0 },
      progress: { done: 12, total: 12 }, // four agencies, seven accounts and the stranger
    });
    expect(await everyEntry()).toEqual(drifted);
    const found = await findings(report.id);
    expect(found.every((finding) => finding.lastModifiedBy === rootDn() && recently(finding.lastModifiedAt))).toBe(
      true,
    );
    const change = (account: TestAccount, attribute: string, expected: string[], actual: string[]) =>
      expect.objectContaining({
        kind: 'changed',
        accountId: account.id,
        attribute,
        expected,
        actual,
        agencyCode: 'H41.12',
      });
    expect(found).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          kind: 'missing',
          accountId: deleted.id,
          dn: dnOf(deleted),
          detail: expect.stringMatching(/code to reset it/),
        }),
        change(titled, 'title', [], ['Giám đốc']),
        change(titled, 'congvuAgencyCode', ['H41.12'], ['H41']),
        change(locked, 'pwdAccountLockedTime', [], ['000001010000Z']),
        change(mailed, 'mail', [mailed.address], ['khac@nghean.gov.vn']),
        change(mailed, 'congvuMailStatus', ['active'], ['suspended']),
        change(mailed, 'congvuMailAlias', [], ['lanh@nghean.gov.vn']),
        change(mailed, 'congvuMailForward', [], ['ngoai@gmail.com']),
        change(bare, 'userCertificate', [expect.stringMatching(/^[0-9a-f]{64}$/) as never], []),
        change(renamed, 'dn', [dnOf(renamed)], [`uid=someone-else,${people}`]),
        change(suspended, 'congvuAccountStatus', ['suspended'], ['active']),
        change(suspended, 'pwdAccountLockedTime', ['000001010000Z'], []),
        expect.objectContaining({ kind: 'extra', accountId: null, dn: foreign }),
        expect.objectContaining({ kind: 'changed', dn: agency, attribute: 'description', actual: ['Huyện khác'] }),
      ]),
    );
    expect(found.some((finding) => finding.accountId === right.id)).toBe(false);

    // The repair.
    const repair = await withOtherServices(() => reconcile('repair'));
    expect(repair).toMatchObject({ state: 'completed', findings: { repaired: 8, failed: 0, extra: 1 } });
    expect(await jobsOf('mailbox', 'converge-mailboxes')).toEqual(expect.arrayContaining([deleted.id, mailed.id]));
    expect(await jobsOf('certificate', 'converge-certificates')).toEqual(expect.arrayContaining([deleted.id, bare.id]));
    const after = await everyEntry();
    expect(after.get(foreign)).toBeDefined();
    after.delete(foreign);
    expect(after).toEqual(before);
    expect(await events('account.entry_restored')).toMatchObject([
      {
        actor_id: admin.id,
        subject_id: deleted.id,
        agency_id: deleted.agencyId,
        before: { dn: dnOf(deleted), lastModifiedBy: rootDn() },
        after: { reconciliationId: repair.id, passwordLost: true },
      },
    ]);
    expect((await events('account.entry_repaired')).map((event) => event.subject_id).sort()).toEqual(
      [titled, locked, mailed, bare, renamed, suspended].map(({ id }) => id).sort(),
    );
    expect(await events('agency.entry_repaired')).toHaveLength(1);

    // Nothing is left but the foreign entry, which goes only when that is asked for.
    expect((await reconcile('report')).findings).toMatchObject({ missing: 0, extra: 1, changed: 0 });
    const removal = await reconcile('repair', { removeExtra: true });
    expect(removal.findings).toMatchObject({ extra: 1, repaired: 1 });
    expect(await everyEntry()).toEqual(before);
    expect(await events('account.entry_removed')).toMatchObject([{ subject_id: foreign }]);
  });

  it('says when a service wrote to the entry afterwards', async () => {
    const [account] = (await provisioned(1)) as [TestAccount];
    await byHand.modify(dnOf(account), [{ attribute: 'title', operation: 'replace', values: ['Giám đốc'] }]);
    await mailbox.ldap.modify(dnOf(account), [
      { attribute: 'congvuMailQuotaBytes', operation: 'replace', values: ['1'] },
    ]);
    const { id } = await reconcile('report');
    expect(await findings(id)).toEqual([
      expect.objectContaining({ attribute: 'title', detail: expect.stringMatching(/no longer knows/) }),
      expect.objectContaining({
        attribute: 'congvuMailQuotaBytes',
        lastModifiedBy: openldap.identities.mailbox?.bindDn,
      }),
    ]);
  });

  it('is no drift while its own job is on its way', async () => {
    const accounts = await provisioned(3);
    const [changed] = [accounts[1] as TestAccount];
    await insertAccount(directory.owner); // whose entry is still to be made
    await changeAccount(directory.owner, changed.id, { title: 'Chuyên viên' });
    const report = await reconcile('report');
    expect(report).toMatchObject({
      state: 'completed',
      pendingCount: 1,
      findings: { missing: 0, extra: 0, changed: 0 },
    });
  });
});

const insertCertificateFor = async (account: TestAccount): Promise<void> => {
  await directory.owner('certificate.certificates').update({ account_id: account.id });
  await publish(account.id);
  const [first] = await directory.owner('directory.accounts').orderBy('created_at').limit(1);
  await publish(first.id);
};

describe('a large repair', () => {
  const large = async () => {
    const accounts = await provisioned(30);
    await provisioned(10, { agencyCode: 'H41.02' });
    for (const account of accounts.slice(0, 12))
      await byHand.modify(dnOf(account), [{ attribute: 'title', operation: 'replace', values: ['Giám đốc'] }]);
    return accounts;
  };
  const titles = async () =>
    [...(await everyEntry()).values()].filter(({ title }) => title !== undefined && String(title) === 'Giám đốc')
      .length;

  it('waits for another client, and is then carried out as it was found', async () => {
    const accounts = await large();
    const { id, ...waiting } = await reconcile('repair');
    expect(waiting).toMatchObject({
      state: 'awaiting_approval',
      reason: { code: 'large_repair', detail: expect.stringContaining('12 of 44 entries in all') },
    });
    expect(await titles()).toBe(12);
    await run(id); // asked again, it still waits
    expect(await titles()).toBe(12);

    // Neither the starter, nor one that the starter made, nor the starter's maker, nor one of another agency, nor on an old version.
    const approve = (by: TestClient) => post(`/v1/reconciliations/${id}/approve`, { remark: 'Đã kiểm tra' }, by);
    expect((await approve(admin).expect(403)).body.code).toBe('own_reconciliation');
    const made = await directory.client('H41', everything);
    await directory.owner('directory.clients').where({ id: made.id }).update({ created_by: admin.id });
    expect((await approve(made).expect(403)).body.code).toBe('own_client');
    await directory.owner('directory.clients').where({ id: admin.id }).update({ created_by: made.id });
    await directory.owner('directory.clients').where({ id: made.id }).update({ created_by: null });
    expect((await approve(made).expect(403)).body.code).toBe('own_client');
    await approve(district).expect(404);
    expect((await approve(second).set('If-Match', '"1"').expect(412)).body.code).toBe('stale_version');
    const reader = await directory.client('H41', ['reconciliations:read']);
    await approve(reader).expect(403);

    // Meanwhile one is put right, one drifts further, and one is new: the plan knows nothing of the last two.
    const [righted, further, plain] = accounts as [TestAccount, TestAccount, TestAccount];
    const fresh = accounts[20] as TestAccount;
    await byHand.modify(dnOf(righted), [{ attribute: 'title', operation: 'replace', values: [] }]);
    await byHand.modify(dnOf(further), [{ attribute: 'cn', operation: 'replace', values: ['Khác'] }]);
    await byHand.modify(dnOf(fresh), [{ attribute: 'cn', operation: 'replace', values: ['Khác'] }]);
    const approved = await approve(second).set('If-Match', `"${waiting.version}"`).expect(200);
    expect(approved.body).toMatchObject({ state: 'repairing', approvedBy: { id: second.id } });
    expect((await approve(second).expect(409)).body.code).toBe('reconciliation_state');
    await run(id);
    expect(await read(id)).toMatchObject({ state: 'completed', findings: { repaired: 10, failed: 1 } });
    const states = new Map((await findings(id)).map((finding) => [finding.accountId, finding]));
    expect(states.get(righted.id)?.state).toBe('obsolete');
    expect(states.get(further.id)).toMatchObject({ state: 'failed', failure: expect.stringMatching(/changed again/) });
    expect(states.get(plain.id)?.state).toBe('repaired');
    const entries = await everyEntry();
    expect(entries.get(dnOf(plain))?.title).toBeUndefined();
    expect(entries.get(dnOf(further))).toMatchObject({ title: ['Giám đốc'], cn: ['Khác'] });
    expect(entries.get(dnOf(fresh))?.cn).toEqual(['Khác']);
    expect(await events('reconciliation.approved')).toMatchObject([
      { actor_id: second.id, after: { remark: 'Đã kiểm tra' } },
    ]);
    expect((await events('account.entry_repaired')).every((event) => event.actor_id === second.id)).toBe(true);
  });

  it('is also large when it is large for one agency alone', async () => {
    await provisioned(12, { agencyCode: 'H41.02' }).then(async (accounts) => {
      for (const account of accounts.slice(0, 10)) await byHand.remove(dnOf(account));
    });
    const { id, state, reason } = await reconcile('repair');
    expect([state, reason?.code]).toEqual(['awaiting_approval', 'large_repair']);
    // With so few agencies it is both; with a limit that only the agency exceeds it is the agency's.
    await post(`/v1/reconciliations/${id}/cancel`).expect(200);
    await provisioned(20);
    const again = await start('repair');
    await run(again, { limits: { percent: 60, atLeast: 10 } });
    expect((await read(again)).reason?.detail).toContain('10 of 13 entries of H41.02');
  });

  it('that was cancelled repairs nothing', async () => {
    await large();
    const { id } = await reconcile('repair');
    expect((await post(`/v1/reconciliations/${id}/cancel`).expect(200)).body.state).toBe('cancelled');
    await post(`/v1/reconciliations/${id}/approve`, {}, second).expect(409);
    await run(id);
    expect(await titles()).toBe(12);
    expect(await events('reconciliation.cancelled')).toMatchObject([{ actor_id: admin.id, subject_id: id }]);
  });
});

describe('never takes a fault for the truth:', () => {
  const nothingChanged = async (
    work: () => Promise<unknown>,
    code: string,
    parts: Partial<ReconcileDependencies> = {},
  ) => {
    const id = await start('repair');
    await work();
    const before = await everyEntry();
    await run(id, parts).catch(() => undefined);
    expect(await read(id)).toMatchObject({ state: 'failed', reason: { code }, findings: { repaired: 0 } });
    expect(await findings(id)).toEqual([]);
    expect(await everyEntry()).toEqual(before);
    expect(await jobsOf('directory', 'converge-entries')).toEqual([]);
    expect(await events('reconciliation.failed')).toMatchObject([{ subject_id: id, after: { reason: { code } } }]);
  };
  const nowhere = () => openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });

  it('LDAP that cannot be reached', async () => {
    await provisioned(2);
    await nothingChanged(async () => undefined, 'ldap_unavailable', { ldap: nowhere() });
  });

  it('LDAP that is empty', async () => {
    const accounts = await provisioned(2);
    await nothingChanged(async () => {
      for (const account of accounts) await byHand.remove(dnOf(account));
    }, 'ldap_empty');
  });

  it('a base that is missing', async () => {
    const accounts = await provisioned(2);
    const elsewhere = {
      ...directory.ldap,
      streamMapped: (base: string, map: URL, options: never) =>
        directory.ldap.streamMapped(base.replace('people', 'nobody'), map, options),
    };
    await nothingChanged(async () => undefined, 'ldap_base_missing', { ldap: elsewhere as Ldap });
    expect(accounts).toHaveLength(2);
  });

  it('a record that is empty while LDAP is not', async () => {
    await provisioned(2);
    const other = await directory.owner('directory.accounts').pluck('id');
    await nothingChanged(
      () => directory.owner.raw(`truncate directory.accounts cascade; select ${other.length}`),
      'record_empty',
    );
  });

  it('an answer that is cut short', async () => {
    await provisioned(3);
    const cut = async function* <T>(base: string, map: URL, options: Parameters<Ldap['streamMapped']>[2]) {
      for await (const batch of directory.ldap.streamMapped<T>(base, map, { ...options, batchSize: 1 })) {
        yield batch.slice(0, 1);
        await openldap.server.kill();
      }
    };
    const id = await start('repair');
    await run(id, { ldap: { ...directory.ldap, streamMapped: cut } });
    const failed = await read(id);
    await openldap.server.start();
    // Three small entries may all have come in one piece: then it is the next question that LDAP does not answer.
    expect([failed.state, failed.reason?.code]).toEqual(['failed', 'ldap_unavailable']);
  });

  it('more that is missing than not', async () => {
    const accounts = await provisioned(30);
    for (const account of accounts.slice(1)) await byHand.remove(dnOf(account));
    const { state, findings: counts } = await reconcile('repair');
    expect([state, counts.missing]).toEqual(['awaiting_approval', 29]);
    expect((await everyEntry()).size).toBe(5);
  });
});

it('what is taken of each entry agrees with the record to the last octet, so that nothing is looked at for nothing', async () => {
  const accounts = await provisioned(5);
  const expected = await listExpected(
    directory.database,
    accounts.map(({ id }) => id),
  );
  const base = `ou=people,${directory.baseDn}`;
  const found = new Map<string | undefined, string>();
  const map = new URL('./digest-entries.ts', import.meta.url);
  const read = directory.ldap.streamMapped<DigestedEntry>(base, map, { scope: 'one', attributes: comparedNames });
  for await (const batch of read) for (const { id, digest } of batch) found.set(id, digest);
  for (const [id, wanted] of expected) expect(found.get(id)).toBe(digestOfExpected(base, wanted));
  expect(expected.size).toBe(5);
});

describe('a worker that dies', () => {
  class Killed extends Error {}
  /** Everything through the connection fails from the `count`th use of `method` on, as for a process that is gone. */
  const killedAt = (method: 'findBy' | 'stream' | 'streamMapped' | 'applyAll', count: number): Ldap => {
    let uses = 0;
    const dying = { ...directory.ldap } as Record<string, unknown>;
    dying[method] = (...parameters: never[]) => {
      uses += 1;
      if (uses >= count) throw new Killed();
      return (directory.ldap[method] as (...all: never[]) => unknown)(...parameters);
    };
    return dying as unknown as Ldap;
  };
  /** What the database of a dead worker's run looks like: whatever it wrote last, and no end. */
  const die = async (id: string, ldap: Ldap) => {
    const [before] = await directory.owner('directory.reconciliations').where({ id });
    const stopping = new AbortController();
    const dying = { ...ldap };
    for (const name of ['findBy', 'stream', 'streamMapped', 'applyAll'] as const) {
      const work = dying[name] as (...all: never[]) => unknown;
      (dying as Record<string, unknown>)[name] = (...parameters: never[]) => {
        try {
          return work(...parameters);
        } catch (error) {
          stopping.abort(error);
          throw error;
        }
      };
    }
    await expect(run(id, { ldap: dying }, stopping.signal)).rejects.toThrow();
    expect(before).toBeDefined();
  };

  it.each([
    ['findBy', 1],
    ['findBy', 2],
    ['findBy', 3],
    ['stream', 1],
    ['streamMapped', 1],
    ['applyAll', 1],
    ['applyAll', 2],
  ] as const)('at %s number %i is followed by another, which ends the run', async (method, count) => {
    const accounts = await provisioned(6);
    const before = await everyEntry();
    const [deleted, titled] = accounts as [TestAccount, TestAccount];
    const id = await start('repair');
    await byHand.remove(dnOf(deleted));
    await byHand.modify(dnOf(titled), [{ attribute: 'title', operation: 'replace', values: ['Giám đốc'] }]);
    await die(id, killedAt(method, count));
    expect((await read(id)).state).toMatch(/comparing|repairing/);
    // While it is at work no other begins.
    expect((await post('/v1/reconciliations', { mode: 'report' }, second).expect(409)).body.code).toBe(
      'reconciliation_running',
    );
    await withOtherServices(() => run(id));
    expect(await read(id)).toMatchObject({
      state: 'completed',
      findings: { missing: 1, changed: 1, repaired: 2, failed: 0 },
    });
    expect(await everyEntry()).toEqual(before);
    expect(await events('account.entry_restored')).toHaveLength(1);
    expect(await events('account.entry_repaired')).toHaveLength(1);
  });

  it('and comes back to a run that another has taken does nothing more', async () => {
    await provisioned(2);
    const id = await start('report');
    const stale = { ...directory.ldap };
    stale.stream = async function* (...parameters) {
      // Another worker takes the run while this one reads.
      await directory.owner('directory.reconciliations').where({ id }).increment('attempt', 1);
      yield* directory.ldap.stream(...parameters);
    };
    await run(id, { ldap: stale });
    expect((await read(id)).state).toBe('comparing');
    await run(id);
    expect((await read(id)).state).toBe('completed');
  });
});

describe('routes', () => {
  it('show a district its own runs, and let it run nothing above', async () => {
    const [inside] = (await provisioned(2)) as [TestAccount];
    const [outside] = (await provisioned(2, { agencyCode: 'H41.02' })) as [TestAccount];
    for (const account of [inside, outside])
      await byHand.modify(dnOf(account), [{ attribute: 'title', operation: 'replace', values: ['Giám đốc'] }]);
    const province = await reconcile('report');
    expect(province.findings.changed).toBe(2);
    await get(`/v1/reconciliations/${province.id}`, district).expect(404);
    await get(`/v1/reconciliations/${province.id}/findings`, district).expect(404);
    await post(`/v1/reconciliations/${province.id}/cancel`, {}, district).expect(404);
    await post('/v1/reconciliations', { mode: 'report', agencyCode: 'H41' }, district).expect(404);
    await post('/v1/reconciliations', { mode: 'report', agencyCode: 'H41.02' }, district).expect(404);

    const own = await reconcile('repair', {}, district);
    expect(own).toMatchObject({
      agencyCode: 'H41.12',
      state: 'completed',
      findings: { changed: 1, repaired: 1, extra: 0 },
    });
    expect((await findings(own.id, district)).map((finding) => finding.accountId)).toEqual([inside.id]);
    expect((await everyEntry()).get(dnOf(outside))?.title).toEqual(['Giám đốc']);
    expect((await get('/v1/reconciliations', district).expect(200)).body.items).toHaveLength(1);
    expect(
      (await get('/v1/reconciliations?mode=report').expect(200)).body.items.map(({ id }: Reconciliation) => id),
    ).toEqual([province.id]);
  });

  it('begin one run per Idempotency-Key, and one at a time where agencies overlap', async () => {
    await provisioned(1);
    const begin = (key: string, body: object) => post('/v1/reconciliations', body).set('Idempotency-Key', key);
    const [one, two] = await Promise.all([begin('a', { mode: 'report' }), begin('a', { mode: 'report' })]);
    expect([one.status, two.status, one.body.id]).toEqual([202, 202, two.body.id]);
    expect((await begin('a', { mode: 'repair' }).expect(409)).body.code).toBe('idempotency_key_reused');
    expect((await begin('b', { mode: 'report', agencyCode: 'H41.12.05' }).expect(409)).body.code).toBe(
      'reconciliation_running',
    );
    const both = await Promise.all(
      ['c', 'd'].map(async (key) => {
        await run(one.body.id);
        return (await begin(key, { mode: 'report' })).status;
      }),
    );
    expect(both.sort()).toEqual([202, 409]);
    expect(await directory.owner('directory_jobs._private_jobs').whereRaw("key like 'reconciliation:%'")).toHaveLength(
      2,
    );
  });

  it('beside each other run what does not overlap', async () => {
    await start('report', { agencyCode: 'H41.12' });
    await start('report', { agencyCode: 'H41.02' });
    await post('/v1/reconciliations', { mode: 'report' }).expect(409);
  });

  it('page through findings, filter them, and export them as CSV', async () => {
    const accounts = await provisioned(7);
    for (const account of accounts)
      await byHand.modify(dnOf(account), [{ attribute: 'title', operation: 'replace', values: ['=1+1'] }]);
    const { id } = await reconcile('report');
    const first = await get(`/v1/reconciliations/${id}/findings?limit=5`).expect(200);
    expect(first.headers.link).toMatch(/rel="next"/);
    const rest = await get(`/v1/reconciliations/${id}/findings?limit=5&cursor=${first.body.nextCursor}`).expect(200);
    expect([...first.body.items, ...rest.body.items].map((finding) => finding.accountId).sort()).toEqual(
      accounts.map((account) => account.id).sort(),
    );
    expect((await get(`/v1/reconciliations/${id}/findings?kind=missing`).expect(200)).body.items).toEqual([]);
    const csv = await get(`/v1/reconciliations/${id}/findings`).set('Accept', 'text/csv').expect(200);
    expect(csv.text.split('\r\n')).toHaveLength(9);
    await get(`/v1/reconciliations/${id}/findings?cursor=${Buffer.from('["x"]').toString('base64url')}`).expect(422);
    expect(
      (await post('/v1/reconciliations', { mode: 'report', removeExtra: true }).expect(422)).body.errors[0].pointer,
    ).toBe('/removeExtra');
  });
});

it('the schedule starts one run over the province, and none while one is at work', async () => {
  const accounts = await provisioned(2);
  await byHand.modify(dnOf(accounts[1] as TestAccount), [
    { attribute: 'title', operation: 'replace', values: ['Giám đốc'] },
  ]);
  const [id, other] = [
    await startScheduled(directory.database, 'repair'),
    await startScheduled(directory.database, 'repair'),
  ];
  expect(other).toBeUndefined();
  await run(String(id));
  expect(await read(String(id))).toMatchObject({
    state: 'completed',
    startedBy: null,
    agencyCode: 'H41',
    findings: { repaired: 1 },
  });
  expect(await events('account.entry_repaired')).toMatchObject([{ actor_kind: 'system' }]);
});

it('the schedule’s run that nobody approved makes way for the next, and those of long ago are gone', async () => {
  const accounts = await provisioned(3);
  for (const account of accounts.slice(1)) await byHand.remove(dnOf(account));
  const limits = { percent: 5, atLeast: 1 };
  const old = String(await startScheduled(directory.database, 'repair'));
  await run(old, { limits });
  const waiting = String(await startScheduled(directory.database, 'repair'));
  expect(await events('reconciliation.cancelled')).toMatchObject([{ subject_id: old, actor_kind: 'system' }]);
  await run(waiting, { limits });
  expect([(await read(old)).state, (await read(waiting)).state]).toEqual(['cancelled', 'awaiting_approval']);
  expect(await findings(old)).not.toEqual([]);

  await directory.owner('directory.reconciliations').where({ id: old }).update({ finished_at: '2020-01-01' });
  await startScheduled(directory.database, 'repair');
  await get(`/v1/reconciliations/${old}`).expect(404);
  expect((await read(waiting)).state).toBe('cancelled');
});

it('telephone numbers that differ are not written down', async () => {
  const [account] = (await provisioned(1)) as [TestAccount];
  await byHand.modify(dnOf(account), [{ attribute: 'mobile', operation: 'replace', values: ['0987654321'] }]);
  const { id } = await reconcile('repair');
  expect(await findings(id)).toMatchObject([{ attribute: 'mobile', actual: ['***321'], state: 'repaired' }]);
  expect(JSON.stringify(await events('account.entry_repaired'))).not.toContain('0987654321');
});

it('an entry of another account under the name of one that is missing is left alone, and said', async () => {
  const [account] = (await provisioned(2)) as [TestAccount];
  await byHand.modify(dnOf(account), [{ attribute: 'congvuAccountId', operation: 'replace', values: [randomUUID()] }]);
  const { id, findings: counts } = await reconcile('repair');
  expect(counts).toMatchObject({ missing: 1, extra: 1, failed: 1, repaired: 0 });
  expect((await findings(id)).find(({ kind }) => kind === 'missing')?.failure).toMatch(/belongs to another account/);
  // With leave to remove what is too much, it is removed first and the account's own made anew.
  await clearJobs();
  const removal = await withOtherServices(() => reconcile('repair', { removeExtra: true }));
  expect(removal).toMatchObject({ findings: { missing: 1, extra: 1, failed: 0, repaired: 2 } });
  expect((await everyEntry()).get(dnOf(account))).toMatchObject({
    congvuAccountId: [account.id],
    mail: [account.address],
  });
});
