/** Makes `ou=<code>,ou=agencies` of every agency that changed say what the record says. Harmless to repeat. */
import type { Database } from '@congvu/database';
import { type Attributes, diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';
import { type AgencyRow, listUnconvergedAgencies, markAgencyConverged } from './agency-store.ts';

const batchSize = 200;

export async function convergeAgencies(
  database: Database,
  ldap: Ldap,
  baseDn: string,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const behind = await listUnconvergedAgencies(database, batchSize);
    for (const agency of behind) {
      signal.throwIfAborted();
      await convergeAgency(ldap, agency, `ou=agencies,${baseDn}`);
      await markAgencyConverged(database, agency.id, agency.version);
    }
    if (behind.length < batchSize) return;
  }
}

async function convergeAgency(ldap: Ldap, agency: AgencyRow, base: string): Promise<void> {
  const dn = distinguishedName({ ou: agency.code }, base);
  const wanted: Attributes = {
    objectClass: ['organizationalUnit', 'congvuAgency'],
    ou: [agency.code],
    description: [agency.name],
    congvuAgencyCode: [agency.code],
    congvuParentCode: agency.parent_code ? [agency.parent_code] : [],
    congvuAgencyLevel: [agency.level],
    congvuAgencyStatus: [agency.status],
    congvuSuccessorCode: agency.successor_code ? [agency.successor_code] : [],
  };
  if (await ldap.add(dn, wanted)) return;
  const { objectClass: _, ou: __, ...owned } = wanted;
  const entry = await ldap.find(dn, Object.keys(owned));
  const changes = diffAttributes(entry?.attributes ?? {}, owned);
  if (changes.length > 0) await ldap.modify(dn, changes);
}
