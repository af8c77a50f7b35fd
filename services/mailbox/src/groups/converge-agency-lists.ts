/**
 * Gives every agency its list, of all people at and below it, and lets the list follow the agency: its name, its domain, its end. Harmless
 * to repeat. The local part, once given, stays, as that of any address.
 */
import { randomUUID } from 'node:crypto';
import type { Posting } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { searchKey } from '@congvu/vietnamese';
import { bringDomains } from '../domains/converge-domains.ts';
import { takeMailName } from '../mailboxes/mailbox-store.ts';
import { type GroupEvent, recordGroupEvents } from './group-event.ts';
import {
  insertGroup,
  type ListAgency,
  listListAgencies,
  lockAgencyListing,
  lockAgencyLists,
  type OwnList,
  updateGroup,
} from './group-store.ts';

export interface AgencyListPolicy {
  /** What stands before the @, of `{shortName}`; the province's own is `provinceName`. */
  namePattern: string;
  provinceName: string;
  posting: Posting;
  /** To a list of everybody may write at first: its moderators. */
  provincePosting: Posting;
}

/** Few enough that approvals, which choose names too, need not wait for long. */
const batchSize = 100;

/** Of the agencies of these ids, or of all. */
export async function convergeAgencyLists(
  { database, domain }: { database: Database; domain: string },
  policy: AgencyListPolicy,
  agencyIds: readonly string[] | undefined,
): Promise<void> {
  for (let after = ''; ; ) {
    const agencies = await listListAgencies(database, agencyIds, after, batchSize);
    if (agencies.length === 0) return;
    await database.transaction(async (transaction) => {
      await lockAgencyListing(transaction);
      const ids = agencies.map(({ id }) => id);
      const lists = new Map((await lockAgencyLists(transaction, ids)).map((list) => [list.agency_id, list]));
      // Read again under the lock: of two at once the later has the later facts.
      const now = await listListAgencies(transaction, ids, '', batchSize);
      const open = now.filter(({ status }) => status === 'active');
      await bringDomains(
        transaction,
        domain,
        open.map(({ mail_domain }) => mail_domain),
      );
      const events: GroupEvent[] = [];
      for (const agency of now) {
        const event = await followAgency(transaction, policy, agency, lists.get(agency.id));
        if (event) events.push(event);
      }
      await recordGroupEvents(transaction, events);
    });
    after = agencies.at(-1)?.code as string;
  }
}

async function followAgency(
  transaction: Transaction,
  policy: AgencyListPolicy,
  agency: ListAgency,
  list: OwnList | undefined,
): Promise<GroupEvent | undefined> {
  const isOpen = agency.status === 'active';
  if (!list) return isOpen ? makeList(transaction, policy, agency) : undefined;
  const wanted = {
    name: agency.name,
    address: `${list.local_part}@${agency.mail_domain}`,
    state: isOpen ? ('active' as const) : ('closed' as const),
  };
  const { name, address, state } = list;
  if (name === wanted.name && address === wanted.address && state === wanted.state) return undefined;
  await updateGroup(transaction, list.id, { ...wanted, search_key: searchKey(`${wanted.name} ${wanted.address}`) });
  const action = isOpen || state === 'closed' ? 'group.changed' : 'group.closed';
  return { action, group: { id: list.id, agency_id: agency.id }, before: { name, address, state }, after: wanted };
}

async function makeList(transaction: Transaction, policy: AgencyListPolicy, agency: ListAgency): Promise<GroupEvent> {
  const isProvince = agency.parent_code === null;
  const id = randomUUID();
  const localPart = await takeFirstFree(
    transaction,
    isProvince ? policy.provinceName : policy.namePattern.replaceAll('{shortName}', agency.short_name).slice(0, 58),
    id,
  );
  const posting = isProvince ? policy.provincePosting : policy.posting;
  const address = `${localPart}@${agency.mail_domain}`;
  const { name } = agency;
  const key = searchKey(`${name} ${address}`);
  const group = { id, kind: 'agency' as const, localPart, address, name, searchKey: key, posting };
  await insertGroup(transaction, { ...group, agencyId: agency.id, ruleAgencyId: agency.id, ruleTitle: null });
  return { action: 'group.created', group: { id, agency_id: agency.id }, after: { address, name, posting } };
}

/** The name, else the name with the first number that is free. */
async function takeFirstFree(transaction: Transaction, name: string, groupId: string): Promise<string> {
  for (let number = 1; ; number += 1) {
    const candidate = number === 1 ? name : `${name}${number}`;
    if (await takeMailName(transaction, candidate, groupId)) return candidate;
  }
}
