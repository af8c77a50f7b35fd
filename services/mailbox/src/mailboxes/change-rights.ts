/** Who else may read, write or send as a shared mailbox, or that of a position or an agency; and what is answered in its holder's absence. */
import type { Mailbox, MailboxRight, Vacation } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { conflict, lockMailbox, type MailboxRef, record } from './change-mailbox.ts';
import { changeMailboxRow, requireMailbox } from './mailbox-store.ts';
import { queueAccess, queueMailboxes } from './queue-mailboxes.ts';
import { findRights, listVacations, saveRights, saveVacation } from './rights-store.ts';

/** None takes all away. */
export async function changeRights(
  database: Database,
  ref: MailboxRef,
  holderId: string,
  rights: readonly MailboxRight[],
  actor: Actor,
): Promise<void> {
  await database.transaction(async (transaction) => {
    const { row, agencyId } = await lockMailbox(transaction, ref, actor);
    if (row.kind === 'person' || row.kind === 'service') {
      throw conflict('mailbox_not_shared', 'A mailbox of one person, or of a program, is opened by nobody else.');
    }
    if (rights.length > 0) {
      const refusal = holderRefusal(await requireMailbox(transaction, holderId, actor.agencyCode));
      if (refusal) throw new ServiceError({ kind: 'conflict', ...refusal });
    }
    const before = await findRights(transaction, row.account_id, holderId);
    const after = await saveRights(transaction, row.account_id, holderId, rights);
    if (before.join() === after.join()) return;
    await changeMailboxRow(transaction, row.account_id, {});
    const holder = { holderId };
    const change = { before: { ...holder, rights: before }, after: { ...holder, rights: after } };
    await record(transaction, row, agencyId, 'mailbox.rights_changed', change, actor);
    await queueMailboxes(transaction, [{ id: row.account_id, kind: row.kind }]);
    await queueAccess(transaction, [row.account_id]);
  });
}

/** Why nobody can give rights to the one who has this mailbox. */
export function holderRefusal({ kind, state }: Pick<Mailbox, 'kind' | 'state'>) {
  if (kind !== 'person') {
    const detail = 'Rights are held by people; give them to the person who is to use the mailbox.';
    return { code: 'right_of_nobody', detail };
  }
  if (state !== 'active') return { code: 'holder_not_active', detail: `The mailbox of that person is ${state}.` };
  return undefined;
}

/** None: nothing is answered. */
export async function changeVacation(
  database: Database,
  ref: MailboxRef,
  vacation: Vacation | undefined,
  actor: Actor,
): Promise<void> {
  if (vacation?.from && vacation.until && vacation.until < vacation.from) {
    const detail = 'The last day must not lie before the first.';
    throw invalid('request_invalid', [{ pointer: '/until', code: 'order', detail }]);
  }
  await database.transaction(async (transaction) => {
    const { row, agencyId } = await lockMailbox(transaction, ref, actor);
    const [before] = await listVacations(transaction, [row.account_id]);
    await saveVacation(transaction, row.account_id, vacation);
    await changeMailboxRow(transaction, row.account_id, {});
    const days = (one: Vacation | undefined) => (one ? { from: one.from, until: one.until } : null);
    const change = { before: days(before), after: days(vacation) };
    await record(transaction, row, agencyId, 'mailbox.vacation_changed', change, actor);
    await queueMailboxes(transaction, [{ id: row.account_id, kind: row.kind }]);
  });
}
