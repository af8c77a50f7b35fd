import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TestAccount } from '@congvu/database/testing';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { toPem } from '../authority/certificate.ts';
import { type IssuingOptions, initRoot, issueAuthority, revokeAuthority } from '../ceremony/acts.ts';
import { readCrl } from '../revocation/held-crl.ts';
import { publishCrl } from '../revocation/publish-crl.ts';
import { startTestCertificates, type TestCertificates, testOfficers } from '../testing.ts';
import { type Authorities, openAuthorities } from './authorities.ts';
import { loadProfiles, profilesDirectory, requireServerKeyKind } from './profiles.ts';

let service: TestCertificates;
let directory: string;
beforeAll(async () => {
  service = await startTestCertificates();
  directory = service.config.AUTHORITIES_DIRECTORY;
});
afterAll(() => service.stop());

const file = (name: string) => join(directory, name);
const open = () =>
  openAuthorities(service.database, { ...service.config, ROOT_CRL: readFileSync(file('root.crl.pem'), 'utf8') });
const certify = (change: Partial<IssuingOptions> & Pick<IssuingOptions, 'name'>) =>
  issueAuthority({
    directory,
    officers: testOfficers,
    commonName: `Nghệ An ${change.name}`,
    purposes: ['signature', 'encryption'],
    key: { passphrase: 'a passphrase of the issuing authority', keyKind: 'ec-p256' },
    ...change,
  });
const states = async () =>
  Object.fromEntries(
    (await service.owner('certificate.authorities').where({ kind: 'issuing' })).map((row) => [row.name, row.state]),
  );

// Every test begins with the two authorities that all tests have.
let before: string;
beforeEach(() => {
  before = join(service.judge.directory, 'before');
  cpSync(directory, before, { recursive: true, preserveTimestamps: true });
});
afterEach(async () => {
  rmSync(directory, { recursive: true });
  cpSync(before, directory, { recursive: true });
  rmSync(before, { recursive: true });
  await service.owner('certificate.certificates').delete();
  await service.owner('certificate.enrolments').delete();
});

test('each profile is issued by the authority of its purpose', () => {
  const { authorities } = service;
  const by = (profile: string) => authorities.issuing(profile).authority.name.replace(/-.*/, '');
  expect(['person-signature', 'person-encryption', 'authority-signature', 'agency-seal'].map(by)).toEqual(
    Array(4).fill('issuing'),
  );
  expect(['tls-server', 'tls-client'].map(by)).toEqual(['device', 'device']);
  expect(() => authorities.issuing('passport')).toThrow(
    expect.objectContaining({ kind: 'invalid', code: 'profile_unknown' }),
  );
  // The responder is each authority's own.
  expect(() => authorities.issuing('ocsp-responder')).toThrow(
    expect.objectContaining({ kind: 'unavailable', code: 'authority_missing' }),
  );
  expect(() => authorities.byId(crypto.randomUUID())).toThrow(expect.objectContaining({ code: 'authority_not_here' }));
});

test('who issues what can be read', async () => {
  const get = async (path: string) =>
    supertest(service.app)
      .get(path)
      .set('Authorization', await service.tokens.bearer({ permissions: ['certificates:read'] }));
  const { items } = (await get('/v1/authorities')).body;
  expect(items.map(({ name }: { name: string }) => name).sort()).toEqual(
    service.authorities.all.map(({ name }) => name).sort(),
  );
  expect(items.find(({ name }: { name: string }) => name === service.authority.name)).toMatchObject({
    purposes: ['signature', 'encryption'],
    state: 'active',
    keyKind: 'ec-p256',
    profiles: ['agency-seal', 'authority-signature', 'person-encryption', 'person-signature'],
  });
  const profiles = (await get('/v1/profiles')).body.items;
  expect(profiles).toHaveLength(7);
  expect(profiles.find(({ id }: { id: string }) => id === 'person-encryption')).toMatchObject({
    escrow: true,
    authority: service.authority.name,
  });
});

describe('one authority follows another', () => {
  /** Of the account, under what is open now: the certificate in a file of the judge's, and who issued it. */
  async function issued(authorities: Authorities, name: string): Promise<{ account: TestAccount; issuer: string }> {
    const account = await service.account();
    await service.converge(account, { authorities });
    const [row] = await service.certificates(account);
    expect(row).toMatchObject({ state: 'valid' });
    service.judge.write(`${name}.pem`, toPem('CERTIFICATE', row!.certificate!));
    return { account, issuer: authorities.byId(row!.authority_id).name };
  }
  /** Under the chain of its own authority, checked against the newest CRL of that authority. */
  async function verify(authorities: Authorities, name: string, issuer: string): Promise<string> {
    const authority = authorities.all.find((one) => one.name === issuer)!;
    await publishCrl({ ...service, authorities }, authority.id, 0);
    const crl = await readCrl(service.database, { authorityId: authority.id, partition: 0 });
    service.judge.write('its.crl', toPem('X509 CRL', crl!.crl));
    service.judge.write('its.pem', toPem('CERTIFICATE', authority.issuer.certificate.der));
    const trust = ['-CAfile', 'authorities/root.crt.pem', '-untrusted', 'its.pem', '-CRLfile', 'its.crl'];
    return service.judge.run('verify', '-x509_strict', '-crl_check', '-purpose', 'smimesign', ...trust, `${name}.pem`);
  }

  test('the newer issues, the older still signs CRLs; both chains verify; the older key must stay while it is needed', async () => {
    const first = await open();
    const old = await issued(first, 'old');
    await new Promise((resolve) => setTimeout(resolve, 1_100)); // certificates begin on whole seconds
    const next = `issuing-next-${old.issuer.slice(-8)}`;
    await certify({ name: next });

    const both = await open();
    const fresh = await issued(both, 'fresh');
    expect([old.issuer, fresh.issuer]).toEqual([service.authority.name, next]);
    expect(await states()).toMatchObject({ [old.issuer]: 'retired', [next]: 'active' });
    expect(await verify(both, 'old', old.issuer)).toContain('old.pem: OK');
    expect(await verify(both, 'fresh', next)).toContain('fresh.pem: OK');

    // What the old one issued is revoked on the old one's CRL, and on no other.
    await service.owner('directory.accounts').where({ id: old.account.id }).update({ state: 'retired' });
    await service.converge(old.account, { authorities: both });
    expect(await service.queued()).toContain(`crl:${service.authority.id}:0`);
    await expect(verify(both, 'old', old.issuer)).rejects.toThrow('certificate revoked');
    expect(await verify(both, 'fresh', next)).toContain('fresh.pem: OK');

    // One of its certificates is on hold, and may come back: its key must stay. When all have ended, it may go.
    const held = await issued(first, 'held');
    expect(held.issuer).toBe(old.issuer);
    for (const suffix of ['.crt.pem', '.key.pem', '.json']) rmSync(file(`${old.issuer}${suffix}`));
    await expect(open()).rejects.toThrow('was not given its key');
    await service
      .owner('certificate.certificates')
      .where({ account_id: held.account.id })
      .update({ not_after: new Date() });
    expect((await open()).all.map(({ name }) => name)).not.toContain(old.issuer);
    await service.ldap.remove(`cn=${next},ou=authorities,${service.baseDn}`);
  });

  test('an intent of the older is signed by the older', async () => {
    const account = await service.account();
    const allow = await service.forbid('insert', 'certificate.certificates');
    await service.converge(account).catch(() => undefined);
    await allow();
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await certify({ name: 'issuing-later' });
    const both = await open();
    expect(both.issuing('person-signature').authority.name).toBe('issuing-later');
    await service.converge(account, { authorities: both });
    expect(await service.certificates(account)).toMatchObject([{ state: 'valid', authority_id: service.authority.id }]);
    expect(service.verify((await service.certificates(account))[0]!.certificate!)).toContain('OK');
  });

  test('one that the root revoked issues no more; with no other of its purpose the service does not start', async () => {
    const device = service.authorities.issuing('tls-server').authority.name;
    await revokeAuthority({ directory, officers: testOfficers, name: device, reason: 'superseded' });
    const opened = await open();
    expect(() => opened.issuing('tls-server')).toThrow(expect.objectContaining({ code: 'authority_missing' }));
    expect((await states())[device]).toBe('revoked');
    await revokeAuthority({ directory, officers: testOfficers, name: service.authority.name, reason: 'cACompromise' });
    await expect(open()).rejects.toThrow('no authority for the purpose signature');
  });

  test('what is on record of a name and of partitions: the name stays, the partitions follow', async () => {
    const { name } = service.authority;
    for (const suffix of ['.crt.pem', '.key.pem']) {
      cpSync(file(`${name}${suffix}`), file(`renamed${suffix}`));
      rmSync(file(`${name}${suffix}`));
    }
    writeFileSync(file('renamed.json'), JSON.stringify({ purposes: ['signature', 'encryption'], crlPartitions: 3 }));
    const { authority } = (await open()).issuing('person-signature');
    expect(authority).toMatchObject({ name, id: service.authority.id, crlPartitions: 3 });
    expect([0, 1, 2].map((partition) => authority.locations(partition).crl[0])).toEqual([
      `http://pki.example.vn/crl/${name}.crl`,
      `http://pki.example.vn/crl/${name}-1.crl`,
      `http://pki.example.vn/crl/${name}-2.crl`,
    ]);
    expect(authority.locations(1)).toBe(authority.locations(1));
  });
});

describe('the start proves', () => {
  test.each<[string, (name: string) => unknown, RegExp]>([
    [
      'that each key belongs to its certificate',
      (name) => cpSync(file(`${deviceName()}.key.pem`), file(`${name}.key.pem`)),
      /does not belong/,
    ],
    ['that no profile outlives its issuer', () => certify({ name: 'shortlived', years: 1 }), /would outlive/],
    ['that the certificate is for its purposes', (name) => settings(name, { purposes: ['device'] }), /not for device/],
    ['what it is for', (name) => settings(name, { purposes: ['everything'] }), /must name its purposes/],
    ['that there is a key', (name) => rmSync(file(`${name}.key.pem`)), /its key is in/],
    ['its name', (name) => cpSync(file(`${name}.crt.pem`), file('people-1.crt.pem')), /its name must be/],
    [
      'that the passphrase opens it',
      (name) => writeFileSync(file(`${name}.passphrase`), 'another passphrase\n'),
      /passphrase is not right/,
    ],
    [
      'that the root certified it',
      async () => {
        const other = { directory: file('other'), officers: testOfficers };
        const urls = { rootCrlUrl: 'http://x.vn/r.crl', rootCertificateUrl: 'http://x.vn/r.crt' };
        const organization = 'Sở Thông tin và Truyền thông tỉnh Nghệ An';
        // Of the same name as the root, so that only the signature tells.
        await initRoot({ ...other, ...urls, organization, rootName: 'Nghệ An Test Root CA', keyKind: 'ec-p256' });
        const key = { passphrase: 'a passphrase of the issuing authority', keyKind: 'ec-p256' } as const;
        await issueAuthority({ ...other, name: 'forged', commonName: 'Forged', purposes: ['signature'], key });
        for (const suffix of ['.crt.pem', '.key.pem', '.json'])
          cpSync(file(`other/forged${suffix}`), file(`forged${suffix}`));
      },
      /was not certified by this root/,
    ],
  ])('%s', async (_what, spoil, said) => {
    await spoil(service.authority.name);
    await expect(open()).rejects.toThrow(said);
  });

  test('that the CRL of the root is its own', async () => {
    const crl = readFileSync(file('root.crl.pem'), 'utf8').split('\n');
    const at = crl.length - 3;
    crl[at] = crl[at]!.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'));
    writeFileSync(file('root.crl.pem'), crl.join('\n'));
    await expect(open()).rejects.toMatchObject({ kind: 'invalid' });
  });

  const deviceName = () => service.authorities.issuing('tls-server').authority.name;
  const settings = (name: string, value: object) => writeFileSync(file(`${name}.json`), JSON.stringify(value));
});

test('every fault of every profile at once, with its file', async () => {
  const profiles = join(service.judge.directory, 'profiles');
  cpSync(profilesDirectory, profiles, { recursive: true });
  expect([...(await loadProfiles(profiles)).keys()]).toHaveLength(7);
  const change = (id: string, value: object) => {
    const path = join(profiles, `${id}.json`);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...value }));
  };
  change('person-signature', { escrow: true, validityDays: 900 });
  change('tls-server', { surprise: 1 });
  change('agency-seal', { id: 'seal' });
  writeFileSync(join(profiles, 'broken.json'), '{');
  await expect(loadProfiles(profiles)).rejects.toMatchObject({
    code: 'profile_invalid',
    faults: [
      { pointer: 'agency-seal.json/id', code: 'file_name' },
      { pointer: 'broken.json', code: 'json' },
      { pointer: 'person-signature.json/escrow' },
      { pointer: 'person-signature.json/validityDays' },
      { pointer: 'tls-server.json', code: 'shape' },
    ],
  });
});

describe('the certificate of a title holder', () => {
  test('names the office and who holds it; a vacant office waits; the next holder gets another', async () => {
    const [first, second] = [await service.account({ displayName: 'Đặng Thị Hồng Nhung' }), await service.account()];
    const office = {
      kind: 'position',
      displayName: 'Chủ tịch',
      title: 'Chủ tịch',
      certificatePath: 'server_key',
    } as const;
    const vacant = await service.account(office);
    await service.converge(vacant);
    expect(await service.enrolments(vacant)).toEqual([]);

    const position = await service.account({ ...office, holder: first });
    await service.converge(position);
    const [row] = await service.certificates(position);
    expect(row).toMatchObject({ profile: 'authority-signature', state: 'valid' });
    mkdirSync(join(service.judge.directory, 'said'), { recursive: true });
    service.judge.write('said/office.pem', toPem('CERTIFICATE', row!.certificate!));
    const said = service.judge.run(
      ...['x509', '-in', 'said/office.pem', '-noout', '-subject', '-nameopt', 'utf8,sep_multiline'],
    );
    expect(said).toContain('title=Chủ tịch');
    expect(said).toContain('SN=Đặng');
    expect(said).toContain('CN=Đặng Thị Hồng Nhung');
    expect(service.verify(row!.certificate!)).toContain('OK');

    // As the directory hands a position over: one holding ends, another begins, the epoch grows.
    await service.owner.raw(
      `update directory.position_holdings set held_to = clock_timestamp(), ended_by = 'test', ended_reason = 'test' where position_id = ?`,
      [position.id],
    );
    await service.owner.raw(
      `insert into directory.position_holdings (position_id, holder_id, held_from, begun_by, begun_reason)
       values (?, ?, clock_timestamp(), 'test', 'test')`,
      [position.id, second.id],
    );
    await service.owner.raw(
      'update directory.accounts set credential_epoch = credential_epoch + 1, version = version + 1 where id = ?',
      [position.id],
    );
    await service.converge(position);
    const [former, now] = await service.certificates(position);
    expect(former).toMatchObject({ state: 'revoked', revocation_reason: 'affiliationChanged' });
    expect(now).toMatchObject({ state: 'valid' });
    expect(now!.certificate!.includes(Buffer.from('Huỳnh Thanh Điền'))).toBe(true);
  });
});

test('a kind of server-made keys that a profile does not take is told at the start', async () => {
  const profiles = join(service.judge.directory, 'fewer-kinds');
  cpSync(profilesDirectory, profiles, { recursive: true });
  const path = join(profiles, 'agency-seal.json');
  const seal = JSON.parse(readFileSync(path, 'utf8'));
  const { rsa } = seal.keyUsage;
  writeFileSync(path, JSON.stringify({ ...seal, keyKinds: ['rsa-3072'], keyUsage: { rsa } }));
  const loaded = await loadProfiles(profiles);
  expect(() => requireServerKeyKind(loaded, 'ec-p256')).toThrow(
    'SERVER_KEY_KIND is ec-p256, but the profile agency-seal takes rsa-3072',
  );
  expect(() => requireServerKeyKind(loaded, 'rsa-3072')).not.toThrow();
});
