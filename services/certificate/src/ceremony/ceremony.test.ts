import { spawn, spawnSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { loadIssuer } from '../authority/issuer.ts';
import { openJudge } from '../authority/judges/openssl-judge.ts';
import {
  type IssuingOptions,
  initRoot,
  issueAuthority,
  type RootOptions,
  renewRootCrl,
  revokeAuthority,
} from './acts.ts';
import { type Officers, verifyRecord } from './root-directory.ts';

const judge = openJudge();
afterAll(() => judge.close());

const officers: Officers = [
  { name: 'Nguyễn Văn An', passphrase: 'mật khẩu của người thứ nhất' },
  { name: 'Trần Thị Bình', passphrase: 'mật khẩu của người thứ hai' },
];
const path = (...names: string[]) => join(judge.directory, ...names);
const text = (...names: string[]) => readFileSync(path(...names), 'utf8');
const rootOptions = (directory: string, change: Partial<RootOptions> = {}): RootOptions => ({
  directory: path(directory),
  officers,
  organization: 'Sở Thông tin và Truyền thông tỉnh Nghệ An',
  rootName: 'Nghệ An Root CA',
  rootCrlUrl: 'http://pki.example.vn/crl/root.crl',
  rootCertificateUrl: 'http://pki.example.vn/ca/root.crt',
  keyKind: 'ec-p384',
  ...change,
});
const issuingOptions = (directory: string, change: Partial<IssuingOptions> = {}): IssuingOptions => ({
  directory: path(directory),
  officers,
  name: 'people-2026',
  commonName: 'Nghệ An People CA 2026',
  purposes: ['signature', 'encryption'],
  key: { passphrase: 'a passphrase of the service', keyKind: 'ec-p256' },
  ...change,
});
const verifies = (certificate: string) =>
  judge.run(
    ...['verify', '-x509_strict', '-crl_check', '-CRLfile', 'safe/root.crl.pem'],
    ...['-CAfile', 'safe/root.crt.pem', certificate],
  );

beforeAll(async () => {
  await initRoot(rootOptions('safe'));
  await issueAuthority(issuingOptions('safe'));
});

describe('what is made', () => {
  test('a root and an authority that OpenSSL verifies, with encrypted keys that nobody else may read', async () => {
    expect(readdirSync(path('safe')).sort()).toEqual([
      'people-2026.crt.pem',
      'people-2026.json',
      'people-2026.key.pem',
      'root.crl.pem',
      'root.crt.pem',
      'root.json',
      'root.key.pem',
      ...['transcript-0001.txt', 'transcript-0001.txt.sig', 'transcript-0002.txt', 'transcript-0002.txt.sig'],
    ]);
    for (const key of ['root.key.pem', 'people-2026.key.pem']) {
      expect(statSync(path('safe', key)).mode & 0o777).toBe(0o600);
      expect(text('safe', key)).toContain('BEGIN ENCRYPTED PRIVATE KEY');
    }
    expect(
      judge.run('crl', '-in', 'safe/root.crl.pem', '-CAfile', 'safe/root.crt.pem', '-noout', '-crlnumber'),
    ).toContain('01');
    expect(verifies('safe/people-2026.crt.pem')).toContain('OK');
    expect(judge.run('x509', '-in', 'safe/root.crt.pem', '-noout', '-text')).toContain('CA:TRUE, pathlen:1');
    const issuing = judge.run('x509', '-in', 'safe/people-2026.crt.pem', '-noout', '-text');
    for (const part of [
      'CA:TRUE, pathlen:0',
      'Certificate Sign, CRL Sign',
      'E-mail Protection',
      'URI:http://pki.example.vn/crl/root.crl',
    ])
      expect(issuing).toContain(part);
    expect(JSON.parse(text('safe/people-2026.json'))).toEqual({
      purposes: ['signature', 'encryption'],
      crlPartitions: 1,
    });
    const [certificatePem, privateKeyPem] = [text('safe/people-2026.crt.pem'), text('safe/people-2026.key.pem')];
    const passphrase = 'a passphrase of the service';
    expect((await loadIssuer({ certificatePem, privateKeyPem, passphrase })).keyKind).toBe('ec-p256');
  });

  test("OpenSSL alone opens the root's key, with both officers' passphrases and not with one", () => {
    const command =
      'openssl pkey -in safe/root.key.pem -noout -passin "pass:$(printf %s "$2" | openssl dgst -sha256 -hmac "$1" -r | cut -d\' \' -f1)"';
    const opens = (first: string, second: string) =>
      spawnSync('sh', ['-c', command, 'sh', first, second], { cwd: judge.directory }).status;
    const [first, second] = officers.map(({ passphrase }) => passphrase) as [string, string];
    expect(opens(first, second)).toBe(0);
    for (const [one, other] of [
      [first, first],
      [second, second],
      [second, first],
      [first, ''],
    ] as const)
      expect(opens(one, other)).not.toBe(0);
  });

  test('every transcript is signed by the root, as OpenSSL judges, names the officers and every file', () => {
    judge.run('x509', '-in', 'safe/root.crt.pem', '-noout', '-pubkey', '-out', 'root.pub');
    for (const name of ['transcript-0001.txt', 'transcript-0002.txt']) {
      const said = judge.run(
        'dgst',
        '-sha384',
        '-verify',
        'root.pub',
        '-signature',
        `safe/${name}.sig`,
        `safe/${name}`,
      );
      expect(said).toContain('Verified OK');
      expect(text('safe', name)).toContain('Officer 1 Nguyễn Văn An\nOfficer 2 Trần Thị Bình');
    }
    const transcript = text('safe/transcript-0002.txt');
    const fingerprint = /Fingerprint=(\S+)/i.exec(
      judge.run('x509', '-in', 'safe/people-2026.crt.pem', '-noout', '-fingerprint', '-sha256'),
    )![1]!;
    expect(transcript).toContain(fingerprint);
    const hashes = judge.run(
      'dgst',
      '-sha256',
      '-r',
      'safe/people-2026.crt.pem',
      'safe/people-2026.key.pem',
      'safe/root.json',
    );
    for (const [, hash] of hashes.matchAll(/^([0-9a-f]{64})/gm)) expect(transcript).toContain(hash);
  });
});

describe('what follows', () => {
  test('a second authority of a purpose: both chains verify', async () => {
    await issueAuthority(issuingOptions('safe', { name: 'people-2027', commonName: 'Nghệ An People CA 2027' }));
    expect(verifies('safe/people-2026.crt.pem')).toContain('OK');
    expect(verifies('safe/people-2027.crt.pem')).toContain('OK');
  });

  test('a CSR out of a token: certified without any key here; not a key that is an authority already', async () => {
    judge.run('genpkey', '-algorithm', 'RSA', '-pkeyopt', 'rsa_keygen_bits:2048', '-out', 'token.key');
    const csr = judge.run('req', '-new', '-key', 'token.key', '-subj', '/CN=whatever');
    const wanted = { name: 'token-2026', commonName: 'Nghệ An Token CA', purposes: ['device'] as const, key: { csr } };
    const transcript = await issueAuthority(issuingOptions('safe', wanted));
    expect(transcript).toContain('Its key is in a token');
    expect(existsSync(path('safe/token-2026.key.pem'))).toBe(false);
    const said = judge.run('x509', '-in', 'safe/token-2026.crt.pem', '-noout', '-text');
    expect(said).toContain('TLS Web Server Authentication, TLS Web Client Authentication');
    expect(transcript).toContain('commonName=Nghệ An Token CA');
    expect(judge.run('x509', '-in', 'safe/token-2026.crt.pem', '-noout', '-pubkey')).toBe(
      judge.run('pkey', '-in', 'token.key', '-pubout'),
    );
    await expect(
      issueAuthority(issuingOptions('safe', { ...wanted, name: 'twice', commonName: 'Twice' })),
    ).rejects.toMatchObject({ code: 'ceremony_invalid', faults: [{ pointer: '/csr' }] });
  });

  test('the next CRL has the next number; a revoked authority is on it, and refused from then on', async () => {
    await renewRootCrl({ directory: path('safe'), officers });
    expect(judge.run('crl', '-in', 'safe/root.crl.pem', '-noout', '-crlnumber')).toContain('02');
    expect(verifies('safe/people-2026.crt.pem')).toContain('OK');
    const revoke = () =>
      revokeAuthority({ directory: path('safe'), officers, name: 'people-2026', reason: 'cACompromise' });
    expect(await revoke()).toContain('people-2026  ');
    const crl = judge.run('crl', '-in', 'safe/root.crl.pem', '-CAfile', 'safe/root.crt.pem', '-noout', '-text');
    expect(crl).toContain('CA Compromise');
    expect(() => verifies('safe/people-2026.crt.pem')).toThrow('certificate revoked');
    expect(verifies('safe/people-2027.crt.pem')).toContain('OK');
    await expect(revoke()).rejects.toMatchObject({ kind: 'conflict', code: 'authority_revoked' });
    expect((await verifyRecord(path('safe'))).state).toMatchObject({ step: 6, crlNumber: 3 });
  });

  test('one officer alone, or in the other order, does nothing', async () => {
    const [first, second] = officers;
    for (const some of [
      [first, { ...second, passphrase: 'không phải mật khẩu này' }],
      [
        { ...first, passphrase: second.passphrase },
        { ...second, passphrase: first.passphrase },
      ],
    ] as const)
      await expect(renewRootCrl({ directory: path('safe'), officers: some })).rejects.toMatchObject({
        code: 'issuer_key_unreadable',
      });
    expect(readdirSync(path('safe'))).not.toContain('intent.json');
  });
});

describe('killed', () => {
  test.each(['before anything was signed', 'after the certificate', 'after the transcript'])(
    '%s: the next step finishes it with the very same octets',
    async (when) => {
      const directory = `killed-${when.replaceAll(' ', '-')}`;
      await initRoot(rootOptions(directory, { keyKind: 'rsa-2048' }));
      const before = path(`${directory}-before`);
      cpSync(path(directory), before, { recursive: true });
      await issueAuthority(issuingOptions(directory));
      const done = text(directory, 'people-2026.crt.pem');
      // As a process leaves it that was killed there: the intent is on the disk, and a part of what follows.
      const state = JSON.parse(text(directory, 'root.json'));
      const tbs =
        judge.run('x509', '-in', `${directory}/people-2026.crt.pem`, '-outform', 'DER', '-out', 'made.der') ||
        'made.der';
      const der = readFileSync(path(tbs));
      const length = der.readUInt16BE(6) + 4;
      const intent = {
        command: 'issue-authority',
        started: new Date().toISOString(),
        officers: ['An', 'Bình'],
        remarks: [],
        state,
        certificate: { name: 'people-2026', tbs: der.subarray(4, 4 + length).toString('base64'), keyIsHere: true },
      };
      const undone = {
        'before anything was signed': ['people-2026.crt.pem', 'transcript-0002.txt', 'transcript-0002.txt.sig'],
        'after the certificate': ['transcript-0002.txt', 'transcript-0002.txt.sig'],
        'after the transcript': [],
      }[when]!;
      for (const file of undone) rmSync(path(directory, file));
      if (undone.length > 0) cpSync(join(before, 'root.json'), path(directory, 'root.json'));
      writeFileSync(path(directory, 'intent.json'), JSON.stringify(intent));
      expect((await verifyRecord(path(directory))).unfinished?.command).toBe('issue-authority');

      await renewRootCrl({ directory: path(directory), officers });
      expect(text(directory, 'people-2026.crt.pem')).toBe(done);
      expect(await verifyRecord(path(directory))).toMatchObject({
        state: { step: 3, crlNumber: 2 },
        unfinished: undefined,
      });
    },
  );
});

test('killed at any moment: the record is whole, and nothing was signed that it does not hold', async () => {
  await initRoot(rootOptions('shot', { keyKind: 'ec-p256' }));
  const step = ['issue-authority', '--directory', 'shot', '--purposes', 'signature', '--key', 'ec-p256'];
  for (const [index, { name, passphrase }] of officers.entries()) {
    judge.write(`officer-${index}.pass`, passphrase);
    step.push(`--officer-${index + 1}`, name, `--officer-${index + 1}-passphrase-file`, `officer-${index}.pass`);
  }
  judge.write('issuing.pass', 'a passphrase of the service\n');
  step.push('--passphrase-file', 'issuing.pass');
  const command = join(import.meta.dirname, '../ceremony.ts');
  const shoot = (name: string, when: (files: string[]) => boolean) =>
    new Promise<void>((resolve) => {
      const args = [command, ...step, '--name', name, '--common-name', `CA ${name}`];
      const process_ = spawn(process.execPath, args, { cwd: judge.directory, stdio: 'ignore' });
      const watch = setInterval(() => {
        if (when(readdirSync(path('shot')))) process_.kill('SIGKILL');
      }, 1);
      process_.on('exit', () => {
        clearInterval(watch);
        resolve();
      });
    });
  const moments: ((files: string[], name: string) => boolean)[] = [
    (files, name) => files.includes(`${name}.key.pem`),
    (files) => files.includes('intent.json'),
    (files, name) => files.includes(`${name}.crt.pem`),
    (files) => files.includes('intent.json') && files.some((file) => file.endsWith('.sig.new')),
  ];
  for (const [index, moment] of moments.entries()) {
    const name = `shot-at-${'abcd'[index]}`;
    await shoot(name, (files) => moment(files, name));
    await verifyRecord(path('shot'));
    await renewRootCrl({ directory: path('shot'), officers });
    const { state, unfinished } = await verifyRecord(path('shot'));
    expect(unfinished).toBeUndefined();
    const made = readdirSync(path('shot')).filter((file) => /^shot-.*\.crt\.pem$/.test(file));
    expect(made.map((file) => file.replace('.crt.pem', '')).sort()).toEqual(
      state.authorities.map((one) => one.name).sort(),
    );
    for (const { name: file, serialNumber } of state.authorities)
      expect(judge.run('x509', '-in', `shot/${file}.crt.pem`, '-noout', '-serial').toLowerCase()).toContain(
        serialNumber,
      );
  }
});

describe('what is wrong', () => {
  test('never writes over anything, and leaves nothing half done', async () => {
    const before = text('safe/root.crt.pem');
    await expect(initRoot(rootOptions('safe'))).rejects.toMatchObject({ kind: 'conflict', code: 'ceremony_done' });
    expect(text('safe/root.crt.pem')).toBe(before);
    const two = await Promise.allSettled([initRoot(rootOptions('race')), initRoot(rootOptions('race'))]);
    expect(two.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    expect(readdirSync(judge.directory).filter((name) => name.includes('partial'))).toEqual([]);
    await expect(issueAuthority(issuingOptions('safe'))).rejects.toMatchObject({
      faults: [{ pointer: '/name' }, { pointer: '/commonName' }],
    });
  });

  test('everything at once, before a key is made', async () => {
    const [first] = officers;
    const bad = {
      officers: [first, { name: 'x\ny', passphrase: 'short' }] as const,
      rootCrlUrl: 'https://x',
      organization: ' - ',
      years: 0,
    };
    await expect(initRoot(rootOptions('bad', bad))).rejects.toMatchObject({
      code: 'ceremony_invalid',
      faults: [
        { pointer: '/officers/1/passphrase' },
        { pointer: '/officers/1/name' },
        { pointer: '/subject/organizationName' },
        { pointer: '/rootCrlUrl' },
        { pointer: '/years' },
      ],
    });
    expect(readdirSync(judge.directory)).not.toContain('bad');
    const wrong: Partial<IssuingOptions> = {
      name: 'people-1',
      commonName: 'Nghệ An Root CA',
      purposes: ['device', 'signature'],
      key: { passphrase: first.passphrase },
      years: 30,
    };
    await expect(issueAuthority(issuingOptions('safe', wrong))).rejects.toMatchObject({
      faults: ['/name', '/commonName', '/purposes', '/passphrase', '/years'].map((pointer) => ({ pointer })),
    });
  });

  test.each([
    ['a transcript that was changed', 'transcript-0001.txt', 'is not what the root signed'],
    ['a transcript that was taken away', 'transcript-0002.txt', 'is not there'],
    ['an authority that nobody wrote down', 'unknown.crt.pem', 'is in no transcript'],
    ['a record that was changed', 'root.json', 'is not what the transcripts say'],
    ['a certificate that was changed', 'people-2026.crt.pem', 'is not what the transcripts say'],
  ])('%s is seen, and no step is taken', async (_what, file, said) => {
    cpSync(path('safe'), path('forged'), { recursive: true });
    try {
      if (said === 'is not there') rmSync(path('forged', file));
      else if (file === 'root.json')
        writeFileSync(path('forged', file), text('safe', file).replace('cACompromise', 'superseded'));
      else
        writeFileSync(
          path('forged', file),
          `${file === 'unknown.crt.pem' ? text('safe/people-2026.crt.pem') : text('safe', file)}\n`,
        );
      await expect(renewRootCrl({ directory: path('forged'), officers })).rejects.toMatchObject({
        code: 'ceremony_record_invalid',
        faults: expect.arrayContaining([expect.objectContaining({ detail: expect.stringContaining(said) })]),
      });
    } finally {
      rmSync(path('forged'), { recursive: true });
    }
  });
});

test('the command reads passphrases from files and prints the transcript', () => {
  for (const name of ['one', 'two', 'service']) judge.write(`${name}.pass`, `passphrase of number ${name}\n`);
  const command = join(import.meta.dirname, '../ceremony.ts');
  const run = (...given: string[]) =>
    spawnSync(process.execPath, [command, ...given], { cwd: judge.directory, encoding: 'utf8' });
  const safe = ['--directory', 'cli', '--officer-1', 'An', '--officer-1-passphrase-file', 'one.pass'];
  safe.push('--officer-2', 'Bình', '--officer-2-passphrase-file', 'two.pass');
  const init = ['init', ...safe, '--organization', 'Sở X', '--key', 'ec-p256'];
  init.push('--root-crl-url', 'http://p.vn/r.crl', '--root-certificate-url', 'http://p.vn/r.crt');
  expect(run(...init)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining('step 1: init') });
  expect(run(...init)).toMatchObject({ status: 1, stderr: expect.stringContaining('never written over') });
  const issue = [
    'issue-authority',
    ...safe,
    '--name',
    'people',
    '--common-name',
    'People CA',
    '--purposes',
    'signature',
  ];
  issue.push('--passphrase-file', 'service.pass', '--key', 'ec-p256');
  expect(run(...issue)).toMatchObject({ status: 0, stderr: '', stdout: expect.stringContaining('authority people') });
  judge.run('pkey', '-in', 'cli/people.key.pem', '-passin', 'file:service.pass', '-noout');
  expect(run('renew-crl', ...safe)).toMatchObject({ status: 0, stdout: expect.stringContaining('number 2') });
  expect(run('verify', '--directory', 'cli')).toMatchObject({
    status: 0,
    stdout: 'The record is whole: 3 steps, 1 authorities.\n',
  });
  expect(run('init', '--directory', 'x')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('--organization'),
  });
  expect(run('burn', ...safe)).toMatchObject({ status: 1, stderr: expect.stringContaining('no step "burn"') });
  expect(run('--help').stdout).toContain('Example');
});
