/**
 * Whoever goes to another agency leaves behind what was given there: the rights on mailboxes of the agency left and of those below it
 * end, with their audit events and the jobs that carry it to LDAP and Dovecot, in the transaction in which the change was noticed.
 */
import type { Transaction } from '@congvu/database';
import { recordEvents, systemActor } from '../audit/audit-event.ts';
import { queueAccess, queueMailboxes } from './queue-mailboxes.ts';
import { deleteRightsLeft } from './rights-store.ts';

export async function endRightsLeft(transaction: Transaction, accountIds: readonly string[]): Promise<void> {
  if (accountIds.length === 0) return;
  const ended = await deleteRightsLeft(transaction, accountIds);
  if (ended.length === 0) return;
  await recordEvents(
    transaction,
    ended.map(({ mailboxId, kind, agencyId, holderId, rights }) => ({
      actor: systemActor,
      action: 'mailbox.rights_changed',
      subjectType: kind === 'shared' ? 'mailbox' : 'account',
      subjectId: mailboxId,
      agencyId,
      before: { holderId, rights },
      after: { holderId, rights: [] },
    })),
  );
  const mailboxes = [...new Map(ended.map(({ mailboxId: id, kind }) => [id, { id, kind }])).values()];
  await queueMailboxes(transaction, mailboxes);
  await queueAccess(
    transaction,
    mailboxes.map(({ id }) => id),
  );
}
