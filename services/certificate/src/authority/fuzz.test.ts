/** What is parsed from strangers, against 100,000 broken samples each: nothing but a ServiceError `invalid` ever comes out, and soon. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mutate, seededNumbers } from '../testing-mutations.ts';
import { fromPem } from './certificate.ts';
import { type CertificationRequest, parseCsr } from './csr.ts';
import * as der from './der.ts';
import { makeTestAuthority, openJudge } from './judges/openssl-judge.ts';
import { buildResponseData, parseOcspRequest } from './ocsp.ts';

const inputs = 100_000;
/** A thousand times what the slowest takes; a hang would be for ever. */
const tooLong = 2_000;
const judge = openJudge();
afterAll(() => judge.close());
const read = (name: string) => readFileSync(join(judge.directory, name));

/** The outcome of each input, by its code; anything but acceptance and ServiceErrors is thrown on with what caused it. */
async function outcomes(
  samples: readonly Buffer[],
  seed: number,
  parse: (input: Buffer) => unknown,
): Promise<Record<string, number>> {
  const next = seededNumbers(seed);
  const counts: Record<string, number> = {};
  for (let count = 0; count < inputs; count++) {
    const input = mutate(samples, next);
    const began = performance.now();
    let outcome = 'accepted';
    try {
      await parse(input);
    } catch (error) {
      if (!(error instanceof ServiceError && error.kind === 'invalid'))
        throw new Error(`input ${input.toString('base64')}`, { cause: error });
      outcome = error.code;
    }
    const took = performance.now() - began;
    if (took > tooLong) throw new Error(`${took} ms for the input ${input.toString('base64')}`);
    counts[outcome] = (counts[outcome] ?? 0) + 1;
  }
  return counts;
}

describe('CSRs', () => {
  const samples: Buffer[] = [];
  const keys = new Set<string>();
  beforeAll(async () => {
    const kinds: [string[], string[]][] = [
      [['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'], []],
      [
        ['RSA', '-pkeyopt', 'rsa_keygen_bits:2048'],
        ['-sigopt', 'rsa_padding_mode:pss', '-sigopt', 'rsa_pss_saltlen:32'],
      ],
      [
        ['EC', '-pkeyopt', 'ec_paramgen_curve:P-256'],
        ['-addext', 'subjectAltName=email:a@example.vn,DNS:b.example.vn'],
      ],
      [['EC', '-pkeyopt', 'ec_paramgen_curve:P-384'], ['-sha384']],
      [['ED25519'], []],
    ];
    for (const [genpkey, req] of kinds) {
      judge.run('genpkey', '-algorithm', ...genpkey, '-out', 'key.pem');
      judge.run(
        'req',
        '-new',
        '-utf8',
        '-key',
        'key.pem',
        '-subj',
        '/C=VN/CN=Huỳnh Thanh Điền',
        '-out',
        'csr.pem',
        ...req,
      );
      const pem = read('csr.pem').toString();
      const encoded = fromPem('CERTIFICATE REQUEST', pem);
      keys.add((await parseCsr(encoded)).fingerprint);
      // DER thrice as often as PEM: within base64 most changes break the alphabet and no more.
      samples.push(encoded, encoded, encoded, Buffer.from(pem));
    }
  });

  test(`${inputs} broken samples: accepted only where its own key has signed it`, async () => {
    const found = await outcomes(samples, 2986, async (input) => {
      const text = input[0] === 0x2d ? input.toString('latin1') : input;
      const { fingerprint, subject }: CertificationRequest = await parseCsr(text);
      expect(keys.has(fingerprint)).toBe(true);
      expect(subject).toEqual([
        { type: 'countryName', value: 'VN' },
        { type: 'commonName', value: 'Huỳnh Thanh Điền' },
      ]);
    });
    // They get far enough to try every door.
    for (const code of ['accepted', 'csr_key_kind', 'csr_signature_algorithm'])
      expect(Object.keys(found)).toContain(code);
    expect(found.csr_signature_invalid).toBeGreaterThan(1_000);
    expect(found.csr_malformed).toBeGreaterThan(10_000);
  }, 300_000);
});

describe('OCSP requests', () => {
  const samples: Buffer[] = [];
  beforeAll(async () => {
    await makeTestAuthority(judge);
    judge.run('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'asker.key');
    judge.run('req', '-x509', '-new', '-key', 'asker.key', '-subj', '/CN=asker', '-out', 'asker.pem');
    for (const options of [
      ['-no_nonce', '-serial', '0x41a1b2c3d4e5f60718293a4b5c6d7e8f'],
      ['-serial', '0x41a1b2c3d4e5f60718293a4b5c6d7e8f'],
      ['-sha256', '-serial', '0x7fffffffffffffffffffffffffffffffffffffff'],
      ['-serial', '0x1', '-serial', '0x2', '-sha384', '-serial', '0x3'],
      ['-serial', '0x1234', '-signer', 'asker.pem', '-signkey', 'asker.key'],
    ]) {
      judge.run('ocsp', '-issuer', 'issuing.pem', ...options, '-reqout', 'request.der');
      samples.push(read('request.der'));
    }
  });

  test(`${inputs} broken samples: what is accepted can be answered`, async () => {
    const now = new Date();
    const found = await outcomes(samples, 6960, (input) => {
      const { certificateIds, nonce } = parseOcspRequest(input);
      const data = buildResponseData({
        responderKeyHash: Buffer.alloc(20),
        producedAt: now,
        nextUpdate: now,
        responses: certificateIds.map(({ raw }) => ({ certificateId: raw, status: { kind: 'good' } })),
        nonce,
      });
      der.checkDeep(der.decode(data));
    });
    expect(Object.keys(found).sort()).toEqual(['accepted', 'malformed_der']);
    expect(found.accepted).toBeGreaterThan(10_000);
    expect(found.malformed_der).toBeGreaterThan(10_000);
  }, 300_000);
});
