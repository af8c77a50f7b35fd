/**
 * An entry says the name of its agency and where that stands: when agencies are renamed or moved, the accounts in them are brought
 * to it, in the transaction of the change.
 */
import type { Transaction } from '@congvu/database';
import { queueEntries } from './queue-convergence.ts';

export async function followAgencies(transaction: Transaction, agencyIds: readonly string[]): Promise<void> {
  if (agencyIds.length === 0) return;
  const accounts = await transaction('directory.accounts')
    .whereRaw('agency_id = any(?)', [[...agencyIds]])
    .update({ version: transaction.raw('version + 1'), updated_at: transaction.fn.now() })
    .returning('id');
  await queueEntries(
    transaction,
    accounts.map(({ id }) => id),
  );
}
