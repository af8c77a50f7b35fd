/**
 * `mailboxes`: people of the sample province, asked for in one sheet and approved through the API, whose accounts and entries the
 * directory service has made while the mailbox service was down. Timed is what the mailbox service then does: record, audit, place in
 * lists, mail attributes of the entries, and the word to the directory that each is there. The floor is `ldapmodify` of the very same
 * attributes of the very same entries, in an OpenLDAP of the same settings, by the root DN, with the machine to itself.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { RequestDetail, SheetDraft } from '@congvu/contracts';
import { csvMediaType } from '@congvu/spreadsheet';
import pg from 'pg';
import type { BenchOptions, Figure } from './bench.ts';
import { countEntries, countMailboxes, provinceClient, searchEntries } from './bench-provisioning.ts';
import { startOpenLdap } from './openldap.ts';
import { run } from './process.ts';
import { importAgencies, waitUntil } from './province.ts';
import { samplePeopleCsv } from './sample-sheets.ts';
import { connectClients, domain } from './stack.ts';
import { openState, removeState } from './state.ts';

export async function measureMailboxes(options: BenchOptions): Promise<Figure> {
  const { stack, size, say } = options;
  const clients = connectClients(stack.description);
  const patience = 60_000 + size * 50;
  await importAgencies(clients);
  const { mailbox } = stack.services.processes;
  await mailbox.stop();

  say(`mailboxes: ${size} accounts …`);
  const province = await provinceClient(options);
  const sheet = await samplePeopleCsv(size, 'không');
  const signal = AbortSignal.timeout(patience);
  const { id } = await province.call('directory', '/v1/sheets?agencyCode=H41', SheetDraft, {
    body: sheet,
    contentType: csvMediaType,
    signal,
  });
  await province.call('directory', `/v1/requests/${id}/submit`, RequestDetail, { body: {}, signal });
  await clients.administrator.call('directory', `/v1/requests/${id}/approve`, RequestDetail, { body: {}, signal });
  await waitUntil(
    'all entries',
    () => countEntries(options, '(objectClass=congvuAccount)'),
    (count) => count === size,
    patience,
  );

  say(`mailboxes: ${size} mailboxes …`);
  await mailbox.start();
  await waitUntil(
    'all mailboxes',
    () => countMailboxes(options),
    (count) => count === size,
    patience,
  );
  const seconds = await secondsSinceTheFirst(options);
  const value = size / seconds;
  say(`mailboxes took ${seconds.toFixed(1)} s, ${((seconds / size) * 1e6).toFixed(0)} µs each`);

  const entries = await searchEntries(options, ['(&(objectClass=congvuAccount)(mail=*))', '*']);
  // Its letters, checkpoints and vacuums would be the floor's loss.
  await stack.services.stop();
  await stack.engines.postgres.stop();
  say('floor: ldapmodify of the same attributes …');
  const floorValue = size / (await measureLdapmodify(options, entries));
  return { value, unit: 'mailboxes/s', floor: 'ldapmodify', floorValue, ratio: value / floorValue };
}

/** From the first mailbox's making to now, by the database's clock: the service's start is not counted. */
async function secondsSinceTheFirst({ stack }: BenchOptions): Promise<number> {
  const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
  await client.connect();
  try {
    const { rows } = await client.query(
      'select extract(epoch from clock_timestamp() - min(created_at))::float8 as seconds from mailbox.mailboxes',
    );
    return rows[0].seconds;
  } finally {
    await client.end();
  }
}

const isMail = (line: string): boolean => /^(mail|congvuMail\w*)::? /.test(line);

/** Seconds for the mail attributes alone; the entries without them are there before. */
async function measureLdapmodify({ portBase, stateDirectory, stack }: BenchOptions, entries: string): Promise<number> {
  const blocks = entries
    .split(/\n\n+/)
    .filter((block) => block.startsWith('dn:'))
    .map((block) => block.split('\n'));
  const withoutMail = blocks.map((lines) => lines.filter((line) => !isMail(line)).join('\n'));
  const changes = blocks.map((lines) => {
    const replaced = lines.filter(isMail).map((line) => `replace: ${line.slice(0, line.indexOf(':'))}\n${line}`);
    return `${lines[0]}\nchangetype: modify\n${replaced.join('\n-\n')}\n-`;
  });
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
    const as = ['-x', '-H', floor.url, '-D', floor.rootDn, '-y', file];
    const load = async (program: string, content: readonly string[]): Promise<number> => {
      const ldif = join(state.directory, `${program}.ldif`);
      await writeFile(ldif, `${content.join('\n\n')}\n`, { mode: 0o600 });
      const began = performance.now();
      await run(program, [...as, '-f', ldif], { timeoutMs: 3_600_000 });
      return (performance.now() - began) / 1_000;
    };
    await load('ldapadd', withoutMail);
    return await load('ldapmodify', changes);
  } finally {
    await floor.stop();
    state.close();
  }
}
