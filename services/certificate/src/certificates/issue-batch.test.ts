import { spawn, spawnSync } from 'node:child_process';
import { generateKeyPairSync, hash, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import type { TestAccount } from '@congvu/database/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { askForUnpublished, publishUnpublished } from '../enrolments/publish-certificates.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { certificateSystem } from './certificate-event.ts';
import { finishIssuing } from './finish-issuing.ts';
import type { IssueOrder } from './issue-certificate.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

/** Accounts whose enrolments wait for a CSR. */
async function waiting(
  count: number,
  make: 'account' | 'accountWithEntry' = 'account',
): Promise<{ account: TestAccount; enrolmentId: string }[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const account = await service[make]({ certificatePath: 'csr' });
      await service.converge(account);
      return { account, enrolmentId: (await service.enrolments(account))[0]!.id };
    }),
  );
}

function orderOf(enrolmentId: string): IssueOrder {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const subjectPublicKeyInfo = publicKey.export({ type: 'spki', format: 'der' });
  const fingerprint = hash('sha256', subjectPublicKeyInfo, 'hex');
  return {
    enrolmentId,
    actor: certificateSystem,
    csr: { subjectPublicKeyInfo, keyKind: 'ec-p256', fingerprint, scope: { agencyCode: 'H41' } },
  };
}

describe('one of a batch that the database refuses', () => {
  let allow: (() => Promise<void>) | undefined;
  afterEach(async () => {
    await allow?.();
    allow = undefined;
  });

  async function refuseFor(table: 'intents' | 'certificates', { id }: TestAccount): Promise<void> {
    await service.owner.raw(
      `create function certificate.refuse_one() returns trigger language plpgsql as $$ begin raise exception 'refused by the test'; end $$;
       create trigger refuse_one before insert on certificate.${table}
         for each row when (new.account_id = '${id}') execute function certificate.refuse_one()`,
    );
    allow = async () => void (await service.owner.raw('drop function certificate.refuse_one cascade'));
  }

  test.each([
    ['its intent', 'intents', 0, []],
    ['its certificate', 'certificates', 1, []],
  ] as const)('%s: it fails alone, and the others are issued', async (_what, table, left, actions) => {
    const all = await waiting(9);
    const refused = all[5]!;
    await refuseFor(table, refused.account);
    const before = (await service.actions(refused.account)).length;
    const outcomes = await Promise.allSettled(all.map(({ enrolmentId }) => service.issue(orderOf(enrolmentId))));
    expect(outcomes.map(({ status }) => status)).toEqual(
      all.map((one) => (one === refused ? 'rejected' : 'fulfilled')),
    );
    for (const { account } of all.filter((one) => one !== refused)) {
      expect(await service.certificates(account)).toMatchObject([{ state: 'valid' }]);
      expect(await service.actions(account)).toEqual(['enrolment.opened', 'certificate.issued']);
    }
    expect(await service.certificates(refused.account)).toEqual([]);
    expect(await service.intents(refused.account)).toHaveLength(left);
    expect((await service.actions(refused.account)).slice(before)).toEqual(actions);
  });
});

describe('one of a batch that somebody changes between the look and the record', () => {
  const waitsFor = async (pid: number) =>
    (await service.owner('pg_stat_activity').whereRaw('? = any(pg_blocking_pids(pid))', [pid])).length > 0;

  test.each([
    ['closed: it is refused alone', { state: 'revoked' }, 'rejected', 0],
    [
      'of another version, but as open as before: it is issued like the others',
      { updated_at: new Date() },
      'fulfilled',
      1,
    ],
  ] as const)('%s', async (_what, change, status, certificates) => {
    const all = await waiting(5);
    const changed = all[2]!;
    const holding = await service.owner.transaction();
    const { rows } = await holding.raw<{ rows: { pid: number }[] }>('select pg_backend_pid() as pid');
    await holding('certificate.enrolments').where({ id: changed.enrolmentId }).update(change);
    const outcomes = Promise.allSettled(all.map(({ enrolmentId }) => service.issue(orderOf(enrolmentId))));
    try {
      await until(() => waitsFor(rows[0]!.pid));
    } finally {
      await holding.commit();
    }
    const others = all.filter((one) => one !== changed);
    expect((await outcomes).map((outcome) => outcome.status)).toEqual(
      all.map((one) => (one === changed ? status : 'fulfilled')),
    );
    if (status === 'rejected') expect((await outcomes)[2]).toMatchObject({ reason: { code: 'enrolment_state' } });
    for (const { account } of others) expect(await service.certificates(account)).toHaveLength(1);
    expect(await service.certificates(changed.account)).toHaveLength(certificates);
    expect(await service.intents(changed.account)).toEqual([]);
  });
});

describe('a crowd', () => {
  const signal = new AbortController().signal;
  const jobs = async () =>
    (
      await service.owner.raw(
        `select t.identifier, j.key, j.run_at > now() as waits from certificate_jobs._private_jobs j
         join certificate_jobs._private_tasks t on t.id = j.task_id where t.identifier like 'publish%' order by j.id`,
      )
    ).rows;
  const unpublished = () => service.owner('certificate.unpublished').orderBy('id');
  const issueAll = async (all: Awaited<ReturnType<typeof waiting>>): Promise<void> => {
    await service.owner('certificate_jobs._private_jobs').delete();
    await Promise.all(all.map(({ enrolmentId }) => service.issue(orderOf(enrolmentId))));
  };
  const isPublished = async ({ account }: { account: TestAccount }): Promise<boolean> =>
    (await service.published(account)).length === 1;

  test('is published together a second later: what waits is a row each, and one job', async () => {
    const all = await waiting(24, 'accountWithEntry');
    await issueAll(all.slice(0, 12));
    await Promise.all(all.slice(12).map(({ enrolmentId }) => service.issue(orderOf(enrolmentId))));
    expect(await jobs()).toEqual([{ identifier: 'publish-unpublished', key: 'publish-unpublished', waits: true }]);
    expect(await unpublished()).toHaveLength(24);
    expect(await Promise.all(all.map(isPublished))).not.toContain(true);

    await publishUnpublished(service, signal);
    expect(await Promise.all(all.map(isPublished))).not.toContain(false);
    expect(await unpublished()).toEqual([]);
  });

  const issueMore = (all: Awaited<ReturnType<typeof waiting>>) =>
    Promise.all(all.map(({ enrolmentId }) => service.issue(orderOf(enrolmentId))));
  const publishing = () => service.owner('certificate_jobs._private_jobs').where({ key: 'publish-unpublished' });

  test('a job that waits is not put off by those who come later', async () => {
    const all = await waiting(36);
    await issueAll(all.slice(0, 12));
    const [first] = await publishing();
    for (const from of [12, 24]) {
      await service.owner.raw("update certificate_jobs._private_jobs set run_at = run_at - interval '500 ms'");
      await issueMore(all.slice(from, from + 12));
    }
    expect(await publishing()).toMatchObject([
      { id: first.id, run_at: new Date(first.run_at.getTime() - 1_000), attempts: 0 },
    ]);
    await publishUnpublished(service, signal);
  });

  test('wakes the workers once, and not with every batch that joins it', async () => {
    const all = await waiting(36);
    await service.owner('certificate_jobs._private_jobs').delete();
    const listening = await service.owner.client.acquireConnection();
    const heard: unknown[] = [];
    const hear = (told: unknown): number => heard.push(told);
    listening.on('notification', hear);
    try {
      await listening.query('listen "jobs:insert"');
      for (const from of [0, 12, 24]) await issueMore(all.slice(from, from + 12));
      await listening.query('unlisten *'); // what was told before comes before the answer
    } finally {
      listening.off('notification', hear);
      await service.owner.client.releaseConnection(listening);
    }
    expect(heard).toHaveLength(1);
    await publishUnpublished(service, signal);
  });

  test('it does not begin before those are stored that rely on it', async () => {
    const all = await waiting(24);
    await issueAll(all.slice(0, 12));
    const take = async () =>
      (await publishing().whereNull('locked_at').forUpdate().skipLocked().select('id')).length === 1;
    expect(await take()).toBe(true);
    // Held at its last step, when it has looked for the job.
    await service.owner.raw(
      `create function certificate.wait_here() returns trigger language plpgsql as $$ begin perform pg_sleep(0.2); return null; end $$;
       create constraint trigger wait_here after insert on certificate.unpublished deferrable initially deferred
         for each row when (pg_backend_pid() > 0) execute function certificate.wait_here()`,
    );
    try {
      const more = issueMore(all.slice(12, 22));
      await until(async () => !(await take()));
      expect(await unpublished()).toHaveLength(12);
      await more;
      expect(await take()).toBe(true);
      expect(await unpublished()).toHaveLength(22);
    } finally {
      await service.owner.raw('drop function certificate.wait_here cascade');
      await publishUnpublished(service, signal);
    }
  }, 60_000);

  test.each([
    ['was begun', 'locked_at = now()', 2],
    ['failed', "attempts = 1, run_at = now() + interval '1 h'", 1],
  ])('another is asked for when the one that waits %s', async (_what, change, count) => {
    const all = await waiting(24);
    await issueAll(all.slice(0, 12));
    await service.owner.raw(`update certificate_jobs._private_jobs set ${change} where key = 'publish-unpublished'`);
    await issueMore(all.slice(12));
    const { rows } = await service.owner.raw(
      `select extract(epoch from run_at - now())::float8 as seconds from certificate_jobs._private_jobs j
       join certificate_jobs._private_tasks t on t.id = j.task_id where t.identifier = 'publish-unpublished' order by j.id desc`,
    );
    expect(rows).toHaveLength(count);
    expect(rows[0].seconds).toBeGreaterThan(0.3);
    expect(rows[0].seconds).toBeLessThan(1.1);
    await publishUnpublished(service, signal);
  });

  test('LDAP down, or killed: what waits stays until it is published', async () => {
    const all = await waiting(12, 'accountWithEntry');
    await issueAll(all);
    const ldap = openLdap({ url: 'ldap://127.0.0.1:1', bindDn: 'cn=x', password: 'x' });
    await expect(publishUnpublished({ ...service, ldap }, signal)).rejects.toMatchObject({ kind: 'unavailable' });
    expect(await unpublished()).toHaveLength(12);
    // Should its job be lost, the minute's asks for another.
    await publishing().delete();
    await askForUnpublished(service.database);
    expect(await publishing()).toHaveLength(1);
    await publishUnpublished(service, signal);
    expect(await unpublished()).toEqual([]);
    expect(await Promise.all(all.map(isPublished))).not.toContain(false);
    await publishing().delete();
    await askForUnpublished(service.database);
    expect(await publishing()).toEqual([]);
  });

  test('of a few stored together, the job is their own and at once', async () => {
    await issueAll(await waiting(9));
    expect(new Set((await jobs()).map((job: object) => JSON.stringify(job)))).toEqual(
      new Set([JSON.stringify({ identifier: 'publish-certificates', key: null, waits: false })]),
    );
    expect(await unpublished()).toEqual([]);
  });
});

describe('more than can be issued at a time', () => {
  test('are told to come again, and lose nothing', async () => {
    const [one] = await waiting(1);
    const url = `/v1/enrolments/${one!.enrolmentId}/csr`;
    const bearer = await service.tokens.bearer({ permissions: ['certificates:enrol'], agency: 'H41' });
    const csr = service.csr('busy');
    const send = () => supertest(service.app).post(url).set('Authorization', bearer).send({ csr });
    const holding = await service.owner.transaction();
    await holding.raw('lock table certificate.enrolments in access exclusive mode');
    const crowd = Array.from({ length: 1_000 }, () => service.issue(orderOf(randomUUID())).catch(({ code }) => code));
    const answer = await send();
    await holding.rollback();
    expect([answer.status, answer.body.code]).toEqual([503, 'issuing_busy']);
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0);
    expect(new Set(await Promise.all(crowd))).toEqual(new Set(['enrolment_not_found']));
    expect(await service.certificates(one!.account)).toEqual([]);
    expect((await send()).status).toBe(201);
  });
});

describe('a process killed in the middle of a batch', () => {
  const program = ['--disable-warning=ExperimentalWarning', `${import.meta.dirname}/testing-killed-issuer.ts`];
  const inputOf = (all: Awaited<ReturnType<typeof waiting>>, how: { dieAt?: number; pauseMs?: number }): string => {
    const { ROOT_CERTIFICATE, ROOT_CRL, AUTHORITIES_DIRECTORY, AUTHORITIES_PASSPHRASE, PUBLIC_URL } = service.config;
    const { ORGANIZATION_IDENTIFIER, SERVER_KEY_KIND } = service.config;
    return JSON.stringify({
      url: service.testDatabase.urlAs('certificate'),
      config: {
        ...{ ROOT_CERTIFICATE, ROOT_CRL, AUTHORITIES_DIRECTORY, AUTHORITIES_PASSPHRASE, PUBLIC_URL },
        ...{ ORGANIZATION_IDENTIFIER, SERVER_KEY_KIND },
      },
      enrolmentIds: all.map(({ enrolmentId }) => enrolmentId),
      ...how,
    });
  };

  /** A minute later every signature that was made is in the register, and each enrolment has one certificate. */
  async function expectAllOnRecord(all: Awaited<ReturnType<typeof waiting>>, signed: readonly string[]): Promise<void> {
    await service
      .owner('certificate.intents')
      .update({ created_at: service.owner.raw("now() - interval '2 minutes'") });
    await finishIssuing(service);
    const register = await service.owner('certificate.certificates').select('state', 'certificate');
    for (const tbs of signed) {
      const [row, ...others] = register.filter((one) => one.certificate.includes(Buffer.from(tbs, 'hex')));
      expect(others).toEqual([]);
      expect(row.state).toBe('valid');
      expect(service.verify(row.certificate)).toContain('OK');
    }
    for (const { account, enrolmentId } of all) {
      expect(await service.certificates(account)).toMatchObject([{ state: 'valid', enrolment_id: enrolmentId }]);
      expect((await service.actions(account)).filter((action) => action === 'certificate.issued')).toHaveLength(1);
    }
  }

  test.each([
    ['after the third signature', 3],
    ['after the last, before any is stored', 8],
  ])('%s: every signature that it made is in the register afterwards', async (_when, dieAt) => {
    const all = await waiting(8);
    const input = inputOf(all, { dieAt });
    const { signal, stdout, stderr } = spawnSync(process.execPath, program, {
      encoding: 'utf8',
      timeout: 60_000,
      input,
    });
    expect([signal, stderr]).toEqual(['SIGKILL', '']);
    const signed = stdout.trim().split('\n');
    expect(signed).toHaveLength(dieAt);
    for (const { account } of all) {
      expect(await service.certificates(account)).toEqual([]);
      expect(await service.intents(account)).toHaveLength(1);
    }
    await expectAllOnRecord(all, signed);
  });

  test('while they are stored: what the database made of it stands, and nothing is made twice', async () => {
    const all = await waiting(8);
    const ids = all.map(({ enrolmentId }) => enrolmentId);
    const child = spawn(process.execPath, program, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = once(child, 'exit');
    child.stdin.end(inputOf(all, { pauseMs: 2_000 }));
    const stdout = text(child.stdout);
    const signing = () => service.owner('certificate.intents').whereIn('enrolment_id', ids);
    await until(async () => (await signing()).length === all.length);
    const holding = await service.owner.transaction();
    await holding('certificate.intents').whereIn('enrolment_id', ids).forUpdate().select('id');
    const itsBackends = () => service.owner('pg_stat_activity').where({ application_name: 'killed' }).select('pid');
    const waitsForUs = () => service.owner('pg_locks').where({ granted: false }).whereIn('pid', itsBackends());
    try {
      await until(async () => (await waitsForUs()).length > 0);
      child.kill('SIGKILL');
      await ended;
    } finally {
      await holding.rollback();
    }
    await until(async () => (await itsBackends()).length === 0);

    expect(await signing()).toEqual([]);
    const signed = (await stdout).trim().split('\n');
    expect(signed).toHaveLength(all.length);
    await expectAllOnRecord(all, signed);
  });
});

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) throw new Error('it did not become so');
    await sleep(20);
  }
}
