/** Client secrets: 256 random bits, of which the record keeps the SHA-256; so many bits need no slow hash. */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

export const newClientSecret = (): string => randomBytes(32).toString('base64url');
export const hashClientSecret = (secret: string): Buffer => createHash('sha256').update(secret).digest();
export const isClientSecret = (secret: string, hash: Buffer): boolean =>
  timingSafeEqual(hashClientSecret(secret), hash);
