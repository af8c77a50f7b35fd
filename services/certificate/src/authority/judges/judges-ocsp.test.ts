/** OCSP answers before other people's programs: every status, for responders and authorities with every kind of key that they take. */
import { createPrivateKey } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readCertificate } from '../certificate.ts';
import { newSerialNumber } from '../issuer.ts';
import type { KeyPair } from '../key-pair.ts';
import {
  assembleResponse,
  buildResponseData,
  type CertificateStatus,
  certificateIdOf,
  issuerIds,
  type Responder,
  signResponseData,
} from '../ocsp.ts';
import { keyIdentifierOf } from '../public-key.ts';
import { signatureAlgorithmOf } from '../signature.ts';
import { shippedProfile } from './openssl-judge.ts';
import { type Judges, openJudges } from './programs.ts';
import { type Keys, sampleAuthorities, sampleCertificate, sampleKeys, sampleList } from './samples.ts';

let keys: Keys;
const opened: Judges[] = [];
beforeAll(async () => {
  keys = await sampleKeys();
}, 120_000);
afterAll(() => {
  for (const judges of opened) judges.close();
});

const profile = shippedProfile('ocsp-responder');
const revokedAt = new Date(Date.now() - 120_000);
const statuses: readonly CertificateStatus[] = [
  { kind: 'good' },
  { kind: 'unknown' },
  { kind: 'revoked', revokedAt, reason: 'keyCompromise' },
  { kind: 'revoked', revokedAt, reason: 'certificateHold' },
  { kind: 'revoked', revokedAt, reason: 'unspecified' },
];

test.each(profile.keyKinds)('authority and responder with keys of kind %s', async (keyKind) => {
  const { root, issuing } = await sampleAuthorities(keyKind);
  const lists = [await sampleList(root, { crlNumber: 1n }), await sampleList(issuing, { crlNumber: 1n })];
  const judges = openJudges({ root: root.certificate.der, issuing: issuing.certificate.der, lists });
  opened.push(judges);
  const key: KeyPair = keys[keyKind];
  const certificate = readCertificate(await sampleCertificate(issuing, profile, key));
  const responder: Responder = {
    certificate,
    keyHash: keyIdentifierOf(certificate.subjectPublicKeyInfo),
    signatureAlgorithm: signatureAlgorithmOf(keyKind),
    privateKey: createPrivateKey({ key: key.privateKey, format: 'der', type: 'pkcs8' }),
  };
  const serialNumber = newSerialNumber();
  const asked = await sampleCertificate(issuing, shippedProfile('person-signature'), keys['ec-p256'], serialNumber);
  const producedAt = new Date(Math.floor(Date.now() / 1000) * 1000);
  const readers = judges.programs.filter((program) => program.answer);
  expect(readers.map(({ name }) => name)).toEqual(['OpenSSL', 'GnuTLS']);
  for (const status of statuses) {
    const data = buildResponseData({
      responderKeyHash: responder.keyHash,
      producedAt,
      nextUpdate: new Date(producedAt.getTime() + 3_600_000),
      responses: [{ certificateId: certificateIdOf(issuerIds(issuing.certificate)[0]!, serialNumber), status }],
    });
    const answer = assembleResponse(responder, data, await signResponseData(responder, data));
    const forged = Buffer.from(answer);
    forged[answer.indexOf(data) + data.length - 20]! ^= 1;
    for (const program of readers) {
      program.answer?.(answer, asked, status.kind);
      expect(() => program.answer?.(forged, asked, status.kind)).toThrow();
    }
  }
});
