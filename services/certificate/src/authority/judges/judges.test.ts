/** What is issued, revoked and handed out, before other people's programs: every profile with every key, every list, every key file. */
import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { toPem } from '../certificate.ts';
import type { CrlContents, CrlEntry } from '../crl.ts';
import { type Issuer, newSerialNumber } from '../issuer.ts';
import { makePkcs12 } from '../pkcs12.ts';
import type { Profile } from '../profile.ts';
import { type KeyKind, keyKinds } from '../public-key.ts';
import { openJudge, shippedProfile, testLocations } from './openssl-judge.ts';
import { type Judges, type KeyFile, openJudges, type Program, type Thing } from './programs.ts';
import {
  type Keys,
  profiles,
  sampleAuthorities,
  sampleCertificate,
  sampleEntry,
  sampleKeys,
  sampleList,
  sampleLists,
  useOf,
} from './samples.ts';

interface Stand {
  readonly root: Issuer;
  readonly issuing: Issuer;
  readonly judges: Judges;
  /** A certificate that the lists revoke. */
  readonly revoked: Buffer;
}

let keys: Keys;
const stands: Stand[] = [];
const bench = openJudge();
beforeAll(async () => {
  keys = await sampleKeys();
}, 120_000);
afterAll(() => {
  for (const stand of stands) stand.judges.close();
  bench.close();
});

/** A chain of authorities for a purpose, its lists with one revoked certificate, and the programs that trust its root. */
async function makeStand(keyKind: KeyKind, forDevices = false, listed: Partial<CrlContents> = {}): Promise<Stand> {
  const { root, issuing } = await sampleAuthorities(keyKind, forDevices);
  const serialNumber = newSerialNumber();
  const profile = shippedProfile(forDevices ? 'tls-server' : 'person-signature');
  const revoked = await sampleCertificate(issuing, profile, keys['rsa-2048'], serialNumber);
  const entry = { serialNumber, revocationDate: new Date(Date.now() - 120_000), reason: 'keyCompromise' as const };
  const lists = [
    await sampleList(root, { crlNumber: 1n }),
    await sampleList(issuing, { crlNumber: 7n, entries: [entry], ...listed }),
  ];
  const trust = { root: root.certificate.der, issuing: issuing.certificate.der, lists };
  const stand = { root, issuing, revoked, judges: openJudges(trust) };
  stands.push(stand);
  return stand;
}

/** What programs that know such a thing say against it, each with its name in front. */
function refusals(stand: Stand, thing: Thing, keyKind: KeyKind, judge: (program: Program) => void): string[] {
  return stand.judges.programs
    .filter((program) => program.reads(thing, keyKind))
    .flatMap((program) => {
      try {
        judge(program);
        return [];
      } catch (error) {
        return [`${program.name}: ${(error as Error).message}`];
      }
    });
}
const namesOf = (said: readonly string[]) => said.map((one) => one.slice(0, one.indexOf(':')));

async function keyFile(stand: Stand, profile: Profile, keyKind: KeyKind, form: 'modern' | 'legacy'): Promise<KeyFile> {
  const certificate = await sampleCertificate(stand.issuing, profile, keys[keyKind]);
  const [passphrase, friendlyName] = ['m4kq-7h2x-9pwd', 'Huỳnh Thanh Điền'];
  const { privateKey } = keys[keyKind];
  const chain = [stand.issuing.certificate.der, stand.root.certificate.der];
  const file = await makePkcs12({ privateKey, certificate, chain, passphrase, friendlyName, form });
  return { file, form, passphrase, friendlyName, certificate };
}

describe('every profile with every kind of key', () => {
  let people: Stand;
  let devices: Stand;
  beforeAll(async () => {
    [people, devices] = [await makeStand('rsa-3072'), await makeStand('rsa-3072', true)];
  }, 120_000);
  const standOf = ({ purpose }: Profile) => (purpose === 'device' ? devices : people);

  test('is named here with what it is for', () =>
    expect(profiles.map(({ id }) => id).sort()).toEqual(Object.keys(useOf).sort()));

  test.each(profiles.flatMap((profile) => profile.keyKinds.map((kind) => [profile.id, kind] as const)))(
    '%s with %s: a certificate',
    async (id, keyKind) => {
      const profile = shippedProfile(id);
      const certificate = await sampleCertificate(standOf(profile).issuing, profile, keys[keyKind]);
      const said = refusals(standOf(profile), 'certificate', keyKind, (program) =>
        program.certificate?.(certificate, useOf[id]!),
      );
      expect(said).toEqual([]);
    },
  );

  test.each(keyKinds.flatMap((kind) => (['modern', 'legacy'] as const).map((form) => [form, kind] as const)))(
    'a key file: %s with %s',
    async (form, keyKind) => {
      const file = await keyFile(people, shippedProfile('person-signature'), keyKind, form);
      expect(refusals(people, form, keyKind, (program) => program.keyFile?.(file))).toEqual([]);
    },
  );

  test('a wrong passphrase opens it in none', async () => {
    const file = await keyFile(people, shippedProfile('person-signature'), 'rsa-2048', 'legacy');
    const said = refusals(people, 'legacy', 'rsa-2048', (program) =>
      program.keyFile?.({ ...file, passphrase: 'another-passphrase' }),
    );
    expect(namesOf(said)).toEqual(['OpenSSL', 'GnuTLS', 'NSS', 'Java', 'gpgsm']);
  });

  // OpenSSL 3.0 signs no messages with Ed25519.
  test.each(keyKinds.filter((kind) => kind !== 'ed25519'))('a message signed with %s', async (keyKind) => {
    const certificate = await sampleCertificate(people.issuing, shippedProfile('person-signature'), keys[keyKind]);
    // gpgsm wants a hash as long as the curve.
    const digest = ['-md', keyKind === 'ec-p384' ? 'sha384' : 'sha256'];
    const signer = ['-signer', 'holder.pem', '-inkey', 'holder.key', '-certfile', 'issuing.pem', ...digest];
    const message = cms(people, ['-sign', '-nodetach', ...signer], certificate, keyKind);
    expect(refusals(people, 'signed', keyKind, (program) => program.signed?.(message))).toEqual([]);
  });

  test.each(shippedProfile('person-encryption').keyKinds)('a message encrypted to %s', async (keyKind) => {
    const file = await keyFile(people, shippedProfile('person-encryption'), keyKind, 'legacy');
    const message = cms(people, ['-encrypt', '-aes256', 'holder.pem'], file.certificate, keyKind);
    const said = refusals(people, 'decrypted', keyKind, (program) => {
      const content = program.decrypted?.(message, file) ?? letter;
      if (!content.includes(letter)) throw new Error(`decrypted to: ${content}`);
    });
    expect(said).toEqual([]);
  });

  test('a certificate on the list is refused by all that look', () => {
    const said = refusals(people, 'certificate', 'rsa-2048', (program) =>
      program.certificate?.(people.revoked, 'smimesign'),
    );
    // Java and gpgsm are asked without lists.
    expect(namesOf(said)).toEqual(['OpenSSL', 'GnuTLS', 'NSS']);
    for (const one of said) expect(one).toMatch(/revoked/i);
  });

  test.each([
    ['person-signature', 'sslclient'],
    ['person-encryption', 'smimesign'],
    ['tls-server', 'sslclient'],
    ['tls-client', 'sslserver'],
    ['agency-seal', 'sslserver'],
  ] as const)('%s is not good for %s', async (id, use) => {
    const profile = shippedProfile(id);
    const certificate = await sampleCertificate(standOf(profile).issuing, profile, keys['rsa-2048']);
    const said = refusals(standOf(profile), 'certificate', 'rsa-2048', (program) =>
      program.certificate?.(certificate, use),
    );
    // GnuTLS looks at key purposes and not at key usage: both S/MIME certificates have the same one.
    expect(namesOf(said)).toEqual(id === 'person-encryption' ? ['OpenSSL', 'NSS'] : ['OpenSSL', 'GnuTLS', 'NSS']);
  });
});

describe('an authority whose lists are parted', () => {
  let stand: Stand;
  const url = testLocations.crl[0]!;
  beforeAll(async () => {
    stand = await makeStand('rsa-2048', false, { distributionPoint: url });
  }, 120_000);

  test('its certificates, revoked and not', async () => {
    const certificate = await sampleCertificate(stand.issuing, shippedProfile('person-signature'), keys['ec-p256']);
    const judged = (one: Buffer) =>
      refusals(stand, 'part', 'ec-p256', (program) => program.certificate?.(one, 'smimesign'));
    expect(judged(certificate)).toEqual([]);
    expect(namesOf(judged(stand.revoked))).toEqual(['OpenSSL', 'GnuTLS']);
  });

  test('OpenSSL counts a delta in: what it revokes is refused, what it releases is good again', async () => {
    const { issuing } = stand;
    const parts = { distributionPoint: url };
    const [held, lost] = [newSerialNumber(), newSerialNumber()];
    const entryOf = (serialNumber: Buffer, reason: CrlEntry['reason']) => ({ ...sampleEntry(reason), serialNumber });
    const base = { ...parts, freshestCrl: `${url}-delta`, entries: [entryOf(held, 'certificateHold')] };
    const delta = [entryOf(held, 'removeFromCRL'), entryOf(lost, 'keyCompromise')];
    const made = {
      base: await sampleList(issuing, { ...base, crlNumber: 20n }),
      delta: await sampleList(issuing, { ...parts, crlNumber: 21n, baseCrlNumber: 20n, entries: delta }),
    };
    for (const [name, list] of Object.entries(made)) bench.write(`${name}.pem`, toPem('X509 CRL', list));
    bench.write('root.pem', toPem('CERTIFICATE', stand.root.certificate.der));
    bench.write('issuing.pem', toPem('CERTIFICATE', issuing.certificate.der));
    const profile = shippedProfile('person-signature');
    for (const [name, serialNumber] of Object.entries({ held, lost }))
      bench.write(
        `${name}.pem`,
        toPem('CERTIFICATE', await sampleCertificate(issuing, profile, keys['ec-p256'], serialNumber)),
      );
    const verify = (name: string, ...lists: string[]) =>
      bench.run('verify', '-crl_check', '-CAfile', 'root.pem', '-untrusted', 'issuing.pem', ...lists, `${name}.pem`);
    const withDelta = ['-use_deltas', '-CRLfile', 'base.pem', '-CRLfile', 'delta.pem'];
    expect(() => verify('held', '-CRLfile', 'base.pem')).toThrow('revoked');
    expect(verify('lost', '-CRLfile', 'base.pem')).toContain('OK');
    expect(verify('held', ...withDelta)).toContain('OK');
    expect(() => verify('lost', ...withDelta)).toThrow('revoked');
  });
});

describe.each(keyKinds)('an authority with a key of kind %s', (keyKind) => {
  let stand: Stand;
  beforeAll(async () => {
    stand = await makeStand(keyKind);
  }, 120_000);

  test('its certificates', async () => {
    const certificate = await sampleCertificate(stand.issuing, shippedProfile('person-signature'), keys['ec-p256']);
    const said = refusals(stand, 'certificate', keyKind, (program) => program.certificate?.(certificate, 'smimesign'));
    expect(said).toEqual([]);
  });

  test.each(Object.entries(sampleLists))('its list: %s', async (_, contents) => {
    const made = await sampleList(stand.issuing, { crlNumber: 9n, ...contents() });
    const { distributionPoint, baseCrlNumber } = contents();
    const thing = distributionPoint === undefined && baseCrlNumber === undefined ? 'certificate' : 'part';
    expect(refusals(stand, thing, keyKind, (program) => program.list?.(made))).toEqual([]);
  });

  test('a list that another key signed is refused by all', async () => {
    const forged = Buffer.from(await sampleList(stand.issuing, { crlNumber: 10n }));
    forged[forged.length - 12]! ^= 1;
    const said = refusals(stand, 'certificate', keyKind, (program) => program.list?.(forged));
    const readers = stand.judges.programs.filter((program) => program.list && program.reads('certificate', keyKind));
    expect(namesOf(said)).toEqual(readers.map(({ name }) => name));
    for (const one of said) expect(one).toMatch(/signature|verif/i);
  });
});

const letter = 'Kính gửi Sở Nội vụ tỉnh Nghệ An';

/** A CMS message, DER, made by OpenSSL with the certificate and its key. */
function cms(stand: Stand, args: readonly string[], certificate: Buffer, keyKind: KeyKind): Buffer {
  bench.write('holder.pem', toPem('CERTIFICATE', certificate));
  bench.write('issuing.pem', toPem('CERTIFICATE', stand.issuing.certificate.der));
  bench.write('holder.key', toPem('PRIVATE KEY', keys[keyKind].privateKey));
  const whole = ['cms', '-binary', '-outform', 'DER', '-out', 'message', ...args];
  const { status, stderr } = spawnSync('openssl', whole, { cwd: bench.directory, input: letter, encoding: 'utf8' });
  if (status !== 0) throw new Error(stderr);
  return bench.read('message');
}
