import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { type Certificate, fromPem, readCertificate } from './certificate.ts';
import { makeEnveloped, openEnveloped } from './enveloped-data.ts';
import { openJudge } from './judges/openssl-judge.ts';
import { type EscrowedKey, escrowPrivateKey, openShare, recoverPrivateKey } from './key-escrow.ts';

const judge = openJudge();
afterAll(() => judge.close());
const read = (name: string) => readFileSync(join(judge.directory, name));

function officer(name: string): { certificate: Certificate; key: ReturnType<typeof createPrivateKey> } {
  judge.run(
    ...['req', '-x509', '-newkey', 'rsa:2048', '-noenc', '-keyout', `${name}.key`, '-out', `${name}.pem`],
    ...['-subj', `/CN=${name}`, '-days', '2'],
  );
  const certificate = readCertificate(fromPem('CERTIFICATE', read(`${name}.pem`).toString()));
  return { certificate, key: createPrivateKey(read(`${name}.key`)) };
}

let first: ReturnType<typeof officer>;
let second: ReturnType<typeof officer>;
let escrowed: EscrowedKey;
const { privateKey } = generateKeyPairSync('rsa', {
  modulusLength: 2048,
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
});
const label = 'key 1';
beforeAll(() => {
  first = officer('first');
  second = officer('second');
  escrowed = escrowPrivateKey(privateKey, [first.certificate, second.certificate], label);
});
const opened = (): [Buffer, Buffer] => [
  openShare(escrowed.shares[0], first.key),
  openShare(escrowed.shares[1], second.key),
];

describe('an escrowed key', () => {
  test('comes back by both officers together', () => {
    expect(recoverPrivateKey(escrowed.sealedKey, opened(), label)).toEqual(privateKey);
  });

  test('does not come back by one of them, in another place, or changed', () => {
    expect(() => openShare(escrowed.shares[1], first.key)).toThrow('does not open the share');
    const [mine] = opened();
    const unreadable = expect.objectContaining({ kind: 'invalid', code: 'escrow_unreadable' });
    for (const other of [mine, Buffer.alloc(32), escrowed.shares[1].subarray(-32)])
      expect(() => recoverPrivateKey(escrowed.sealedKey, [mine, other], label)).toThrow(unreadable);
    expect(() => recoverPrivateKey(escrowed.sealedKey, opened(), 'key 2')).toThrow(unreadable);
    const changed = Buffer.from(escrowed.sealedKey);
    changed[40]! ^= 1;
    expect(() => recoverPrivateKey(changed, opened(), label)).toThrow(unreadable);
    expect(() => recoverPrivateKey(Buffer.alloc(3), opened(), label)).toThrow(unreadable);
  });

  test('is nowhere in what is stored', () => {
    const stored = Buffer.concat([escrowed.sealedKey, ...escrowed.shares]);
    expect(stored.includes(privateKey.subarray(100, 130))).toBe(false);
    for (const share of opened()) expect(stored.includes(share)).toBe(false);
  });
});

describe('a share', () => {
  test('opens with the openssl command and the officer’s key, and with no other', () => {
    judge.write('share.cms', escrowed.shares[0]);
    const decrypt = ['cms', '-decrypt', '-inform', 'DER', '-in', 'share.cms', '-binary', '-out', 'share.bin'];
    judge.run(...decrypt, '-inkey', 'first.key', '-recip', 'first.pem');
    expect(read('share.bin')).toEqual(opened()[0]);
    expect(() => judge.run(...decrypt, '-inkey', 'second.key', '-recip', 'second.pem')).toThrow();
  });

  test('made by OpenSSL in the same algorithms opens here; in others it is refused', () => {
    judge.write('content', 'thirty-two octets, more or less.');
    const encrypt = ['cms', '-encrypt', '-binary', '-in', 'content', '-outform', 'DER', '-out', 'made.cms'];
    const oaep = ['-keyopt', 'rsa_padding_mode:oaep', '-keyopt', 'rsa_oaep_md:sha256', '-keyopt', 'rsa_mgf1_md:sha256'];
    judge.run(...encrypt, '-aes-256-cbc', '-recip', 'first.pem', ...oaep);
    expect(openEnveloped(read('made.cms'), first.key).toString()).toBe('thirty-two octets, more or less.');
    judge.run(...encrypt, '-aes-128-cbc', '-recip', 'first.pem', ...oaep);
    expect(() => openEnveloped(read('made.cms'), first.key)).toThrow('other algorithms');
    expect(() => openEnveloped(makeEnveloped(Buffer.from('x'), first.certificate).subarray(1), first.key)).toThrow(
      expect.objectContaining({ code: 'malformed_der' }),
    );
  });
});
