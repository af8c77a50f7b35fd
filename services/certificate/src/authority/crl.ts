/**
 * Certificate revocation lists, version 2 (RFC 5280 section 5): complete lists and deltas, of all certificates of an issuer or
 * of those that point to one distribution point. Entries are written straight into one growing buffer, so 100,000 of them
 * cost time and memory in proportion, and those that were encoded before are taken as they are.
 * Building is pure; signing is a second step, as with certificates.
 */
import { invalid } from '@congvu/errors';
import * as der from './der.ts';
import * as extension from './extension.ts';
import { type Issuer, signIfOwn } from './issuer.ts';

/** CRLReason (RFC 5280 section 5.3.1). `removeFromCRL` is for delta CRLs alone. */
export const revocationReasonCode = {
  unspecified: 0,
  keyCompromise: 1,
  cACompromise: 2,
  affiliationChanged: 3,
  superseded: 4,
  cessationOfOperation: 5,
  certificateHold: 6,
  removeFromCRL: 8,
  privilegeWithdrawn: 9,
  aACompromise: 10,
} as const;
type EntryReason = keyof typeof revocationReasonCode;
export type RevocationReason = Exclude<EntryReason, 'removeFromCRL'>;

export interface CrlEntry {
  /** INTEGER content octets, as in the certificate. */
  readonly serialNumber: Buffer;
  readonly revocationDate: Date;
  readonly reason: EntryReason;
  readonly invalidityDate?: Date | null;
}

export interface CrlContents {
  /** Grows with every list of this issuer; at most 20 octets (section 5.2.3). */
  readonly crlNumber: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
  /** Each serial number once. A Buffer stands for any number of entries, as `encodeEntries` made them. */
  readonly entries: Iterable<CrlEntry | Buffer>;
  /** Of a list that holds only the certificates that point to this URL. */
  readonly distributionPoint?: string;
  /** Of a complete list that has a delta: its URL. */
  readonly freshestCrl?: string | undefined;
  /** Of a delta: the number of the complete list on which it builds. */
  readonly baseCrlNumber?: bigint;
}

const version2 = der.integer(1);
const noExtensions = Buffer.alloc(0);

/** The reason's extension; for `unspecified` there is none (section 5.3.1). */
const reasonExtension = Object.fromEntries(
  Object.entries(revocationReasonCode).map(([reason, code]) => [
    reason,
    code === 0 ? noExtensions : extension.reasonCode(code),
  ]),
) as Readonly<Record<EntryReason, Buffer>>;
/** crlEntryExtensions with the reason alone. */
const reasonExtensions = Object.fromEntries(
  Object.entries(reasonExtension).map(([reason, encoded]) => [
    reason,
    encoded.length === 0 ? noExtensions : der.sequence(encoded),
  ]),
) as typeof reasonExtension;

/**
 * DER of the TBSCertList. Throws `invalid` (`crl_invalid`) if nextUpdate is not after thisUpdate, a number is negative or too
 * long, a delta's base does not come before it, or an entry has a serial number that no certificate can have or a reason that
 * such a list does not carry.
 */
export function buildTbsCrl(issuer: Issuer, contents: CrlContents): Buffer {
  const { crlNumber, thisUpdate, nextUpdate, baseCrlNumber } = contents;
  if (!(wholeSeconds(nextUpdate) > wholeSeconds(thisUpdate)))
    throw fault('/nextUpdate', 'range', 'nextUpdate must be later than thisUpdate.');
  if (crlNumber < 0n || crlNumber >= 1n << 159n)
    throw fault('/crlNumber', 'range', 'A CRL number is not negative and has at most 20 octets.');
  if (baseCrlNumber !== undefined && !(baseCrlNumber >= 0n && baseCrlNumber < crlNumber))
    throw fault('/baseCrlNumber', 'range', 'A delta builds on a list that came before it.');
  const isDelta = baseCrlNumber !== undefined;
  const entries = der.sequence(...piecesOf(contents.entries, isDelta));
  return der.sequence(
    version2,
    issuer.signatureAlgorithm.identifier,
    issuer.certificate.subject,
    der.time(thisUpdate),
    der.time(nextUpdate),
    // Absent, not empty, when nothing is revoked (section 5.1.2.6).
    ...(entries.length > 2 ? [entries] : []),
    der.explicit(
      0,
      der.sequence(
        extension.authorityKeyIdentifier(issuer.subjectKeyIdentifier),
        extension.cRLNumber(crlNumber),
        ...(isDelta ? [extension.deltaCRLIndicator(baseCrlNumber)] : []),
        ...(contents.distributionPoint ? [extension.issuingDistributionPoint([contents.distributionPoint])] : []),
        // A delta has none (section 5.2.6).
        ...(contents.freshestCrl && !isDelta ? [extension.freshestCRL([contents.freshestCrl])] : []),
      ),
    ),
  );
}

/** What was encoded before as it is, and what stands between in as few pieces as there are. */
function piecesOf(entries: Iterable<CrlEntry | Buffer>, isDelta: boolean): Buffer[] {
  const pieces: Buffer[] = [];
  const loose: CrlEntry[] = [];
  const flush = () => {
    if (loose.length > 0) pieces.push(encodeEntries(loose.splice(0), isDelta));
  };
  for (const entry of entries) {
    if (Buffer.isBuffer(entry)) {
      flush();
      pieces.push(entry);
    } else loose.push(entry);
  }
  flush();
  return pieces;
}

/** The complete CRL, DER. Throws `invalid` (`tbs_foreign`) for a list of another issuer. */
export async function signCrl(issuer: Issuer, tbs: Buffer): Promise<Buffer> {
  const [version, algorithm, name] = der.readSequence(der.decode(tbs), 'TBSCertList');
  return signIfOwn(issuer, tbs, version?.tag === der.tag.integer ? algorithm : undefined, name);
}

/** The octets of a list that stand before and after its entries. */
export function splitCrl(crl: Buffer): { prefix: Buffer; suffix: Buffer } {
  const [tbs] = der.readSequence(der.decode(crl), 'CertificateList');
  const parts = der.readSequence(tbs, 'TBSCertList');
  // Version, algorithm, issuer and two times; then the entries, or at once the extensions.
  const entries = parts[5]?.tag === der.tag.sequence ? parts[5].content : parts[4]!.raw.subarray(parts[4]!.raw.length);
  const start = entries.byteOffset - crl.byteOffset;
  return { prefix: crl.subarray(0, start), suffix: crl.subarray(start + entries.length) };
}

const wholeSeconds = (date: Date) => Math.floor(date.getTime() / 1000);
const fault = (pointer: string, code: string, detail: string) => invalid('crl_invalid', [{ pointer, code, detail }]);

/** The entries one after the other, to be put into a list now or later. Throws as `buildTbsCrl` does. */
export function encodeEntries(entries: Iterable<CrlEntry>, isDelta = false): Buffer {
  let buffer = Buffer.allocUnsafe(4096);
  let length = 0;
  // Many are revoked in the same second (an agency closed), and neighbours usually on the same day.
  let second = Number.NaN;
  let date: Buffer = noExtensions;
  for (const { serialNumber, revocationDate, reason, invalidityDate } of entries) {
    if (reasonExtension[reason] === undefined || (reason === 'removeFromCRL' && !isDelta))
      throw fault('/entries', 'reason', 'An entry has a reason that such a list cannot carry.');
    if (serialNumber.length === 0 || serialNumber.length > 20 || serialNumber[0]! >= 0x80)
      throw fault('/entries', 'serial_number', 'An entry has a serial number that no certificate can have.');
    if (wholeSeconds(revocationDate) !== second) {
      second = wholeSeconds(revocationDate);
      date = der.time(revocationDate);
    }
    const extensions = invalidityDate
      ? der.sequence(reasonExtension[reason], extension.invalidityDate(invalidityDate))
      : reasonExtensions[reason];
    // Lengths below 128 throughout: at most 2 + 20 + 17 + 40 octets.
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
