/**
 * A platform administrator opens, changes and closes mail domains: those of agencies, below the province's own, and those that stand
 * for another one. What still has addresses, or is the province's own, cannot be closed. Mail follows within a second or two.
 */
import { createHash } from 'node:crypto';
import type { MailDomain, MailDomainChange, MailDomainInput } from '@congvu/contracts';
import type { Connection, Database, Transaction } from '@congvu/database';
import { invalid, keyReused, ServiceError } from '@congvu/errors';
import { codeOf } from '../agencies/agency-code.ts';
import { requireRoot } from '../agencies/require-root.ts';
import { listForwardersOutside, lockForwards } from '../aliases/forward-store.ts';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { ensureDomains, queueDomains } from './converge-domains.ts';
import {
  countUsers,
  type DomainFacts,
  findAgency,
  findByIdempotencyKey,
  findDomain,
  isToCome,
  lockDomains,
  openDomainRow,
  requireDomain,
  updateDomain,
} from './domain-store.ts';

export interface DomainPolicy {
  database: Database;
  /** The province's own. */
  domain: string;
}

export async function openDomain(
  { database, domain: province }: DomainPolicy,
  input: MailDomainInput,
  actor: Actor,
  idempotencyKey: string | undefined,
): Promise<MailDomain> {
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  const name = await database.transaction(async (transaction) => {
    await requireRoot(transaction, actor);
    await lockDomains(transaction);
    const repeated = idempotencyKey && (await findByIdempotencyKey(transaction, actor.id, idempotencyKey));
    if (repeated) {
      if (!repeated.body_hash.equals(bodyHash)) throw keyReused();
      return repeated.name;
    }
    await ensureDomains(transaction, province, []);
    if ((await findDomain(transaction, input.name))?.open) {
      throw conflict('domain_exists', `${input.name} is a mail domain here already.`);
    }
    await refuseForwardedTo(transaction, input.name);
    let agencyId: string | null = null;
    if (input.kind === 'agency') {
      if (!input.name.endsWith(`.${province}`)) throw foreign('/name', input.name, province);
      if (input.agencyCode !== undefined) agencyId = await agencyOf(transaction, input.agencyCode);
    } else {
      await checkTarget(transaction, input.target, input.name);
      // Mailboxes with an address there would receive nothing any more.
      await refuseInUse(transaction, input.name);
    }
    const target = input.kind === 'alias' ? input.target : null;
    const until = (input.kind === 'alias' && input.until) || null;
    if (until !== null) await checkEnd(transaction, until);
    await openDomainRow(transaction, {
      name: input.name,
      kind: input.kind,
      agency_id: agencyId,
      target,
      until,
      created_by: actor.id,
      idempotency_key: idempotencyKey ?? null,
      body_hash: idempotencyKey === undefined ? null : bodyHash,
    });
    const after = { kind: input.kind, target, until, agencyCode: input.kind === 'agency' ? input.agencyCode : null };
    await record(transaction, actor, 'domain.opened', input.name, null, after);
    return input.name;
  });
  return requireDomain(database, name, actor.agencyCode);
}

export async function changeDomain(
  { database }: DomainPolicy,
  name: string,
  change: MailDomainChange & { version?: number | undefined },
  actor: Actor,
): Promise<MailDomain> {
  await database.transaction(async (transaction) => {
    const domain = await requireForChange(transaction, name, change.version, actor);
    const faults = [
      ...(change.target !== undefined && domain.kind !== 'alias' ? (['/target'] as const) : []),
      ...(change.agencyCode !== undefined && domain.kind !== 'agency' ? (['/agencyCode'] as const) : []),
      ...(change.until !== undefined && domain.kind === 'province' ? (['/until'] as const) : []),
    ].map((pointer) => {
      const whose = domain.kind === 'province' ? "the province's own domain" : `a domain of the kind ${domain.kind}`;
      return { pointer, code: 'domain_kind', detail: `${name} is ${whose}, which has none; leave it out.` };
    });
    if (faults.length > 0) throw invalid('domain_invalid', faults);
    if (change.target !== undefined) await checkTarget(transaction, change.target, name);
    if (change.until != null) {
      await checkEnd(transaction, change.until);
      if (domain.kind === 'agency') await refuseInUse(transaction, name);
    }
    const { target, until } = change;
    const agencyId = change.agencyCode != null ? await agencyOf(transaction, change.agencyCode) : null;
    await updateDomain(transaction, name, {
      ...(target !== undefined && { target }),
      ...(until !== undefined && { until }),
      ...(change.agencyCode !== undefined && { agency_id: agencyId }),
    });
    const { version: _, ...after } = change;
    await record(transaction, actor, 'domain.changed', name, { target: domain.target, until: domain.until }, after);
  });
  return requireDomain(database, name, actor.agencyCode);
}

export async function closeDomain(
  { database }: DomainPolicy,
  name: string,
  version: number | undefined,
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    const domain = await requireForChange(transaction, name, version, actor);
    if (domain.kind === 'province') throw conflict('domain_of_province', "The province's own domain cannot be closed.");
    await refuseInUse(transaction, name);
    await updateDomain(transaction, name, { until: transaction.raw('directory.today()') });
    await record(transaction, actor, 'domain.closed', name, { kind: domain.kind, target: domain.target }, null);
  });
}

async function requireForChange(
  transaction: Transaction,
  name: string,
  version: number | undefined,
  actor: Actor,
): Promise<DomainFacts> {
  await requireRoot(transaction, actor);
  await lockDomains(transaction);
  await requireDomain(transaction, name, actor.agencyCode);
  const domain = (await findDomain(transaction, name)) as DomainFacts;
  if (version !== undefined && version !== domain.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The domain is now at version ${domain.version}; read it again before changing it.`,
    });
  }
  if (!domain.open) throw conflict('domain_closed', `${name} is closed; open it again before changing it.`);
  return domain;
}

async function checkTarget(connection: Connection, target: string, name: string): Promise<void> {
  const found = await findDomain(connection, target);
  const fault = (code: string, detail: string) => invalid('domain_invalid', [{ pointer: '/target', code, detail }]);
  if (target === name) throw fault('domain_loop', 'A domain cannot stand for itself.');
  if (!found?.open) throw fault('domain_not_ours', `${target} is no mail domain of ours; open it first.`);
  if (found.kind === 'alias') {
    throw fault('domain_of_alias', `${target} stands for ${found.target} itself; name ${found.target}.`);
  }
}

async function refuseInUse(connection: Connection, name: string): Promise<void> {
  const users = await countUsers(connection, name);
  const used = Object.entries(users).filter(([, count]) => count > 0);
  if (used.length === 0) return;
  const detail = used.map(([what, count]) => `${count} ${what}`).join(', ');
  throw conflict('domain_in_use', `${name} is still used by: ${detail}.`);
}

/** What was an address outside could be a list from then on, past the rule who may post. */
async function refuseForwardedTo(transaction: Transaction, name: string): Promise<void> {
  await lockForwards(transaction);
  const forwarders = await listForwardersOutside(transaction, name, 5);
  if (forwarders.length === 0) return;
  const detail = `Mail is forwarded to ${name} as to another's domain; change the forwarding first, of ${forwarders.join(', ')}.`;
  throw conflict('domain_forwarded_to', detail);
}

async function checkEnd(connection: Connection, until: string): Promise<void> {
  if (await isToCome(connection, until)) return;
  const detail = 'The domain would have ended already; give a day to come, or close it.';
  throw invalid('domain_invalid', [{ pointer: '/until', code: 'past', detail }]);
}

async function agencyOf(connection: Connection, input: string): Promise<string> {
  const code = codeOf(input, '/agencyCode');
  const agency = await findAgency(connection, code);
  if (agency) return agency.id;
  const detail = `There is no agency ${code}.`;
  throw invalid('domain_invalid', [{ pointer: '/agencyCode', code: 'agency_not_found', detail }]);
}

const foreign = (pointer: string, name: string, province: string): ServiceError => {
  const detail = `${name} is not below ${province}; another domain can stand for one of ours (kind "alias").`;
  return invalid('domain_invalid', [{ pointer, code: 'domain_not_ours', detail }]);
};

const conflict = (code: string, detail: string): ServiceError => new ServiceError({ kind: 'conflict', code, detail });

async function record(
  transaction: Transaction,
  actor: Actor,
  action: 'domain.opened' | 'domain.changed' | 'domain.closed',
  name: string,
  before: object | null,
  after: object | null,
): Promise<void> {
  await recordEvents(transaction, [
    { actor, action, subjectType: 'domain', subjectId: name, agencyId: null, before, after },
  ]);
  await queueDomains(transaction);
}
