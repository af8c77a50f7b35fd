/**
 * National identity numbers at rest: sealed under one key, with an HMAC-SHA-256 under another by which equal numbers are
 * found. The two keys differ so that whoever can only compare cannot read. Sheets, which hold such numbers, are sealed under
 * the same key, each for its own request.
 */
import { createHmac, createSecretKey } from 'node:crypto';
import { openOctets, sealOctets } from './personal-data-seal.ts';

export interface NationalIdSeal {
  seal: (nationalId: string) => Buffer;
  open: (sealed: Buffer) => string;
  /** Equal for equal numbers. */
  index: (nationalId: string) => Buffer;
  sealSheet: (file: Buffer, requestId: string) => Buffer;
  openSheet: (sealed: Buffer, requestId: string) => Buffer;
}

export function createNationalIdSeal(keyBytes: Buffer, indexKeyBytes: Buffer): NationalIdSeal {
  // Made once: Node takes several times as long with the bytes themselves.
  const key = createSecretKey(keyBytes);
  const indexKey = createSecretKey(indexKeyBytes);
  return {
    seal: (nationalId) => sealOctets(key, Buffer.from(nationalId)),
    open: (sealed) => openOctets(key, sealed).toString('utf8'),
    index: (nationalId) => createHmac('sha256', indexKey).update(nationalId).digest(),
    sealSheet: (file, requestId) => sealOctets(key, file, `sheet of ${requestId}`),
    openSheet: (sealed, requestId) => openOctets(key, sealed, `sheet of ${requestId}`),
  };
}
