/**
 * Certificate revocation lists, version 2 (RFC 5280 section 5): full lists with authority key identifier and CRL number.
 * Entries are written straight into one growing buffer, so 100,000 of them cost time and memory in proportion.
 * Building is pure; signing is a second step, as with certificates.
 */
import { invalid } from '@congvu/errors';
import * as der from './der.ts';
import * as extension from './extension.ts';
import { type Issuer, signIfOwn } from './issuer.ts';

/** CRLReason (RFC 5280 section 5.3.1). `removeFromCRL` belongs to delta CRLs, which are not made here. */
export const revocationReasonCode = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;
export type RevocationReason = keyof typeof revocationReasonCode;

export interface CrlEntry {
  /** INTEGER content octets, as in the certificate. */
  readonly serialNumber: Buffer;
  readonly revocationDate: Date;
  readonly reason: RevocationReason;
}

export interface CrlContents {
  /** Grows with every list of this issuer; at most 20 octets (section 5.2.3). */
  readonly crlNumber: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Each serial number once. */
  readonly entries: Iterable<CrlEntry>;
}

const version2 = der.integer(1);
const noExtensions = Buffer.alloc(0);

/** crlEntryExtensions by reason; for `unspecified` the reason is left out (section 5.3.1). */
const entryExtensions = Object.fromEntries(
  Object.entries(revocationReasonCode).map(([reason, code]) => [
    reason,
    code === 0 ? noExtensions : der.sequence(extension.reasonCode(code)),
  ]),
) as Readonly<Record<RevocationReason, Buffer>>;

/**
 * DER of the TBSCertList. Throws `invalid` (`crl_invalid`) if nextUpdate is not after thisUpdate, the number is negative
 * or too long, or an entry has a serial number that no certificate can have or a reason that no full CRL carries.
 */
export function buildTbsCrl(issuer: Issuer, contents: CrlContents): Buffer {
  const { crlNumber, thisUpdate, nextUpdate } = contents;
  if (!(wholeSeconds(nextUpdate) > wholeSeconds(thisUpdate)))
    throw fault('/nextUpdate', 'range', 'nextUpdate must be later than thisUpdate.');
  if (crlNumber < 0n || crlNumber >= 1n << 159n)
    throw fault('/crlNumber', 'range', 'A CRL number is not negative and has at most 20 octets.');
  const entries = encodeEntries(contents.entries);
  return der.sequence(
    version2,
    issuer.signatureAlgorithm.identifier,
    issuer.certificate.subject,
    der.time(thisUpdate),
    der.time(nextUpdate),
    // Absent, not empty, when nothing is revoked (section 5.1.2.6).
    ...(entries.length > 0 ? [der.sequence(entries)] : []),
    der.explicit(
      0,
      der.sequence(extension.authorityKeyIdentifier(issuer.subjectKeyIdentifier), extension.cRLNumber(crlNumber)),
    ),
  );
}

/** The complete CRL, DER. Throws `invalid` (`tbs_foreign`) for a list of another issuer. */
export async function signCrl(issuer: Issuer, tbs: Buffer): Promise<Buffer> {
  const [version, algorithm, name] = der.readSequence(der.decode(tbs), 'TBSCertList');
  return signIfOwn(issuer, tbs, version?.tag === der.tag.integer ? algorithm : undefined, name);
}

const wholeSeconds = (date: Date) => Math.floor(date.getTime() / 1000);
const fault = (pointer: string, code: string, detail: string) => invalid('crl_invalid', [{ pointer, code, detail }]);

function encodeEntries(entries: Iterable<CrlEntry>): Buffer {
  let buffer = Buffer.allocUnsafe(4096);
  let length = 0;
  // Many are revoked in the same second (an agency closed), and neighbours usually on the same day.
  let second = Number.NaN;
  let date: Buffer = noExtensions;
  for (const { serialNumber, revocationDate, reason } of entries) {
    const extensions = entryExtensions[reason];
    if (extensions === undefined)
      throw fault('/entries', 'reason', 'An entry has a reason that a full CRL cannot carry.');
    if (serialNumber.length === 0 || serialNumber.length > 20 || serialNumber[0]! >= 0x80)
      throw fault('/entries', 'serial_number', 'An entry has a serial number that no certificate can have.');
    if (wholeSeconds(revocationDate) !== second) {
      second = wholeSeconds(revocationDate);
      date = der.time(revocationDate);
    }
    // Lengths below 128 throughout: at most 2 + (2 + 20) + 17 + 14 octets.
    const size = 2 + serialNumber.length + date.length + extensions.length;
    if (length + 2 + size > buffer.length) buffer = Buffer.concat([buffer], buffer.length * 2);
    buffer[length++] = der.tag.sequence;
    buffer[length++] = size;
    buffer[length++] = der.tag.integer;
    buffer[length++] = serialNumber.length;
    length += serialNumber.copy(buffer, length);
    length += date.copy(buffer, length);
    length += extensions.copy(buffer, length);
  }
  return buffer.subarray(0, length);
}
