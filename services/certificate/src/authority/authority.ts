/**
 * Makes authorities: a root that signs itself, and issuing authorities below it. Two tiers exactly: the root's path
 * length is 1 and an issuing authority's is 0, so a stolen issuing key cannot make further authorities.
 */
import { createPrivateKey } from 'node:crypto';
import { readCertificate } from './certificate.ts';
import * as der from './der.ts';
import { encodeName, type NameAttribute } from './distinguished-name.ts';
import * as extension from './extension.ts';
import { assembleTbs, type Issuer, issuerOf, newSerialNumber, signTbs } from './issuer.ts';
import { generateKeyPair } from './key-pair.ts';
import type { ExtendedKeyUsage } from './oids.ts';
import { type KeyKind, keyIdentifierOf } from './public-key.ts';
import { signatureAlgorithmOf, signBytes } from './signature.ts';

export interface NewAuthority {
  /** CA/B S/MIME BR 7.1.4.3: country, organisation and a common name that no other authority here has. */
  readonly subject: readonly NameAttribute[];
  readonly keyKind: KeyKind;
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** An authority together with its private key (PKCS#8 DER, in the clear), as it is only while it is being made. */
export interface MadeAuthority {
  readonly issuer: Issuer;
  readonly privateKey: Buffer;
}

/** A key usage without digitalSignature: neither signs OCSP answers itself, a delegated responder does. */
const authorityKeyUsage = extension.keyUsage(['keyCertSign', 'cRLSign']);

/** Any policy (RFC 5280 section 4.2.1.4): profiles decide which policies certificates carry, as they come and go. */
const anyPolicy = '2.5.29.32.0';

/**
 * A self-signed root. No key purposes, policies, CRL or AIA in it (CA/B S/MIME BR 7.1.2.1): a trust anchor is withdrawn
 * by taking it out of the readers' stores, and nothing can vouch for it.
 */
export async function createRoot(root: NewAuthority): Promise<MadeAuthority> {
  const { privateKey, subjectPublicKeyInfo } = await generateKeyPair(root.keyKind);
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' });
  const algorithm = signatureAlgorithmOf(root.keyKind);
  const subject = encodeName(root.subject);
  const tbs = assembleTbs({
    ...root,
    serialNumber: newSerialNumber(),
    algorithmAndIssuer: Buffer.concat([algorithm.identifier, subject]),
    subject,
    subjectPublicKeyInfo,
    extensions: [
      extension.subjectKeyIdentifier(keyIdentifierOf(subjectPublicKeyInfo)),
      authorityKeyUsage,
      extension.basicConstraints(1),
    ],
  });
  const signature = await signBytes(key, algorithm, tbs);
  const certificate = readCertificate(der.sequence(tbs, algorithm.identifier, der.bitString(signature)));
  return { issuer: issuerOf(certificate, key), privateKey };
}

/** An issuing authority below `root`, confined to the key purposes of what it will issue (CA/B S/MIME BR 7.1.2.2 g). */
export async function createIssuing(
  root: Issuer,
  issuing: NewAuthority & {
    readonly extendedKeyUsage: readonly ExtendedKeyUsage[];
    /** `http:` URLs of the root's CRL and of its certificate in DER. */
    readonly rootCrlUrl: string;
    readonly rootCertificateUrl: string;
  },
): Promise<MadeAuthority> {
  const { privateKey, subjectPublicKeyInfo } = await generateKeyPair(issuing.keyKind);
  const tbs = assembleTbs({
    ...issuing,
    serialNumber: newSerialNumber(),
    algorithmAndIssuer: Buffer.concat([root.signatureAlgorithm.identifier, root.certificate.subject]),
    subject: encodeName(issuing.subject),
    subjectPublicKeyInfo,
    extensions: [
      extension.authorityKeyIdentifier(root.subjectKeyIdentifier),
      extension.subjectKeyIdentifier(keyIdentifierOf(subjectPublicKeyInfo)),
      authorityKeyUsage,
      extension.extKeyUsage(issuing.extendedKeyUsage),
      extension.certificatePolicies([anyPolicy]),
      extension.basicConstraints(0),
      extension.cRLDistributionPoints([issuing.rootCrlUrl]),
      extension.authorityInfoAccess({ caIssuers: [issuing.rootCertificateUrl] }),
    ],
  });
  const certificate = readCertificate(await signTbs(root, tbs));
  const key = createPrivateKey({ key: privateKey, format: 'der', type: 'pkcs8' });
  return { issuer: issuerOf(certificate, key), privateKey };
}
