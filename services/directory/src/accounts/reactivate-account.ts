/**
 * Takes a retirement back while the retention lasts: the same username, address and mailbox. What retirement revoked stays
 * revoked: the holder needs a new activation code, and a new certificate is made.
 */
import { brokenConstraint, type Transaction } from '@congvu/database';
import { requireOpenAgency } from '../agencies/agency-store.ts';
import { type AccountRef, type Cause, conflict, lockAccountFor, recordChange } from './change-account.ts';
import { today } from './retire-account.ts';

export async function reactivateAccount(
  transaction: Transaction,
  input: AccountRef & { reason: string },
  cause: Cause,
): Promise<void> {
  const account = await lockAccountFor(transaction, 'reactivate', input, cause.actor);
  if (account.retained_until === null || account.retained_until < today()) {
    throw conflict('retention_over', 'The retention of this account is over; open a new account by a request.');
  }
  await requireOpenAgency(transaction, account.agency_id, cause.actor.agencyCode);
  try {
    await recordChange(
      transaction,
      account,
      {
        action: 'account.reactivated',
        set: { state: 'active', retained_until: null },
        before: { state: account.state, retainedUntil: account.retained_until },
        after: { state: 'active', reason: input.reason },
      },
      cause,
    );
  } catch (error) {
    const broken = brokenConstraint(error);
    if (broken === 'accounts_one_per_person' || broken === 'accounts_one_per_agency') {
      const holder = broken === 'accounts_one_per_person' ? 'person' : 'agency';
      throw conflict('account_exists', `The ${holder} has another account by now; retire that one first.`);
    }
    throw error;
  }
}
