/**
 * `provisioning`: people of the sample province from request over approval to LDAP entry with mail attributes (PostgreSQL,
 * audit and all; no certificate), beside `ldapadd` of the very same finished entries into an empty OpenLDAP of the same
 * settings, indexes and durability. The floor binds as the root DN, so it is spared the access rules that ours passes.
 */

import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RequestLineInput } from '@congvu/contracts';
import { connectApi, roles } from '@congvu/contracts';
import { openDatabase } from '@congvu/database';
import { setUpClient } from '@congvu/directory/set-up-client';
import { parse } from 'csv-parse/sync';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { startOpenLdap } from './openldap.ts';
import { run } from './process.ts';
import { approve, importAgencies, inventNationalId, sampleFile, submit, waitUntil } from './province.ts';
import { connectClients, domain } from './stack.ts';
import { openState, removeState } from './state.ts';

const linesPerRequest = 500;

export async function measureProvisioning(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  await waitUntil(
    'agencies in LDAP',
    () => countEntries(options, '(objectClass=congvuAgency)'),
    (count) => count === 845,
    60_000,
  );
  const province = await provinceClient(options);
  const lines = await samplePeople(size);

  say(`provisioning: ${size} people …`);
  const began = performance.now();
  for (let start = 0; start < lines.length; start += linesPerRequest) {
    const request = await submit(province, 'H41', lines.slice(start, start + linesPerRequest));
    await approve(clients.administrator, request.id);
  }
  await waitUntil(
    'all entries with mail attributes',
    () => countMailboxes(options),
    (count) => count === size,
    60_000 + size * 50,
  );
  const seconds = (performance.now() - began) / 1_000;

  say(`provisioning took ${seconds.toFixed(1)} s`);
  say('floor: ldapadd of the same entries …');
  const floorSeconds = await measureLdapadd(options);
  const value = size / seconds;
  const floorValue = size / floorSeconds;
  return { value, unit: 'accounts/s', floor: 'ldapadd', floorValue, ratio: value / floorValue };
}

/** A requester for the whole province: the sample's people work in every agency. */
async function provinceClient({ stack }: BenchOptions) {
  const database = openDatabase({ url: stack.engines.postgres.url('congvu_directory'), name: 'bench', poolSize: 1 });
  try {
    const clientSecret = `${randomUUID()}${randomUUID()}`;
    const clientId = await setUpClient(database, {
      name: 'bench',
      agencyCode: 'H41',
      permissions: roles.requester,
      secret: clientSecret,
    });
    return connectApi(stack.description.services, { clientId, clientSecret });
  } finally {
    await database.destroy();
  }
}

async function samplePeople(size: number): Promise<RequestLineInput[]> {
  const rows: Record<string, string>[] = parse(await sampleFile('people.csv'), { columns: true });
  const taken = new Set<string>();
  const inventAnother = (birthDate: string, sex: 'male' | 'female'): string => {
    const invented = inventNationalId(birthDate, sex);
    if (taken.has(invented)) return inventAnother(birthDate, sex);
    taken.add(invented);
    return invented;
  };
  return Array.from({ length: size }, (_, index) => {
    const row = rows[index % rows.length] as Record<string, string>;
    const sex = row.sex === 'Nữ' ? 'female' : 'male';
    const [day, month, year] = (row.birth_date as string).split('/');
    return {
      kind: 'person',
      fullName: row.full_name as string,
      birthDate: row.birth_date as string,
      sex,
      title: row.title as string,
      nationalId: inventAnother(`${year}-${month}-${day}`, sex),
      agencyCode: row.agency_code as string,
      certificate: 'none',
    };
  });
}

/** A mailbox is marked provisioned when its LDAP entry with all mail attributes stands. Counted where it disturbs least. */
async function countMailboxes({ stack }: BenchOptions): Promise<number> {
  const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await client.connect();
  try {
    const { rows } = await client.query(
      'select count(*)::int as count from mailbox.mailboxes where provisioned_at is not null',
    );
    return rows[0].count;
  } finally {
    await client.end();
  }
}

async function search({ stack }: BenchOptions, args: readonly string[]): Promise<string> {
  const { url, baseDn } = stack.description.ldap;
  const { dn, password } = stack.engines.openldap.credentials('directory');
  const file = join(stack.engines.stateDirectory, 'bench-password');
  await writeFile(file, password, { mode: 0o600 });
  return run('ldapsearch', [
    '-x',
    '-H',
    url,
    '-D',
    dn,
    '-y',
    file,
    '-LLL',
    '-o',
    'ldif-wrap=no',
    '-b',
    baseDn,
    ...args,
  ]);
}

const countEntries = async (options: BenchOptions, filter: string): Promise<number> =>
  (await search(options, [filter, '1.1'])).match(/^dn:/gm)?.length ?? 0;

async function measureLdapadd(options: BenchOptions): Promise<number> {
  const { stack, portBase, stateDirectory } = options;
  const ldif = join(stack.engines.stateDirectory, 'entries.ldif');
  await writeFile(ldif, await search(options, ['(objectClass=congvuAccount)', '*']), { mode: 0o600 });
  removeState(`${stateDirectory}-floor`);
  const state = openState(`${stateDirectory}-floor`);
  const rootPassword = state.secret('root');
  const floor = await startOpenLdap({
    state,
    port: portBase + 389,
    baseDn: stack.engines.baseDn,
    domain,
    log: () => undefined,
    rootPassword,
  });
  try {
    const file = state.writeFile('root-password', rootPassword);
    const began = performance.now();
    await run('ldapadd', ['-x', '-H', floor.url, '-D', floor.rootDn, '-y', file, '-f', ldif], { timeoutMs: 3_600_000 });
    return (performance.now() - began) / 1_000;
  } finally {
    await floor.stop();
    state.close();
  }
}
