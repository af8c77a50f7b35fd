import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import forge from 'node-forge';
import { toPem } from './certificate.ts';
import { buildTbsCertificate, signTbs } from './issuer.ts';
import { generateKeyPair } from './key-pair.ts';
import {
  makeTestAuthority,
  openJudge,
  type TestAuthority,
  testLocations,
  testProfile,
  testRequest,
} from './openssl-judge.ts';
import { makePkcs12, openPkcs12, type Pkcs12Contents } from './pkcs12.ts';

const newPassphrase = (): string => randomUUID();

const judge = openJudge();
let authority: TestAuthority;
const contents = {} as Record<'rsa-2048' | 'ec-p256', Pkcs12Contents>;
beforeAll(async () => {
  authority = await makeTestAuthority(judge);
  for (const kind of ['rsa-2048', 'ec-p256'] as const) {
    const { privateKey, subjectPublicKeyInfo } = await generateKeyPair(kind);
    const tbs = buildTbsCertificate(
      authority.issuing.issuer,
      testProfile,
      testLocations,
      testRequest(authority, subjectPublicKeyInfo),
    );
    const certificate = await signTbs(authority.issuing.issuer, tbs);
    const chain = [authority.issuing.issuer.certificate.der, authority.root.issuer.certificate.der];
    contents[kind] = { privateKey, certificate, chain };
  }
});
afterAll(() => judge.close());

const friendlyName = 'Huỳnh Thanh Điền';

describe.each(['rsa-2048', 'ec-p256'] as const)('%s', (kind) => {
  test.each([
    [
      'modern',
      /MAC: sha256, Iteration 50000/,
      /Shrouded Keybag: PBES2, PBKDF2, AES-256-CBC, Iteration 50000, PRF hmacWithSHA256/,
    ],
    ['legacy', /MAC: sha1, Iteration 2048/, /Shrouded Keybag: pbeWithSHA1And3-KeyTripleDES-CBC, Iteration 2048/],
  ] as const)('%s: OpenSSL and Java open it', async (form, mac, keyBag) => {
    const passphrase = newPassphrase();
    judge.write('file.p12', await makePkcs12({ ...contents[kind], passphrase, friendlyName, form }));
    const legacy = form === 'legacy' ? ['-legacy'] : [];
    const openssl = ['pkcs12', '-in', 'file.p12', '-passin', `pass:${passphrase}`, ...legacy];
    const info = spawnSync('openssl', [...openssl, '-info', '-noout'], { cwd: judge.directory, encoding: 'utf8' });
    expect(info.stderr).toMatch(mac);
    expect(info.stderr).toMatch(keyBag);
    expect(info.stderr.match(/Certificate bag/g)).toHaveLength(3);
    judge.run(...openssl, '-nocerts', '-nodes', '-out', 'key.pem');
    judge.run(...openssl, '-clcerts', '-nokeys', '-out', 'certificate.pem');
    expect(judge.run('pkey', '-in', 'key.pem', '-pubout')).toBe(
      judge.run('x509', '-in', 'certificate.pem', '-noout', '-pubkey'),
    );
    expect(judge.run('x509', '-in', 'certificate.pem')).toBe(toPem('CERTIFICATE', contents[kind].certificate));
    expect(() => judge.run(...openssl.slice(0, 4), 'pass:not this one', ...legacy, '-noout')).toThrow(
      'invalid password',
    );

    const keytool = spawnSync(
      'keytool',
      ['-list', '-storetype', 'PKCS12', '-keystore', 'file.p12', '-storepass', passphrase],
      {
        cwd: judge.directory,
        encoding: 'utf8',
      },
    );
    if (!keytool.error) expect(keytool.stdout).toContain('PrivateKeyEntry');
  });
});

test.each(['modern', 'legacy'] as const)(
  'node-forge, a reader of other ancestry, finds key, certificate and name in the %s form',
  async (form) => {
    const passphrase = newPassphrase();
    const file = await makePkcs12({ ...contents['rsa-2048'], passphrase, friendlyName, form });
    const p12 = forge.pkcs12.pkcs12FromAsn1(forge.asn1.fromDer(file.toString('binary')), passphrase);
    const [bag] = p12.getBags({ bagType: forge.pki.oids.pkcs8ShroudedKeyBag! })[forge.pki.oids.pkcs8ShroudedKeyBag!]!;
    expect(bag?.attributes.friendlyName).toEqual([friendlyName]);
    expect(bag?.key).toBeTruthy();
    expect(p12.getBags({ bagType: forge.pki.oids.certBag! })[forge.pki.oids.certBag!]).toHaveLength(3);
  },
);

test('opens what it made and nothing else', async () => {
  const passphrase = newPassphrase();
  const file = await makePkcs12({ ...contents['ec-p256'], passphrase, friendlyName, form: 'modern' });
  expect(await openPkcs12(file, passphrase)).toEqual(contents['ec-p256']);
  const unreadable = { kind: 'invalid', code: 'pkcs12_unreadable' };
  await expect(openPkcs12(file, newPassphrase())).rejects.toMatchObject(unreadable);
  const changed = Buffer.from(file);
  changed[200]! ^= 1;
  await expect(openPkcs12(changed, passphrase)).rejects.toMatchObject(unreadable);
});

test('a key that does not belong to the certificate is not handed out', async () => {
  const mixed = { ...contents['rsa-2048'], privateKey: contents['ec-p256'].privateKey };
  const made = makePkcs12({ ...mixed, passphrase: newPassphrase(), friendlyName, form: 'modern' });
  await expect(made).rejects.toMatchObject({ kind: 'unavailable', code: 'pkcs12_unreadable' });
});

test('refuses passphrases that do not open everywhere, and says nothing of them', async () => {
  for (const passphrase of ['', 'short', 'mật khẩu tiếng Việt', 'with\ttabulator in it'])
    try {
      await makePkcs12({ ...contents['ec-p256'], passphrase, friendlyName: '😀', form: 'modern' });
      throw new Error('accepted');
    } catch (error) {
      expect(error).toBeInstanceOf(ServiceError);
      const { code, faults, detail } = error as ServiceError;
      expect(code).toBe('pkcs12_invalid');
      expect(faults.map((fault) => fault.pointer)).toEqual(['/passphrase', '/friendlyName']);
      if (passphrase) expect(detail).not.toContain(passphrase);
    }
});
