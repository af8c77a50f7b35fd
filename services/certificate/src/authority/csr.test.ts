import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { afterAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { parseCsr } from './csr.ts';
import * as der from './der.ts';
import { openJudge } from './judges/openssl-judge.ts';
import { keyKindOf } from './public-key.ts';

const judge = openJudge();
afterAll(() => judge.close());

const read = (name: string) => readFileSync(join(judge.directory, name));

/** A CSR made by openssl req for a key made with these arguments of genpkey. */
function makeCsr(name: string, genpkey: readonly string[], ...req: readonly string[]): Buffer {
  judge.run('genpkey', ...genpkey, '-out', `${name}.key`);
  judge.run(
    'req',
    '-new',
    '-key',
    `${name}.key`,
    '-utf8',
    '-subj',
    '/C=VN/CN=Huỳnh Thanh Điền',
    '-out',
    `${name}.csr`,
    ...req,
  );
  return read(`${name}.csr`);
}
const rsa = (bits: number, ...more: readonly string[]) => [
  '-algorithm',
  'RSA',
  '-pkeyopt',
  `rsa_keygen_bits:${bits}`,
  ...more,
];
const ec = (curve: string, ...more: readonly string[]) => [
  '-algorithm',
  'EC',
  '-pkeyopt',
  `ec_paramgen_curve:${curve}`,
  ...more,
];

async function refusalOf(input: string | Buffer): Promise<ServiceError> {
  try {
    await parseCsr(input);
  } catch (error) {
    if (error instanceof ServiceError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe('accepts', () => {
  test.each([
    ['rsa-2048', rsa(2048), []],
    ['rsa-3072', rsa(3072), ['-sha512']],
    ['ec-p256', ec('P-256'), []],
    ['ec-p384', ec('P-384'), ['-sha384']],
    ['ed25519', ['-algorithm', 'ED25519'], []],
  ] as const)('%s from openssl req, as PEM and as DER', async (kind, genpkey, req) => {
    const pem = makeCsr(`ok-${kind}`, genpkey, ...req);
    const csr = await parseCsr(pem.toString());
    expect(csr.keyKind).toBe(kind);
    expect(csr.subject).toEqual([
      { type: 'countryName', value: 'VN' },
      { type: 'commonName', value: 'Huỳnh Thanh Điền' },
    ]);
    judge.run('pkey', '-in', `ok-${kind}.key`, '-pubout', '-outform', 'DER', '-out', 'pub.der');
    expect(csr.subjectPublicKeyInfo.equals(read('pub.der'))).toBe(true);
    judge.run('dgst', '-sha256', '-out', 'digest', 'pub.der');
    expect(read('digest').toString()).toContain(csr.fingerprint);
    judge.run('req', '-in', `ok-${kind}.csr`, '-outform', 'DER', '-out', 'ok.der');
    expect((await parseCsr(read('ok.der'))).fingerprint).toBe(csr.fingerprint);
  });

  test('names that it asks for as extensions are told apart from none', async () => {
    const asking = makeCsr('asking', ec('P-256'), '-addext', 'subjectAltName=email:somebody@else.vn');
    expect((await parseCsr(asking)).asksForExtensions).toBe(true);
    expect((await parseCsr(makeCsr('modest', ec('P-256')))).asksForExtensions).toBe(false);
  });

  test('RSA-PSS, text around the block, CRLF, and the label that Windows writes', async () => {
    const pss = makeCsr('pss', rsa(2048), '-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:-1');
    const windows = `Certificate request\n${pss}`
      .replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST')
      .replaceAll('\n', '\r\n');
    expect((await parseCsr(windows)).keyKind).toBe('rsa-2048');
  });
});

describe('refuses', () => {
  test.each([
    ['1024 bits', 'csr_key_weak', rsa(1024), []],
    ['exponent 3', 'csr_key_weak', rsa(2048, '-pkeyopt', 'rsa_keygen_pubexp:3'), []],
    ['2056 bits', 'csr_key_kind', rsa(2056), []],
    ['P-521', 'csr_key_kind', ec('P-521'), []],
    ['Ed448', 'csr_key_kind', ['-algorithm', 'ED448'], []],
    ['explicit parameters', 'csr_key_parameters', ec('P-256', '-pkeyopt', 'ec_param_enc:explicit'), []],
    ['SHA-1', 'csr_signature_algorithm', rsa(2048), ['-sha1']],
    ['MD5', 'csr_signature_algorithm', rsa(2048), ['-md5']],
    ['SHA-1 with ECDSA', 'csr_signature_algorithm', ec('P-256'), ['-sha1']],
    [
      'a long PSS salt',
      'csr_signature_algorithm',
      rsa(2048),
      ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:100'],
    ],
  ] as const)('%s: %s', async (name, code, genpkey, req) => {
    const refusal = await refusalOf(makeCsr(name.replace(/\W/g, ''), genpkey, ...req));
    expect(refusal).toMatchObject({ kind: 'invalid', code, faults: [{ pointer: '/csr', code }] });
  });

  test('a changed subject, a changed signature, another key in place', async () => {
    const pem = makeCsr('tamper', ec('P-256'));
    judge.run('req', '-in', 'tamper.csr', '-outform', 'DER', '-out', 'tamper.der');
    const subject = read('tamper.der');
    subject[subject.indexOf('Thanh')] = 0x74;
    expect((await refusalOf(subject)).code).toBe('csr_signature_invalid');
    const signature = read('tamper.der');
    signature[signature.length - 1]! ^= 1;
    expect((await refusalOf(signature)).code).toBe('csr_signature_invalid');
    const other = await parseCsr(makeCsr('other', ec('P-256')));
    const mine = await parseCsr(pem);
    const swapped = read('tamper.der');
    other.subjectPublicKeyInfo.copy(swapped, swapped.indexOf(mine.subjectPublicKeyInfo));
    expect((await refusalOf(swapped)).code).toBe('csr_signature_invalid');
    const offCurve = read('tamper.der');
    offCurve[offCurve.indexOf(mine.subjectPublicKeyInfo) + 80]! ^= 1;
    expect((await refusalOf(offCurve)).code).toBe('csr_key_parameters');
  });

  test('what is no CSR', async () => {
    const pem = makeCsr('twice', ec('P-256')).toString();
    for (const input of [
      '',
      'hello',
      Buffer.alloc(0),
      Buffer.alloc(200, 0x30),
      pem + pem,
      pem.slice(0, 200),
      `${pem}x`,
    ])
      expect((await refusalOf(input)).code).toBe('csr_malformed');
    expect((await refusalOf(Buffer.alloc(16 * 1024 + 1, 0x30))).code).toBe('csr_too_large');
    expect((await refusalOf(read('twice.key'))).code).toBe('csr_malformed');
  });

  test('RSA moduli with a small factor, and even ones', () => {
    const spki = (modulus: bigint) =>
      der.sequence(
        Buffer.from('300d06092a864886f70d0101010500', 'hex'),
        der.bitString(der.sequence(der.integer(modulus), der.integer(65537))),
      );
    const top = 2n ** 2047n;
    expect(() => keyKindOf(spki(top + 2n))).toThrow('small factor');
    expect(() => keyKindOf(spki(top + (751n - (top % 751n))))).toThrow('small factor');
  });
});

test('mutated requests are accepted or refused at /csr, and nothing else happens', async () => {
  const samples = ['ok-rsa-2048', 'ok-ec-p256', 'pss'].map((name) => {
    judge.run('req', '-in', `${name}.csr`, '-outform', 'DER', '-out', 'sample.der');
    return read('sample.der');
  });
  const mutation = fc.record({
    sample: fc.constantFrom(...samples),
    flips: fc.array(fc.tuple(fc.nat(900), fc.nat(255)), { minLength: 1, maxLength: 4 }),
    cut: fc.option(fc.nat(900)),
    insert: fc.option(fc.tuple(fc.nat(900), fc.uint8Array({ maxLength: 12 }))),
  });
  await fc.assert(
    fc.asyncProperty(mutation, async ({ sample, flips, cut, insert }) => {
      let input: Buffer = Buffer.from(sample);
      for (const [position, value] of flips) input[position % input.length] = value;
      if (insert) {
        const at = insert[0] % input.length;
        input = Buffer.concat([input.subarray(0, at), insert[1], input.subarray(at)]);
      }
      if (cut !== null) input = input.subarray(0, cut);
      try {
        await parseCsr(input);
      } catch (error) {
        expect(error).toBeInstanceOf(ServiceError);
        expect(error).toMatchObject({ kind: 'invalid', faults: [{ pointer: '/csr' }] });
      }
    }),
    { numRuns: 3000 },
  );
});
