/**
 * For tests: the certificate service on a database of its own and the real OpenLDAP, with a root and an issuing authority
 * made by the real ceremony (quick keys), which the openssl command judges. `stop` removes the LDAP entries.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync } from 'node:fs';
import type { RequestListener } from 'node:http';
import { join } from 'node:path';
import type { Database } from '@congvu/database';
import {
  createTestDatabase,
  insertAccount,
  insertProvince,
  type TestAccount,
  type TestDatabase,
  testStack,
} from '@congvu/database/testing';
import {
  createTestAuthority as createTokenAuthority,
  type TestAuthority as TokenAuthority,
} from '@congvu/http/testing';
import { distinguishedName, type Ldap, openLdap } from '@congvu/ldap';
import { pino } from 'pino';
import { convergeEntries } from '../../directory/src/accounts/converge-entry.ts';
import { createCertificateApp } from './app.ts';
import { type Authorities, type Authority, authoritiesOf, openAuthorities } from './authorities/authorities.ts';
import { toPem } from './authority/certificate.ts';
import { type Judge, openJudge } from './authority/judges/openssl-judge.ts';
import { initRoot, issueAuthority } from './ceremony/acts.ts';
import { certificateSystem } from './certificates/certificate-event.ts';
import type { CertificateRow, RevocationReason } from './certificates/certificate-store.ts';
import { type IssueDependencies, openIssuing } from './certificates/issue-certificate.ts';
import { type Config, configSchema } from './config.ts';
import { convergeCertificates, type EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import type { EnrolmentRow } from './enrolments/enrolment-store.ts';
import { openCsrReader } from './enrolments/read-csrs.ts';
import { openEndSpread } from './expiry/spread-ends.ts';
import { openKeyPool } from './keys/key-pool.ts';
import { type Ocsp, openOcsp } from './ocsp/ocsp.ts';
import type { CrlDependencies } from './revocation/publish-crl.ts';
import { revokeCertificate } from './revocation/revoke-certificate.ts';

export interface TestCertificates extends EnrolmentDependencies, CrlDependencies, IssueDependencies {
  testDatabase: TestDatabase;
  owner: Database;
  judge: Judge;
  config: Config;
  /** Who issues person-signature. */
  authority: Authority;
  /** The same authorities, but this one signs. */
  signingWith: (sign: Authority['issuer']['sign']) => Authorities;
  tokens: TokenAuthority;
  app: RequestListener;
  ocsp: Ocsp;
  dn: (account: TestAccount) => string;
  account: (options?: Parameters<typeof insertAccount>[1]) => Promise<TestAccount>;
  /** With its LDAP entry, made by the directory service's own code. */
  accountWithEntry: (options?: Parameters<typeof insertAccount>[1]) => Promise<TestAccount>;
  convergeEntry: (account: TestAccount) => Promise<void>;
  converge: (account: TestAccount, parts?: Partial<EnrolmentDependencies>) => Promise<void>;
  enrolments: (account: TestAccount) => Promise<EnrolmentRow[]>;
  certificates: (account: TestAccount) => Promise<CertificateRow[]>;
  intents: (
    account: TestAccount,
  ) => Promise<{ id: string; enrolment_id: string; serial_number: Buffer; tbs: Buffer }[]>;
  /** By an administrator of the province. */
  revoke: (serialNumber: Buffer, reason?: RevocationReason) => Promise<void>;
  /** userCertificate of the entry, in hexadecimal. */
  published: (account: TestAccount) => Promise<string[]>;
  actions: (account: TestAccount) => Promise<string[]>;
  /** What OpenSSL says of a certificate: strict, whole chain, with the purpose of signing mail. Throws when it refuses. */
  verify: (certificate: Buffer, ...options: string[]) => string;
  /** A key pair and CSR as a token makes them; the key stays in the judge's directory as `<name>.key`. */
  csr: (name: string, ...options: string[]) => string;
  /** Makes a statement fail until the returned function is called. */
  forbid: (operation: 'update' | 'insert', table: string) => Promise<() => Promise<void>>;
  /** Jobs that wait, by key. */
  queued: () => Promise<string[]>;
  stop: () => Promise<void>;
}

export async function startTestCertificates(): Promise<TestCertificates> {
  const { url, baseDn, identities } = testStack().ldap;
  const connect = (name: string): Ldap =>
    openLdap({ url, ...(identities[name] as { bindDn: string; password: string }) });
  const testDatabase = await createTestDatabase();
  const owner = testDatabase.as('owner');
  await insertProvince(owner);
  const directory = { database: testDatabase.as('directory'), ldap: connect('directory'), baseDn };
  const database = testDatabase.as('certificate');
  const ldap = connect('certificate');
  const judge = openJudge();
  const tokens = await createTokenAuthority();
  const config = await makeAuthorities(judge);
  const authorities = await openAuthorities(database, config);
  const { authority } = authorities.issuing('person-signature');
  // Where the judges look: the root, its CRL, and who issues person-signature.
  mkdirSync(join(judge.directory, 'authorities'));
  judge.write('authorities/root.crt.pem', config.ROOT_CERTIFICATE);
  judge.write('authorities/root.crl.pem', config.ROOT_CRL);
  judge.write('authorities/issuing.crt.pem', toPem('CERTIFICATE', authority.issuer.certificate.der));
  judge.write('chain.pem', authority.chain.map((one) => toPem('CERTIFICATE', one)).join(''));
  const wrappingKey = { id: config.KEY_WRAPPING_KEY_ID, key: config.KEY_WRAPPING_KEY };
  const issuing = {
    database,
    authorities,
    organizationIdentifier: config.ORGANIZATION_IDENTIFIER,
    spreadEnds: openEndSpread(),
  };
  const dependencies: EnrolmentDependencies & CrlDependencies & IssueDependencies = {
    ...issuing,
    ldap,
    baseDn,
    csrs: openCsrReader(),
    issue: openIssuing(issuing),
    wrappingKey,
    keys: openKeyPool({ database, wrappingKey, keyKind: config.SERVER_KEY_KIND, size: 2, onFailure: () => undefined }),
    serverKeyKind: config.SERVER_KEY_KIND,
    crlHours: config.CRL_HOURS,
    deltaHours: config.DELTA_CRL_HOURS,
  };
  const log = pino({ level: 'silent' });
  const ocsp = await openOcsp({
    ...dependencies,
    databaseUrl: testDatabase.urlAs('certificate'),
    ocspHours: config.OCSP_HOURS,
    ocspPrepared: 1_000,
    log,
  });
  const accounts: TestAccount[] = [];
  const dn = ({ username }: TestAccount) => distinguishedName({ uid: username }, `ou=people,${baseDn}`);
  const convergeEntry = (account: TestAccount) => convergeEntries(directory, [account.id]);
  const account: TestCertificates['account'] = async (options) => {
    const made = await insertAccount(owner, options);
    accounts.push(made);
    return made;
  };

  return {
    ...dependencies,
    testDatabase,
    owner,
    judge,
    config,
    authority,
    signingWith: (sign) => {
      const { root, all, profiles } = authorities;
      const changed = { ...authority, issuer: { ...authority.issuer, sign } };
      return authoritiesOf(
        root,
        all.map((one) => (one === authority ? changed : one)),
        profiles,
      );
    },
    tokens,
    ocsp,
    app: createCertificateApp({
      ...dependencies,
      ocsp,
      externalAuthorities: undefined,
      authenticate: tokens.authenticate,
      issuerUrl: 'https://directory.test',
      log,
    }),
    dn,
    account,
    accountWithEntry: async (options) => {
      const made = await account(options);
      await convergeEntry(made);
      return made;
    },
    convergeEntry,
    converge: (one, parts) => {
      const changed = { ...dependencies, ...parts };
      return convergeCertificates({ ...changed, issue: openIssuing(changed) }, one.id);
    },
    enrolments: async ({ id }) => owner('certificate.enrolments').where({ account_id: id }).orderBy('created_at'),
    certificates: async ({ id }) => owner('certificate.certificates').where({ account_id: id }).orderBy('created_at'),
    intents: async ({ id }) => owner('certificate.intents').where({ account_id: id }),
    revoke: (serialNumber, reason = 'unspecified') => {
      const decider = { actor: certificateSystem, scope: { agencyCode: 'H41' }, isAdministrator: true };
      return revokeCertificate(dependencies, serialNumber, { reason }, decider);
    },
    published: async (one) =>
      ((await ldap.find(dn(one), ['userCertificate;binary']))?.attributes['userCertificate;binary'] ?? []).map(
        (value) => Buffer.from(value).toString('hex'),
      ),
    actions: async ({ id }) =>
      (await owner('directory.audit_events').where({ subject_id: id, service: 'certificate' }).orderBy('id')).map(
        (row) => row.action as string,
      ),
    verify: (certificate, ...options) => {
      const name = `leaf-${randomBytes(6).toString('hex')}.pem`;
      judge.write(name, toPem('CERTIFICATE', certificate));
      return judge.run(
        ...['verify', '-x509_strict', '-purpose', 'smimesign', '-CAfile', 'authorities/root.crt.pem'],
        ...['-untrusted', 'authorities/issuing.crt.pem', ...options, name],
      );
    },
    csr: (name, ...options) => {
      const key = options.length > 0 ? options : ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
      judge.run('genpkey', '-out', `${name}.key`, '-algorithm', ...key);
      return judge.run('req', '-new', '-key', `${name}.key`, '-subj', '/CN=Somebody Else/O=Another agency');
    },
    forbid: async (operation, table) => {
      const name = `${table.split('.')[0]}.forbid_${randomBytes(4).toString('hex')}`;
      await owner.raw(
        `create function ${name}() returns trigger language plpgsql as $$ begin raise exception 'forbidden by the test'; end $$;
         create trigger forbid before ${operation} on ${table} for each row execute function ${name}()`,
      );
      return async () => void (await owner.raw(`drop function ${name} cascade`));
    },
    queued: async () =>
      (await owner.raw('select key from certificate_jobs._private_jobs order by id')).rows.map(
        (row: { key: string }) => row.key,
      ),
    stop: async () => {
      await ocsp.close();
      await dependencies.csrs.stop();
      for (const one of accounts) await directory.ldap.remove(dn(one));
      for (const { name } of authorities.all)
        await ldap.remove(distinguishedName({ cn: name }, `ou=authorities,${baseDn}`));
      await Promise.all([ldap.close(), directory.ldap.close()]);
      judge.close();
      await testDatabase.drop();
    },
  };
}

/** Of the root of every test. */
export const testOfficers = [
  { name: 'Officer One', passphrase: 'passphrase of the first officer' },
  { name: 'Officer Two', passphrase: 'passphrase of the second officer' },
] as const;

async function makeAuthorities(judge: Judge): Promise<Config> {
  const publicUrl = 'http://pki.example.vn';
  const passphrase = 'a passphrase of the issuing authority';
  // Of this test alone, because all share one OpenLDAP.
  const mark = randomBytes(4).toString('hex');
  const directory = join(judge.directory, 'safe');
  const officers = testOfficers;
  await initRoot({
    directory,
    officers,
    organization: 'Sở Thông tin và Truyền thông tỉnh Nghệ An',
    rootName: 'Nghệ An Test Root CA',
    rootCrlUrl: `${publicUrl}/crl/root.crl`,
    rootCertificateUrl: `${publicUrl}/ca/root.crt`,
    keyKind: 'ec-p256',
  });
  const key = { passphrase, keyKind: 'ec-p256' } as const;
  const people = { name: `issuing-${mark}`, commonName: 'Nghệ An Test Issuing CA' };
  await issueAuthority({ directory, officers, ...people, purposes: ['signature', 'encryption'], key });
  const device = { name: `device-${mark}`, commonName: 'Nghệ An Test Device CA' };
  await issueAuthority({ directory, officers, ...device, purposes: ['device'], key });
  const made = (name: string) => readFileSync(join(directory, name), 'utf8');
  return configSchema.parse({
    PORT: '1',
    DATABASE_URL: 'postgres://unused',
    LDAP_URL: 'ldap://unused',
    LDAP_BASE_DN: 'unused',
    LDAP_BIND_DN: 'unused',
    LDAP_PASSWORD: 'unused',
    ISSUER_URL: 'https://directory.test',
    PUBLIC_URL: publicUrl,
    AUTHORITIES_DIRECTORY: directory,
    AUTHORITIES_PASSPHRASE: passphrase,
    ROOT_CERTIFICATE: made('root.crt.pem'),
    ROOT_CRL: made('root.crl.pem'),
    KEY_WRAPPING_KEY: randomBytes(32).toString('hex'),
    SERVER_KEY_KIND: 'ec-p256',
    ORGANIZATION_IDENTIFIER: 'GOVVN+22',
  });
}
