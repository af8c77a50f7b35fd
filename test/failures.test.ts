/**
 * The journey's failure twins: servers stopped and restarted, services killed by SIGKILL at points chosen at random. After
 * each, everything converges by itself: nothing lost, nothing doubled, no certificate that the register does not know.
 * The seed is printed; CONGVU_SEED repeats a run.
 */
import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Account, type RequestDetail, type RequestLineInput } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import { makeCsr, waitForMessage } from '@congvu/local/mail-client';
import {
  activate,
  approve,
  type Holder,
  importAgencies,
  listCertificates,
  person,
  pickUpKey,
  readRequest,
  sendCsr,
  submit,
  waitForAccounts,
  waitUntil,
  withDirectory,
} from '@congvu/local/province';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { expectOneWelcome, expectWhole, type Platform, startPlatform } from './platform.ts';

const seed = Number(process.env.CONGVU_SEED ?? randomInt(2 ** 31));
const random = mulberry32(seed);
/** The killer draws from numbers of its own: what runs beside it must not change where it strikes. */
const killerRandom = mulberry32(seed + 1);
const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;

let platform: Platform;
const requests: string[] = [];
let counter = 0;

beforeAll(async () => {
  process.stderr.write(`    seed ${seed} (CONGVU_SEED=${seed} repeats this run)\n`);
  platform = await startPlatform('failures', 25_200);
  await importAgencies(platform.clients);
}, 120_000);
afterAll(() => platform?.stop(), 60_000);

/** People of whom some share their names, so that the choice of usernames is at stake too. */
function people(count: number) {
  return Array.from({ length: count }, () => {
    counter += 1;
    const birthDate = `19${60 + (counter % 40)}-0${1 + (counter % 9)}-1${counter % 10}`;
    return person(
      pick(['Nguyễn Văn An', 'Trần Thị Bình', 'Lê Đình Chi', 'Hồ Sỹ Dũng']),
      birthDate,
      'male',
      'Chuyên viên',
    );
  });
}

/** Goes on asking while a service is down, as a careful program does; the same key never makes two requests. */
async function insist<T>(what: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await what();
    } catch (error) {
      const down =
        error instanceof ServiceError &&
        (error.kind === 'unavailable' ||
          error.kind === 'rate_limited' ||
          error.code === 'http_error' ||
          error.code === 'internal');
      if (!down || attempt > 200) throw error;
      await sleep(error.kind === 'rate_limited' ? 1_000 : 100);
    }
  }
}

async function ask(count: number): Promise<string> {
  const key = crypto.randomUUID();
  const lines = people(count);
  const request = await insist(() => submit(platform.clients.requester, 'H41.32', lines, key));
  requests.push(request.id);
  return request.id;
}

/** Approved once, whether or not the answer came through. */
async function decide(id: string): Promise<void> {
  await insist(() => approve(platform.clients.administrator, id)).catch(async (error: unknown) => {
    const request = await insist(() => readRequest(platform.clients.administrator, id));
    if (request.state !== 'approved' && request.state !== 'fulfilled') throw error;
  });
}

const settle = (id: string): Promise<RequestDetail> =>
  waitUntil(
    `request ${id} to be fulfilled (seed ${seed})`,
    () => insist(() => waitForAccounts(platform.clients.requester, id, 90_000)),
    ({ state }) => state === 'fulfilled',
    90_000,
  );

async function expectAllWhole(ids: readonly string[]): Promise<Holder[]> {
  const settled = await Promise.all(ids.map(settle));
  await expectWhole(platform, ids);
  const accountIds = settled.flatMap((request) => request.lines.map((line) => line.account?.id as string));
  const holders = await Promise.all(
    accountIds.map((id) => insist(() => activate(platform.clients, platform.description, id))),
  );
  for (const holder of holders) await waitForMessage(platform.description, holder, /Chào mừng/, 30_000);
  await sleep(500); // a second copy, if there were one, would be here by now
  await expectOneWelcome(platform, holders);
  return holders;
}

test('OpenLDAP stopped during provisioning', async () => {
  const id = await ask(4);
  await platform.engines.openldap.stop();
  await decide(id);
  await sleep(2_500);
  const waiting = await readRequest(platform.clients.requester, id);
  expect(waiting.state).toBe('approved');
  expect(waiting.lines.flatMap(({ account }) => Object.values(account?.parts ?? {}))).not.toContain('done');
  const ready = await fetch(`${platform.description.services.directory}/readyz`);
  expect([ready.status, await ready.json()]).toEqual([
    503,
    { status: 'unavailable', checks: { database: 'ok', ldap: 'unavailable' } },
  ]);
  await platform.engines.openldap.start();
  await expectAllWhole([id]);
}, 180_000);

test('OpenLDAP killed in the middle of provisioning', async () => {
  const id = await ask(8);
  await decide(id);
  await sleep(random() * 400);
  await platform.engines.openldap.kill();
  await platform.engines.openldap.stop(); // it would come back by itself, and sooner
  await sleep(1_000);
  await platform.engines.openldap.start();
  await expectAllWhole([id]);
}, 180_000);

test.each(Array.from({ length: 6 }, (_, round) => round + 1))(
  'services killed by SIGKILL at random points, round %i',
  async (round) => {
    const names = ['directory', 'mailbox', 'certificate'] as const;
    const points: string[] = [];
    const began = Date.now();
    const killing = (async () => {
      for (let kill = 0; kill < 5; kill += 1) {
        await sleep(killerRandom() * 1_500);
        const name = names[Math.floor(killerRandom() * names.length)] as (typeof names)[number];
        points.push(`${name}@${Date.now() - began}ms`);
        await platform.services.processes[name].kill();
      }
    })();
    const ids: string[] = [];
    for (let index = 0; index < 4; index += 1) {
      const id = await ask(3);
      await decide(id);
      ids.push(id);
      await sleep(random() * 500);
    }
    await killing;
    process.stderr.write(`    round ${round}: ${points.length} kills: ${points.join(' ')}\n`);
    await expectAllWhole(ids);
  },
  240_000,
);

test('services killed while certificates are brought by CSR, picked up, held and released', async () => {
  const key = crypto.randomUUID();
  const lines = [...people(2), { ...people(1)[0], certificate: 'csr' } as RequestLineInput];
  const { id } = await insist(() => submit(platform.clients.requester, 'H41.32', lines, key));
  requests.push(id);
  await decide(id);
  const request = await insist(() => waitForAccounts(platform.clients.requester, id, 60_000));
  const [first, second, third] = await Promise.all(
    request.lines.map(({ account }) =>
      insist(() => activate(platform.clients, platform.description, account?.id as string)),
    ),
  );
  if (!first || !second || !third) throw new Error('three lines make three holders');
  const { csrPem } = await makeCsr();
  const change = (what: 'suspend' | 'resume') =>
    insist(() =>
      platform.clients.administrator.call('directory', `/v1/accounts/${first.accountId}/${what}`, Account, {
        body: { reason: 'thử' },
      }),
    ).catch((error: unknown) => {
      // The change was made, and only its answer was lost.
      if (!(error instanceof ServiceError && error.code === 'account_state')) throw error;
    });
  const points: string[] = [];
  const killing = (async () => {
    for (let kill = 0; kill < 6; kill += 1) {
      await sleep(killerRandom() * 1_200);
      const name = kill % 3 === 2 ? 'directory' : 'certificate';
      points.push(name);
      await platform.services.processes[name].kill();
    }
  })();
  await change('suspend');
  const [serialNumber] = await Promise.all([insist(() => sendCsr(third, csrPem)), insist(() => pickUpKey(second))]);
  await sleep(killerRandom() * 800);
  await change('resume');
  await killing;
  process.stderr.write(`    kills: ${points.join(' ')}\n`);
  // The same CSR again is the same certificate.
  expect(await insist(() => sendCsr(third, csrPem))).toBe(serialNumber);
  await settle(id);
  await waitUntil(
    'all three valid and in LDAP',
    () => inLdap([first, second, third]),
    (count) => count === 3,
    60_000,
  );
  const certificates = await insist(() => listCertificates(platform.clients.auditor, id));
  expect(certificates.map(({ state }) => state)).toEqual(['valid', 'valid', 'valid']);
}, 240_000);

/** How many of these people have a certificate in LDAP. */
const inLdap = (holders: readonly Holder[]): Promise<number> =>
  withDirectory(platform.description, async (directory) => {
    const entries = await directory.people();
    const ids = new Set(holders.map((holder) => holder.accountId));
    return entries.filter(
      ({ attributes }) =>
        ids.has(String(attributes.congvuAccountId?.[0])) && attributes['userCertificate;binary']?.length === 1,
    ).length;
  });

test('PostgreSQL restarted, then killed, in the middle of provisioning', async () => {
  const first = await ask(5);
  await decide(first);
  await sleep(random() * 300);
  await platform.engines.postgres.restart();
  const second = await ask(5);
  await decide(second);
  await sleep(random() * 300);
  await platform.engines.postgres.kill();
  await sleep(500);
  await platform.engines.postgres.start();
  await expectAllWhole([first, second]);
}, 240_000);

test('Dovecot and Postfix killed in the middle of provisioning', async () => {
  const { dovecot, postfix } = platform.engines;
  const id = await ask(4);
  await decide(id);
  await sleep(random() * 300);
  await Promise.all([dovecot.kill(), postfix?.kill()]);
  await sleep(1_000);
  await Promise.all([dovecot.start(), postfix?.start()]);
  await expectAllWhole([id]);
}, 180_000);

test('after all of it, everything is whole together and audited once', async () => {
  await expectWhole(platform, requests);
  const [made] = await platform.query<{ count: number }>('select count(*)::int as count from directory.requests');
  expect(made?.count).toBe(requests.length);
  const doubled = await platform.query(
    `select action, subject_id, count(*) from directory.audit_events
     where action in ('request.submitted', 'request.approved', 'request.fulfilled', 'account.opened', 'mailbox.created', 'enrolment.opened', 'certificate.issued')
     group by action, subject_id having count(*) > 1`,
  );
  expect(doubled).toEqual([]);
}, 120_000);

/** A small generator with a seed (public domain, Tommy Ettinger), because Math.random cannot be repeated. */
function mulberry32(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
