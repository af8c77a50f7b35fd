/**
 * What a mail program finds in LDAP, under the login of its user, by ldapsearch: the certificate of whoever it is to encrypt to, by address;
 * exactly the valid ones; and nothing else of anybody.
 */
import { spawnSync } from 'node:child_process';
import { randomBytes, randomUUID } from 'node:crypto';
import { type TestAccount, testStack } from '@congvu/database/testing';
import { openLdap } from '@congvu/ldap';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from '../authority/certificate.ts';
import { generateKeyPair } from '../authority/key-pair.ts';
import { certificateSystem } from '../certificates/certificate-event.ts';
import { setRevoked } from '../certificates/certificate-store.ts';
import { startTestCertificates, type TestCertificates } from '../testing.ts';
import { findAccount, insertEnrolment } from './enrolment-store.ts';
import { publishCertificates } from './publish-certificates.ts';

let service: TestCertificates;
let [reader, writer]: TestAccount[] = [];
let password: string;
const { url, baseDn, identities } = testStack().ldap;
const as = (name: string) => openLdap({ url, ...(identities[name] as { bindDn: string; password: string }) });

beforeAll(async () => {
  service = await startTestCertificates();
  reader = await service.accountWithEntry({ agencyCode: 'H41.02' });
  writer = await service.accountWithEntry();
  password = randomBytes(18).toString('base64');
  const [directory, mailbox] = [as('directory'), as('mailbox')];
  await directory.setPassword(service.dn(reader), password);
  for (const account of [reader, writer])
    await mailbox.modify(service.dn(account), [{ attribute: 'mail', operation: 'replace', values: [account.address] }]);
  await Promise.all([directory.close(), mailbox.close()]);
});
afterAll(() => service.stop());

/** As a mail program asks: the search of Thunderbird and Outlook for a recipient's certificates. */
function search(filter: string, ...attributes: string[]): { status: number | null; output: string } {
  const { status, stdout } = spawnSync(
    'ldapsearch',
    [
      ...[
        '-x',
        '-H',
        url,
        '-D',
        service.dn(reader!),
        '-w',
        password,
        '-LLL',
        '-o',
        'ldif-wrap=no',
        '-b',
        `ou=people,${baseDn}`,
      ],
      ...[filter, ...attributes],
    ],
    { encoding: 'utf8' },
  );
  return { status, output: stdout };
}
const found = (output: string): Buffer[] =>
  [...output.matchAll(/^userCertificate;binary:: (\S+)$/gm)].map(([, base64]) => Buffer.from(base64!, 'base64'));

/** A certificate of the account, its private key with the judge as `<name>.key`; its id. */
async function certify(account: TestAccount, profile: string, name: string): Promise<string> {
  const pair = await generateKeyPair('rsa-2048');
  service.judge.write(`${name}.key`, toPem('PRIVATE KEY', pair.privateKey));
  const source = (await findAccount(service.database, account.id))!;
  const id = randomUUID();
  await service.database.transaction((transaction) =>
    insertEnrolment(transaction, {
      id,
      accountId: account.id,
      number: 1,
      profile,
      path: 'csr',
      wrappedPrivateKey: null,
      subjectPublicKeyInfo: pair.subjectPublicKeyInfo,
    }),
  );
  await service.issue({ enrolmentId: id, actor: certificateSystem });
  await publishCertificates(service, [source]);
  return (await service.owner('certificate.certificates').where({ enrolment_id: id }).first('id')).id;
}

const purposeOf = (certificate: Buffer): string => {
  service.judge.write('found.pem', toPem('CERTIFICATE', certificate));
  return service.judge.run('x509', '-in', 'found.pem', '-noout', '-ext', 'keyUsage,subjectAltName');
};

test('the encryption certificate is found by address, encrypts, and the holder’s key opens it', async () => {
  await certify(writer!, 'person-signature', 'signature');
  await certify(writer!, 'person-encryption', 'encryption');
  const { output } = search(`(mail=${writer!.address})`, 'userCertificate;binary');
  const certificates = found(output);
  expect(certificates).toHaveLength(2);
  const forEncryption = certificates.filter((one) => purposeOf(one).includes('Key Encipherment'));
  expect(forEncryption).toHaveLength(1);
  const [certificate] = forEncryption;
  expect(purposeOf(certificate!)).toContain(`email:${writer!.address}`);
  service.judge.write('recipient.pem', toPem('CERTIFICATE', certificate!));
  service.judge.write('letter.txt', 'Kính gửi đồng chí\n');
  service.judge.run('cms', '-encrypt', '-aes256', '-in', 'letter.txt', '-out', 'letter.p7m', 'recipient.pem');
  const opened = service.judge.run(
    'cms',
    '-decrypt',
    '-in',
    'letter.p7m',
    '-recip',
    'recipient.pem',
    '-inkey',
    'encryption.key',
  );
  expect(opened.trim()).toBe('Kính gửi đồng chí');
  // Also as programs that add what they expect of a person.
  expect(found(search(`(&(mail=${writer!.address})(userCertificate;binary=*))`).output)).toHaveLength(2);
});

test('what is revoked, or on hold, or ran out is gone with the next look at the account', async () => {
  const id = await certify(reader!, 'person-encryption', 'another');
  const lookUp = () => found(search(`(mail=${reader!.address})`, 'userCertificate;binary').output).length;
  expect(lookUp()).toBe(1);
  const source = (await findAccount(service.database, reader!.id))!;
  const row = () => service.owner('certificate.certificates').where({ id });
  await service.database.transaction((transaction) => setRevoked(transaction, id, { reason: 'certificateHold' }));
  await publishCertificates(service, [source]);
  expect(lookUp()).toBe(0);
  await row().update({ state: 'valid', revoked_at: null, revocation_reason: null });
  await publishCertificates(service, [source]);
  expect(lookUp()).toBe(1);
  await row().update({ not_after: new Date(Date.now() - 1_000) });
  await publishCertificates(service, [source]);
  expect(lookUp()).toBe(0);
});

describe('of others a mail program sees', () => {
  test('address and certificates alone', () => {
    const { output } = search(`(mail=${writer!.address})`, '*', '+');
    const names = [...output.matchAll(/^([\w;-]+):/gm)].map(([, name]) => name);
    expect([...new Set(names)].sort()).toEqual(['dn', 'mail', 'userCertificate;binary']);
  });

  test('nobody without a certificate, nobody who is suspended, nobody by name', async () => {
    const bare = await service.accountWithEntry();
    const mailbox = as('mailbox');
    await mailbox.modify(service.dn(bare), [{ attribute: 'mail', operation: 'replace', values: [bare.address] }]);
    await mailbox.close();
    expect(search(`(mail=${bare.address})`).output).toBe('');
    expect(search(`(uid=${writer!.username})`).output).toBe('');
    expect(search('(cn=Huỳnh Thanh Điền)').output).not.toContain(writer!.address);
    const directory = as('directory');
    const state = (value: string) =>
      directory.modify(service.dn(writer!), [
        { attribute: 'congvuAccountStatus', operation: 'replace', values: [value] },
      ]);
    await state('suspended');
    expect(search(`(mail=${writer!.address})`).output).toBe('');
    await state('active');
    expect(found(search(`(mail=${writer!.address})`).output)).toHaveLength(2);
    await directory.close();
  });

  test('the own entry, whole as before; a stranger sees nothing at all', () => {
    expect(search(`(mail=${reader!.address})`, 'cn').output).toContain('cn::');
    const stranger = spawnSync(
      'ldapsearch',
      ['-x', '-H', url, '-LLL', '-b', `ou=people,${baseDn}`, `(mail=${writer!.address})`],
      {
        encoding: 'utf8',
      },
    );
    expect(stranger.stdout).toBe('');
  });

  test('whoever asks for all is refused, not answered slowly', async () => {
    const crowd = Array.from(
      { length: 230 },
      (_, count) => `uid=crowd${count}-${reader!.username},ou=people,${baseDn}`,
    );
    const directory = as('directory');
    const objectClass = ['inetOrgPerson', 'congvuAccount'];
    try {
      for (const dn of crowd) {
        const uid = dn.slice(4, dn.indexOf(','));
        const own = { objectClass, uid: [uid], cn: ['x'], sn: ['x'], congvuAccountId: [randomUUID()] };
        await directory.add(dn, { ...own, congvuAccountKind: ['person'], congvuAccountStatus: ['active'] });
      }
      const ADMIN_LIMIT_EXCEEDED = 11;
      expect(search('(mail=*)', 'mail')).toMatchObject({ status: ADMIN_LIMIT_EXCEEDED, output: '' });
      expect(found(search(`(mail=${writer!.address})`).output)).toHaveLength(2);
    } finally {
      for (const dn of crowd) await directory.remove(dn);
      await directory.close();
    }
  });
});
