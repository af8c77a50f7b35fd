import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import koffi from 'koffi';
import { readAuthorityFiles } from '../authorities/authority-files.ts';
import { buildTbsIssuing, createRoot } from './authority.ts';
import { fromPem, readCertificate, toPem } from './certificate.ts';
import { parseCsr } from './csr.ts';
import { buildTbsCertificate, type Issuer, loadIssuer, signTbs } from './issuer.ts';
import { openJudge, testLocations, testProfile, testRequest } from './judges/openssl-judge.ts';
import { generateKeyPair } from './key-pair.ts';
import { openTokenKey } from './token-key.ts';

const judge = openJudge();
const library = '/usr/lib/softhsm/libsofthsm2.so';
const pin = 'the-pin-of-the-test-token';
const uri = (object: string, more = '') => `pkcs11:token=congvu%20test;object=${object}?module-path=${library}${more}`;
const run = (command: string, ...args: string[]) =>
  execFileSync(command, args, {
    cwd: judge.directory,
    encoding: 'utf8',
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
// SoftHSM reads this when its library is loaded into this process.
const environment = { PATH: '/usr/bin:/bin', SOFTHSM2_CONF: join(judge.directory, 'softhsm2.conf'), GNUTLS_PIN: pin };

const issuers = new Map<string, Issuer>();
let root: Issuer;
let wrongPin: unknown;
beforeAll(async () => {
  mkdirSync(join(judge.directory, 'tokens'));
  judge.write(
    'softhsm2.conf',
    `directories.tokendir = ${join(judge.directory, 'tokens')}\nobjectstore.backend = file\n`,
  );
  // For the library, which asks the C library and not Node.
  koffi.load('libc.so.6').func('int setenv(str, str, int)')('SOFTHSM2_CONF', environment.SOFTHSM2_CONF, 1);
  run('softhsm2-util', '--init-token', '--free', '--label', 'congvu test', '--so-pin', 'officer-pin', '--pin', pin);
  const years = { notBefore: new Date(Date.now() - 3600_000), notAfter: new Date(Date.now() + 9e10) };
  const subject = (value: string) => [{ attribute: 'commonName' as const, value }];
  ({ issuer: root } = await createRoot({ subject: subject('Gốc'), keyKind: 'ec-p256', ...years }));
  judge.write('root.pem', toPem('CERTIFICATE', root.certificate.der));
  const p11 = ['--provider', library, '--login', '--batch'];
  for (const [kind, ...options] of [
    ['rsa', '--generate-privkey=rsa', '--bits=2048'],
    ['ec', '--generate-privkey=ecc', '--curve=secp256r1'],
  ] as const) {
    // Made in the token, which then proves by a CSR that it has it.
    run('p11tool', ...p11, ...options, `--label=${kind}`, '--outfile=public.pem', 'pkcs11:token=congvu%20test');
    judge.write('template.cfg', 'cn = "in the token"\n');
    const names = ['--load-privkey', `pkcs11:token=congvu%20test;object=${kind};type=private`];
    names.push('--load-pubkey', `pkcs11:token=congvu%20test;object=${kind};type=public`);
    run(
      'certtool',
      '--provider',
      library,
      '--generate-request',
      ...names,
      '--template',
      'template.cfg',
      '--outfile',
      'token.csr',
    );
    const { subjectPublicKeyInfo } = await parseCsr(readFileSync(join(judge.directory, 'token.csr')));
    const tbs = buildTbsIssuing(root, {
      subject: subject(`Cấp trong token ${kind}`),
      subjectPublicKeyInfo,
      ...years,
      extendedKeyUsage: ['emailProtection'],
      rootCrlUrl: 'http://pki.example.vn/root.crl',
      rootCertificateUrl: 'http://pki.example.vn/root.crt',
    });
    // Once it was given the right one, a token lets the whole process in.
    wrongPin ??= await openTokenKey(uri(kind), 'not the PIN').catch((error: unknown) => error);
    const certificatePem = toPem('CERTIFICATE', await signTbs(root, tbs));
    judge.write(`${kind}.pem`, certificatePem);
    issuers.set(kind, await loadIssuer({ certificatePem, token: await openTokenKey(uri(kind), pin) }));
  }
});
afterAll(() => judge.close());

async function issue(kind: string): Promise<Buffer> {
  const issuer = issuers.get(kind)!;
  const { subjectPublicKeyInfo } = await generateKeyPair('ec-p256');
  const authority = { issuing: { issuer } } as Parameters<typeof testRequest>[0];
  return signTbs(
    issuer,
    buildTbsCertificate(issuer, testProfile, testLocations, testRequest(authority, subjectPublicKeyInfo)),
  );
}

describe.each(['rsa', 'ec'])('a key in SoftHSM: %s', (kind) => {
  test('issues what OpenSSL verifies', async () => {
    judge.write('leaf.pem', toPem('CERTIFICATE', await issue(kind)));
    const verify = [
      'verify',
      '-x509_strict',
      '-purpose',
      'smimesign',
      '-CAfile',
      'root.pem',
      '-untrusted',
      `${kind}.pem`,
    ];
    expect(judge.run(...verify, 'leaf.pem')).toContain('leaf.pem: OK');
  });

  test('many at once, while the event loop goes on', async () => {
    let turns = 0;
    const signing = Promise.all(Array.from({ length: 40 }, () => issue(kind)));
    const turning = (async () => {
      for (; turns < 20; turns++) await sleep(1);
    })();
    const made = await signing;
    await turning;
    expect(new Set(made.map((one) => readCertificate(one).serialNumber.toString('hex'))).size).toBe(40);
    judge.write('last.pem', toPem('CERTIFICATE', made.at(-1)!));
    expect(judge.run('verify', '-CAfile', 'root.pem', '-untrusted', `${kind}.pem`, 'last.pem')).toContain('OK');
  });
});

test('sessions that the token forgot, as when it was restarted, are opened anew', async () => {
  const token = await openTokenKey(uri('rsa'), pin);
  const { signatureAlgorithm } = issuers.get('rsa')!;
  const first = await token.sign(signatureAlgorithm, Buffer.from('x'));
  const slots = Buffer.alloc(8 * 16);
  const count = Buffer.alloc(8);
  count.writeBigUInt64LE(16n);
  const p11 = koffi.load(library);
  expect(p11.func('ulong C_GetSlotList(uint8_t, void *, void *)')(1, slots, count)).toBe(0);
  expect(p11.func('ulong C_CloseAllSessions(ulong)')(slots.readBigUInt64LE())).toBe(0);
  expect(await token.sign(signatureAlgorithm, Buffer.from('x'))).toEqual(first);
});

test('a wrong PIN is said plainly', () => {
  expect(wrongPin).toMatchObject({ kind: 'invalid', detail: 'The PIN of the token is not right.' });
});

test('the PIN from a file that the name tells', async () => {
  judge.write('pin', `${pin}\n`);
  const token = await openTokenKey(uri('ec', `&pin-source=file:${join(judge.directory, 'pin')}`), undefined);
  const certificatePem = readFileSync(join(judge.directory, 'ec.pem'), 'utf8');
  expect((await loadIssuer({ certificatePem, token })).keyKind).toBe('ec-p256');
});

test('an authority of the service: its certificate, and the name of its key in place of the key', async () => {
  const directory = join(judge.directory, 'authorities');
  mkdirSync(directory);
  cpSync(join(judge.directory, 'rsa.pem'), join(directory, 'people-2026.crt.pem'));
  judge.write('authorities/people-2026.json', '{ "purposes": ["signature"], "crlPartitions": 2 }');
  judge.write('authorities/people-2026.pkcs11', `${uri('rsa')}\n`);
  const [authority] = await readAuthorityFiles(directory, pin);
  expect(authority).toMatchObject({ name: 'people-2026', purposes: ['signature'], crlPartitions: 2 });
  expect(authority!.issuer.keyKind).toBe('rsa-2048');
});

test('the certificate of another key is refused by the proof', async () => {
  const certificatePem = readFileSync(join(judge.directory, 'rsa.pem'), 'utf8');
  const other = fromPem('CERTIFICATE', readFileSync(join(judge.directory, 'ec.pem'), 'utf8'));
  const token = await openTokenKey(uri('rsa'), pin);
  expect((await loadIssuer({ certificatePem, token })).keyKind).toBe('rsa-2048');
  await expect(loadIssuer({ certificatePem: toPem('CERTIFICATE', other), token })).rejects.toMatchObject({
    code: expect.stringMatching(/^(issuer_key_mismatch|token_failed)$/),
  });
});

test.each([
  ['no such object', uri('nothing'), pin],
  ['no such token', uri('rsa').replace('congvu%20test', 'another'), pin],
  ['no such library', uri('rsa').replace('softhsm2', 'nothing'), pin],
  ['no library named', 'pkcs11:token=congvu%20test;object=rsa', pin],
  ['no URI', 'file:/etc/passwd', pin],
  ['no PIN', uri('rsa'), undefined],
])('%s: said plainly, without the PIN', async (_what, name, given) => {
  const refused = openTokenKey(name, given);
  await expect(refused).rejects.toMatchObject({ kind: 'invalid', code: 'token_key_unusable' });
  await expect(refused).rejects.not.toThrow(pin);
});
