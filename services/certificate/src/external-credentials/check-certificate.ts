/** Whether a certificate that came back is the one that the account was to get: its name, address, dates, purpose and chain. Pure. */
import type { X509Certificate } from 'node:crypto';
import type { Fault } from '@congvu/errors';
import { stripMarks } from '@congvu/vietnamese';
import { type ForeignCertificate, leadsToRoot } from '../authority/foreign-certificate.ts';

export interface Expected {
  kind: 'individual' | 'organisation' | 'device';
  /** Any of them will do. */
  names: readonly string[];
  address: string;
  /** Twelve digits, where it is known. */
  identityNumber: string | undefined;
}

const aDay = 86_400_000;

/** Every fault at once; none if the certificate is the account's. `authorities` are those that may have issued it; undefined: any. */
export function certificateFaults(
  certificate: ForeignCertificate,
  expected: Expected,
  authorities: readonly X509Certificate[] | undefined,
  now: Date,
): Fault[] {
  const faults: Fault[] = [];
  const fault = (code: string, detail: string): void => void faults.push({ pointer: '/certificate', code, detail });

  if (certificate.isAuthority)
    fault('certificate_of_authority', 'This is the certificate of an authority, not of a holder.');
  if (certificate.notAfter <= now)
    fault('certificate_expired', `The certificate ended on ${certificate.notAfter.toISOString().slice(0, 10)}.`);
  if (certificate.notBefore.getTime() > now.getTime() + aDay)
    fault(
      'certificate_not_yet_valid',
      `The certificate holds from ${certificate.notBefore.toISOString().slice(0, 10)}; send it once it does.`,
    );

  const named = namesOf(certificate, expected.kind);
  if (!named.some((name) => expected.names.some((wanted) => isSameName(name, wanted)))) {
    const whose = named.length === 0 ? 'nobody' : `“${named[0]?.slice(0, 100)}”`;
    fault('certificate_name', `The certificate names ${whose}; the account is “${expected.names[0]?.slice(0, 100)}”.`);
  }

  // An agency's or a device's need not have an address; a person's must.
  const { addresses } = certificate;
  if (addresses.length > 0 ? !addresses.includes(expected.address.toLowerCase()) : expected.kind === 'individual') {
    const held = addresses.length === 0 ? 'no address' : `the address ${addresses[0]?.slice(0, 254)}`;
    fault('certificate_address', `The certificate has ${held}; the account's is ${expected.address}.`);
  }

  const numbers = certificate.subject.flatMap(({ value }) => value.match(/(?<!\d)\d{12}(?!\d)/g) ?? []);
  if (expected.identityNumber !== undefined && numbers.length > 0 && !numbers.includes(expected.identityNumber))
    fault('certificate_identity', 'The identity number in the certificate is not the one of the request.');

  if (authorities && !leadsToRoot(certificate.der, authorities, now))
    fault('certificate_chain', 'No signature leads from this certificate to an authority that is trusted here.');
  return faults;
}

function namesOf(certificate: ForeignCertificate, kind: Expected['kind']): string[] {
  const valuesOf = (type: string) => certificate.subject.flatMap((one) => (one.type === type ? [one.value] : []));
  const common = valuesOf('commonName');
  if (kind === 'device') return [...common, ...certificate.dnsNames];
  if (kind === 'organisation')
    return [...common, ...valuesOf('organizationName'), ...valuesOf('organizationalUnitName')];
  const [surname, givenName] = [valuesOf('surname')[0], valuesOf('givenName')[0]];
  return [...common, ...(surname && givenName ? [`${surname} ${givenName}`] : [])];
}

const folded = (name: string): string => name.normalize('NFC').toLocaleLowerCase('vi').replace(/\s+/gu, ' ').trim();

/** Capitals and blanks do not count; marks only where the certificate has some, because older ones are written without. */
function isSameName(name: string, wanted: string): boolean {
  const [one, other] = [folded(name), folded(wanted)];
  return one === other || (stripMarks(one) === one && one === stripMarks(other));
}
