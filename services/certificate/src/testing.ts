/**
 * For tests: the certificate service on a database of its own and the real OpenLDAP, with a root and an issuing authority
 * made by the real ceremony (quick keys), which the openssl command judges. `stop` removes the LDAP entries.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
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
import type { Express } from 'express';
import { pino } from 'pino';
import { convergeEntries } from '../../directory/src/accounts/converge-entry.ts';
import { createCertificateApp } from './app.ts';
import { type Authorities, type Authority, authoritiesOf, openAuthorities } from './authorities/authorities.ts';
import { runCeremony } from './authority/ceremony.ts';
import { toPem } from './authority/certificate.ts';
import { type Judge, openJudge } from './authority/openssl-judge.ts';
import type { CertificateRow } from './certificates/certificate-store.ts';
import { openIssuing } from './certificates/issue-certificate.ts';
import { configSchema } from './config.ts';
import { convergeCertificates, type EnrolmentDependencies } from './enrolments/converge-certificates.ts';
import type { EnrolmentRow } from './enrolments/enrolment-store.ts';
import { openKeyPool } from './keys/key-pool.ts';
import type { CrlDependencies } from './revocation/publish-crl.ts';

export interface TestCertificates extends EnrolmentDependencies, CrlDependencies {
  testDatabase: TestDatabase;
  owner: Database;
  judge: Judge;
  /** Who issues person-signature. */
  authority: Authority;
  /** The same authorities, but this one signs. */
  signingWith: (sign: Authority['issuer']['sign']) => Authorities;
  tokens: TokenAuthority;
  app: Express;
  dn: (account: TestAccount) => string;
  account: (options?: Parameters<typeof insertAccount>[1]) => Promise<TestAccount>;
  /** With its LDAP entry, made by the directory service's own code. */
  accountWithEntry: (options?: Parameters<typeof insertAccount>[1]) => Promise<TestAccount>;
  convergeEntry: (account: TestAccount) => Promise<void>;
  converge: (account: TestAccount, parts?: Partial<EnrolmentDependencies>) => Promise<void>;
  enrolments: (account: TestAccount) => Promise<EnrolmentRow[]>;
  certificates: (account: TestAccount) => Promise<CertificateRow[]>;
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
  // Where the judges look for who issues person-signature.
  judge.write('authorities/issuing.crt.pem', toPem('CERTIFICATE', authority.issuer.certificate.der));
  judge.write('chain.pem', authority.chain.map((one) => toPem('CERTIFICATE', one)).join(''));
  const wrappingKey = { id: config.KEY_WRAPPING_KEY_ID, key: config.KEY_WRAPPING_KEY };
  const issuing = { database, authorities, organizationIdentifier: config.ORGANIZATION_IDENTIFIER };
  const dependencies: EnrolmentDependencies & CrlDependencies = {
    ...issuing,
    ldap,
    baseDn,
    issue: openIssuing(issuing),
    wrappingKey,
    keys: openKeyPool({ database, wrappingKey, keyKind: config.SERVER_KEY_KIND, size: 2, onFailure: () => undefined }),
    serverKeyKind: config.SERVER_KEY_KIND,
    crlHours: config.CRL_HOURS,
  };
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
    app: createCertificateApp({
      ...dependencies,
      authenticate: tokens.authenticate,
      issuerUrl: 'https://directory.test',
      log: pino({ level: 'silent' }),
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
      for (const one of accounts) await directory.ldap.remove(dn(one));
      for (const { name } of authorities.all)
        await ldap.remove(distinguishedName({ cn: name }, `ou=authorities,${baseDn}`));
      await Promise.all([ldap.close(), directory.ldap.close()]);
      judge.close();
      await testDatabase.drop();
    },
  };
}

async function makeAuthorities(judge: Judge) {
  const publicUrl = 'http://pki.example.vn';
  const passphrase = 'a passphrase of the issuing authority';
  // Of this test alone, because all share one OpenLDAP.
  const mark = randomBytes(4).toString('hex');
  await runCeremony({
    out: join(judge.directory, 'authorities'),
    organization: 'Sở Thông tin và Truyền thông tỉnh Nghệ An',
    rootName: 'Nghệ An Test Root CA',
    rootPassphrase: 'a passphrase of the root authority',
    issuing: [
      {
        name: `issuing-${mark}`,
        commonName: 'Nghệ An Test Issuing CA',
        purposes: ['signature', 'encryption'],
        passphrase,
        keyKind: 'ec-p256',
      },
      {
        name: `device-${mark}`,
        commonName: 'Nghệ An Test Device CA',
        purposes: ['device'],
        passphrase,
        keyKind: 'ec-p256',
      },
    ],
    rootCrlUrl: `${publicUrl}/crl/root.crl`,
    rootCertificateUrl: `${publicUrl}/ca/root.crt`,
    rootKeyKind: 'ec-p256',
  });
  const made = (name: string) => readFileSync(join(judge.directory, 'authorities', name), 'utf8');
  return configSchema.parse({
    PORT: '1',
    DATABASE_URL: 'postgres://unused',
    LDAP_URL: 'ldap://unused',
    LDAP_BASE_DN: 'unused',
    LDAP_BIND_DN: 'unused',
    LDAP_PASSWORD: 'unused',
    ISSUER_URL: 'https://directory.test',
    PUBLIC_URL: publicUrl,
    AUTHORITIES_DIRECTORY: join(judge.directory, 'authorities'),
    AUTHORITIES_PASSPHRASE: passphrase,
    ROOT_CERTIFICATE: made('root.crt.pem'),
    ROOT_CRL: made('root.crl.pem'),
    KEY_WRAPPING_KEY: randomBytes(32).toString('hex'),
    SERVER_KEY_KIND: 'ec-p256',
    ORGANIZATION_IDENTIFIER: 'GOVVN+22',
  });
}
