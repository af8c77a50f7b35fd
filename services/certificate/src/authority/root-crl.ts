/** Reads the root's CRL (RFC 5280 section 5.1) as far as a service must know which authorities are revoked. Strict DER. */
import { createPublicKey } from 'node:crypto';
import { invalid } from '@congvu/errors';
import type { Certificate } from './certificate.ts';
import * as der from './der.ts';
import { keyKindOf } from './public-key.ts';
import { signatureAlgorithmOf, verifyBytes } from './signature.ts';

export interface RootCrl {
  readonly nextUpdate: Date;
  /** Serial numbers in hexadecimal. */
  readonly revoked: ReadonlySet<string>;
}

/** Throws `invalid`: `malformed_der`, or `root_crl_foreign` if it is not one that this root signed. */
export async function readRootCrl(root: Certificate, encoded: Buffer): Promise<RootCrl> {
  const [list, algorithm, signature] = der.readSequence(der.decode(encoded), 'The CRL');
  const fields = der.readSequence(list, 'TBSCertList');
  const [, , issuer, , nextUpdate, entries] = fields;
  const expected = signatureAlgorithmOf(keyKindOf(root.subjectPublicKeyInfo));
  const publicKey = createPublicKey({ key: root.subjectPublicKeyInfo, format: 'der', type: 'spki' });
  const octets = der.readOctetAlignedBits(signature, "The CRL's signature");
  const isOwn = issuer?.raw.equals(root.subject) && algorithm?.raw.equals(expected.identifier);
  if (!list || !isOwn || !(await verifyBytes(publicKey, expected, list.raw, octets)))
    throw invalid('root_crl_foreign', [
      { pointer: '', code: 'root_crl_foreign', detail: 'The CRL of the root was not signed by this root.' },
    ]);
  const revoked = entries?.tag === der.tag.sequence ? der.readSequence(entries, 'The entries of the CRL') : [];
  return {
    nextUpdate: der.readTime(nextUpdate, 'nextUpdate'),
    revoked: new Set(
      revoked.map((entry) =>
        der.readInteger(der.readSequence(entry, 'An entry')[0], 'A serial number').toString('hex'),
      ),
    ),
  };
}
