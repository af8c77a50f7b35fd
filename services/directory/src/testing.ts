/**
 * For tests: the directory service on a database of its own, a real OpenLDAP and a log that can be read. Clients are rows
 * of that database with tokens of a test authority; `stop` removes the LDAP entries of every account that the database holds.
 */
import { generateKeyPairSync, randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Permission, RequestDetail, RequestLineInput } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { createTestDatabase, type TestStack, testStack } from '@congvu/database/testing';
import { createTestAuthority, type TestAuthority } from '@congvu/http/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { defaultUsernamePatterns, parseUsernamePatterns, type UsernamePatterns } from '@congvu/vietnamese';
import type { Express } from 'express';
import { pino } from 'pino';
import supertest from 'supertest';
import { createDirectoryApp, type DirectoryDependencies } from './app.ts';
import { hashClientSecret, newClientSecret } from './clients/client-secret.ts';
import { saveClient } from './clients/client-store.ts';
import { createTokenIssuer, type TokenIssuer } from './clients/token-issuer.ts';
import { createNationalIdSeal, type NationalIdSeal } from './people/national-id-seal.ts';

export const sampleCsv = readFileSync(
  new URL('../../../infra/local/sample/nghe-an/agencies.csv', import.meta.url),
  'utf8',
);

export const usernamePatterns = soundPatterns(defaultUsernamePatterns);

export function soundPatterns(text: string): UsernamePatterns {
  const result = parseUsernamePatterns(text);
  if (!result.ok) throw new Error(JSON.stringify(result.faults));
  return result.patterns;
}

export interface TestClient {
  id: string;
  name: string;
  secret: string;
  /** The value of an Authorization header. */
  bearer: string;
}

export interface TestDirectory {
  app: Express;
  /** The same service with some of its parts exchanged. */
  appWith: (parts: Partial<DirectoryDependencies>) => Express;
  /** As the service's own role. */
  database: Database;
  /** For a worker of one's own. */
  databaseUrl: string;
  /** As the owner of the schema, for what the service itself may not do. */
  owner: Database;
  /** As the role of another service. */
  as: (role: 'mailbox' | 'certificate') => Database;
  ldap: Ldap;
  baseDn: string;
  authority: TestAuthority;
  /** The real issuer, behind /oauth/token and holder tokens. */
  tokens: TokenIssuer;
  seal: NationalIdSeal;
  /** Everything that was logged so far. */
  logged: () => string;
  client: (agencyCode: string, permissions: readonly Permission[]) => Promise<TestClient>;
  importSample: () => Promise<void>;
  /** Submits as `by`; the request. Fails the test when it is refused. */
  submit: (by: TestClient, agencyCode: string, lines: readonly RequestLineInput[]) => Promise<RequestDetail>;
  approve: (by: TestClient, id: string) => Promise<RequestDetail>;
  stop: () => Promise<void>;
}

export async function startTestDirectory(server: TestStack['ldap'] = testStack().ldap): Promise<TestDirectory> {
  const testDatabase = await createTestDatabase();
  const database = testDatabase.as('directory');
  const owner = testDatabase.as('owner');
  const identity = server.identities.directory;
  if (!identity) throw new Error('the test stack has no LDAP identity for the directory service');
  const { url, baseDn } = server;
  const ldap = openLdap({ url, ...identity });
  const authority = await createTestAuthority();
  const tokens = await createTokenIssuer({ issuer: 'https://directory.test', signingKeyPem: newSigningKey() });
  const seal = createNationalIdSeal(randomBytes(32), randomBytes(32));
  const lines: string[] = [];
  const dependencies: DirectoryDependencies = {
    database,
    ldap,
    baseDn,
    tokens,
    seal,
    log: pino({ level: 'debug' }, { write: (line) => void lines.push(line) }),
    authenticate: authority.authenticate,
    activationCodeDays: 14,
    usernamePatterns,
    deadlines: { decisionDays: 3, correctionDays: 10 },
  };
  const app = createDirectoryApp(dependencies);

  const directory: TestDirectory = {
    app,
    appWith: (parts) => createDirectoryApp({ ...dependencies, ...parts }),
    database,
    databaseUrl: testDatabase.urlAs('directory'),
    owner,
    as: testDatabase.as,
    ldap,
    baseDn,
    authority,
    tokens,
    seal,
    logged: () => lines.join(''),
    client: async (agencyCode, permissions) => {
      const name = `client ${randomWord()}`;
      const secret = newClientSecret();
      const secretHash = hashClientSecret(secret);
      const id = await database.transaction((transaction) =>
        saveClient(transaction, { name, agencyCode, permissions, secretHash }),
      );
      return { id, name, secret, bearer: await authority.bearer({ id, agency: agencyCode, permissions }) };
    },
    importSample: async () => {
      const { bearer } = await directory.client('H41', ['agencies:write']);
      await supertest(app)
        .post('/v1/agencies/import')
        .set('Authorization', bearer)
        .type('text/csv')
        .send(sampleCsv)
        .expect(200);
    },
    submit: async (by, agencyCode, wanted) => {
      const body = { agencyCode, lines: wanted };
      const answer = await supertest(app).post('/v1/requests').set('Authorization', by.bearer).send(body);
      if (answer.status !== 201) throw new Error(`the request was refused: ${answer.text}`);
      return answer.body;
    },
    approve: async (by, id) => {
      const answer = await supertest(app).post(`/v1/requests/${id}/approve`).set('Authorization', by.bearer).send({});
      if (answer.status !== 200) throw new Error(`the approval was refused: ${answer.text}`);
      return answer.body;
    },
    stop: async () => {
      const usernames: string[] = await owner('directory.accounts').where('entry_version', '>', 0).pluck('username');
      for (let start = 0; start < usernames.length; start += 32) {
        const names = usernames.slice(start, start + 32);
        await Promise.all(names.map((uid) => ldap.remove(distinguishedName({ uid }, `ou=people,${baseDn}`))));
      }
      await ldap.close();
      await testDatabase.drop();
    },
  };
  return directory;
}

export const newSigningKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;

/** Eight small letters that no other test file uses: a given name, and so a username, of one's own in the shared LDAP. */
export const randomWord = (): string => Array.from({ length: 8 }, () => 'bcdghklmnpqrstvx'[randomInt(16)]).join('');

let peopleMade = 0;

/** A sound line for a man born on 5 March 1980, with an identity number that no other line has. */
export const personLine = (fullName: string, fields: Partial<PersonLine> = {}): PersonLine => {
  peopleMade += 1;
  const nationalId = `040080${String(peopleMade).padStart(6, '0')}`;
  return { kind: 'person', fullName, birthDate: '1980-03-05', nationalId, certificate: 'server_key', ...fields };
};
type PersonLine = Extract<RequestLineInput, { kind: 'person' }>;
