/**
 * Who deleted entries, and when: from the log that OpenLDAP keeps of deletions and renamings (overlay accesslog, slapd.conf), as far
 * back as it goes. Without such a log, or before it began, nobody knows, and that is no error.
 */
import { type Ldap, NoSuchObjectError, type Value } from '@congvu/ldap';

export interface Deletion {
  lastModifiedBy: string | null;
  lastModifiedAt: string | null;
}

const dnsPerSearch = 100;

/** By lower-case DN; of several deletions the last. */
export async function findDeletions(ldap: Ldap, dns: readonly string[]): Promise<Map<string, Deletion>> {
  const deletions = new Map<string, Deletion>();
  for (let start = 0; start < dns.length; start += dnsPerSearch) {
    try {
      const some = dns.slice(start, start + dnsPerSearch);
      const found = await ldap.findBy('cn=accesslog', 'reqDN', some, ['reqDN', 'reqAuthzID', 'reqStart', 'reqResult']);
      for (const { attributes } of found) {
        const { reqDN, reqAuthzID, reqStart, reqResult } = attributes;
        if (String(reqResult?.[0]) !== '0') continue;
        const dn = String(reqDN?.[0]).toLowerCase();
        const at = parseTime(reqStart?.[0]);
        if ((deletions.get(dn)?.lastModifiedAt ?? '') > (at ?? '')) continue;
        deletions.set(dn, {
          lastModifiedBy: reqAuthzID?.[0] === undefined ? null : String(reqAuthzID[0]),
          lastModifiedAt: at,
        });
      }
    } catch (error) {
      if (!(error instanceof NoSuchObjectError)) throw error;
    }
  }
  return deletions;
}

/** Generalized Time (RFC 4517 section 3.3.13) as OpenLDAP writes it, in RFC 3339. */
export function parseTime(value: Value | undefined): string | null {
  const parts = /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(?:\.(\d{3})\d*)?Z$/.exec(String(value));
  if (!parts) return null;
  const [, year, month, day, hour, minute, second, fraction = '000'] = parts;
  return `${year}-${month}-${day}T${hour}:${minute}:${second}.${fraction}Z`;
}
