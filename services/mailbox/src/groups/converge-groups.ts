/**
 * Makes the entry below ou=groups of every list that changed say what the record says; Postfix reads it. An entry holds searches,
 * one for a rule and one for each member by name, and no people: whoever is transferred, suspended or retired is found, or not, when a
 * message comes. Harmless to repeat; a list that LDAP refuses holds up no other. Of all lists, as every night, it undoes what was done by hand.
 */
import type { Database } from '@congvu/database';
import { type Attributes, diffAttributes, distinguishedName, EqualityFilter, isRefusal, type Ldap } from '@congvu/ldap';
import { findGroups, type GroupRow, listToConverge, markConverged } from './group-store.ts';
import { listEntryMembers } from './member-store.ts';

export interface GroupDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
}

const batchSize = 200;

export async function convergeGroups(
  dependencies: GroupDependencies,
  which: 'behind' | 'all' = 'behind',
): Promise<void> {
  let refusal: Error | undefined;
  for (let after = '00000000-0000-0000-0000-000000000000'; ; ) {
    const behind = await listToConverge(dependencies.database, which, after, batchSize);
    for (const group of behind) {
      await convergeGroup(dependencies, group).catch((error: unknown) => {
        if (!isRefusal(error)) throw error;
        refusal ??= error;
      });
      after = group.id;
    }
    if (behind.length < batchSize) break;
  }
  if (refusal) throw refusal;
}

/** Looks again after it wrote: of two at work on one list the older never has the last word. */
async function convergeGroup({ database, ldap, baseDn }: GroupDependencies, found: GroupRow): Promise<void> {
  let group: GroupRow | undefined = found;
  while (group) {
    await write(ldap, groupDn(group, baseDn), await wantedEntry(database, group, baseDn));
    if (await markConverged(database, group.id, group.version)) return;
    [group] = await findGroups(database, [group.id]);
  }
}

export const groupDn = (group: { local_part: string }, baseDn: string): string =>
  distinguishedName({ cn: group.local_part }, `ou=groups,${baseDn}`);

async function write(ldap: Ldap, dn: string, wanted: Attributes | undefined): Promise<void> {
  if (!wanted) {
    await ldap.remove(dn);
    return;
  }
  if (await ldap.add(dn, { objectClass: ['groupOfURLs', 'congvuMailGroup'], ...wanted })) return;
  const entry = await ldap.find(dn, Object.keys(wanted));
  const changes = diffAttributes(entry?.attributes ?? {}, wanted);
  if (changes.length > 0) await ldap.modify(dn, changes);
}

/** Undefined: there is to be none. */
async function wantedEntry(database: Database, group: GroupRow, baseDn: string): Promise<Attributes | undefined> {
  if (group.state === 'closed') return undefined;
  const { usernames, localParts } = await listEntryMembers(database, group.id);
  const searches = [
    ...(group.rule_agency_code === null ? [] : [peopleOf(group.rule_agency_code, group.rule_title, baseDn)]),
    ...usernames.map((username) =>
      searchUrl(distinguishedName({ uid: username }, `ou=people,${baseDn}`), 'mail', 'base', isActive),
    ),
    ...localParts.map((localPart) =>
      searchUrl(groupDn({ local_part: localPart }, baseDn), 'mail,memberURL', 'base', '(objectClass=congvuMailGroup)'),
    ),
  ];
  return {
    cn: [group.local_part],
    congvuGroupId: [group.id],
    mail: [group.address],
    congvuPosting: [group.posting],
    congvuAgencyCode: [group.agency_code],
    displayName: [group.name],
    // Without any, Postfix would take the list's own address for that of a member.
    memberURL: searches.length > 0 ? searches : [searchUrl(`ou=groups,${baseDn}`, 'mail', 'base', '(uid=nobody)')],
  };
}

const isActive = '(congvuMailStatus=active)';

/** By attributes of which the first has an index, whatever the others. */
function peopleOf(agencyCode: string, title: string | null, baseDn: string): string {
  const equal = (attribute: string, value: string) => new EqualityFilter({ attribute, value }).toString();
  const ofTitle = title === null ? '' : equal('title', title);
  const filter = `(&${equal('congvuAgencyPath', agencyCode)}${equal('congvuAccountKind', 'person')}${isActive}${ofTitle})`;
  return searchUrl(`ou=people,${baseDn}`, 'mail', 'one', filter);
}

/** An LDAP URL (RFC 4516); the server that is meant is the one that is asked. */
const searchUrl = (base: string, attributes: string, scope: 'base' | 'one', filter: string): string =>
  `ldap:///${encodeDn(base)}?${attributes}?${scope}?${encodeFilter(filter)}`;

const encodeDn = (dn: string): string => encodeURI(dn).replaceAll('?', '%3F').replaceAll('#', '%23');
const encodeFilter = encodeDn;
