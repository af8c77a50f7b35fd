/**
 * Sets up a client from outside the API: the first administrator of a new installation, or a program whose secret was
 * lost. Running it again with the same name brings the client to the same form and changes nothing else.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { type Permission, type Role, roles } from '@congvu/contracts';
import { type Database, openDatabase } from '@congvu/database';
import { insertEvents } from './audit/audit-store.ts';
import { hashClientSecret } from './clients/client-secret.ts';
import { saveClient } from './clients/client-store.ts';

export interface ClientSetUp {
  name: string;
  agencyCode: string;
  permissions: readonly Permission[];
  /** The role that the permissions are of, if they are. */
  role?: Role | undefined;
  secret: string;
}

/** The client's id. */
export const setUpClient = (database: Database, client: ClientSetUp): Promise<string> =>
  database.transaction(async (transaction) => {
    const id = await saveClient(transaction, {
      name: client.name,
      agencyCode: client.agencyCode,
      role: client.role,
      permissions: client.permissions,
      secretHash: hashClientSecret(client.secret),
    });
    const { name, agencyCode, role = null, permissions } = client;
    const after = { name, agencyCode, role, permissions };
    await insertEvents(transaction, [
      {
        actor: { kind: 'system', id: 'set-up-client', ip: null, agencyCode: null },
        action: 'client.set_up',
        subjectType: 'client',
        subjectId: id,
        agencyId: null,
        after,
      },
    ]);
    return id;
  });

const help = `Sets up a client of the directory service; prints its client id.

  DATABASE_URL=… node services/directory/src/set-up-client.ts --name NAME --agency CODE --role ROLE --secret-file FILE

  --name NAME          unique; the same name again changes the same client
  --agency CODE        the client acts for this agency and everything below it
  --role ROLE          ${Object.keys(roles).join(' | ')}
  --secret-file FILE   its first line is the client secret, 32 characters or more

Example, the first administrator of a province:

  openssl rand -base64 32 > admin.secret
  node services/directory/src/set-up-client.ts --name "IT admin" --agency H41 --role platform_administrator --secret-file admin.secret
`;

async function main(): Promise<void> {
  const string = { type: 'string' } as const;
  const { values } = parseArgs({
    options: {
      help: { type: 'boolean', short: 'h' },
      name: string,
      agency: string,
      role: string,
      'secret-file': string,
    },
  });
  if (values.help) {
    process.stdout.write(help);
    return;
  }
  const { name, agency, role, 'secret-file': secretFile } = values;
  const permissions = roles[role as keyof typeof roles];
  const url = process.env.DATABASE_URL;
  if (!name || !agency || !permissions || !secretFile || !url) {
    throw new Error('DATABASE_URL, --name, --agency, --role and --secret-file are needed (see --help)');
  }
  const secret = readFileSync(secretFile, 'utf8').split(/\r?\n/, 1)[0] as string;
  if (secret.length < 32) throw new Error('the secret must have 32 characters or more');
  const database = openDatabase({ url, name: 'set-up-client', poolSize: 1 });
  try {
    process.stdout.write(
      `${await setUpClient(database, { name, agencyCode: agency, permissions, role: role as Role, secret })}\n`,
    );
  } finally {
    await database.destroy();
  }
}

if (import.meta.main) {
  await main().catch((error: unknown) => {
    process.stderr.write(`${(error as Error).message}\n`);
    process.exitCode = 1;
  });
}
