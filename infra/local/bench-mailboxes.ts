/**
 * `mailboxes` and `mailboxes-flat`: a province's mailboxes with all that belongs to them. Their accounts (people of a sheet, positions,
 * agencies) and the entries of these are made before, while the mailbox service is down. Timed is then all that the mailbox service
 * does, audit included, from the first mailbox on record until no job is left, when LDAP and Dovecot say all of it:
 * - a mailbox for each account, with its quota by class and its place in the lists of agencies;
 * - by API calls, some at a time: one in a hundred is a shared mailbox with the rights of two people, one in five hundred a program's;
 *   a further address for every mailbox; a quota by hand, a reply while away and forwarding for one in two hundred; a list by hand
 *   for every two hundred.
 *
 * The floor of `mailboxes` is `ldapmodify` of the very same attributes, of each entry once and as they are in the end, with the entries
 * of shared and service mailboxes and of lists added whole; nothing is recorded there, and nobody asked. The reading of ids and
 * addresses, which whoever makes mailboxes has from the answers, is in no clock.
 */
import { AddedAliases, GroupDetail, type MailboxKind, RequestDetail, SheetDraft } from '@congvu/contracts';
import { csvMediaType } from '@congvu/spreadsheet';
import pg from 'pg';
import { z } from 'zod';
import type { BenchOptions, Figure } from './bench.ts';
import { countEntries, searchEntries, withFloor } from './bench-ldap.ts';
import { provinceClient } from './bench-provisioning.ts';
import { approve, importAgencies, sampleFile, submit, waitUntil } from './province.ts';
import { samplePeopleCsv } from './sample-sheets.ts';
import { connectClients, domain } from './stack.ts';

export async function measureMailboxes(options: BenchOptions): Promise<Figure> {
  const { size } = options;
  const province = await prepare(options);
  const seconds = await province.create(size);
  await province.close();
  const ldif = await toLdif(options, size);
  options.say('floor: ldapmodify of the same attributes …');
  const floorSeconds = await withFloor(options, async (load) => {
    await load('ldapadd', ldif.before);
    return load('ldapmodify', ldif.changes);
  });
  const [value, floorValue] = [size / seconds, size / floorSeconds];
  return { value, unit: 'mailboxes/s', floor: 'ldapmodify', floorValue, ratio: value / floorValue };
}

/** The last are most of them, and come when a fifth is there. */
export async function measureMailboxesFlat(options: BenchOptions): Promise<Figure> {
  const { size } = options;
  const province = await prepare(options);
  const [few, some] = [Math.ceil(size / 50), Math.ceil(size / 5)];
  const costs: number[] = [];
  for (const count of [few, some - few, size - some]) costs.push(((await province.create(count)) / count) * 1e6);
  await province.close();
  const [floorValue = 0, , value = 0] = costs;
  return {
    value,
    unit: 'µs a mailbox',
    floor: `µs each of the first ${few}`,
    floorValue,
    ratio: floorValue / value,
  };
}

interface Made {
  id: string;
  kind: MailboxKind;
  address: string;
}
type Clients = ReturnType<typeof connectClients>;

/** Agencies, and quota classes for all and for the heads of agencies; `create` makes so many mailboxes more, and answers the seconds. */
async function prepare(
  options: BenchOptions,
): Promise<{ create: (count: number) => Promise<number>; close: () => Promise<void> }> {
  const { say, stack } = options;
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  await setQuotas(clients);
  // With their lists, which come of the import.
  await waitUntil(
    'agencies in LDAP',
    () => countEntries(options, '(|(objectClass=congvuAgency)(objectClass=congvuMailGroup))'),
    (count) => count === 2 * 845,
    60_000,
  );
  const requester = await provinceClient(options);
  const agencyCodes = [...(await sampleFile('agencies.csv')).matchAll(/^(H41[.\w]*),/gm)].map(([, code]) =>
    String(code),
  );
  const { mailbox } = stack.services.processes;
  const { query, close } = await openRecord(options);
  let total = 0;
  let made = { people: 0, positions: 0, agencies: 0, own: 0 };

  const create = async (count: number): Promise<number> => {
    const patience = 60_000 + count * 50;
    const some = (share: number): number => Math.round(count * share);
    const part = { positions: some(0.05), agencies: some(0.01), shared: some(0.01), service: some(0.002) };
    const people = count - part.positions - part.agencies - part.shared - part.service;
    const accounts = people + part.positions + part.agencies;
    const before = total;

    say(`${count} mailboxes: ${accounts} accounts …`);
    await mailbox.stop();
    const sheet = await samplePeopleCsv(people, 'không', made.people);
    const signal = AbortSignal.timeout(patience);
    const { id } = await requester.call('directory', '/v1/sheets?agencyCode=H41', SheetDraft, {
      body: sheet,
      contentType: csvMediaType,
      signal,
    });
    await requester.call('directory', `/v1/requests/${id}/submit`, RequestDetail, { body: {}, signal });
    await clients.administrator.call('directory', `/v1/requests/${id}/approve`, RequestDetail, { body: {}, signal });
    const at = (index: number): string => agencyCodes[index % agencyCodes.length] as string;
    const offices = [
      ...numbers(made.positions, part.positions).map((n) => {
        const title = titles[Math.floor(n / agencyCodes.length)] as string;
        return { kind: 'position', certificate: 'none', agencyCode: at(n), title } as const;
      }),
      ...numbers(made.agencies, part.agencies).map((n) => {
        return { kind: 'agency', certificate: 'none', agencyCode: at(n) } as const;
      }),
    ];
    for (let start = 0; start < offices.length; start += 500) {
      const request = await submit(requester, 'H41', offices.slice(start, start + 500));
      await approve(clients.administrator, request.id);
    }
    const entriesBefore = total - made.own;
    await waitUntil(
      'all entries',
      () => countEntries(options, '(objectClass=congvuAccount)'),
      (entries) => entries >= entriesBefore + accounts,
      patience,
    );

    say(`${count} mailboxes: those of accounts …`);
    const began = await databaseTime(query);
    await mailbox.start();
    await waitUntil(
      'all mailboxes of accounts',
      () => countProvisioned(query),
      (mailboxes) => mailboxes >= before + accounts,
      patience,
    );
    const first = await secondsSinceTheFirst(query, began);

    say(`${count} mailboxes: what belongs to them …`);
    const known = await readMailboxes(query, began);
    const then = performance.now();
    const own = await makeOwn(clients, part, known, made.own, at);
    const second = (performance.now() - then) / 1_000;
    known.push(...own);
    const again = performance.now();
    await giveMore(clients, known, before);
    const called = (performance.now() - again) / 1_000;
    await waitUntil(
      'all jobs',
      () => countJobs(query),
      (jobs) => jobs === 0,
      patience,
    );
    const third = (performance.now() - again) / 1_000;
    made = {
      people: made.people + people,
      positions: made.positions + part.positions,
      agencies: made.agencies + part.agencies,
      own: made.own + part.shared + part.service,
    };
    total += count;
    const seconds = first + second + third;
    const shown = (some: number): string => some.toFixed(1);
    say(
      `${count} mailboxes took ${shown(seconds)} s, ${((seconds / count) * 1e6).toFixed(0)} µs each: those of accounts ${shown(first)}, ` +
        `shared and service mailboxes ${shown(second)}, what belongs to them ${shown(called)}, until all is carried out ${shown(third - called)}`,
    );
    return seconds;
  };
  return { create, close };
}

const titles = ['Chủ tịch', 'Phó Chủ tịch', 'Văn thư', 'Kế toán trưởng', 'Chánh Văn phòng', 'Phó Chánh Văn phòng'];
const numbers = (first: number, count: number): number[] => Array.from({ length: count }, (_, index) => first + index);
const GiB = 1024 ** 3;
const Anything = z.unknown();

async function setQuotas({ administrator }: Clients): Promise<void> {
  for (const [code, quotaBytes] of [
    ['chung', 2 * GiB],
    ['lanh-dao', 10 * GiB],
  ] as const) {
    await administrator.call('mailbox', '/v1/quota-classes', Anything, { body: { code, name: code, quotaBytes } });
  }
  await administrator.call('mailbox', '/v1/quota-assignments', Anything, {
    method: 'PUT',
    body: [
      { quotaClass: 'chung' },
      { quotaClass: 'lanh-dao', title: 'Chủ tịch' },
      { quotaClass: 'lanh-dao', kind: 'agency' },
    ],
  });
}

const callsAtOnce = 4;

/** Each of the items by a call of its own, some at a time. */
async function forEachAtOnce<T, R>(items: readonly T[], call: (item: T, index: number) => Promise<R>): Promise<R[]> {
  const answers: R[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++)
      answers[index] = await call(items[index] as T, index);
  };
  await Promise.all(Array.from({ length: callsAtOnce }, work));
  return answers;
}

const MadeMailbox = z.object({ accountId: z.string(), address: z.string() });

async function makeOwn(
  { administrator }: Clients,
  part: { shared: number; service: number },
  accounts: readonly Made[],
  first: number,
  agencyAt: (index: number) => string,
): Promise<Made[]> {
  const kinds = [...Array(part.shared).fill('shared'), ...Array(part.service).fill('service')] as (
    | 'shared'
    | 'service'
  )[];
  const people = accounts.filter(({ kind }) => kind === 'person');
  return forEachAtOnce(kinds, async (kind, index) => {
    const n = first + index;
    const rights = [
      { accountId: people[2 * index]?.id, rights: ['write', 'send_as'] },
      { accountId: people[2 * index + 1]?.id, rights: ['read'] },
    ];
    const about = { kind, localPart: `chung.${n}`, displayName: `Hộp thư ${n}`, agencyCode: agencyAt(n) };
    const body = kind === 'shared' ? { ...about, rights } : about;
    const headers = { 'Idempotency-Key': `chung-${n}` };
    const { accountId, address } = await administrator.call('mailbox', '/v1/mailboxes', MadeMailbox, { body, headers });
    return { id: accountId, kind, address };
  });
}

/** What follows the making of `mailboxes`; `before` is how many there were. */
async function giveMore({ administrator }: Clients, mailboxes: readonly Made[], before: number): Promise<void> {
  const call = <T extends z.ZodType>(path: string, schema: T, body: object, method: 'POST' | 'PUT' | 'PATCH' = 'PUT') =>
    administrator.call('mailbox', path, schema, { method, body });
  for (let start = 0; start < mailboxes.length; start += 5_000) {
    const items = mailboxes
      .slice(start, start + 5_000)
      .map(({ address }, index) => ({ mailbox: address, address: `cu.${before + start + index}@${domain}` }));
    const { added } = await call('/v1/aliases', AddedAliases, { items }, 'POST');
    if (added !== items.length) throw new Error(`of ${items.length} further addresses ${added} were added`);
  }
  const people = mailboxes.filter(({ kind }) => kind === 'person');
  const personAt = (index: number): Made => people[index % people.length] as Made;
  const few = people.filter((_, index) => index % 200 === 0);
  await forEachAtOnce(few, async ({ id }, index) => {
    await call(`/v1/mailboxes/${id}`, Anything, { quotaBytes: 20 * GiB }, 'PATCH');
    const away = { subject: 'Vắng mặt', text: 'Tôi đi công tác đến hết tuần.' };
    await call(`/v1/mailboxes/${id}/vacation`, Anything, away);
    await call(`/v1/mailboxes/${id}/forwarding`, Anything, { addresses: [personAt(200 * index + 1).address] });
  });
  await forEachAtOnce(numbers(Math.round(before / 200), Math.round(mailboxes.length / 200)), (n) => {
    const body = {
      localPart: `nhom.${n}`,
      name: `Nhóm ${n}`,
      agencyCode: 'H41',
      posting: 'members',
      memberRule: { agencyCode: 'H41', title: 'Chủ tịch' },
      ownerIds: [personAt(n).id],
    };
    return call('/v1/groups', GroupDetail, body, 'POST');
  });
}

type Query = <T>(sql: string, values?: unknown[]) => Promise<T[]>;

/** Over one connection of the owner of all, so that the asking costs what is timed as little as can be. */
async function openRecord({ stack }: BenchOptions): Promise<{ query: Query; close: () => Promise<void> }> {
  const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await client.connect();
  return { query: async (sql, values = []) => (await client.query(sql, values)).rows, close: () => client.end() };
}

const countProvisioned = (query: Query): Promise<number> =>
  count(query, 'select count(*)::int as count from mailbox.mailboxes where provisioned_at is not null');

/** Letters and what runs by the clock are not waited for. */
const countJobs = (query: Query): Promise<number> =>
  count(
    query,
    `select count(*)::int as count from mailbox_jobs.jobs where task_identifier like 'converge-%' or task_identifier = 'apply-quotas'`,
  );

async function count(query: Query, sql: string): Promise<number> {
  const [row] = await query<{ count: number }>(sql);
  return row?.count as number;
}

async function databaseTime(query: Query): Promise<Date> {
  const [row] = await query<{ now: Date }>('select clock_timestamp() as now');
  return row?.now as Date;
}

/** From the first mailbox's making to now, by the database's clock: the service's start is not counted. */
async function secondsSinceTheFirst(query: Query, since: Date): Promise<number> {
  const [row] = await query<{ seconds: number }>(
    'select extract(epoch from clock_timestamp() - min(created_at))::float8 as seconds from mailbox.mailboxes where created_at >= $1',
    [since],
  );
  return row?.seconds as number;
}

const readMailboxes = (query: Query, since: Date): Promise<Made[]> =>
  query('select account_id as id, kind, address from mailbox.mailboxes where created_at >= $1 order by address', [
    since,
  ]);

const isMail = (line: string): boolean => /^(mail|congvuMail\w*|congvuVacation\w*)::? /.test(line);

/** The entries of accounts without anything of mail, and the changes that bring all of it. */
async function toLdif(options: BenchOptions, size: number): Promise<{ before: string; changes: string }> {
  const read = async (as: 'directory' | 'mailbox', filter: string): Promise<string[][]> =>
    (await searchEntries(options, [filter, '*'], as))
      .split(/\n\n+/)
      .filter((block) => block.startsWith('dn:'))
      .map((block) => block.split('\n').filter((line) => line !== ''));
  const accounts = await read('directory', '(&(objectClass=congvuAccount)(mail=*)(!(objectClass=congvuMailbox)))');
  const whole = [
    ...(await read('mailbox', '(objectClass=congvuMailbox)')),
    ...(await read('mailbox', '(&(objectClass=congvuMailGroup)(mail=nhom.*))')),
  ];
  const all = [...accounts, ...whole];
  const having = (name: string): number =>
    all.filter((lines) => lines.some((line) => line.startsWith(`${name}:`))).length;
  const counts = {
    further: having('congvuMailAlias'),
    senders: having('congvuMailSender'),
    lists: Math.round(size / 200),
  };
  const expected = { further: size, senders: Math.round(size * 0.01), lists: all.length - size };
  if (JSON.stringify(counts) !== JSON.stringify(expected)) {
    throw new Error(`LDAP says ${JSON.stringify(counts)} instead of ${JSON.stringify(expected)}`);
  }
  const changes = accounts.map((lines) => {
    const mail = Object.entries(Object.groupBy(lines.filter(isMail), (line) => line.slice(0, line.indexOf(':'))));
    const replaced = mail.map(([name, values]) => `replace: ${name}\n${values?.join('\n')}`);
    return `${lines[0]}\nchangetype: modify\n${replaced.join('\n-\n')}\n-`;
  });
  const additions = whole.map(([dn, ...lines]) => `${dn}\nchangetype: add\n${lines.join('\n')}`);
  const before = accounts.map((lines) => lines.filter((line) => !isMail(line)).join('\n'));
  return { before: `${before.join('\n\n')}\n`, changes: `${[...changes, ...additions].join('\n\n')}\n` };
}
