/**
 * `keygen`: the 99th percentile of other calls to the certificate service (lists, a CRL, a CSR that is issued at once) while it makes
 * `size` RSA-3072 keys ahead, beside that of the same calls for as long when it has made them all. The calls come at a steady pace,
 * whether those before are answered or not, so that one that hangs shows.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { makeCsrs } from './bench-csrs.ts';
import { fillEnrolments } from './bench-issue.ts';
import { provinceClient } from './bench-provisioning.ts';
import { fillAccounts, samplePeople } from './bench-search.ts';
import { importAgencies } from './province.ts';
import { connectClients } from './stack.ts';

const callsPerSecond = 40;
const csrCount = 6_000;

export async function measureKeygen(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  await importAgencies(connectClients(stack.description));
  const owner = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_owner') });
  await owner.connect();
  try {
    await fillAccounts(owner, await samplePeople(), csrCount);
    const enrolmentIds = await fillEnrolments(owner);
    const csrs = await makeCsrs('ec-p256', csrCount);
    const client = await provinceClient(options);
    let sent = 0;
    const kinds = [
      () => client.fetch('certificate', '/v1/enrolments?limit=50'),
      () => client.fetch('certificate', '/v1/certificates?limit=50'),
      () => client.fetch('certificate', '/crl/root.crl'),
      () => {
        const csr = csrs[sent % csrCount]; // the same again is answered the same
        const id = enrolmentIds[sent++ % csrCount];
        return client.fetch('certificate', `/v1/enrolments/${id}/csr`, { body: { csr } });
      },
    ];
    const callUntil = async (isOver: () => Promise<boolean>): Promise<number[]> => {
      const times: number[] = [];
      const calls: Promise<void>[] = [];
      const began = performance.now();
      for (let index = 0; index % callsPerSecond !== 0 || !(await isOver()); index += 1) {
        const due = began + (index * 1_000) / callsPerSecond;
        await sleep(Math.max(0, due - performance.now()));
        const call = async (): Promise<void> => {
          const ask = kinds[index % kinds.length] as (typeof kinds)[number];
          // Again, if the service closes an idle connection at the moment at which it is used; that time counts too.
          await (await ask().catch(ask)).arrayBuffer();
          times.push(performance.now() - due);
        };
        calls.push(call());
      }
      await Promise.all(calls);
      return times.sort((a, b) => a - b);
    };
    const made = async (): Promise<number> =>
      (await owner.query('select count(*)::int as count from certificate.key_pool')).rows[0].count;

    await callUntil(async () => sent >= 50);
    // Those that were made meanwhile are made again; if all were, the service looks once a minute.
    await owner.query('delete from certificate.key_pool');
    await callUntil(async () => (await made()) > 0);
    say(`keygen: ${size} keys …`);
    const began = performance.now();
    const before = await made();
    const during = await callUntil(async () => (await made()) >= size);
    const seconds = (performance.now() - began) / 1_000;
    say(`  ${((size - before) / seconds).toFixed(1)} keys a second; calls meanwhile: ${summary(during)}`);
    const end = performance.now() + seconds * 1_000;
    const after = await callUntil(async () => performance.now() > end);
    say(`  calls afterwards: ${summary(after)}`);
    const value = percentile(during, 0.99);
    const floorValue = percentile(after, 0.99);
    return { value, unit: 'ms (p99)', floor: 'no keys being made', floorValue, ratio: floorValue / value };
  } finally {
    await owner.end();
  }
}

const summary = (times: readonly number[]): string =>
  `${times.length}, p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`;

const percentile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
