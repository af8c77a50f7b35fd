/** The key that signs notices (DKIM, RFC 6376), and the DNS record with which others check the signature. */
import { createPrivateKey, createPublicKey } from 'node:crypto';
import type { NoticeSigningKey } from '@congvu/contracts';

export interface SigningKey {
  domain: string;
  selector: string;
  /** PEM. RSA, because RFC 8463 (Ed25519) is not checked everywhere. */
  privateKey: string;
}

/** Whether it is what RFC 8301 asks of a signer. */
export function isSigningKey(pem: string): boolean {
  try {
    const { asymmetricKeyType, asymmetricKeyDetails } = createPrivateKey(pem);
    return asymmetricKeyType === 'rsa' && (asymmetricKeyDetails?.modulusLength ?? 0) >= 2048;
  } catch {
    return false;
  }
}

export function publicRecord({ domain, selector, privateKey }: SigningKey): NoticeSigningKey {
  const key = createPublicKey(privateKey).export({ type: 'spki', format: 'der' }).toString('base64');
  const name = `${selector}._domainkey.${domain}`;
  const value = `v=DKIM1; k=rsa; p=${key}`;
  const strings = value.match(/.{1,255}/g) ?? [];
  return {
    domain,
    selector,
    name,
    value,
    zoneLine: `${name}. IN TXT ( ${strings.map((part) => `"${part}"`).join(' ')} )`,
  };
}
