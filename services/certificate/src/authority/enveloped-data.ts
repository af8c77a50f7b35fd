/**
 * CMS EnvelopedData (RFC 5652 section 6) for one recipient with an RSA key: content under AES-256-CBC, its key under RSAES-OAEP
 * with SHA-256 (RFC 4056, RFC 8017). `openssl cms -decrypt` and a token's own tools open it as well as `openEnveloped` does.
 * It hides and does not authenticate: what goes in must prove itself.
 */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  type KeyObject,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
} from 'node:crypto';
import type { Certificate } from './certificate.ts';
import * as der from './der.ts';
import { cms, pkcs } from './oids.ts';

const oaepPadding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' } as const;
/**
 * RSAES-OAEP-params with both hashes SHA-256: neither is the default, so both are written. The hash's own parameters are NULL here
 * and absent in what OpenSSL writes; RFC 4055 section 2.1 wants both understood.
 */
const oaepWithSha256 = (...hashParameters: Buffer[]): Buffer => {
  const sha256 = der.sequence(der.objectIdentifier(pkcs.sha256), ...hashParameters);
  const maskGeneration = der.sequence(der.objectIdentifier(cms.mgf1), sha256);
  return der.sequence(
    der.objectIdentifier(cms.rsaesOaep),
    der.sequence(der.explicit(0, sha256), der.explicit(1, maskGeneration)),
  );
};
const written = oaepWithSha256(der.nullValue);
const understood = [written, oaepWithSha256()];

/** DER of the ContentInfo. The recipient's certificate must be of an RSA key. */
export function makeEnveloped(content: Buffer, recipient: Certificate): Buffer {
  const publicKey = createPublicKey({ key: recipient.subjectPublicKeyInfo, format: 'der', type: 'spki' });
  const key = randomBytes(32);
  const iv = randomBytes(16);
  const cipher = createCipheriv('aes-256-cbc', key, iv);
  const ciphertext = Buffer.concat([cipher.update(content), cipher.final()]);
  const recipientInfo = der.sequence(
    der.integer(0),
    der.sequence(recipient.issuer, der.element(der.tag.integer, recipient.serialNumber)),
    written,
    der.octetString(publicEncrypt({ key: publicKey, ...oaepPadding }, key)),
  );
  key.fill(0);
  const encryptedContentInfo = der.sequence(
    der.objectIdentifier(pkcs.data),
    der.sequence(der.objectIdentifier(pkcs.aes256Cbc), der.octetString(iv)),
    der.implicit(0, ciphertext),
  );
  const enveloped = der.sequence(der.integer(0), der.setOf(recipientInfo), encryptedContentInfo);
  return der.sequence(der.objectIdentifier(cms.envelopedData), der.explicit(0, enveloped));
}

/** What `makeEnveloped` put in. Throws ServiceError `invalid` if it is built otherwise, or whatever OpenSSL says of a wrong key. */
export function openEnveloped(contentInfo: Buffer, privateKey: KeyObject): Buffer {
  const [type, wrapper] = der.readSequence(der.decode(contentInfo), 'ContentInfo');
  if (der.readObjectIdentifier(type, 'ContentInfo') !== cms.envelopedData)
    throw der.malformed('The CMS message is no EnvelopedData.');
  const [enveloped] = der.children(der.expect(wrapper, 0xa0, 'The content'));
  const [, recipients, encrypted] = der.readSequence(enveloped, 'EnvelopedData');
  const [recipient] = der.children(der.expect(recipients, der.tag.set, 'The recipients'));
  const [, , keyAlgorithm, encryptedKey] = der.readSequence(recipient, 'RecipientInfo');
  const [, contentAlgorithm, ciphertext] = der.readSequence(encrypted, 'EncryptedContentInfo');
  const [cipherType, iv] = der.readSequence(contentAlgorithm, 'The cipher');
  if (
    !understood.some((known) => keyAlgorithm?.raw.equals(known)) ||
    der.readObjectIdentifier(cipherType, 'The cipher') !== pkcs.aes256Cbc
  )
    throw der.malformed('EnvelopedData with other algorithms than RSAES-OAEP-SHA-256 and AES-256-CBC.');
  const wrapped = der.expect(encryptedKey, der.tag.octetString, 'The encrypted key').content;
  const key = privateDecrypt({ key: privateKey, ...oaepPadding }, wrapped);
  const cipher = createDecipheriv('aes-256-cbc', key, der.expect(iv, der.tag.octetString, 'The IV').content);
  key.fill(0);
  return Buffer.concat([cipher.update(der.expect(ciphertext, 0x80, 'The content').content), cipher.final()]);
}
