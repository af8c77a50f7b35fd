/**
 * Revokes the certificates of an account whose keys are known to others: after a report, and when one certificate of a key that was
 * kept at a renewal was revoked as compromised, the other too. Harmless to repeat.
 */
import type { Database } from '@congvu/database';
import { certificateSystem } from '../certificates/certificate-event.ts';
import { applyRevocation } from '../revocation/apply-revocation.ts';
import { listCompromisedOfAccount } from './compromised-key-store.ts';

export async function revokeCompromised(database: Database, accountId: string): Promise<void> {
  if ((await listCompromisedOfAccount(database, accountId)).length === 0) return;
  await database.transaction(async (transaction) => {
    for (const certificate of await listCompromisedOfAccount(transaction, accountId))
      await applyRevocation(transaction, certificate, { reason: 'keyCompromise' }, certificateSystem);
  });
}
