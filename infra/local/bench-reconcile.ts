/**
 * `reconcile`: a report over people without drift, each with mail attributes and a certificate, from the call to its completed answer;
 * beside `ldapsearch` reading the same attributes to a file and, after it, PostgreSQL's COPY of the same rows. The people are
 * made here, not by the services: rows straight into PostgreSQL, entries by slapadd while slapd is down.
 */

import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { createWriteStream, readFileSync } from 'node:fs';
import { chown, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type ApiClient, Reconciliation } from '@congvu/contracts';
import { openDatabase } from '@congvu/database';
import { comparedNames } from '@congvu/directory/compare-entry';
import { listEntrySources } from '@congvu/directory/convergence-store';
import { wantedEntry } from '@congvu/directory/entry';
import type { Attributes } from '@congvu/ldap';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { run } from './process.ts';
import { importAgencies, waitUntil } from './province.ts';
import { connectClients } from './stack.ts';

const rounds = 3;
const rowsAtOnce = 2_000;

export async function measureReconcile(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await client.connect();
  try {
    await makeProvince(options, client);
    const { administrator } = connectClients(stack.description);
    const ours: number[] = [];
    const floor: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await forgetPeakMemory(options);
      ours.push(await measureReport(administrator, size));
      const memory = peakMemory(options);
      const [search, copy] = [await measureSearch(options), await measureCopy(options, client)];
      floor.push(search + copy);
      say(
        `reconcile: ${ours.at(-1)?.toFixed(2)} s, ${memory} MB at most; ldapsearch ${search.toFixed(2)} s + COPY ${copy.toFixed(2)} s`,
      );
    }
    const value = size / median(ours);
    const floorValue = size / median(floor);
    return { value, unit: 'entries/s', floor: 'ldapsearch + COPY', floorValue, ratio: value / floorValue };
  } finally {
    await client.end();
  }
}

const median = (values: readonly number[]): number => [...values].sort((one, other) => one - other)[1] as number;

async function makeProvince(options: BenchOptions, client: pg.Client): Promise<void> {
  const { stack, size, say } = options;
  await importAgencies(connectClients(stack.description));
  await waitUntil(
    'agencies in LDAP',
    async () => (await client.query('select 1 from directory.agencies where entry_version < version limit 1')).rowCount,
    (behind) => behind === 0,
    60_000,
  );
  say(`reconcile: making ${size} people …`);
  const ldif = join(stack.engines.stateDirectory, 'people.ldif');
  const file = createWriteStream(ldif, { mode: 0o600 });
  const template = await certificate(options);
  for (let start = 0; start < size; start += rowsAtOnce) {
    const people = Array.from({ length: Math.min(rowsAtOnce, size - start) }, (_, index) =>
      personOf(start + index, template),
    );
    await insertPeople(client, people);
    for (const [dn, attributes] of await entriesOf(options, people)) file.write(toLdif(dn, attributes));
    if (file.writableNeedDrain) await new Promise<void>((resolve) => file.once('drain', () => resolve()));
  }
  await new Promise<void>((resolve) => file.end(() => resolve()));
  await client.query('analyze directory.accounts, directory.agencies, mailbox.mailboxes, certificate.certificates');
  await loadEntries(options, ldif);
}

interface Person {
  id: string;
  username: string;
  name: string;
  certificate: Buffer;
}

function personOf(index: number, template: Buffer): Person {
  const der = Buffer.from(template);
  randomBytes(16).copy(der, der.length - 16); // another signature, another fingerprint
  const given = ['Ánh', 'Bình', 'Châu', 'Dũng', 'Đức', 'Hương'][index % 6];
  return { id: randomUUID(), username: `bench${index}`, name: `Nguyễn Văn ${given} ${index}`, certificate: der };
}

/** A certificate in form: its signature is never looked at here. */
async function certificate({ stack }: BenchOptions): Promise<Buffer> {
  const der = join(stack.engines.stateDirectory, 'bench.der');
  const subject = ['-subj', '/C=VN/O=Ủy ban nhân dân tỉnh Nghệ An/CN=Nguyễn Văn Ánh', '-utf8', '-days', '730'];
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${der}.key`];
  await run('openssl', ['req', '-x509', ...key, ...subject, '-outform', 'DER', '-out', der]);
  await rm(`${der}.key`);
  return readFileSync(der);
}

/** Everything as the three services leave it when all is done. */
async function insertPeople(client: pg.Client, people: readonly Person[]): Promise<void> {
  const rows = people.map(({ certificate: der, ...person }) => ({
    ...person,
    person: randomUUID(),
    enrolment: randomUUID(),
    der: der.toString('hex'),
    fingerprint: createHash('sha256').update(der).digest('hex'),
    agency: Math.floor(Math.random() * 1_000_000),
  }));
  await client.query('create temp table if not exists bench (row jsonb)');
  await client.query('truncate bench');
  await client.query('insert into bench select jsonb_array_elements($1::jsonb)', [JSON.stringify(rows)]);
  const table = `(select r.*, a.id as agency_id, a.name as agency_name from bench, jsonb_to_record(row) as r(id uuid, person uuid,
      enrolment uuid, username text, name text, der text, fingerprint text, agency int),
    (select array_agg(id order by code) as ids from directory.agencies) all_agencies,
    lateral (select id, name from directory.agencies where id = ids[1 + r.agency % cardinality(ids)]) a) as p`;
  for (const statement of [
    `insert into directory.people (id, full_name, surname, middle_names, given_name, birth_date, mobile,
       national_id_sealed, national_id_hash)
     select person, name, 'Nguyễn', 'Văn', 'Ánh', '1980-01-01', '0900000000', '', sha256(username::bytea) from ${table}`,
    `insert into directory.accounts (id, kind, username, address, agency_id, person_id, display_name, surname, given_name,
       title, certificate_path, entry_version)
     select id, 'person', username, username || '@nghean.gov.vn', agency_id, person, name, 'Nguyễn', 'Ánh', 'Chuyên viên',
       'csr', 1 from ${table}`,
    `insert into directory.provisioning (account_id, part, state)
     select id, part, 'done' from ${table} cross join unnest(array['entry', 'mailbox', 'certificate']) as part`,
    `insert into mailbox.mailboxes (account_id, address, state, quota_bytes, provisioned_at)
     select id, username || '@nghean.gov.vn', 'active', 5368709120, now() from ${table}`,
    `insert into certificate.enrolments (id, account_id, profile, path, state)
     select enrolment, id, 'bench', 'csr', 'issued' from ${table}`,
    `insert into certificate.certificates (authority_id, serial_number, enrolment_id, account_id, agency_id, address, profile,
       key_kind, state, certificate, fingerprint_sha256, not_before, not_after)
     select (select id from certificate.authorities where kind = 'issuing' limit 1), uuid_send(enrolment), enrolment, id, agency_id,
       username || '@nghean.gov.vn', 'bench', 'p256', 'valid', decode(der, 'hex'), decode(fingerprint, 'hex'), now(),
       now() + interval '2 years' from ${table}`,
  ])
    await client.query(statement);
}

/** As the directory service would write them, with what the other two add. */
async function entriesOf({ stack }: BenchOptions, people: readonly Person[]): Promise<[string, Attributes][]> {
  const { postgres, baseDn } = stack.engines;
  const database = openDatabase({ url: postgres.url('congvu_directory'), name: 'bench', poolSize: 1 });
  try {
    const sources = await listEntrySources(
      database,
      people.map(({ id }) => id),
    );
    const byId = new Map(people.map((person) => [person.id, person]));
    return sources.map((source) => {
      const { dn, attributes } = wantedEntry(`ou=people,${baseDn}`, source);
      const others: Attributes = {
        mail: [`${source.username}@nghean.gov.vn`],
        congvuMailStatus: ['active'],
        congvuMailQuotaBytes: ['5368709120'],
        'userCertificate;binary': [(byId.get(source.id) as Person).certificate],
      };
      return [dn, { ...attributes, ...others }];
    });
  } finally {
    await database.destroy();
  }
}

const toLdif = (dn: string, attributes: Attributes): string => {
  const line = (name: string, value: string | Buffer) =>
    `${name}:: ${Buffer.from(value as string).toString('base64')}\n`;
  const lines = Object.entries(attributes).flatMap(([name, values]) => values.map((value) => line(name, value)));
  return `dn: ${dn}\n${lines.join('')}\n`;
};

async function loadEntries({ stack, say }: BenchOptions, ldif: string): Promise<void> {
  const { openldap, state } = stack.engines;
  say('reconcile: loading their entries …');
  const account = state.account('openldap');
  if (account) await chown(ldif, account.uid, account.gid);
  await openldap.stop();
  const config = join(state.directory, 'openldap/slapd.conf');
  await run('/usr/sbin/slapadd', ['-q', '-f', config, '-l', ldif], { account, timeoutMs: 3_600_000 });
  await openldap.start();
  await rm(ldif);
}

/** From the call to the answer that says completed. */
async function measureReport(administrator: ApiClient, size: number): Promise<number> {
  const began = performance.now();
  const call = (path: string, body?: object) =>
    administrator.call('directory', path, Reconciliation, body === undefined ? {} : { body });
  let report = await call('/v1/reconciliations', { mode: 'report' });
  while (['queued', 'comparing'].includes(report.state)) {
    await sleep(100); // asking costs the same process that compares
    report = await call(`/v1/reconciliations/${report.id}`);
  }
  const seconds = (performance.now() - began) / 1_000;
  const { missing, extra, changed } = report.findings;
  if (report.state !== 'completed' || missing + extra + changed > 0 || report.progress.done < size)
    throw new Error(`the report over entries without drift says ${JSON.stringify(report)}`);
  return seconds;
}

async function measureSearch({ stack, size }: BenchOptions): Promise<number> {
  const { openldap, stateDirectory } = stack.engines;
  const { dn, password } = openldap.credentials('directory');
  const [secret, output] = [join(stateDirectory, 'bench-password'), join(stateDirectory, 'bench.ldif')];
  await writeFile(secret, password, { mode: 0o600 });
  const search = `ldapsearch -x -H ${openldap.url} -D '${dn}' -y ${secret} -LLL -o ldif-wrap=no`;
  const what = `-b ou=people,${openldap.baseDn} -s one '(objectClass=*)' ${comparedNames.map((name) => `'${name}'`).join(' ')}`;
  const began = performance.now();
  await run('sh', ['-c', `umask 077; ${search} ${what} > ${output}`], { timeoutMs: 3_600_000 });
  const seconds = (performance.now() - began) / 1_000;
  const found = Number(await run('grep', ['-c', '^dn:', output]));
  if (found !== size) throw new Error(`ldapsearch found ${found} entries of ${size}`);
  await rm(output);
  return seconds;
}

/** The rows that the comparison reads, joined as PostgreSQL likes it best. */
async function measureCopy({ stack, size }: BenchOptions, client: pg.Client): Promise<number> {
  const rows = `select c.id, c.kind, c.state, c.username, c.surname, c.title, c.version, c.display_name, c.given_name, a.code, a.name,
      c.entry_version, c.credential_epoch, p.mobile, holder.username as holder, path.codes, m.mail, m.mail_status, m.mail_quota_bytes, x.fingerprints
    from directory.accounts c join directory.agencies a on a.id = c.agency_id
    join (with recursive path as (
        select id, code, parent_id from directory.agencies
        union all select path.id, a.code, a.parent_id from path join directory.agencies a on a.id = path.parent_id)
      select id, array_agg(code) as codes from path group by id) path on path.id = c.agency_id
    left join directory.people p on p.id = c.person_id
    left join directory.position_holdings h on h.position_id = c.id and h.held_to is null
    left join directory.accounts holder on holder.id = h.holder_id
    left join mailbox.mail_attributes_v m on m.account_id = c.id
    left join (select account_id, array_agg(fingerprint_sha256) as fingerprints from certificate.published_certificates_v
      where not_after > now() group by account_id) x on x.account_id = c.id`;
  const file = join(stack.engines.stateDirectory, 'postgres/data/bench.copy');
  const began = performance.now();
  const { rowCount } = await client.query(`copy (${rows}) to '${file}'`);
  const seconds = (performance.now() - began) / 1_000;
  if (rowCount !== size) throw new Error(`COPY wrote ${rowCount} rows of ${size}`);
  await rm(file);
  return seconds;
}

const processFile = ({ stack }: BenchOptions, name: string): string =>
  `/proc/${stack.services.processes.directory.pid}/${name}`;

/** Resets VmHWM (proc(5)), where we may. */
const forgetPeakMemory = (options: BenchOptions): Promise<void> =>
  writeFile(processFile(options, 'clear_refs'), '5').catch(() => undefined);

const peakMemory = (options: BenchOptions): number =>
  Math.round(Number(/VmHWM:\s+(\d+)/.exec(readFileSync(processFile(options, 'status'), 'utf8'))?.[1]) / 1_024);
