/**
 * Makes ou=domains, which Postfix reads, say which domains are ours by the record. First the record gets what follows from elsewhere: the
 * province's own domain, and those that its agencies have. Harmless to repeat; an entry that the record does not know is removed.
 */
import { addJobs, type Connection, type Database, type Transaction } from '@congvu/database';
import { diffAttributes, distinguishedName, type Ldap } from '@congvu/ldap';
import { recordEvents, systemActor } from '../audit/audit-event.ts';
import { listAgencyDomains, listNotOpen, listOpenDomains, lockDomains, openMissing } from './domain-store.ts';

export interface DomainDependencies {
  database: Database;
  ldap: Ldap;
  baseDn: string;
  /** The province's own. */
  domain: string;
}

const className = 'congvuMailDomain';

export async function convergeDomains({ database, ldap, baseDn, domain }: DomainDependencies): Promise<void> {
  // 1. The record.
  await database.transaction(async (transaction) => {
    await ensureDomains(transaction, domain, await listAgencyDomains(transaction));
  });

  // 2. LDAP.
  const base = `ou=domains,${baseDn}`;
  const names = ['associatedDomain', 'congvuDomainKind', 'congvuDomainTarget'];
  const found = await ldap.search(base, { scope: 'one', attributes: names });
  const entries = new Map(found.map((entry) => [entry.dn.toLowerCase(), entry]));
  for (const { name, kind, target } of await listOpenDomains(database)) {
    const dn = distinguishedName({ associatedDomain: name }, base);
    const wanted = { associatedDomain: [name], congvuDomainKind: [kind], congvuDomainTarget: target ? [target] : [] };
    const entry = entries.get(dn.toLowerCase());
    entries.delete(dn.toLowerCase());
    if (!entry) {
      await ldap.add(dn, { objectClass: [className], ...wanted });
      continue;
    }
    const changes = diffAttributes(entry.attributes, wanted);
    if (changes.length > 0) await ldap.modify(entry.dn, changes);
  }
  for (const { dn } of entries.values()) await ldap.remove(dn);
}

/** One job however often it is asked for, and one after the other: an older one would remove what it does not know yet. */
export const queueDomains = (connection: Connection): Promise<void> =>
  addJobs(connection, 'mailbox', [{ task: 'converge-domains', payload: {}, key: 'domains', queue: 'domains' }]);

/** What gets an address in a domain brings it: mail there is taken within a second or two. */
export async function bringDomains(transaction: Transaction, province: string, names: Iterable<string>): Promise<void> {
  const others = [...new Set(names)].filter((name) => name !== province);
  if (others.length > 0 && (await ensureDomains(transaction, province, others))) await queueDomains(transaction);
}

/**
 * Puts the province's domain, and of `names` those below it, on record; the rest are not ours to open. Whether any was not there before:
 * then LDAP has to follow.
 */
export async function ensureDomains(
  transaction: Transaction,
  province: string,
  names: readonly string[],
): Promise<boolean> {
  const closed = await listNotOpen(transaction, [province, ...names]);
  if (closed.length === 0) return false;
  await lockDomains(transaction);
  const below = closed.filter((name) => name.endsWith(`.${province}`));
  const opened = [
    ...(await openMissing(transaction, 'province', [province])),
    ...(below.length > 0 ? await openMissing(transaction, 'agency', [...new Set(below)]) : []),
  ];
  await recordEvents(
    transaction,
    opened.map((name) => ({
      actor: systemActor,
      action: 'domain.opened',
      subjectType: 'domain',
      subjectId: name,
      agencyId: null,
      after: { kind: name === province ? 'province' : 'agency' },
    })),
  );
  return opened.length > 0;
}
