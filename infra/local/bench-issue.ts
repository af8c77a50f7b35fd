/**
 * `issue-rsa2048`, `issue-rsa3072`, `issue-p256`: certificates a second from ready CSRs over HTTP, the authority's key and the
 * subscribers' of that kind: proof of possession, names from the directory, serial number on record before the signature, everything
 * stored durably with its audit event when the answer leaves. Beside it, in turns, Debian's `cfssl serve` on the same CSRs over as many
 * connections, which stores nothing and is as fast with fewer. Into LDAP the certificates go by a job each
 * second or two, within what is measured but for the last ones; these accounts have no entries.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { type BenchKeyKind, makeCsrs } from './bench-csrs.ts';
import { provinceClient } from './bench-provisioning.ts';
import { fillAccounts, samplePeople } from './bench-search.ts';
import { postOctets, sendAll } from './http-load.ts';
import { ensurePackages } from './packages.ts';
import { run, superviseProcess } from './process.ts';
import { importAgencies, waitUntil } from './province.ts';
import { connectClients } from './stack.ts';

const connections = 256;
const rounds = 3;

export const measureIssuing =
  (kind: BenchKeyKind) =>
  async (options: BenchOptions): Promise<Figure> => {
    const { stack, size, say } = options;
    await ensurePackages(say, ['golang-cfssl']);
    await importAgencies(connectClients(stack.description));
    const owner = new pg.Client({ connectionString: stack.engines.postgres.url('congvu_owner') });
    await owner.connect();
    const cfssl = await startCfssl(options, kind);
    try {
      // Until both processes have compiled what they do for each: a service runs for months.
      const warmUp = kind === 'rsa-3072' ? 6_000 : 24_000; // of RSA-3072 most of the time is the signature
      say(`issuing: ${size} accounts and CSRs (${kind}) …`);
      const csrs = await makeCsrs(kind, size + warmUp);
      await fillAccounts(owner, await samplePeople(), csrs.length);
      const enrolmentIds = await fillEnrolments(owner);
      const token = await tokenOf(options);
      const { certificate } = stack.description.services;
      const ours = csrs.map((csr, index) =>
        postOctets(
          `${certificate}/v1/enrolments/${enrolmentIds[index]}/csr`,
          { csr },
          { Authorization: `Bearer ${token}` },
        ),
      );
      const theirs = csrs.map((csr) => postOctets(`${cfssl.url}/api/v1/cfssl/sign`, { certificate_request: csr }));
      // What the fill leaves to be done later is done, and the log is written into files that are there, as in a server that has run a while.
      await stack.engines.postgres.checkpoint();
      await sendAll(certificate, ours.slice(0, warmUp), connections, requireCertificate(201));
      await sendAll(cfssl.url, theirs.slice(0, warmUp), connections, requireCertificate(200));

      // In turns, so that whatever else the machine does falls on both.
      const measured = csrs.length - warmUp; // a few RSA keys less than were asked for
      const seconds = { ours: 0, theirs: 0 };
      for (let round = 0; round < rounds; round += 1) {
        const part = (all: readonly Buffer[]): Buffer[] =>
          all.slice(
            warmUp + Math.floor((round * measured) / rounds),
            warmUp + Math.floor(((round + 1) * measured) / rounds),
          );
        const took = await sendAll(certificate, part(ours), connections, requireCertificate(201));
        await settled(owner);
        const floor = await sendAll(cfssl.url, part(theirs), connections, requireCertificate(200));
        say(`  ${part(ours).length}: ${took.toFixed(2)} s, cfssl ${floor.toFixed(2)} s`);
        seconds.ours += took;
        seconds.theirs += floor;
      }
      await requireOnRecord(owner, csrs.length);
      const value = measured / seconds.ours;
      const floorValue = measured / seconds.theirs;
      return { value, unit: 'certificates/s', floor: 'cfssl serve', floorValue, ratio: value / floorValue };
    } finally {
      await cfssl.stop();
      await owner.end();
    }
  };

const requireCertificate =
  (expected: number) =>
  ({ status, body }: { status: number; body: string }): void => {
    if (status !== expected || !body.includes('BEGIN CERTIFICATE')) throw new Error(`answered ${status}: ${body}`);
  };

/** The jobs that follow are ours to pay, and not the floor's. */
const settled = (owner: pg.Client): Promise<unknown> =>
  waitUntil(
    'the jobs that follow',
    async () => {
      const { rows } = await owner.query(
        `select (select count(*) from certificate_jobs._private_jobs where run_at <= now())::int
           + (select count(*) from certificate.unpublished)::int as count`,
      );
      return rows[0].count as number;
    },
    (count) => count === 0,
    120_000,
  );

/** An enrolment that waits for its CSR for every account; their ids. As of accounts to come, which no job is to bring to LDAP meanwhile. */
export async function fillEnrolments(owner: pg.Client): Promise<string[]> {
  await owner.query("update directory.accounts set certificate_path = 'csr', updated_at = now() + interval '1 day'");
  const { rows } = await owner.query(
    `insert into certificate.enrolments (account_id, number, profile, path, state)
     select id, certificate_number, 'person-signature', 'csr', 'awaiting_csr' from directory.accounts where kind = 'person'
     returning id`,
  );
  await owner.query('vacuum analyze certificate.enrolments, directory.accounts');
  return rows.map(({ id }) => id as string);
}

/** What was answered is what is stored: every one signed and on record, with its event. */
async function requireOnRecord(owner: pg.Client, count: number): Promise<void> {
  const { rows } = await owner.query(
    `select (select count(*)::int from certificate.certificates where state = 'valid') as certificates,
       (select count(*)::int from certificate.enrolments where state = 'issued') as enrolments,
       (select count(*)::int from directory.audit_events where action = 'certificate.issued') as events`,
  );
  const { certificates, enrolments, events } = rows[0];
  if (certificates !== count || enrolments !== count || events !== count)
    throw new Error(`of ${count} there are ${certificates} certificates, ${enrolments} enrolments, ${events} events`);
}

/** Of a client that may send CSRs for the whole province. */
async function tokenOf(options: BenchOptions): Promise<string> {
  const { clientId, clientSecret } = await provinceClient(options);
  const answer = await fetch(`${options.stack.description.services.directory}/oauth/token`, {
    method: 'POST',
    headers: { Authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  return ((await answer.json()) as { access_token: string }).access_token;
}

/** With an authority of its own, of the same kind of key, and a profile that says about what ours says. */
async function startCfssl({ stack, portBase, say }: BenchOptions, kind: BenchKeyKind) {
  const directory = stack.engines.state.makeDirectory('cfssl');
  const file = (name: string): string => join(directory, name);
  const key =
    kind === 'ec-p256'
      ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256']
      : ['rsa', '-pkeyopt', `rsa_keygen_bits:${kind.slice(4)}`];
  await run('openssl', ['genpkey', '-algorithm', ...key, '-out', file('ca.key')], { timeoutMs: 60_000 });
  const subject = ['-subj', '/C=VN/O=Congvu/CN=cfssl', '-days', '3650'];
  await run('openssl', ['req', '-x509', '-new', '-key', file('ca.key'), ...subject, '-out', file('ca.crt')], {
    timeoutMs: 60_000,
  });
  await writeFile(
    file('config.json'),
    JSON.stringify({
      signing: {
        default: {
          usages: ['digital signature', 'content commitment', 'email protection'],
          expiry: '17520h',
          crl_url: 'http://127.0.0.1/crl/issuing.crl',
          issuer_urls: ['http://127.0.0.1/ca/issuing.crt'],
          ocsp_url: 'http://127.0.0.1/ocsp',
        },
      },
    }),
  );
  const port = portBase + 88;
  const url = `http://127.0.0.1:${port}`;
  const server = superviseProcess({
    name: 'cfssl',
    command: 'cfssl',
    args: [
      'serve',
      ...['-address=127.0.0.1', `-port=${port}`, `-ca=${file('ca.crt')}`, `-ca-key=${file('ca.key')}`],
      ...[`-config=${file('config.json')}`, '-loglevel=5'],
    ],
    logFile: file('cfssl.log'),
    stopSignal: 'SIGTERM',
    ready: async () => (await fetch(`${url}/api/v1/cfssl/info`, { method: 'POST', body: '{"label": ""}' })).ok,
    log: say,
  });
  await server.start();
  return { url, stop: () => server.stop() };
}
