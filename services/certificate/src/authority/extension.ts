/**
 * Encoders of the extensions that Congvu's certificates and CRLs carry (RFC 5280 sections 4.2 and 5.2): each returns the
 * complete Extension. Critical is what the RFC or the CA/B S/MIME BR wants it to be and is nobody's choice. Pure.
 */
import * as der from './der.ts';
import { accessMethod, type ExtendedKeyUsage, extensionType, type KeyUsage, keyPurpose, keyUsageBit } from './oids.ts';

/** Kinds of name that subjectAltName takes here: addresses of mailboxes, host names of devices. */
export const generalNameKinds = ['rfc822Name', 'dNSName'] as const;
export type GeneralNameKind = (typeof generalNameKinds)[number];

export interface GeneralName {
  readonly kind: GeneralNameKind;
  readonly value: string;
}

/** Context tags of GeneralName (RFC 5280 section 4.2.1.6). */
const generalNameTag = { rfc822Name: 1, dNSName: 2, uniformResourceIdentifier: 6 } as const;

const extensionId = Object.fromEntries(
  Object.entries(extensionType).map(([type, oid]) => [type, der.objectIdentifier(oid)]),
) as Readonly<Record<keyof typeof extensionType, Buffer>>;

function extension(type: keyof typeof extensionType, critical: boolean, value: Buffer): Buffer {
  const id = extensionId[type];
  // DEFAULT FALSE: written only when true (X.690 section 11.5).
  return der.sequence(id, ...(critical ? [der.boolean(true)] : []), der.octetString(value));
}

export const authorityKeyIdentifier = (keyIdentifier: Buffer): Buffer =>
  extension('authorityKeyIdentifier', false, der.sequence(der.implicit(0, keyIdentifier)));

export const subjectKeyIdentifier = (keyIdentifier: Buffer): Buffer =>
  extension('subjectKeyIdentifier', false, der.octetString(keyIdentifier));

export const keyUsage = (usages: readonly KeyUsage[]): Buffer =>
  extension('keyUsage', true, der.namedBits(usages.map((usage) => keyUsageBit[usage])));

export const extKeyUsage = (purposes: readonly ExtendedKeyUsage[]): Buffer =>
  extension(
    'extKeyUsage',
    false,
    der.sequence(...purposes.map((purpose) => der.objectIdentifier(keyPurpose[purpose]))),
  );

export const certificatePolicies = (policies: readonly string[]): Buffer =>
  extension(
    'certificatePolicies',
    false,
    der.sequence(...policies.map((policy) => der.sequence(der.objectIdentifier(policy)))),
  );

const uri = (url: string): Buffer => der.implicit(generalNameTag.uniformResourceIdentifier, Buffer.from(url, 'latin1'));

/** One DistributionPoint whose fullName lists all `urls`: several places of the same CRL. */
export const cRLDistributionPoints = (urls: readonly string[]): Buffer =>
  extension(
    'cRLDistributionPoints',
    false,
    der.sequence(der.sequence(der.implicitConstructed(0, der.implicitConstructed(0, ...urls.map((url) => uri(url)))))),
  );

/** Where the responder is, then where the issuer's certificate is. */
export const authorityInfoAccess = (places: { ocsp?: readonly string[]; caIssuers: readonly string[] }): Buffer => {
  const access = (method: keyof typeof accessMethod) => (url: string) =>
    der.sequence(der.objectIdentifier(accessMethod[method]), uri(url));
  return extension(
    'authorityInfoAccess',
    false,
    der.sequence(...(places.ocsp ?? []).map(access('ocsp')), ...places.caIssuers.map(access('caIssuers'))),
  );
};

/** Of a responder's own certificate: it is trusted for as long as it lives (RFC 6960 section 4.2.2.2.1). */
export const ocspNoCheck = (): Buffer => extension('ocspNoCheck', false, der.nullValue);

/** Not critical, because the subject is never empty here (RFC 5280 section 4.2.1.6). */
export const subjectAltName = (names: readonly GeneralName[]): Buffer =>
  extension(
    'subjectAltName',
    false,
    der.sequence(...names.map(({ kind, value }) => der.implicit(generalNameTag[kind], Buffer.from(value, 'latin1')))),
  );

/** For authorities only: cA true, and how many authorities may stand below. */
export const basicConstraints = (pathLength: number): Buffer =>
  extension('basicConstraints', true, der.sequence(der.boolean(true), der.integer(pathLength)));

export const cRLNumber = (number: bigint): Buffer => extension('cRLNumber', false, der.integer(number));

export const reasonCode = (code: number): Buffer => extension('reasonCode', false, der.enumerated(code));
