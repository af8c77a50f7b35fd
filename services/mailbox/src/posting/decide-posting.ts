/**
 * Who may write to a list, by the record: the members are those of this moment. Deny by default; nobody without a password writes to a
 * list that is not for anyone.
 */
import type { Connection, Database } from '@congvu/database';
import { distinguishedName, type Ldap } from '@congvu/ldap';
import { findPostedTo, isAgencyDomain, type PostedTo } from '../groups/group-store.ts';
import { findRefusing } from '../groups/member-store.ts';

export interface PostingDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  /** The province's own. */
  domain: string;
  /** Of a message to a list. */
  maxListMessageBytes: number;
}

/** One recipient of a message, as Postfix knows it before the message comes. */
export interface Posting {
  recipient: string;
  /** Login name, which is a primary address; empty on port 25. */
  sender: string;
  /** As the sender's program says beforehand (RFC 1870); 0 when it says nothing. */
  sizeBytes: number;
}

/** `dunno` when the list is no reason to refuse. */
export type Decision = 'dunno' | { refuse: string };

export async function decidePosting(dependencies: PostingDependencies, posting: Posting): Promise<Decision> {
  const { database } = dependencies;
  const [localPart = '', domain = ''] = splitAddress(posting.recipient);
  const group = await findPostedTo(database, localPart);
  // Another province may have a list of that name, and ours has a list behind each name of our domain.
  if (!group || !(await isOurs(dependencies, domain))) return 'dunno';
  const refusal = await refusalOf(database, group, posting.sender.toLowerCase());
  if (refusal !== undefined) return { refuse: refusal };
  if (posting.sizeBytes > dependencies.maxListMessageBytes)
    return { refuse: tooLarge(dependencies.maxListMessageBytes) };
  return 'dunno';
}

/** Who writes to a list writes to those in it too: each of them has its say, else another list around it would lead past its rule. */
async function refusalOf(connection: Connection, group: PostedTo, sender: string): Promise<string | undefined> {
  if (group.posting === 'anyone') return undefined;
  if (sender === '') return refusals[group.posting]('this list');
  const refusing = await findRefusing(connection, group.id, sender);
  if (!refusing) return undefined;
  return refusals[refusing.posting](
    refusing.id === group.id ? 'this list' : `${refusing.address}, which is in this list`,
  );
}

async function isOurs({ database, ldap, baseDn, domain: own }: PostingDependencies, domain: string): Promise<boolean> {
  if (domain === own.toLowerCase() || (await isAgencyDomain(database, domain))) return true;
  // The other domains that Postfix takes mail for, from where Postfix knows them.
  const dn = distinguishedName({ associatedDomain: domain }, `ou=domains,${baseDn}`);
  return (await ldap.find(dn, ['associatedDomain'])) !== undefined;
}

function splitAddress(address: string): [localPart: string, domain: string] {
  const at = address.lastIndexOf('@');
  return at < 0
    ? [address.toLowerCase(), '']
    : [address.slice(0, at).toLowerCase(), address.slice(at + 1).toLowerCase()];
}

/** As the sender reads them, in ASCII as SMTP wants it; the enhanced code is RFC 3463's "delivery not authorized". */
const refusals: Readonly<Record<PostedTo['posting'], (list: string) => string>> = {
  anyone: () => '',
  province: (list) => `550 5.7.1 only people of the province, logged in, may write to ${list}`,
  members: (list) => `550 5.7.1 only members may write to ${list}`,
  moderators: (list) => `550 5.7.1 only its moderators may write to ${list}`,
};

/** Each member's mailbox gets a copy: a large one for thousands is put where it can be fetched. */
const tooLarge = (octets: number): string =>
  `552 5.3.4 a message to a list has at most ${octets} octets, attachments included; send a link instead`;
