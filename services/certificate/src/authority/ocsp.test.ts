import { createPrivateKey, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ServiceError } from '@congvu/errors';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { readCertificate, toPem } from './certificate.ts';
import * as der from './der.ts';
import { buildTbsCertificate, newSerialNumber, signTbs, validityPeriod } from './issuer.ts';
import {
  makeTestAuthority,
  openJudge,
  shippedProfile,
  type TestAuthority,
  testLocations,
  testRequest,
} from './judges/openssl-judge.ts';
import { generateKeyPair } from './key-pair.ts';
import {
  assembleGood,
  assembleResponse,
  buildOcspRequest,
  buildResponseData,
  type CertificateStatus,
  certificateIdOf,
  errorResponse,
  issuerIds,
  maximumRequestSize,
  parseOcspRequest,
  type Responder,
  signResponseData,
} from './ocsp.ts';
import { keyIdentifierOf } from './public-key.ts';
import { signatureAlgorithmOf } from './signature.ts';

const judge = openJudge();
afterAll(() => judge.close());
const read = (name: string) => readFileSync(join(judge.directory, name));

let authority: TestAuthority;
let responder: Responder;
let serialNumber: Buffer;

beforeAll(async () => {
  authority = await makeTestAuthority(judge);
  const { issuer } = authority.issuing;
  const leafKey = await generateKeyPair('ec-p256');
  const leaf = testRequest(authority, leafKey.subjectPublicKeyInfo);
  serialNumber = leaf.serialNumber;
  const leafTbs = buildTbsCertificate(issuer, shippedProfile('person-signature'), testLocations, leaf);
  judge.write('leaf.pem', toPem('CERTIFICATE', await signTbs(issuer, leafTbs)));

  const profile = shippedProfile('ocsp-responder');
  const { privateKey, subjectPublicKeyInfo } = await generateKeyPair('ec-p256');
  const tbs = buildTbsCertificate(issuer, profile, testLocations, {
    serialNumber: newSerialNumber(),
    subject: { countryName: 'VN', commonName: 'OCSP thử' },
    subjectAltName: [],
    subjectPublicKeyInfo,
    ...validityPeriod(issuer, profile, new Date()),
  });
  const certificate = readCertificate(await signTbs(issuer, tbs));
  responder = {
    certificate,
    keyHash: keyIdentifierOf(certificate.subjectPublicKeyInfo),
    signatureAlgorithm: signatureAlgorithmOf('ec-p256'),
    privateKey: createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' }),
  };
});

/** A request as openssl makes it. */
function opensslRequest(...options: string[]): Buffer {
  judge.run('ocsp', '-issuer', 'issuing.pem', ...options, '-reqout', 'request.der');
  return read('request.der');
}
const about = (...more: string[]) => [...more, '-cert', 'leaf.pem'];

async function respond(encoded: Buffer, status: CertificateStatus): Promise<void> {
  const { certificateIds, nonce } = parseOcspRequest(encoded);
  const producedAt = new Date(Math.floor(Date.now() / 1000) * 1000);
  const data = buildResponseData({
    responderKeyHash: responder.keyHash,
    producedAt,
    nextUpdate: new Date(producedAt.getTime() + 12 * 3_600_000),
    responses: certificateIds.map(({ raw }) => ({ certificateId: raw, status })),
    nonce,
  });
  judge.write('request.der', encoded);
  judge.write('response.der', assembleResponse(responder, data, await signResponseData(responder, data)));
}
/** What OpenSSL says of the response to the request, its signature, delegation and dates verified; throws when it refuses. */
const said = () =>
  judge.run(
    ...['ocsp', '-issuer', 'issuing.pem', '-reqin', 'request.der', '-respin', 'response.der', '-CAfile', 'root.pem'],
    ...['-verify_other', 'issuing.pem', '-resp_text'],
  );

describe('requests', () => {
  test.each([
    ['plain', about('-no_nonce'), false],
    ['with a nonce', about(), true],
    ['by SHA-256', about('-sha256', '-no_nonce'), false],
    ['by SHA-384', about('-sha384', '-no_nonce'), false],
    ['by SHA-512', about('-sha512', '-no_nonce'), false],
  ])('of openssl, %s', (_name, options, hasNonce) => {
    const { certificateIds, nonce } = parseOcspRequest(opensslRequest(...options));
    expect(certificateIds.map((id) => id.serialNumber)).toEqual([serialNumber]);
    expect(nonce !== undefined).toBe(hasNonce);
    const known = issuerIds(authority.issuing.issuer.certificate);
    expect(known.some((octets) => octets.equals(certificateIds[0]!.issuer))).toBe(true);
  });

  test('the first way of naming an issuer is the one that openssl takes unless told', () => {
    const [usual] = issuerIds(authority.issuing.issuer.certificate);
    expect(opensslRequest(...about('-no_nonce'))).toEqual(buildOcspRequest(certificateIdOf(usual!, serialNumber)));
  });

  test('what is read by its fixed places is what is read element by element', () => {
    const [usual] = issuerIds(authority.issuing.issuer.certificate);
    for (const serial of ['00', '01', '7f', '0080', '41a1b2', 'ff', '0001', '80', '4'.repeat(40), '5'.repeat(60)]) {
      const certificateId = certificateIdOf(usual!, Buffer.from(serial, 'hex'));
      const plain = buildOcspRequest(certificateId);
      // The version, though it is the default, keeps it from being read by its places.
      const [list] = der.children(der.children(der.decode(plain))[0]!);
      const whole = der.sequence(der.sequence(der.explicit(0, der.integer(0)), list!.raw));
      const outcome = (encoded: Buffer) => {
        try {
          return parseOcspRequest(encoded);
        } catch (error) {
          return (error as Error).message;
        }
      };
      expect(outcome(plain)).toEqual(outcome(whole));
    }
  });

  test('signed, with a name, about several', () => {
    judge.run('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', 'asker.key');
    judge.run('req', '-x509', '-new', '-key', 'asker.key', '-subj', '/CN=asker', '-out', 'asker.pem');
    const encoded = opensslRequest(...about('-serial', '0x1234'), '-signer', 'asker.pem', '-signkey', 'asker.key');
    const { certificateIds } = parseOcspRequest(encoded);
    expect(certificateIds.map((id) => id.serialNumber.toString('hex')).sort()).toEqual(
      ['1234', serialNumber.toString('hex')].sort(),
    );
  });

  const nonceOf = (octets: number) =>
    buildOcspRequest(
      certificateIdOf(issuerIds(authority.issuing.issuer.certificate)[0]!, serialNumber),
      Buffer.alloc(octets, 7),
    );
  test.each([1, 16, 32, 128])('a nonce of %i octets', (octets) => {
    expect(parseOcspRequest(nonceOf(octets)).nonce).toEqual(der.octetString(Buffer.alloc(octets, 7)));
  });

  const plain = () => opensslRequest(...about('-no_nonce'));
  /** The request with something at the end of its TBSRequest. */
  const extended = (...extensions: Buffer[]) => {
    const [tbs] = der.children(der.decode(plain()));
    return der.sequence(der.sequence(tbs!.content, der.explicit(2, der.sequence(...extensions))));
  };
  const unknownExtension = (critical: boolean) =>
    der.sequence(
      der.objectIdentifier('1.2.3.4'),
      ...(critical ? [der.boolean(true)] : []),
      der.octetString(Buffer.from('anything')),
    );
  test('an extension that nobody knows is passed over, unless it is critical', () => {
    expect(parseOcspRequest(extended(unknownExtension(false))).nonce).toBeUndefined();
    expect(() => parseOcspRequest(extended(unknownExtension(true)))).toThrow(/critical/);
  });

  test.each([
    ['nothing', () => Buffer.alloc(0)],
    ['something else', () => Buffer.from('GET / HTTP/1.1')],
    ['cut short', () => plain().subarray(0, -1)],
    ['with a tail', () => Buffer.concat([plain(), Buffer.of(0)])],
    ['about nothing', () => der.sequence(der.sequence(der.sequence()))],
    ['about 17', () => der.sequence(der.sequence(der.sequence(...Array(17).fill(firstRequest()))))],
    ['too large', () => Buffer.concat([plain(), Buffer.alloc(maximumRequestSize)])],
    [
      'of another version',
      () => der.sequence(der.sequence(der.explicit(0, der.integer(1)), der.sequence(firstRequest()))),
    ],
    ['with an empty nonce', () => nonceOf(0)],
    ['with a nonce of 129 octets', () => nonceOf(129)],
  ])('refused: %s', (_name, encoded) => {
    expect(() => parseOcspRequest(encoded())).toThrow(ServiceError);
  });
  const firstRequest = () => der.children(der.children(der.children(der.decode(plain()))[0]!)[0]!)[0]!.raw;
});

describe('responses, as OpenSSL reads them', () => {
  test.each([
    ['plain', ['-no_nonce']],
    ['with a nonce', []],
    ['by SHA-256', ['-sha256']],
  ])('good, to a request %s', async (_name, options) => {
    await respond(opensslRequest(...about(...options)), { kind: 'good' });
    const text = said();
    expect(text).toContain('Cert Status: good');
    expect(text).toContain(`Responder Id: ${responder.keyHash.toString('hex').toUpperCase()}`);
    expect(text.includes('OCSP Nonce')).toBe(!options.includes('-no_nonce'));
  });

  test.each([
    ['unspecified', undefined],
    ['keyCompromise', 'keyCompromise'],
    ['superseded', 'superseded'],
    ['certificateHold', 'certificateHold'],
    // A reason that OpenSSL has no word for.
    ['privilegeWithdrawn', '(UNKNOWN) (0x9)'],
  ] as const)('revoked: %s', async (reason, spoken) => {
    const revokedAt = new Date('2026-03-01T02:03:04Z');
    await respond(opensslRequest(...about()), { kind: 'revoked', revokedAt, reason });
    const text = said();
    expect(text).toContain('Cert Status: revoked');
    expect(text).toContain('Revocation Time: Mar  1 02:03:04 2026 GMT');
    if (spoken) expect(text).toContain(`Revocation Reason: ${spoken}`);
    else expect(text).not.toContain('Revocation Reason');
  });

  test('unknown', async () => {
    await respond(opensslRequest(...about()), { kind: 'unknown' });
    expect(said()).toContain('Cert Status: unknown');
  });

  test('a good one from its template is the one that is built whole', () => {
    for (let turn = 0; turn < 500; turn++) {
      const id = certificateIdOf(
        issuerIds(authority.issuing.issuer.certificate)[turn % 8]!,
        randomBytes(8 + (turn % 3)),
      );
      const [thisUpdate, nextUpdate] = [1_700_000_000 + turn * 86_399, 1_700_043_200 + turn * 86_399];
      const signature = randomBytes(70 + (turn % 3));
      const data = buildResponseData({
        responderKeyHash: responder.keyHash,
        producedAt: new Date(thisUpdate * 1000),
        nextUpdate: new Date(nextUpdate * 1000),
        responses: [{ certificateId: id, status: { kind: 'good' } }],
      });
      expect(assembleGood(responder, id, thisUpdate, nextUpdate, signature)).toEqual(
        assembleResponse(responder, data, signature),
      );
    }
  });

  test('a changed octet of the answer breaks its signature', async () => {
    await respond(opensslRequest(...about('-no_nonce')), { kind: 'good' });
    const response = read('response.der');
    const status = response.indexOf(Buffer.from('8000180f', 'hex'));
    expect(status).toBeGreaterThan(0);
    response[status] = 0x82;
    judge.write('response.der', response);
    expect(() => said()).toThrow(/Response Verify Failure/);
  });

  test.each([
    ['malformedRequest', 'malformedrequest (1)'],
    ['internalError', 'internalerror (2)'],
    ['tryLater', 'trylater (3)'],
    ['unauthorized', 'unauthorized (6)'],
  ] as const)('%s', (error, spoken) => {
    judge.write('response.der', errorResponse(error));
    let output = '';
    try {
      judge.run('ocsp', '-respin', 'response.der', '-noverify');
    } catch (refused) {
      output = String((refused as { stdout: unknown }).stdout);
    }
    expect(output).toContain(`Responder Error: ${spoken}`);
  });

  test('the responder is trusted for as long as it lives, and for nothing else', () => {
    judge.write('responder.pem', toPem('CERTIFICATE', responder.certificate.der));
    const text = judge.run('x509', '-in', 'responder.pem', '-noout', '-text');
    for (const part of ['OCSP No Check', 'OCSP Signing', 'Digital Signature']) expect(text).toContain(part);
    expect(text).not.toContain('Authority Information Access');
    const { notBefore, notAfter } = responder.certificate;
    expect(notAfter.getTime() - notBefore.getTime()).toBeLessThan(7 * 86_400_000);
    expect(
      judge.run(
        ...['verify', '-x509_strict', '-purpose', 'ocsphelper', '-CAfile', 'root.pem'],
        '-untrusted',
        'issuing.pem',
        'responder.pem',
      ),
    ).toContain('OK');
  });
});
