/**
 * The form of the local parts that Congvu gives out (RFC 5321 section 4.1.2, Dot-string; 4.5.3.1.1, 64 octets): lower-case
 * ASCII letters, digits, dots and hyphens, with a letter or digit at both ends and never two dots together; and the names
 * that no person or agency gets.
 */

import { searchKey } from './transliterate.ts';

export const maximumLocalPartOctets = 64;

const form = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

/**
 * Roles that mail to them reaches (RFC 2142, RFC 5321 section 4.5.1), addresses a public certificate authority accepts as
 * proof of control over the domain (CA/Browser Forum BR 3.2.2.4.4), senders of the platform itself, and host names that
 * clients look for by themselves.
 */
const reserved = new Set(
  (
    'postmaster hostmaster webmaster abuse noc security info support sales marketing usenet news www uucp ftp ' +
    'admin administrator root mailer-daemon daemon nobody bin sys operator sysadmin ' +
    'noreply no-reply donotreply do-not-reply bounce bounces dmarc tlsrpt ssladmin sslwebmaster is it mis ' +
    'mail smtp imap pop pop3 webmail autodiscover autoconfig mta-sts localhost ns mx dns ldap ca crl ocsp test ' +
    'thongbao quantri quantrivien quanly hethong hotro lienhe gopy congvu congvan baomat vanthu banbientap tonghop ' +
    'all everyone tatca'
  ).split(' '),
);

/** True when nobody may be given this local part; RFC 2142 section 6 reserves `…-request` for lists. */
export function isReservedLocalPart(localPart: string): boolean {
  return reserved.has(localPart) || localPart.endsWith('-request') || localPart.startsWith('owner-');
}

/** True for a local part of the form above that fits into 64 octets and is not reserved. */
export function isLocalPart(text: string): boolean {
  return text.length <= maximumLocalPartOctets && form.test(text) && !text.includes('..') && !isReservedLocalPart(text);
}

/** Text as part of an address: no marks, small letters, nothing but letters and digits. */
export function squeeze(text: string): string {
  return searchKey(text).replace(/[^a-z0-9]/g, '');
}

/** At most `length` characters, ending in a letter or digit. */
export function cut(text: string, length: number): string {
  return text.slice(0, Math.max(0, length)).replace(/[.-]+$/, '');
}
