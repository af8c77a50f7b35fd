/**
 * `crl`: how long a list of `size` revoked certificates takes, from the job that asks for it to the list as it is served over HTTP,
 * nothing of it encoded before; beside `openssl crl -text` of that list. And for people: one more revocation, from the call to the
 * list that has it. The certificates are rows made here: of what was issued a list knows serial numbers and dates alone.
 */
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Certificate } from '@congvu/contracts';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { fillAccounts, samplePeople } from './bench-search.ts';
import { run } from './process.ts';
import { importAgencies } from './province.ts';
import { connectClients } from './stack.ts';

const rounds = 3;
const further = 5;

export async function measureCrl({ stack, size, say }: BenchOptions): Promise<Figure> {
  const clients = connectClients(stack.description);
  await importAgencies(clients);
  const owner = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await owner.connect();
  try {
    const authority: { id: string; name: string } = (
      await owner.query(
        "select id, name from certificate.authorities where purposes @> '{signature}' and state = 'active'",
      )
    ).rows[0];
    const url = `${stack.description.services.certificate}/crl/${authority.name}.crl`;
    say(`crl: ${size} revoked certificates …`);
    await fillAccounts(owner, await samplePeople(), further);
    await insertCertificates(owner, authority.id, size);
    let tag = (await nextList(url, undefined)).tag;
    const file = join(stack.engines.stateDirectory, 'bench.crl');

    const whole: number[] = [];
    const floor: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await owner.query('delete from certificate.crl_chunks');
      await owner.query(
        `insert into certificate.crl_changes
           select authority_id, crl_partition, serial_number from certificate.certificates where state = 'revoked'`,
      );
      await owner.query('vacuum analyze certificate.certificates, certificate.crl_changes, certificate.crl_chunks');
      const began = performance.now();
      await owner.query("select certificate_jobs.add_job('publish-crl', $1)", [
        { authorityId: authority.id, partition: 0 },
      ]);
      const list = await nextList(url, tag);
      whole.push(performance.now() - began);
      tag = list.tag;
      await writeFile(file, list.body);
      floor.push(await printed(file, size));
      say(
        `  the whole list ${whole.at(-1)?.toFixed(0)} ms, ${list.body.length} octets; openssl ${floor.at(-1)?.toFixed(0)} ms`,
      );
    }

    const { rows } = await owner.query(
      "select encode(serial_number, 'hex') as serial from certificate.certificates where state = 'valid'",
    );
    for (const { serial } of rows) {
      const before = await chunksOf(owner);
      const began = performance.now();
      const body = { reason: 'superseded' };
      await clients.administrator.call('certificate', `/v1/certificates/${serial}/revoke`, Certificate, {
        method: 'POST',
        body,
      });
      const list = await nextList(url, tag);
      const took = performance.now() - began;
      tag = list.tag;
      if (!list.body.includes(Buffer.from(serial, 'hex')))
        throw new Error('the next list does not have the revocation');
      const after = await chunksOf(owner);
      const anew = after.filter((id) => !before.includes(id)).length;
      say(`  one more revocation ${took.toFixed(0)} ms; ${anew} of ${after.length} chunks were encoded anew`);
    }
    const [value, floorValue] = [median(whole), median(floor)];
    return { value, unit: 'ms', floor: 'openssl crl -text', floorValue, ratio: value / floorValue };
  } finally {
    await owner.end();
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1] as number;

/** `count` that are revoked, of nobody, and a valid one of each account. */
async function insertCertificates(owner: pg.Client, authorityId: string, count: number): Promise<void> {
  const insert = (accounts: string, state: string, number: number) =>
    owner.query(
      `with made as (
         insert into certificate.enrolments (account_id, profile, path, state)
         select ${accounts}, 'person-signature', 'csr', 'revoked' from generate_series(1, ${number}) returning id, account_id)
       insert into certificate.certificates (authority_id, serial_number, enrolment_id, account_id, agency_id, address, profile,
         key_kind, state, certificate, not_before, not_after, revoked_at, revocation_reason)
       select $1, set_byte(uuid_send(gen_random_uuid()), 0, 64 + (random() * 63)::int), id, account_id,
         coalesce((select agency_id from directory.accounts c where c.id = account_id), gen_random_uuid()), 'bench@example.vn',
         'person-signature', 'ec-p256', '${state}', '\\x30', now() - interval '1 day', now() + interval '1 year',
         case when '${state}' = 'revoked' then now() - random() * interval '1 day' end,
         case when '${state}' = 'revoked' then (array['unspecified', 'keyCompromise', 'superseded', 'cessationOfOperation'])[1 + (random() * 3)::int] end
       from made`,
      [authorityId],
    );
  await insert('gen_random_uuid()', 'revoked', count);
  await insert('(array(select id from directory.accounts order by id))[generate_series]', 'valid', further);
}

/** The list as soon as it is another than that of `tag`; 304 until then. (fetch would ask past caches, and never be answered so.) */
async function nextList(url: string, tag: string | undefined): Promise<{ tag: string; body: Buffer }> {
  for (const deadline = Date.now() + 120_000; Date.now() < deadline; await sleep(5)) {
    const answer = get(url, { headers: tag === undefined ? {} : { 'If-None-Match': tag } });
    const [response] = (await once(answer, 'response')) as [IncomingMessage];
    const body = Buffer.concat(await response.toArray());
    if (response.statusCode === 200) return { tag: response.headers.etag as string, body };
  }
  throw new Error(`no new list at ${url} within two minutes`);
}

async function printed(file: string, size: number): Promise<number> {
  const began = performance.now();
  await run('sh', ['-c', `openssl crl -inform DER -in ${file} -noout -text > ${file}.text`]);
  const took = performance.now() - began;
  const found = Number(await run('grep', ['-c', 'Serial Number:', `${file}.text`]));
  if (found !== size) throw new Error(`OpenSSL found ${found} entries of ${size}`);
  return took;
}

const chunksOf = async (owner: pg.Client): Promise<string[]> =>
  (await owner.query('select id from certificate.crl_chunks')).rows.map(({ id }) => id);
