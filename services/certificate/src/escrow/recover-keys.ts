/**
 * What the two officers do with their shares, away from the service: each opens the own share of every key with the own private key, and
 * the two opened shares together make one PKCS#12 of all the encryption keys that the account has had, so that its old mail opens.
 * Each key is compared with its certificate before it goes in.
 */
import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import type { RecoveryShares } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import { readCertificate } from '../authority/certificate.ts';
import { openShare, recoverPrivateKey } from '../authority/key-escrow.ts';
import { makePkcs12Bundle, newPassphrase, type Pkcs12Form } from '../authority/pkcs12.ts';

const octets = (base64: string): Buffer => Buffer.from(base64, 'base64');
const refuse = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'invalid', code, detail });

/** The same with its shares opened. Throws `invalid` (`share_unreadable`) if the key is not that of the officer. */
export function openShares(shares: RecoveryShares, privateKey: KeyObject): RecoveryShares {
  const keys = shares.keys.map((key) => ({
    ...key,
    share: key.share && openShare(octets(key.share), privateKey).toString('base64'),
  }));
  return { ...shares, keys };
}

export interface RecoveredFile {
  file: Buffer;
  passphrase: string;
  serialNumbers: string[];
  /** Keys that are for other officers than these two, and who they are. */
  missing: { serialNumber: string; officers: string[] }[];
}

/** Throws `invalid` if the two are not the two parts of one recovery, or a key does not open or is not its certificate's. */
export async function combineShares(
  one: RecoveryShares,
  other: RecoveryShares,
  form: Pkcs12Form,
): Promise<RecoveredFile> {
  if (one.recoveryId !== other.recoveryId || one.officerId === other.officerId)
    throw refuse('shares_not_two', 'These are not the shares of the two officers of one recovery.');
  const entries: { privateKey: Buffer; certificate: Buffer; friendlyName: string }[] = [];
  const found: RecoveredFile = { file: Buffer.alloc(0), passphrase: newPassphrase(), serialNumbers: [], missing: [] };
  for (const key of one.keys) {
    const share = other.keys.find((same) => same.enrolmentId === key.enrolmentId)?.share;
    if (!key.share || !share) {
      found.missing.push({ serialNumber: key.serialNumber, officers: key.officers });
      continue;
    }
    const privateKey = recoverPrivateKey(octets(key.sealedKey), [octets(key.share), octets(share)], key.enrolmentId);
    const certificate = readCertificate(octets(key.certificate));
    requireBelonging(privateKey, certificate.subjectPublicKeyInfo, key.serialNumber);
    const day = certificate.notBefore.toISOString().slice(0, 10);
    const friendlyName = `${one.displayName} ${day} ${key.serialNumber.slice(0, 8)}`;
    entries.push({ privateKey, certificate: certificate.der, friendlyName });
    found.serialNumbers.push(key.serialNumber);
  }
  if (entries.length === 0) throw refuse('nothing_recovered', 'No key is for these two officers.');
  found.file = await makePkcs12Bundle({
    entries,
    chain: one.chain.map(octets),
    passphrase: found.passphrase,
    isGenerated: true,
    form,
  });
  for (const { privateKey } of entries) privateKey.fill(0);
  return found;
}

function requireBelonging(privateKey: Buffer, subjectPublicKeyInfo: Buffer, serialNumber: string): void {
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' });
  if (createPublicKey(key).export({ format: 'der', type: 'spki' }).equals(subjectPublicKeyInfo)) return;
  throw refuse('key_foreign', `What was recovered for the certificate ${serialNumber} is not its key.`);
}
