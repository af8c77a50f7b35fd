/** For tests: recovery officers with keys of their own, on duty by the real routes. */
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import supertest from 'supertest';
import type { TestCertificates } from '../testing.ts';

export interface TestOfficer {
  clientId: string;
  officerId: string;
  /** In the judge's directory: `<name>.key`, `<name>.pem`. */
  name: string;
  bearer: () => Promise<string>;
}

export async function newCertificate(service: TestCertificates, name: string, ...options: string[]): Promise<string> {
  const key = options.length > 0 ? options : ['-newkey', 'rsa:2048'];
  service.judge.run(
    ...['req', '-x509', ...key, '-noenc', '-keyout', `${name}.key`, '-out', `${name}.pem`, '-subj', `/CN=${name}`],
    ...['-days', '2'],
  );
  return readFileSync(join(service.judge.directory, `${name}.pem`), 'utf8');
}

/** What the challenge holds, by the openssl command and the officer's key. */
export function openChallenge(service: TestCertificates, name: string, challenge: string): string {
  service.judge.write('challenge.pem', challenge);
  service.judge.run(
    ...['cms', '-decrypt', '-inform', 'PEM', '-in', 'challenge.pem', '-binary', '-out', 'challenge.bin'],
    ...['-inkey', `${name}.key`, '-recip', `${name}.pem`],
  );
  return readFileSync(join(service.judge.directory, 'challenge.bin')).toString('hex');
}

export async function putOnDuty(service: TestCertificates, name: string): Promise<TestOfficer> {
  const clientId = randomUUID();
  const bearer = () => service.tokens.bearer({ id: clientId, permissions: ['keys:recover'] });
  const certificate = await newCertificate(service, name);
  const send = async (path: string, body: object, authorization: string) =>
    supertest(service.app).post(path).set('Authorization', authorization).send(body);
  const { body } = await send('/v1/recovery-officers', { name, certificate }, await bearer());
  const officerId: string = body.officer.id;
  const proof = openChallenge(service, name, body.challenge);
  await send(`/v1/recovery-officers/${officerId}/proof`, { proof }, await bearer());
  const approver = await service.tokens.bearer({ id: randomUUID(), permissions: ['certificates:approve'] });
  const approved = await send(`/v1/recovery-officers/${officerId}/approve`, {}, approver);
  if (approved.body.state !== 'active') throw new Error(`the officer is not on duty: ${approved.text}`);
  return { clientId, officerId, name, bearer };
}
