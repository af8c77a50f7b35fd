/**
 * `provisioning`: people of the sample province in one sheet, from the sheet over request and approval to LDAP entries with mail
 * attributes (PostgreSQL, audit and all; no certificate), beside `ldapadd` of the very same finished entries into an empty OpenLDAP
 * of the same settings, indexes and durability. The floor binds as the root DN, so it is spared the access rules that ours passes,
 * and has the machine to itself: services and database are stopped before it begins. Once more with as many other people of the same names.
 */

import { randomUUID } from 'node:crypto';
import { connectApi, RequestDetail, roles, SheetDraft } from '@congvu/contracts';
import { openDatabase } from '@congvu/database';
import { setUpClient } from '@congvu/directory/set-up-client';
import { csvMediaType } from '@congvu/spreadsheet';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { countEntries, searchEntries, withFloor } from './bench-ldap.ts';
import { importAgencies, readRequest, waitUntil } from './province.ts';
import { samplePeopleCsv } from './sample-sheets.ts';
import { connectClients } from './stack.ts';

/** Each side is at its best in one of them: the machine's own speed comes and goes by a quarter within minutes. */
const rounds = 2;
/** People of a request before those that count: a service that has just started compiles what it does for the first time. */
const warmUp = 1_000;

type Api = ReturnType<typeof connectApi>;

export async function measureProvisioning(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  const { administrator, ...clients } = connectClients(stack.description);
  await importAgencies({ administrator, ...clients });
  // With their lists, which come of the import and not of the people.
  await waitUntil(
    'agencies in LDAP',
    () => countEntries(options, '(|(objectClass=congvuAgency)(objectClass=congvuMailGroup))'),
    (count) => count === 2 * 845,
    60_000,
  );
  const province = await provinceClient(options);
  const both = { administrator, province };
  await provision({ ...options, size: warmUp }, both, rounds * size, warmUp);
  const seconds: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    seconds.push(await provision(options, both, round * size, warmUp + (round + 1) * size));
  }
  const value = size / Math.min(...seconds);

  const ldif = await searchEntries(options, ['(&(objectClass=congvuAccount)(mail=*))', '*']);
  const entries = ldif.split(/(?<=\n\n)/).filter((entry) => entry.startsWith('dn:'));
  if (entries.length !== warmUp + rounds * size)
    throw new Error(`of ${warmUp + rounds * size} entries with mail attributes there are ${entries.length}`);
  const floorSeconds: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const part = entries.slice(warmUp + round * size, warmUp + (round + 1) * size).join('');
    floorSeconds.push(await withFloor(options, (load) => load('ldapadd', part)));
    say(`floor: ldapadd of as many of the same entries took ${floorSeconds.at(-1)?.toFixed(1)} s`);
  }
  const floorValue = size / Math.min(...floorSeconds);
  return { value, unit: 'accounts/s', floor: 'ldapadd', floorValue, ratio: value / floorValue };
}

/** Seconds that the sample's people after the `first` take from the sheet to the end, after which so many accounts are in the record. */
async function provision(
  options: BenchOptions,
  clients: { administrator: Api; province: Api },
  first: number,
  accounts: number,
): Promise<number> {
  const { size, say } = options;
  const { administrator, province } = clients;
  const sheet = await samplePeopleCsv(size, 'không', first);
  const signal = AbortSignal.timeout(60_000 + size * 50);
  say(`provisioning: ${size} people …`);
  const began = performance.now();
  const { id } = await province.call('directory', '/v1/sheets?agencyCode=H41', SheetDraft, {
    body: sheet,
    contentType: csvMediaType,
    signal,
  });
  const read = performance.now();
  await province.call('directory', `/v1/requests/${id}/submit`, RequestDetail, { body: {}, signal });
  const submitted = performance.now();
  await administrator.call('directory', `/v1/requests/${id}/approve`, RequestDetail, { body: {}, signal });
  const { ended, searched } = await waitForEnd(options, id, accounts);

  const inSeconds = (from: number, to: number): string => ((to - from) / 1_000).toFixed(1);
  say(
    `provisioning took ${inSeconds(began, ended)} s: sheet ${inSeconds(began, read)}, submission ${inSeconds(read, submitted)}, ` +
      `from approval on ${inSeconds(submitted, ended)}; the search knew all ${inSeconds(ended, searched)} s later`,
  );
  const { fulfilledCount } = await readRequest(administrator, id);
  if (fulfilledCount !== size) throw new Error(`of ${size} lines ${fulfilledCount} are fulfilled`);
  return (ended - began) / 1_000;
}

/** A requester for the whole province: the sample's people work in every agency. */
export async function provinceClient({ stack }: BenchOptions) {
  const database = openDatabase({ url: stack.engines.postgres.url('congvu_directory'), name: 'bench', poolSize: 1 });
  try {
    const clientSecret = `${randomUUID()}${randomUUID()}`;
    const clientId = await setUpClient(database, {
      name: 'bench',
      agencyCode: 'H41',
      permissions: roles.requester,
      secret: clientSecret,
    });
    return { ...connectApi(stack.description.services, { clientId, clientSecret }), clientId, clientSecret };
  } finally {
    await database.destroy();
  }
}

/**
 * A request is fulfilled when each of its accounts has all of its parts, and a mailbox stands when its LDAP entry has all mail attributes:
 * that is the end. The search, which is no part of the figure, knows them a little later. Asked where, and how, it disturbs least.
 */
async function waitForEnd(
  { stack, size }: BenchOptions,
  requestId: string,
  accounts: number,
): Promise<{ ended: number; searched: number }> {
  const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await client.connect();
  const ask = async <T>(sql: string, ...values: unknown[]): Promise<T> =>
    (await client.query(sql, values)).rows[0].value;
  const timeoutMs = 60_000 + size * 50;
  try {
    const state = () => ask<string>('select state as value from directory.requests where id = $1', requestId);
    await waitUntil('the request fulfilled', state, (value) => value === 'fulfilled', timeoutMs);
    const ended = performance.now();
    const provisioned = 'select count(*)::int as value from mailbox.mailboxes where provisioned_at is not null';
    const mailboxes = await ask<number>(provisioned);
    if (mailboxes !== accounts) throw new Error(`of ${accounts} mailboxes ${mailboxes} are provisioned`);
    const found = () => ask<number>('select count(*)::int as value from directory.account_search');
    await waitUntil('all in the search', found, (value) => value === accounts, timeoutMs);
    return { ended, searched: performance.now() };
  } finally {
    await client.end();
  }
}
