/** Object identifiers by the names that their standards give them. Data only. */

/** Attribute types of distinguished names (X.520, RFC 5280 appendix A.1; organizationIdentifier: X.520, CA/B S/MIME BR 7.1.4.2.2 d). */
export const attributeType = {
  commonName: '2.5.4.3',
  surname: '2.5.4.4',
  serialNumber: '2.5.4.5',
  countryName: '2.5.4.6',
  localityName: '2.5.4.7',
  stateOrProvinceName: '2.5.4.8',
  organizationName: '2.5.4.10',
  organizationalUnitName: '2.5.4.11',
  title: '2.5.4.12',
  givenName: '2.5.4.42',
  organizationIdentifier: '2.5.4.97',
} as const;
export type AttributeName = keyof typeof attributeType;

/** Certificate and CRL extensions (RFC 5280 sections 4.2 and 5.2). */
export const extensionType = {
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  cRLNumber: '2.5.29.20',
  reasonCode: '2.5.29.21',
  cRLDistributionPoints: '2.5.29.31',
  certificatePolicies: '2.5.29.32',
  authorityKeyIdentifier: '2.5.29.35',
  extKeyUsage: '2.5.29.37',
  authorityInfoAccess: '1.3.6.1.5.5.7.1.1',
  /** RFC 6960 section 4.2.2.2.1. */
  ocspNoCheck: '1.3.6.1.5.5.7.48.1.5',
} as const;

/** Key purposes (RFC 5280 section 4.2.1.12). */
export const keyPurpose = {
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  OCSPSigning: '1.3.6.1.5.5.7.3.9',
} as const;
export type ExtendedKeyUsage = keyof typeof keyPurpose;

/** Bit positions of KeyUsage (RFC 5280 section 4.2.1.3). */
export const keyUsageBit = {
  digitalSignature: 0,
  nonRepudiation: 1,
  keyEncipherment: 2,
  dataEncipherment: 3,
  keyAgreement: 4,
  keyCertSign: 5,
  cRLSign: 6,
} as const;
export type KeyUsage = keyof typeof keyUsageBit;

/** Access methods of authority information access (RFC 5280 section 4.2.2.1). */
export const accessMethod = { ocsp: '1.3.6.1.5.5.7.48.1', caIssuers: '1.3.6.1.5.5.7.48.2' } as const;

/** PKCS#5, #7, #9 and #12, and the algorithms that they name (RFC 8018, RFC 7292, RFC 2985). */
export const pkcs = {
  pbes2: '1.2.840.113549.1.5.13',
  pbkdf2: '1.2.840.113549.1.5.12',
  hmacWithSha256: '1.2.840.113549.2.9',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  data: '1.2.840.113549.1.7.1',
  encryptedData: '1.2.840.113549.1.7.6',
  friendlyName: '1.2.840.113549.1.9.20',
  localKeyId: '1.2.840.113549.1.9.21',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  pbeWithShaAnd3KeyTripleDesCbc: '1.2.840.113549.1.12.1.3',
  pkcs8ShroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
} as const;

/** Certificate policies that the CA/B Forum S/MIME Baseline Requirements reserve (section 7.1.6.1). */
export const smimePolicy = {
  mailboxValidatedStrict: '2.23.140.1.5.1.3',
  organizationValidatedStrict: '2.23.140.1.5.2.3',
  sponsorValidatedStrict: '2.23.140.1.5.3.3',
  individualValidatedStrict: '2.23.140.1.5.4.3',
} as const;
