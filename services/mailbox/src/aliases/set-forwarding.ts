/**
 * Where the mail of a mailbox goes instead, or besides: to other mailboxes here, or to domains that the province allows, never to a
 * list, and never in a circle. A mailbox is followed when its address changes. That of a suspended mailbox goes nowhere.
 */
import type { Forwarding, ForwardingInput } from '@congvu/contracts';
import type { Database, Transaction } from '@congvu/database';
import { type Fault, invalid, ServiceError } from '@congvu/errors';
import { type Actor, recordEvents } from '../audit/audit-event.ts';
import { findDomain } from '../domains/domain-store.ts';
import { isOwn } from '../mailboxes/mailbox.ts';
import { queueMailboxes } from '../mailboxes/queue-mailboxes.ts';
import { requireReceivingMailbox } from './alias-store.ts';
import {
  findCircle,
  findForwarding,
  findReceivers,
  lockForwards,
  saveForwarding,
  type Target,
} from './forward-store.ts';

export interface ForwardPolicy {
  database: Database;
  /** The province's own domain. */
  domain: string;
  /** Of others, which may be forwarded to. */
  forwardDomains: readonly string[];
}

export async function setForwarding(
  policy: ForwardPolicy,
  mailboxId: string,
  input: ForwardingInput & { version?: number | undefined },
  actor: Actor,
): Promise<Forwarding> {
  const { database } = policy;
  await database.transaction(async (transaction) => {
    await lockForwards(transaction);
    const mailbox = await requireReceivingMailbox(transaction, mailboxId, actor.agencyCode);
    const before = await findForwarding(transaction, mailboxId);
    if (input.version !== undefined && input.version !== before.version) {
      throw new ServiceError({
        kind: 'stale',
        code: 'stale_version',
        detail: `The forwarding is now at version ${before.version}; read it again before changing it.`,
      });
    }
    const targets = await readTargets(transaction, policy, mailboxId, input.addresses);
    await saveForwarding(transaction, mailboxId, input.keepCopy, targets);
    const after = { addresses: targets.map(({ address }) => address), keepCopy: input.keepCopy };
    await recordEvents(transaction, [
      {
        actor,
        action: 'mailbox.forwarding_changed',
        subjectType: isOwn(mailbox.kind) ? 'mailbox' : 'account',
        subjectId: mailboxId,
        agencyId: mailbox.agency_id,
        before: { addresses: before.addresses, keepCopy: before.keepCopy },
        after,
      },
    ]);
    await queueMailboxes(transaction, [{ id: mailboxId, kind: mailbox.kind }]);
  });
  return findForwarding(database, mailboxId);
}

/** Every fault at once. */
async function readTargets(
  transaction: Transaction,
  { domain: province, forwardDomains }: ForwardPolicy,
  mailboxId: string,
  addresses: readonly string[],
): Promise<Target[]> {
  const receivers = await findReceivers(transaction, addresses);
  const faults: Fault[] = [];
  const targets: Target[] = [];
  for (const [index, given] of addresses.entries()) {
    const fault = (code: string, detail: string) => faults.push({ pointer: `/addresses/${index}`, code, detail });
    const name = given.slice(given.indexOf('@') + 1);
    const receiver = receivers.get(given);
    const target = { address: receiver?.address ?? given, targetId: receiver?.id ?? null };
    if (targets.some(({ address }) => address === target.address)) fault('forward_twice', `${given} is there already.`);
    else if (receiver?.id === mailboxId)
      fault('forward_loop', `${given} is this very mailbox; say keepCopy to keep a copy.`);
    else if (receiver && (await findCircle(transaction, mailboxId, [receiver.id]))) {
      fault('forward_loop', `Mail that goes to ${given} comes back here; change the forwarding there first.`);
    } else if (!receiver && (name === province || (await findDomain(transaction, name)))) {
      fault('forward_unknown', `${given} is no mailbox here that receives mail; a list cannot be forwarded to.`);
    } else if (!receiver && !forwardDomains.includes(name)) {
      fault(
        'forward_outside',
        `Mail may not be forwarded to ${name}; allowed are the province's own domains${listed(forwardDomains)}.`,
      );
    } else targets.push(target);
  }
  if (faults.length > 0) throw invalid('forwarding_invalid', faults);
  return targets;
}

const listed = (domains: readonly string[]): string => (domains.length > 0 ? ` and ${domains.join(', ')}` : '');
