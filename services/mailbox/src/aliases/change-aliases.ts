/**
 * Further addresses of mailboxes: given by hand, kept until another day, ended by hand or when their day has come. What stands before
 * the @ stays the holder's for ever; only mail to it is refused after the end.
 */

import { createHash } from 'node:crypto';
import type { MailAlias, MailAliasInput } from '@congvu/contracts';
import { brokenConstraint, type Connection, type Database, type Transaction } from '@congvu/database';
import { type Fault, invalid, keyReused, ServiceError } from '@congvu/errors';
import { isLocalPart, isReservedLocalPart } from '@congvu/vietnamese';
import { type Actor, type AuditEvent, recordEvents, systemActor } from '../audit/audit-event.ts';
import { type DomainFacts, findDomain, isToCome } from '../domains/domain-store.ts';
import { isOwn } from '../mailboxes/mailbox.ts';
import { takeMailName } from '../mailboxes/mailbox-store.ts';
import { queueMailboxes } from '../mailboxes/queue-mailboxes.ts';
import {
  type AliasFacts,
  endAliasesOver,
  findByIdempotencyKey,
  insertAliases,
  requireAlias,
  requireAliasForUpdate,
  requireReceivingMailbox,
  updateAlias,
} from './alias-store.ts';

export interface AliasPolicy {
  database: Database;
  /** The province's own domain. */
  domain: string;
}

export async function addAlias(
  { database, domain: province }: AliasPolicy,
  mailboxId: string,
  input: MailAliasInput,
  actor: Actor,
  idempotencyKey: string | undefined,
): Promise<MailAlias> {
  const { address, validUntil = null } = input;
  const bodyHash = createHash('sha256').update(JSON.stringify(input)).digest();
  await database
    .transaction(async (transaction) => {
      const mailbox = await requireReceivingMailbox(transaction, mailboxId, actor.agencyCode);
      const repeated = idempotencyKey && (await findByIdempotencyKey(transaction, actor.id, idempotencyKey));
      if (repeated) {
        if (repeated.mailbox_id !== mailboxId || !repeated.body_hash.equals(bodyHash)) throw keyReused();
        return;
      }
      await checkAddress(transaction, address, validUntil, province);
      const localPart = address.slice(0, address.indexOf('@'));
      if (mailbox.address === address || !(await takeMailName(transaction, localPart, mailboxId))) throw taken(address);
      const key = { idempotencyKey, bodyHash: idempotencyKey === undefined ? undefined : bodyHash };
      const alias = { address, mailboxId, validUntil, reason: 'by_hand', createdBy: actor.id, ...key } as const;
      if (!(await insertAliases(transaction, [alias])).has(address)) throw taken(address);
      await recordEvents(transaction, [
        eventOf(actor, 'mailbox.alias_added', { ...mailbox, mailbox_id: mailboxId }, null, { address, validUntil }),
      ]);
      await queueMailboxes(transaction, [{ id: mailboxId, kind: mailbox.kind }]);
    })
    .catch((error: unknown) => {
      throw brokenConstraint(error) === 'aliases_idempotency_unique' ? keyReused() : error;
    });
  return requireAlias(database, address, actor.agencyCode);
}

export async function changeAlias(
  { database }: AliasPolicy,
  address: string,
  change: { validUntil: string | null; version?: number | undefined },
  actor: Actor,
): Promise<MailAlias> {
  const { validUntil } = change;
  await database.transaction(async (transaction) => {
    const alias = await requireOpen(transaction, address, change.version, actor);
    const faults = await endFaults(transaction, validUntil);
    if (faults.length > 0) throw invalid('alias_invalid', faults);
    await updateAlias(transaction, address, { valid_until: validUntil });
    const before = { address, validUntil: alias.valid_until };
    await recordEvents(transaction, [eventOf(actor, 'mailbox.alias_changed', alias, before, { address, validUntil })]);
  });
  return requireAlias(database, address, actor.agencyCode);
}

export async function endAlias(
  { database }: AliasPolicy,
  address: string,
  version: number | undefined,
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    const alias = await requireOpen(transaction, address, version, actor);
    await updateAlias(transaction, address, { ended_at: transaction.raw('now()') });
    await recordEvents(transaction, [eventOf(actor, 'mailbox.alias_ended', alias, { address }, null)]);
    await queueMailboxes(transaction, [{ id: alias.mailbox_id, kind: alias.kind }]);
  });
}

const endedAtOnce = 200;

/** Those whose day has come, a part a transaction. */
export async function endAliases(database: Database, signal?: AbortSignal): Promise<void> {
  for (let ended = endedAtOnce; ended === endedAtOnce && !signal?.aborted; ) {
    ended = await database.transaction(async (transaction) => {
      const aliases = await endAliasesOver(transaction, endedAtOnce);
      const events = aliases.map((alias) =>
        eventOf(systemActor, 'mailbox.alias_ended', alias, { address: alias.address }, null),
      );
      await recordEvents(transaction, events);
      const kinds = new Map(aliases.map(({ mailbox_id, kind }) => [mailbox_id, kind]));
      await queueMailboxes(
        transaction,
        [...kinds].map(([id, kind]) => ({ id, kind })),
      );
      return aliases.length;
    });
  }
}

async function requireOpen(
  transaction: Transaction,
  address: string,
  version: number | undefined,
  actor: Actor,
): Promise<AliasFacts> {
  const alias = await requireAliasForUpdate(transaction, address, actor.agencyCode);
  if (version !== undefined && version !== alias.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The alias is now at version ${alias.version}; read it again before changing it.`,
    });
  }
  if (alias.ended_at === null) return alias;
  throw new ServiceError({
    kind: 'conflict',
    code: 'alias_ended',
    detail: `${address} has ended; add it to its mailbox again.`,
  });
}

/** Every fault at once. */
async function checkAddress(
  connection: Connection,
  address: string,
  validUntil: string | null,
  province: string,
): Promise<void> {
  const domain = await findDomain(connection, domainOf(address));
  const faults = [
    ...(await endFaults(connection, validUntil)),
    ...addressFaults(address, domain, province).map((fault) => ({ pointer: '/address', ...fault })),
  ];
  if (faults.length > 0) throw invalid('alias_invalid', faults);
}

export const domainOf = (address: string): string => address.slice(address.indexOf('@') + 1);

/** Why nobody may have it; `domain` is what is known of the one it is in. */
export function addressFaults(
  address: string,
  domain: Pick<DomainFacts, 'open' | 'kind' | 'target'> | undefined,
  province: string,
): Omit<Fault, 'pointer'>[] {
  const [localPart = '', name = ''] = address.split('@');
  const faults: Omit<Fault, 'pointer'>[] = [];
  const add = (code: string, detail: string) => faults.push({ code, detail });
  if (isReservedLocalPart(localPart)) add('address_reserved', `${localPart} is kept for a role; nobody is given it.`);
  else if (!isLocalPart(localPart))
    add('address_form', 'Before the @ stand small letters, digits, single dots and hyphens alone.');
  if (name !== province && !domain?.open) add('domain_not_ours', `${name} is no mail domain of ours.`);
  else if (domain?.kind === 'alias') {
    add('domain_of_alias', `${name} stands for ${domain.target}: an address there is one here by itself.`);
  }
  return faults;
}

export async function endFaults(connection: Connection, validUntil: string | null): Promise<Fault[]> {
  if (validUntil === null || (await isToCome(connection, validUntil))) return [];
  const detail = 'The alias would have ended already; give a day to come, or end it.';
  return [{ pointer: '/validUntil', code: 'past', detail }];
}

export const takenFault = (address: string) => ({
  code: 'address_taken',
  detail: `What stands before the @ in ${address} is given already, or was once; a name is given one time in the whole province.`,
});
const taken = (address: string): ServiceError => new ServiceError({ kind: 'conflict', ...takenFault(address) });

export const eventOf = (
  actor: AuditEvent['actor'],
  action: 'mailbox.alias_added' | 'mailbox.alias_changed' | 'mailbox.alias_ended',
  mailbox: Pick<AliasFacts, 'mailbox_id' | 'kind' | 'agency_id'>,
  before: object | null,
  after: object | null,
): AuditEvent => ({
  actor,
  action,
  subjectType: isOwn(mailbox.kind) ? 'mailbox' : 'account',
  subjectId: mailbox.mailbox_id,
  agencyId: mailbox.agency_id,
  before,
  after,
});
