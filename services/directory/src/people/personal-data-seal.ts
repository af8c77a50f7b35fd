/**
 * Personal data at rest: AES-256-GCM. What is sealed opens under the same key and for the same purpose alone, so that a sealed
 * thing put in another's place does not open.
 */
import { createCipheriv, createDecipheriv, type KeyObject, randomBytes } from 'node:crypto';

const version = Buffer.from([1]);
const nonceBytes = 12;
const tagBytes = 16;
const headBytes = version.length + nonceBytes + tagBytes;
const sliceBytes = 1024 * 1024;

let drawn = Buffer.alloc(0);
/** Drawn many at a time: a few octets at random cost as much as thousands. */
function nextNonce(): Buffer {
  if (drawn.length === 0) drawn = randomBytes(nonceBytes * 256);
  const nonce = drawn.subarray(0, nonceBytes);
  drawn = drawn.subarray(nonceBytes);
  return nonce;
}

/** Version, nonce, tag, ciphertext. One copy of `octets` is made and no more: they may be a whole file. */
export function sealOctets(key: KeyObject, octets: Buffer, purpose = ''): Buffer {
  const nonce = nextNonce();
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.concat([version, Buffer.from(purpose)]));
  const sealed = Buffer.allocUnsafe(headBytes + octets.length);
  for (let at = 0; at < octets.length; at += sliceBytes)
    cipher.update(octets.subarray(at, at + sliceBytes)).copy(sealed, headBytes + at);
  cipher.final();
  Buffer.concat([version, nonce, cipher.getAuthTag()]).copy(sealed);
  return sealed;
}

/** Throws for anything that was altered, or sealed under another key or for another purpose. */
export function openOctets(key: KeyObject, sealed: Buffer, purpose = ''): Buffer {
  if (sealed[0] !== version[0]) throw new Error('sealed personal data are of an unknown version');
  const nonce = sealed.subarray(version.length, version.length + nonceBytes);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
    .setAAD(Buffer.concat([version, Buffer.from(purpose)]))
    .setAuthTag(sealed.subarray(version.length + nonceBytes, headBytes));
  const octets = Buffer.allocUnsafe(sealed.length - headBytes);
  for (let at = 0; at < octets.length; at += sliceBytes)
    decipher.update(sealed.subarray(headBytes + at, headBytes + at + sliceBytes)).copy(octets, at);
  decipher.final();
  return octets;
}
