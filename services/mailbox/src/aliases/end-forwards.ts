/**
 * Ends forwards to addresses outside that may be forwarded to no more: the province allows the domain no longer, or it is one of ours by
 * now, where a list could be behind the address. Mail that goes nowhere else then stays in its mailbox.
 */
import { recordEvents, systemActor } from '../audit/audit-event.ts';
import { isOwn } from '../mailboxes/mailbox.ts';
import { queueMailboxes } from '../mailboxes/queue-mailboxes.ts';
import { deleteForbidden, lockForwards } from './forward-store.ts';
import type { ForwardPolicy } from './set-forwarding.ts';

const atOnce = 200;

/** A part a transaction. */
export async function endForwards({ database, forwardDomains }: ForwardPolicy): Promise<void> {
  for (let ended = atOnce; ended === atOnce; ) {
    ended = await database.transaction(async (transaction) => {
      await lockForwards(transaction);
      const mailboxes = await deleteForbidden(transaction, forwardDomains, atOnce);
      await recordEvents(
        transaction,
        mailboxes.map(({ id, kind, agencyId, addresses }) => ({
          actor: systemActor,
          action: 'mailbox.forwarding_changed',
          subjectType: isOwn(kind) ? 'mailbox' : 'account',
          subjectId: id,
          agencyId,
          before: { addresses },
          after: null,
        })),
      );
      await queueMailboxes(transaction, mailboxes);
      return mailboxes.length;
    });
  }
}
