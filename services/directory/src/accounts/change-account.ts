/** What every change of an account has in common: it is locked; the change, its audit event and its jobs are one transaction. */
import type { Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { queueEntries, queueOtherParts } from './queue-convergence.ts';

/** On whose order, and by which request if by one. */
export interface Cause {
  actor: Actor;
  requestId: string | null;
}

interface LockedAccount {
  id: string;
  state: string;
  agency_id: string;
  person_id: string | null;
  title: string | null;
  display_name: string;
  username: string;
}

export async function changeAccount(
  transaction: Transaction,
  accountId: string,
  action: string,
  change: (account: LockedAccount) => { set: Record<string, unknown>; before: object; after: object },
  cause: Cause,
): Promise<void> {
  const account: LockedAccount | undefined = await transaction('directory.accounts')
    .where({ id: accountId })
    .forUpdate()
    .first();
  if (!account || account.state === 'retired') throw conflict('account_state', 'The account is retired.');
  const { set, before, after } = change(account);
  await transaction('directory.accounts')
    .where({ id: accountId })
    .update({ ...set, version: transaction.raw('version + 1'), updated_at: transaction.fn.now() });
  await insertEvents(transaction, [
    {
      actor: cause.actor,
      action,
      subjectType: 'account',
      subjectId: accountId,
      agencyId: account.agency_id,
      requestId: cause.requestId,
      before,
      after,
    },
  ]);
  await queueEntries(transaction, [accountId]);
  await queueOtherParts(transaction, [accountId]);
}

export const conflict = (code: string, detail: string): ServiceError =>
  new ServiceError({ kind: 'conflict', code, detail });
