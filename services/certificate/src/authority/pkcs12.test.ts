import { spawnSync } from 'node:child_process';
import { hash, randomBytes } from 'node:crypto';
import { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import forge from 'node-forge';
import { toPem } from './certificate.ts';
import { buildTbsCertificate, signTbs } from './issuer.ts';
import {
  makeTestAuthority,
  openJudge,
  type TestAuthority,
  testLocations,
  testProfile,
  testRequest,
} from './judges/openssl-judge.ts';
import { generateKeyPair } from './key-pair.ts';
import {
  makePkcs12,
  makePkcs12Bundle,
  newPassphrase,
  newTripleDesKey,
  openPkcs12,
  type Pkcs12Contents,
} from './pkcs12.ts';

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

test.each(['modern', 'legacy'] as const)(
  'several keys in one file of the %s form, under a passphrase that was generated: OpenSSL and Java find each with its certificate',
  async (form) => {
    const passphrase = newPassphrase();
    expect(passphrase).toMatch(/^([a-km-np-z2-9]{4}-){5}[a-km-np-z2-9]{4}$/);
    const { chain } = contents['ec-p256'];
    const entries = [
      { ...contents['ec-p256'], friendlyName },
      { ...contents['rsa-2048'], friendlyName: `${friendlyName} 2` },
    ];
    const file = await makePkcs12Bundle({ entries, chain, passphrase, form, isGenerated: true });
    judge.write('bundle.p12', file);
    const legacy = form === 'legacy' ? ['-legacy'] : [];
    const openssl = ['pkcs12', '-in', 'bundle.p12', '-passin', `pass:${passphrase}`, ...legacy];
    const info = spawnSync('openssl', [...openssl, '-info', '-noout'], { cwd: judge.directory, encoding: 'utf8' });
    expect(info.stderr).toContain('Iteration 2048');
    expect(info.stderr).not.toContain('Iteration 50000');
    const all = judge.run(...openssl, '-nodes', '-nocerts');
    expect(all.match(/-----BEGIN PRIVATE KEY/g)).toHaveLength(2);
    for (const [index, { certificate }] of entries.entries()) {
      judge.write('one.key', `-----BEGIN PRIVATE KEY${all.split('-----BEGIN PRIVATE KEY')[index + 1]}`);
      judge.write('one.pem', toPem('CERTIFICATE', certificate));
      expect(judge.run('pkey', '-in', 'one.key', '-pubout')).toBe(
        judge.run('x509', '-in', 'one.pem', '-noout', '-pubkey'),
      );
    }
    expect(judge.run(...openssl, '-clcerts', '-nokeys').match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
    const keytool = ['-list', '-storetype', 'PKCS12', '-keystore', 'bundle.p12', '-storepass', passphrase];
    const java = spawnSync('keytool', keytool, { cwd: judge.directory, encoding: 'utf8' });
    if (!java.error) expect(java.stdout.match(/PrivateKeyEntry/g)).toHaveLength(2);
  },
);

test('opens what it made and nothing else', async () => {
  const passphrase = newPassphrase();
  const file = await makePkcs12({ ...contents['ec-p256'], passphrase, friendlyName, form: 'modern' });
  const { chain, ...entry } = contents['ec-p256'];
  expect(await openPkcs12(file, passphrase)).toEqual({ entries: [entry], chain });
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

test('a salt under which gpgsm 2.2 would derive another key is passed over', async () => {
  const passphrase = 'abcd-efgh-jkmn';
  const repeated = (octets: Buffer) => Buffer.alloc(64, octets);
  const password = repeated(Buffer.from(`${passphrase}\0`, 'utf16le').swap16());
  /** RFC 7292 appendix B.2 in numbers: whether (I_j + B + 1) mod 2^512 is below 2^504 for one of the two blocks. */
  const isMisread = (salt: Buffer): boolean => {
    const digest = hash('sha1', Buffer.concat([Buffer.alloc(64, 1), repeated(salt), password]), 'buffer');
    const number = (octets: Buffer) => BigInt(`0x${octets.toString('hex')}`);
    const sum = (block: Buffer) => (number(block) + number(repeated(digest)) + 1n) % 2n ** 512n;
    return [repeated(salt), password].some((block) => sum(block) < 2n ** 504n);
  };
  const salts = { misread: [] as Buffer[], fine: [] as Buffer[] };
  while (salts.misread.length < 20) {
    const salt = randomBytes(16);
    salts[isMisread(salt) ? 'misread' : 'fine'].push(salt);
  }
  for (const misread of salts.misread) {
    const fine = salts.fine.pop() as Buffer;
    const drawn = [misread, fine];
    expect((await newTripleDesKey(passphrase, 1, () => drawn.shift() as Buffer)).salt).toEqual(fine);
  }
  for (const fine of salts.fine.slice(0, 200))
    expect((await newTripleDesKey(passphrase, 1, () => fine)).salt).toBe(fine);
});
