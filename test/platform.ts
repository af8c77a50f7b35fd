/** A whole stack of a journey's own, and what must hold on it whatever happened before. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectClients, type Stack, startStack } from '@congvu/local';
import { readInbox } from '@congvu/local/mail-client';
import { type Holder, readRequest, withDirectory } from '@congvu/local/province';
import { removeState, repository } from '@congvu/local/state';
import { expect } from '@jest/globals';
import pg from 'pg';

export interface Platform extends Stack {
  clients: ReturnType<typeof connectClients>;
  /** As the superuser, for looking at what the API does not show. */
  query: <Row extends pg.QueryResultRow>(statement: string, values?: unknown[]) => Promise<Row[]>;
  /** Everything that the processes have logged so far. */
  logs: () => string;
}

export async function startPlatform(name: string, portBase: number): Promise<Platform> {
  const stateDirectory = join(repository, `.congvu/${name}`);
  removeState(stateDirectory);
  const stack = await startStack({ stateDirectory, portBase, log: (line) => process.stderr.write(`    ${line}\n`) });
  return {
    ...stack,
    clients: connectClients(stack.description),
    query: async (statement, values = []) => {
      const client = new pg.Client({ connectionString: stack.engines.postgres.url('postgres') });
      await client.connect();
      try {
        return (await client.query(statement, values)).rows;
      } finally {
        await client.end();
      }
    },
    logs: () => {
      const directories = ['logs', 'mail-logs'].map((name) => join(stack.engines.stateDirectory, name));
      return directories
        .flatMap((directory) => readdirSync(directory).map((file) => readFileSync(join(directory, file), 'utf8')))
        .join('\n');
    },
  };
}

interface CertificateRow extends pg.QueryResultRow {
  address: string;
  state: string;
  certificate: Buffer;
}

/**
 * Nothing lost, nothing doubled: for every line of the requests one account, one LDAP entry, one mailbox; one valid certificate
 * where a key was made here, in LDAP and in the register alike, and none anywhere that the register does not know.
 */
export async function expectWhole(
  { clients, description, query }: Platform,
  requestIds: readonly string[],
): Promise<void> {
  const requests = await Promise.all(requestIds.map((id) => readRequest(clients.administrator, id)));
  const lines = requests.flatMap((request) => request.lines);
  const accounts = lines.map((line) => line.account);
  expect(accounts).not.toContain(null);
  const ids = accounts.map((account) => account?.id as string);
  expect(new Set(ids).size).toBe(lines.length);
  expect(new Set(accounts.map((account) => account?.address)).size).toBe(lines.length);

  expect(await query('select address from certificate.intents')).toEqual([]);
  const certificates = await query<CertificateRow>('select address, state, certificate from certificate.certificates');
  const registered = new Set(certificates.map(({ certificate }) => certificate.toString('hex')));

  await withDirectory(description, async (directory) => {
    const entries = await directory.people();
    for (const line of lines) {
      const own = entries.filter((entry) => entry.attributes.congvuAccountId?.[0] === line.account?.id);
      expect(own).toHaveLength(1);
      expect(own[0]?.attributes).toMatchObject({ mail: [line.account?.address], cn: [line.fullName] });
      const published = own[0]?.attributes['userCertificate;binary'] ?? [];
      expect(published.length).toBe(line.certificate === 'server_key' || line.state === 'fulfilled' ? 1 : 0);
      const valid = certificates.filter(({ address, state }) => address === line.account?.address && state === 'valid');
      expect(valid.map(({ certificate }) => certificate.toString('hex'))).toEqual(
        published.map((value) => (value as Buffer).toString('hex')),
      );
    }
    const everywhere = entries.flatMap((entry) => entry.attributes['userCertificate;binary'] ?? []);
    expect(everywhere.filter((value) => !registered.has((value as Buffer).toString('hex')))).toEqual([]);
    expect(new Set(entries.map((entry) => entry.attributes.congvuAccountId?.[0])).size).toBe(entries.length);
  });

  const [counted] = await query<{ mailboxes: string; enrolments: string; accounts: string }>(
    `select (select count(*) from mailbox.mailboxes where account_id = any($1)) as mailboxes,
       (select count(*) from certificate.enrolments where account_id = any($1)) as enrolments,
       (select count(*) from directory.accounts) - (select count(*) from directory.usernames where account_id is not null) as accounts`,
    [ids],
  );
  expect(counted).toEqual({
    mailboxes: String(lines.length),
    enrolments: String(lines.filter((line) => line.certificate !== 'none').length),
    accounts: '0',
  });
}

/** Each holder got the welcome message once. */
export async function expectOneWelcome({ description }: Platform, holders: readonly Holder[]): Promise<void> {
  for (const holder of holders) {
    const welcomes = (await readInbox(description, holder)).filter((message) => /Chào mừng/.test(message.subject));
    expect([holder.address, welcomes.length]).toEqual([holder.address, 1]);
  }
}
