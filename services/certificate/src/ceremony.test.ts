import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { loadIssuer } from './authority/issuer.ts';
import { openJudge } from './authority/openssl-judge.ts';
import { type CeremonyOptions, runCeremony } from './ceremony.ts';

const judge = openJudge();
afterAll(() => judge.close());

const options = (out: string): CeremonyOptions => ({
  out: join(judge.directory, out),
  organization: 'Sở Thông tin và Truyền thông tỉnh Nghệ An',
  rootName: 'Nghệ An Root CA',
  rootPassphrase: 'mật khẩu của gốc',
  issuing: [
    {
      name: 'issuing',
      commonName: 'Nghệ An Issuing CA 1',
      purposes: ['signature', 'encryption'],
      passphrase: 'a passphrase of the issuing authority',
      keyKind: 'ec-p256',
    },
  ],
  rootCrlUrl: 'http://pki.example.vn/root.crl',
  rootCertificateUrl: 'http://pki.example.vn/root.crt',
  rootKeyKind: 'ec-p384',
});
const files = [
  'issuing.crt.pem',
  'issuing.json',
  'issuing.key.pem',
  'root.crl.pem',
  'root.crt.pem',
  'root.key.pem',
  'transcript.txt',
];

test('makes two tiers that OpenSSL verifies, with encrypted keys that nobody else may read', async () => {
  const transcript = await runCeremony(options('made'));
  const made = (name: string) => join(judge.directory, 'made', name);
  expect(readdirSync(made('')).sort()).toEqual(files);
  expect(transcript).toBe(readFileSync(made('transcript.txt'), 'utf8'));
  for (const key of ['root.key.pem', 'issuing.key.pem']) {
    expect(statSync(made(key)).mode & 0o777).toBe(0o600);
    expect(readFileSync(made(key), 'utf8')).toContain('BEGIN ENCRYPTED PRIVATE KEY');
  }
  judge.run('crl', '-in', 'made/root.crl.pem', '-out', 'made.crl.pem');
  expect(judge.run('crl', '-in', 'made.crl.pem', '-CAfile', 'made/root.crt.pem', '-noout', '-crlnumber')).toContain(
    '01',
  );
  const verify = ['verify', '-x509_strict', '-crl_check', '-CRLfile', 'made.crl.pem', '-CAfile', 'made/root.crt.pem'];
  expect(judge.run(...verify, 'made/issuing.crt.pem')).toContain('OK');
  const root = judge.run('x509', '-in', 'made/root.crt.pem', '-noout', '-text', '-fingerprint', '-sha256');
  expect(root).toContain('CA:TRUE, pathlen:1');
  expect(transcript).toContain(/Fingerprint=(\S+)/i.exec(root)![1]!);
  const issuing = judge.run('x509', '-in', 'made/issuing.crt.pem', '-noout', '-text');
  for (const part of [
    'CA:TRUE, pathlen:0',
    'Certificate Sign, CRL Sign',
    'E-mail Protection',
    'URI:http://pki.example.vn/root.crl',
  ])
    expect(issuing).toContain(part);

  const passphrase = options('').issuing[0]!.passphrase;
  const [certificatePem, privateKeyPem] = [
    readFileSync(made('issuing.crt.pem'), 'utf8'),
    readFileSync(made('issuing.key.pem'), 'utf8'),
  ];
  expect((await loadIssuer({ certificatePem, privateKeyPem, passphrase })).keyKind).toBe('ec-p256');
  expect(
    judge.run('pkey', '-in', 'made/issuing.key.pem', '-passin', `pass:${passphrase}`, '-noout', '-text'),
  ).toContain('P-256');
});

test('never writes over anything, and leaves nothing half done', async () => {
  const before = readFileSync(join(judge.directory, 'made/root.crt.pem'), 'utf8');
  await expect(runCeremony(options('made'))).rejects.toMatchObject({ kind: 'conflict', code: 'ceremony_done' });
  expect(readFileSync(join(judge.directory, 'made/root.crt.pem'), 'utf8')).toBe(before);
  const two = await Promise.allSettled([runCeremony(options('race')), runCeremony(options('race'))]);
  expect(two.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect(readdirSync(join(judge.directory, 'race')).sort()).toEqual(files);
  expect(readdirSync(judge.directory).filter((name) => name.includes('partial'))).toEqual([]);
});

test('says everything that is wrong before it makes a key', async () => {
  const bad = {
    ...options('bad'),
    rootPassphrase: 'short',
    rootCrlUrl: 'https://x',
    issuing: [{ ...options('').issuing[0]!, years: 30 }],
  };
  await expect(runCeremony(bad)).rejects.toMatchObject({
    code: 'ceremony_invalid',
    faults: [{ pointer: '/rootPassphrase' }, { pointer: '/rootCrlUrl' }, { pointer: '/issuing/0/years' }],
  });
  await expect(runCeremony({ ...options('bad'), organization: '' })).rejects.toMatchObject({ code: 'subject_invalid' });
  expect(readdirSync(judge.directory)).not.toContain('bad');
});

test('the command reads passphrases from files and prints the transcript', () => {
  judge.write('root.pass', 'first officer passphrase\n');
  judge.write('issuing.pass', 'second officer passphrase\n');
  const command = join(import.meta.dirname, 'ceremony.ts');
  const args = [
    '--out',
    'cli',
    '--organization',
    'Sở X',
    '--root-passphrase-file',
    'root.pass',
    '--issuing-passphrase-file',
    'issuing.pass',
    '--root-crl-url',
    'http://p.vn/r.crl',
    '--root-certificate-url',
    'http://p.vn/r.crt',
    '--root-key',
    'ec-p256',
    '--issuing-key',
    'ec-p256',
  ];
  const run = (...given: string[]) =>
    spawnSync(process.execPath, [command, ...given], { cwd: judge.directory, encoding: 'utf8' });
  expect(run(...args)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining('Issuing authority') });
  judge.run('pkey', '-in', 'cli/root.key.pem', '-passin', 'file:root.pass', '-noout');
  expect(run(...args)).toMatchObject({ status: 1, stderr: expect.stringContaining('never written over') });
  expect(run('--out', 'x')).toMatchObject({ status: 1, stderr: expect.stringContaining('--organization') });
  expect(execFileSync(process.execPath, [command, '--help'], { encoding: 'utf8' })).toContain('Example');
});
