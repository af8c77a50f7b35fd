/**
 * `npm run bench [figure…] [--size N] [--json]`: each figure beside a floor that is measured in the same run on the same
 * machine, because only their ratio says something. For people a table; with --json one line a figure.
 */

import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { measureCrl } from './bench-crl.ts';
import { measureGroupPost } from './bench-group-post.ts';
import { measureImportMemory } from './bench-import-memory.ts';
import { measureIssuing } from './bench-issue.ts';
import { measureKeygen } from './bench-keygen.ts';
import { measureMailboxList } from './bench-mailbox-list.ts';
import { measureMailboxes, measureMailboxesFlat } from './bench-mailboxes.ts';
import { measureOcspCfssl, measureOcspHttp, measureOcspMillion, measureOcspOpenssl } from './bench-ocsp.ts';
import { measureProvisioning } from './bench-provisioning.ts';
import { measureReconcile } from './bench-reconcile.ts';
import { measureSearch } from './bench-search.ts';
import { enginePackages, ensurePackages, RIVALS } from './packages.ts';
import { describeFailure, UsageError } from './process.ts';
import type { CertificateOptions } from './services.ts';
import { type Stack, startStack } from './stack.ts';
import { removeState, repository } from './state.ts';

export interface Figure {
  value: number;
  unit: string;
  floor: string;
  floorValue: number;
  /** Above 1 is better than the floor, whatever the unit. */
  ratio: number;
}

export interface BenchOptions {
  stack: Stack;
  size: number;
  portBase: number;
  stateDirectory: string;
  say: (line: string) => void;
}

const figures: Readonly<
  Record<
    string,
    {
      size: number;
      about: string;
      measure: (options: BenchOptions) => Promise<Figure>;
      /** What the stack is told beside the usual. */
      stack?: (size: number) => CertificateOptions;
    }
  >
> = {
  provisioning: {
    size: 20_000,
    about:
      'accounts a second, from request to LDAP entry with mail attributes, beside ldapadd of the same finished entries',
    measure: measureProvisioning,
  },
  'import-memory': {
    size: 100_000,
    about: 'peak memory of the directory service while a sheet of so many people is read, beside 300 MB',
    measure: measureImportMemory,
  },
  reconcile: {
    size: 100_000,
    about:
      'entries a second, compared with the record of all three services, beside ldapsearch and COPY reading the same to files (1 / 1.5 = 0.67 is the least)',
    measure: measureReconcile,
  },
  search: {
    size: 100_000,
    about: '99th percentile of searches among as many accounts over HTTP, beside that among 1,000',
    measure: measureSearch,
  },
  mailboxes: {
    size: 10_000,
    about:
      'mailboxes a second with all that belongs to them, from accounts on record and by API calls to LDAP and Dovecot, beside ldapmodify of the same attributes (1 / 2 = 0.5 is the least)',
    measure: measureMailboxes,
  },
  'mailboxes-flat': {
    size: 50_000,
    about:
      'µs of each of so many mailboxes that come when a fifth of them is there, beside each of the first fiftieth (1 is flat)',
    measure: measureMailboxesFlat,
  },
  'mailbox-list': {
    size: 14_800,
    about:
      '99th percentile of first pages of the list of mailboxes with usage, sorted and filtered, over HTTP, beside a plain SELECT of the same page (10 is the most)',
    measure: measureMailboxList,
  },
  'ocsp-openssl': {
    size: 10_000,
    about: 'OCSP answers a second over HTTP, of so many certificates, beside `openssl ocsp -multi 2` (2 is the least)',
    measure: measureOcspOpenssl,
  },
  'ocsp-cfssl': {
    size: 10_000,
    about: 'OCSP answers a second over HTTP, of so many certificates, beside `cfssl ocspserve` (1 is the least)',
    measure: measureOcspCfssl,
  },
  'ocsp-http': {
    size: 1_000_000,
    about:
      'OCSP answers a second over HTTP, of so many certificates, beside a bare node:http server of the same bytes (0.6 is the least)',
    measure: measureOcspHttp,
  },
  'ocsp-million': {
    size: 1_000_000,
    about:
      'OCSP answers a second of so many certificates, beside those of 1,000 in another stack at the same time (1 is no slower)',
    measure: measureOcspMillion,
  },
  'group-post': {
    size: 20_000,
    about:
      'recipients a second of one message to the list of the whole province, beside the same recipients in the envelope',
    measure: measureGroupPost,
  },
  crl: {
    size: 100_000,
    about:
      'time until a CRL of so many entries is served, nothing of it encoded before, beside `openssl crl -text` of it (3 is the most)',
    measure: measureCrl,
  },
  'issue-rsa2048': {
    size: 24_000,
    about:
      'certificates a second from ready CSRs over HTTP, RSA-2048, stored durably and audited, beside cfssl, which stores nothing',
    measure: measureIssuing('rsa-2048'),
    stack: () => ({ issuingKeyKind: 'rsa-2048' }),
  },
  'issue-rsa3072': {
    size: 3_000,
    about: 'the same with RSA-3072',
    measure: measureIssuing('rsa-3072'),
    stack: () => ({ issuingKeyKind: 'rsa-3072' }),
  },
  'issue-p256': {
    size: 36_000,
    about: 'the same with ECDSA on P-256 (0.5 is the least)',
    measure: measureIssuing('ec-p256'),
    stack: () => ({ issuingKeyKind: 'ec-p256' }),
  },
  keygen: {
    size: 1_521,
    about:
      'p99 of other calls to the certificate service while so many RSA-3072 keys are made ahead, beside p99 afterwards',
    measure: measureKeygen,
    stack: (size) => ({ keyPoolSize: size }),
  },
};

const help = `npm run bench [-- figure…] [-- --size N --json]

${Object.entries(figures)
  .map(([name, { about, size }]) => `  ${name} (size ${size}): ${about}`)
  .join('\n')}

CONGVU_BENCH_PORT_BASE (26000) moves all ports.
`;

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { size: { type: 'string' }, json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
    allowPositionals: true,
  });
  if (values.help) return void process.stdout.write(help);
  const unknown = positionals.filter((name) => !(name in figures));
  if (unknown.length > 0)
    throw new UsageError(`there is no figure ${unknown.join(', ')}; there are: ${Object.keys(figures).join(', ')}`);
  const size = values.size === undefined ? undefined : Number(values.size);
  if (size !== undefined && !(Number.isInteger(size) && size > 0))
    throw new UsageError('--size must be a whole number above 0');

  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  await ensurePackages(say, [...enginePackages(), ...RIVALS]);
  const portBase = Number(process.env.CONGVU_BENCH_PORT_BASE ?? 26_000);
  for (const name of positionals.length > 0 ? positionals : Object.keys(figures)) {
    const figure = figures[name] as (typeof figures)[string];
    const stateDirectory = join(repository, '.congvu/bench');
    removeState(stateDirectory);
    say(`${name}: starting a stack of its own …`);
    const stack = await startStack({
      stateDirectory,
      portBase,
      log: () => undefined,
      ...figure.stack?.(size ?? figure.size),
    });
    const onSignal = () => void stack.stop().finally(() => process.exit(130));
    process.once('SIGINT', onSignal).once('SIGTERM', onSignal);
    try {
      const result = await figure.measure({ stack, size: size ?? figure.size, portBase, stateDirectory, say });
      const { value, unit, floor, floorValue, ratio } = result;
      if (values.json) console.log(JSON.stringify({ figure: name, value, unit, floor, floorValue, ratio }));
      else
        console.log(
          `${name}: ${value.toFixed(0)} ${unit}; floor ${floor}: ${floorValue.toFixed(0)} ${unit}; ratio ${ratio.toFixed(2)}`,
        );
    } finally {
      process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
      await stack.stop();
      await sleep(0);
    }
  }
}

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(`npm run bench: ${describeFailure(error)}`);
  process.exit(1);
}
