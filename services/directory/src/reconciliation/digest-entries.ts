/** What the comparison takes of each entry; made in the thread that reads them. */
import type { Entry } from '@congvu/ldap';
import { digestOfEntry } from './compare-entry.ts';

export interface DigestedEntry {
  dn: string;
  /** The account that the entry says it is of. */
  id: string | undefined;
  digest: string;
}

export default function digestEntries(entries: readonly Entry[]): DigestedEntry[] {
  return entries.map((entry) => ({
    dn: entry.dn,
    id: entry.attributes.congvuAccountId?.[0] as string | undefined,
    digest: digestOfEntry(entry),
  }));
}
