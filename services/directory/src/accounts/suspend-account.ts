/** Suspends an account, or lets it resume. From the commit on, the three services refuse or admit it within seconds. */
import type { Account } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { requireAccount, requireAccountForUpdate, setAccountState } from './account-store.ts';
import { queueEntries, queueOtherParts } from './queue-convergence.ts';

export async function changeAccountState(
  database: Database,
  id: string,
  change: { to: 'active' | 'suspended'; reason: string; version?: number | undefined },
  actor: Actor & { agencyCode: string },
): Promise<Account> {
  await database.transaction(async (transaction) => {
    const account = await requireAccountForUpdate(transaction, id, actor.agencyCode);
    if (change.version !== undefined && change.version !== account.version) {
      throw new ServiceError({
        kind: 'stale',
        code: 'stale_version',
        detail: `The account is now at version ${account.version}; read it again before changing it.`,
      });
    }
    const from = change.to === 'suspended' ? 'active' : 'suspended';
    if (account.state !== from) {
      throw new ServiceError({
        kind: 'conflict',
        code: 'account_state',
        detail: `The account is ${account.state}; only one that is ${from} can become ${change.to}.`,
      });
    }
    await setAccountState(transaction, id, change.to, change.to === 'suspended' ? change.reason : null);
    await insertEvents(transaction, [
      {
        actor,
        action: change.to === 'suspended' ? 'account.suspended' : 'account.resumed',
        subjectType: 'account',
        subjectId: id,
        agencyId: account.agency_id,
        requestId: account.request_id,
        before: { state: account.state },
        after: { state: change.to, reason: change.reason },
      },
    ]);
    await queueEntries(transaction, [id]);
    await queueOtherParts(transaction, [{ id }]);
  });
  return requireAccount(database, id, actor.agencyCode);
}
