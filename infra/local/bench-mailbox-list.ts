/**
 * `mailbox-list`: the 99th percentile of GET /v1/mailboxes?include=usage over HTTP with `size` mailboxes, first pages of 50 in every
 * order, whole and by state, by a client of the whole province and one of a district, beside that of a plain SELECT of the same page
 * over one connection, which finds the page first, as who knows the tables would, and asks nobody who may see it. Each is asked three times, far apart, and the fastest counts, on both sides,
 * so that the figure tells of the list and not of what else the machine did.
 */
import { type ApiClient, MailboxSort } from '@congvu/contracts';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { fillAccounts, samplePeople, seeded } from './bench-search.ts';
import { importAgencies } from './province.ts';
import { connectClients } from './stack.ts';

type Who = 'administrator' | 'requester';
interface Question {
  sort: MailboxSort;
  state: string | undefined;
  by: Who;
}

const rounds = 3;
const repetitions = 4;

export async function measureMailboxList({ stack, size, say }: BenchOptions): Promise<Figure> {
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  const owner = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_owner') });
  const plain = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_mailbox') });
  await Promise.all([owner.connect(), plain.connect()]);
  try {
    say(`mailbox-list: ${size} mailboxes …`);
    await fillAccounts(owner, await samplePeople(), size);
    await fillMailboxes(owner);
    const questions = MailboxSort.options.flatMap((sort) =>
      [undefined, 'active', 'suspended'].flatMap((state) =>
        (['administrator', 'requester'] as const).map((by) => ({ sort, state, by })),
      ),
    );
    const agencies: Record<Who, string> = {
      administrator: stack.description.clients.administrator.agencyCode,
      requester: stack.description.clients.requester.agencyCode,
    };
    const http = await timings(questions, (question) => overHttp(clients, question));
    const select = await timings(questions, (question) => bySelect(plain, agencies, question));
    for (const [name, times] of [
      ['over HTTP', http],
      ['plain SELECT', select],
    ] as const) {
      const line = (about: string, some: readonly Timing[]): void =>
        say(
          `  ${name}, ${about}: p50 ${percentile(some, 0.5).toFixed(2)} ms, p99 ${percentile(some, 0.99).toFixed(2)} ms`,
        );
      for (const [by, some] of Map.groupBy(times, ({ question }) => question.by)) line(by, some);
      for (const [sort, some] of Map.groupBy(times, ({ question }) => question.sort)) line(sort, some);
      line('all', times);
    }
    const value = percentile(http, 0.99);
    const floorValue = percentile(select, 0.99);
    return { value, unit: 'ms (p99)', floor: 'plain SELECT', floorValue, ratio: value / floorValue };
  } finally {
    await Promise.all([owner.end(), plain.end()]);
  }
}

/** A mailbox for every account, most of them used, as much as any other number. */
async function fillMailboxes(owner: pg.Client): Promise<void> {
  const pick = seeded(1926);
  await owner.query(
    `insert into mailbox.mailboxes (account_id, address, state, quota_bytes, created_at)
     select id, address, case when abs(hashtext(id::text)) % 50 = 0 then 'suspended' else 'active' end, 2147483648,
       now() - abs(hashtext(address)) % 1000 * interval '1 hour'
     from directory.accounts`,
  );
  await owner.query(
    `update mailbox.usage set measured_at = now(), quota_used_bytes = (abs(hashtext(mailbox_id::text || 'q')) % 2000000) * 1024,
       message_count = abs(hashtext(mailbox_id::text || 'm')) % 5000, received_count = abs(hashtext(mailbox_id::text || 'r')) % 3000,
       last_login_at = now() - abs(hashtext(mailbox_id::text || 'l')) % 100000 * interval '1 minute'
     where abs(hashtext(mailbox_id::text || $1)) % 10 > 1`,
    [String(pick(1_000))],
  );
  await owner.query('vacuum analyze mailbox.mailboxes, mailbox.usage');
}

async function overHttp(clients: Record<Who, ApiClient>, { sort, state, by }: Question): Promise<number> {
  const query = new URLSearchParams({ include: 'usage', sort, ...(state ? { state } : {}) });
  const answer = await clients[by].fetch('mailbox', `/v1/mailboxes?${query}`);
  const { items } = (await answer.json()) as { items: unknown[] };
  return items.length;
}

const keys: Readonly<Record<string, string>> = {
  name: 'u.sort_name',
  address: 'm.address collate "C"',
  quotaUsed: 'coalesce(u.quota_used_bytes, -1)',
  lastLogin: "coalesce(u.last_login_at, '-infinity')",
  received: 'u.received_count',
};

async function bySelect(
  plain: pg.Client,
  agencies: Record<Who, string>,
  { sort, state, by }: Question,
): Promise<number> {
  const key = keys[sort.replace('-', '')];
  const order = sort.startsWith('-') ? `${key} desc, m.account_id desc` : `${key}, m.account_id`;
  const where = [
    ...(state ? [`m.state = '${state}'`] : []),
    ...(by === 'requester' ? [`u.agency_id in (select directory.agency_subtree('${agencies[by]}'))`] : []),
  ];
  const { rows } = await plain.query(
    `select m.account_id, m.address, c.display_name, c.agency_code, c.agency_name, m.state, m.quota_bytes, m.created_at, c.request_id,
       c.submitted_by_name, c.submitted_at, c.approved_by_name, c.approved_at, c.decision_number, u.*
     from (select u.mailbox_id from mailbox.usage u join mailbox.mailboxes m on m.account_id = u.mailbox_id
       ${where.length > 0 ? `where ${where.join(' and ')}` : ''} order by ${order} limit 50) page
     join mailbox.usage u on u.mailbox_id = page.mailbox_id join mailbox.mailboxes m on m.account_id = page.mailbox_id
     join lateral (select * from directory.accounts_v c where c.id = page.mailbox_id offset 0) c on true order by ${order}`,
  );
  return rows.length;
}

interface Timing {
  question: Question;
  ms: number;
}

async function timings(
  questions: readonly Question[],
  ask: (question: Question) => Promise<number>,
): Promise<Timing[]> {
  const all = Array.from({ length: repetitions }, () => questions).flat();
  for (const question of all) await ask(question);
  const fastest = all.map((question) => ({ question, ms: Number.POSITIVE_INFINITY }));
  for (let round = 0; round < rounds; round += 1) {
    for (const timing of fastest) {
      const began = performance.now();
      const count = await ask(timing.question);
      timing.ms = Math.min(timing.ms, performance.now() - began);
      if (count === 0) throw new Error(`nothing was listed by ${JSON.stringify(timing.question)}`);
    }
  }
  return fastest;
}

function percentile(some: readonly Timing[], share: number): number {
  const sorted = some.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
