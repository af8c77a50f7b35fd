/** Makes `ou=<code>,ou=agencies` of every agency that changed say what the record says. Harmless to repeat; one that LDAP refuses holds up no other. */
import type { Database } from '@congvu/database';
import { type Attributes, diffAttributes, distinguishedName, isRefusal, type Ldap } from '@congvu/ldap';
import { type AgencyRow, listUnconvergedAgencies, markAgencyConverged } from './agency-store.ts';

const batchSize = 200;

export async function convergeAgencies(
  database: Database,
  ldap: Ldap,
  baseDn: string,
  signal: AbortSignal,
): Promise<void> {
  let refusal: Error | undefined;
  for (let after = ''; ; ) {
    const behind = await listUnconvergedAgencies(database, after, batchSize);
    for (const agency of behind) {
      signal.throwIfAborted();
      try {
        await convergeAgency(ldap, agency, `ou=agencies,${baseDn}`);
        await markAgencyConverged(database, agency.id, agency.version);
      } catch (error) {
        if (!isRefusal(error)) throw error;
        refusal ??= error;
      }
      after = agency.code;
    }
    if (behind.length < batchSize) break;
  }
  if (refusal) throw refusal;
}

export const agencyDn = (base: string, code: string): string => distinguishedName({ ou: code }, base);

export async function convergeAgency(ldap: Ldap, agency: AgencyRow, base: string): Promise<void> {
  const dn = agencyDn(base, agency.code);
  const wanted = wantedAgencyAttributes(agency);
  if (await ldap.add(dn, { objectClass: ['organizationalUnit', 'congvuAgency'], ou: [agency.code], ...wanted })) return;
  const entry = await ldap.find(dn, Object.keys(wanted));
  const changes = diffAttributes(entry?.attributes ?? {}, wanted);
  if (changes.length > 0) await ldap.modify(dn, changes);
}

/** All that an agency's entry says but its name. */
export const wantedAgencyAttributes = (agency: AgencyRow): Attributes => ({
  description: [agency.name],
  congvuAgencyCode: [agency.code],
  congvuParentCode: agency.parent_code ? [agency.parent_code] : [],
  congvuAgencyLevel: [agency.level],
  congvuAgencyStatus: [agency.status],
  congvuSuccessorCode: agency.successor_code ? [agency.successor_code] : [],
});
