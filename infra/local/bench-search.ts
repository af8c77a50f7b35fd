/**
 * `search`: the 99th percentile of GET /v1/accounts?q=… over HTTP with `size` accounts in the record, beside that with a
 * thousand. The people are those of the sample, beyond its twenty thousand made of the same names in the same proportions; the
 * queries are a fixed mix, the same on both sides, by a client of the whole province and one of a single district. Each is asked
 * three times, far apart, and the fastest counts, so that the figure tells of the search and not of what else the machine did.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { ApiClient } from '@congvu/contracts';
import { defaultUsernamePatterns, parseUsernamePatterns, stripMarks, usernameCandidates } from '@congvu/vietnamese';
import { parse } from 'csv-parse/sync';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { importAgencies, sampleFile } from './province.ts';
import { connectClients } from './stack.ts';

const policy = parseUsernamePatterns(defaultUsernamePatterns);
if (!policy.ok) throw new Error('the default username patterns are not valid');
const { patterns } = policy;
const floorSize = 1_000;
const queryCount = 1_000;

export async function measureSearch({ stack, size, say }: BenchOptions): Promise<Figure> {
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  const owner = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_owner') });
  await owner.connect();
  try {
    const people = await samplePeople();
    const queries = queryMix(people);
    const measure = async (count: number): Promise<number> => {
      say(`search: ${count} accounts …`);
      await fillAccounts(owner, people, count);
      return report(count, await timeQueries(clients, queries), say);
    };
    const floorValue = await measure(floorSize);
    const value = await measure(size);
    return { value, unit: 'ms (p99)', floor: `${floorSize} accounts`, floorValue, ratio: value / floorValue };
  } finally {
    await owner.end();
  }
}

interface Person {
  fullName: string;
  title: string;
  agencyCode: string;
}

export async function samplePeople(): Promise<Person[]> {
  const rows: Record<string, string>[] = parse(await sampleFile('people.csv'), { columns: true });
  const people = rows.map((row) => ({
    fullName: row.full_name as string,
    title: row.title as string,
    agencyCode: row.agency_code as string,
  }));
  // They stand by agency in the sample; any thousand of them shall be of all agencies.
  const pick = seeded(7);
  return people
    .map((person) => ({ person, at: pick(1_000_000) }))
    .sort((a, b) => a.at - b.at)
    .map(({ person }) => person);
}

/** The same numbers at every run (Lehmer's generator with Park and Miller's constants). */
export function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}

const partsOf = (fullName: string) => {
  const words = fullName.split(' ');
  return { surname: words[0] ?? '', middleNames: words.slice(1, -1).join(' '), givenName: words.at(-1) ?? '' };
};

/** Brings the record to `count` accounts, by the triggers and constraints that hold for every account, and no LDAP. */
export async function fillAccounts(owner: pg.Client, people: readonly Person[], count: number): Promise<void> {
  const { rows } = await owner.query('select count(*)::int as present from directory.accounts');
  const present: number = rows[0].present;
  const taken = new Set<string>();
  const pick = seeded(41);
  let batch: object[] = [];
  for (let index = 0; index < count; index += 1) {
    const row = people[index % people.length] as Person;
    const name = partsOf(row.fullName);
    if (index >= people.length) {
      name.surname = partsOf((people[pick(people.length)] as Person).fullName).surname;
      name.givenName = partsOf((people[pick(people.length)] as Person).fullName).givenName;
    }
    const fullName = [name.surname, name.middleNames, name.givenName].filter(Boolean).join(' ');
    const username = firstFree(usernameCandidates(name, row.agencyCode.toLowerCase(), patterns), taken);
    if (index < present) continue;
    batch.push({
      ...name,
      fullName,
      username,
      title: row.title,
      agencyCode: row.agencyCode,
      hash: randomBytes(32).toString('hex'),
    });
    if (batch.length === 2_000 || index === count - 1) {
      await insert(owner, batch);
      batch = [];
    }
  }
  await owner.query(
    'vacuum analyze directory.accounts, directory.account_search, directory.search_words, directory.people',
  );
}

function firstFree(candidates: Iterable<string>, taken: Set<string>): string {
  for (const candidate of candidates) {
    if (taken.has(candidate)) continue;
    taken.add(candidate);
    return candidate;
  }
  throw new Error('no username is free');
}

const insert = (owner: pg.Client, batch: readonly object[]): Promise<unknown> =>
  owner.query(
    `with row as (
       select gen_random_uuid() as person_id, a.id as agency_id, a.mail_domain, spec.*
       from jsonb_to_recordset($1::jsonb) as spec("fullName" text, surname text, "middleNames" text, "givenName" text,
         username text, title text, "agencyCode" text, hash text)
       join directory.agencies a on a.code = spec."agencyCode"),
     person as (
       insert into directory.people (id, full_name, surname, middle_names, given_name, birth_date,
         national_id_sealed, national_id_hash)
       select person_id, "fullName", surname, "middleNames", "givenName", '1980-01-01', '', decode(hash, 'hex') from row)
     insert into directory.accounts (kind, username, address, agency_id, person_id, display_name, surname, given_name,
       title, certificate_path)
     select 'person', username, username || '@' || mail_domain, agency_id, person_id, "fullName", surname, "givenName",
       title, 'none' from row`,
    [JSON.stringify(batch)],
  );

interface Query {
  about: string;
  q: string;
  by: 'administrator' | 'requester';
}

/** What people type: mostly names and parts of names, whole, with and without marks, alone and with an agency or a position. */
function queryMix(people: readonly Person[]): Query[] {
  const pick = seeded(2018);
  const any = (): Person => people[pick(people.length)] as Person;
  const word = (text: string): string => {
    const words = text.split(' ');
    return words[pick(words.length)] as string;
  };
  const kinds: Record<string, () => string> = {
    'full name': () => any().fullName,
    'full name without marks': () => stripMarks(any().fullName).toLowerCase(),
    'given name': () => partsOf(any().fullName).givenName,
    surname: () => partsOf(any().fullName).surname,
    'one syllable': () => stripMarks(word(any().fullName)).toLowerCase(),
    'two syllables of different people': () => `${word(any().fullName)} ${word(any().fullName)}`,
    'part of a syllable': () =>
      stripMarks(word(any().fullName))
        .toLowerCase()
        .slice(0, 2 + pick(2)),
    'one letter': () => 'abcdghiklmnopqrstuvxyz'[pick(22)] as string,
    address: () => `${[...usernameCandidatesOf(any())][0]}@nghean.gov.vn`,
    'part of an address': () => ([...usernameCandidatesOf(any())][0] as string).slice(0, 5),
    position: () => any().title,
    'name and position': () => `${partsOf(any().fullName).givenName} ${any().title}`,
    'agency code': () => any().agencyCode,
    'name and agency code': () => `${word(any().fullName)} ${any().agencyCode}`,
    'agency name': () =>
      ['Quỳnh Lưu', 'Sở Nội vụ', 'UBND huyện Diễn Châu', 'THPT', 'UBND xã', 'Hưng Nguyên'][pick(6)] as string,
    'no hit': () => `${word(any().fullName)} ${['zzz', 'qqx', 'wkj', 'xq'][pick(4)]}`,
  };
  const names = Object.keys(kinds);
  return Array.from({ length: queryCount }, (_, index) => {
    const about = names[index % names.length] as string;
    return { about, q: (kinds[about] as () => string)(), by: pick(4) === 0 ? 'requester' : 'administrator' };
  });
}

function* usernameCandidatesOf({ fullName, agencyCode }: Person): Generator<string> {
  for (const candidate of usernameCandidates(partsOf(fullName), agencyCode.toLowerCase(), patterns)) {
    yield candidate;
    return;
  }
}

interface Timing extends Query {
  ms: number;
  hits: number;
}

async function timeQueries(clients: Record<Query['by'], ApiClient>, queries: readonly Query[]): Promise<Timing[]> {
  const ask = async (query: Query): Promise<Timing> => {
    const began = performance.now();
    const answer = await clients[query.by].fetch('directory', `/v1/accounts?q=${encodeURIComponent(query.q)}`);
    const { items } = (await answer.json()) as { items: unknown[] };
    return { ...query, ms: performance.now() - began, hits: items.length };
  };
  for (const query of queries.slice(0, 300)) await ask(query);
  await sleep(1_000);
  let fastest: Timing[] = [];
  for (let round = 0; round < 3; round += 1) {
    const timings: Timing[] = [];
    for (const query of queries) timings.push(await ask(query));
    fastest = timings.map((timing, index) =>
      (fastest[index]?.ms ?? Infinity) < timing.ms ? (fastest[index] as Timing) : timing,
    );
  }
  return fastest;
}

/** Says how long it took by kind of query; the 99th percentile of all. */
function report(count: number, timings: readonly Timing[], say: (line: string) => void): number {
  const line = (about: string, some: readonly Timing[]): string => {
    const hits = some.reduce((sum, { hits: one }) => sum + one, 0) / some.length;
    return `  ${about.padEnd(36)} p50 ${percentile(some, 0.5).toFixed(1)} ms, p99 ${percentile(some, 0.99).toFixed(1)} ms, ${hits.toFixed(0)} hits`;
  };
  for (const [about, some] of Map.groupBy(timings, ({ about }) => about)) say(line(about, some));
  for (const [by, some] of Map.groupBy(timings, ({ by }) => by))
    say(line(by === 'requester' ? 'one district' : 'whole province', some));
  say(line(`all, ${count} accounts`, timings));
  return percentile(timings, 0.99);
}

function percentile(timings: readonly Timing[], share: number): number {
  const sorted = timings.map(({ ms }) => ms).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}
