/** Broken samples through the whole service: every OCSP request is answered by an OCSPResponse, no CSR by a fault of ours. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import supertest from 'supertest';
import { fromPem } from './authority/certificate.ts';
import * as der from './authority/der.ts';
import { buildOcspRequest, certificateIdOf, issuerIds } from './authority/ocsp.ts';
import { startTestCertificates, type TestCertificates } from './testing.ts';
import { mutate, seededNumbers } from './testing-mutations.ts';

let service: TestCertificates;
beforeAll(async () => {
  service = await startTestCertificates();
});
afterAll(() => service.stop());

test('100,000 OCSP requests', async () => {
  const account = await service.account();
  await service.converge(account);
  const serialNumber = (await service.certificates(account))[0]!.serial_number;
  const ids = issuerIds(service.authority.issuer.certificate).map((issuer) => certificateIdOf(issuer, serialNumber));
  const samples = [
    ...ids.map((id) => buildOcspRequest(id)),
    ...ids.map((id) => buildOcspRequest(id, Buffer.alloc(32, 7))),
    der.sequence(der.sequence(der.sequence(...ids.map((id) => der.sequence(id))))),
  ];
  const next = seededNumbers(5019);
  const answered: Record<string, number> = {};
  let left = 100_000;
  const client = async () => {
    while (left-- > 0) {
      const body = Buffer.from((await service.ocsp.answers.answer(mutate(samples, next))).body, 'latin1');
      const [status] = der.readSequence(der.decode(body), 'OCSPResponse');
      const code = String(der.expect(status, der.tag.enumerated, 'responseStatus').content[0]);
      answered[code] = (answered[code] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: 100 }, client));
  // Successful or malformedRequest; never internalError, never tryLater.
  expect(Object.keys(answered).sort()).toEqual(['0', '1']);
  expect(answered[0]).toBeGreaterThan(10_000);
  // Whatever was asked for, the one certificate that there is has at most an answer for each way of naming its issuer.
  expect(service.ocsp.answers.prepared()).toBeLessThanOrEqual(ids.length);
}, 300_000);

test('2,000 CSRs and 2,000 OCSP requests over HTTP', async () => {
  const account = await service.accountWithEntry({ certificatePath: 'csr' });
  await service.converge(account);
  const { id } = (await service.enrolments(account))[0]!;
  const bearer = await service.tokens.bearer({ kind: 'holder', id: account.id });
  const pem = service.csr('fuzzed');
  const encoded = fromPem('CERTIFICATE REQUEST', pem);
  // The very last octet of the signature is always wrong, so that none is ever accepted and the enrolment stays open.
  encoded[encoded.length - 1] = encoded[encoded.length - 1]! ^ 1;
  const next = seededNumbers(9457);
  const statuses = new Set<number>();
  for (let count = 0; count < 2_000; count++) {
    const broken = mutate([encoded], next).toString('base64');
    const csr = `-----BEGIN CERTIFICATE REQUEST-----\n${broken}\n-----END CERTIFICATE REQUEST-----\n`;
    const answer = await supertest(service.app)
      .post(`/v1/enrolments/${id}/csr`)
      .set('Authorization', bearer)
      .send({ csr });
    statuses.add(answer.status);
    const path = mutate([Buffer.from(encodeURIComponent(broken))], next).toString('latin1');
    if (!/^[\x21-\x7e]*$/.test(path) || path.includes('#')) continue;
    const ocsp = await supertest(service.app).get(`/ocsp/${path}`);
    expect([ocsp.status, path]).toEqual([200, path]);
  }
  expect([...statuses]).toEqual([422]);
  expect(await service.certificates(account)).toEqual([]);
}, 300_000);
