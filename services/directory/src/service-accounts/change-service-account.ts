/** Changes of a connected system's account: other read scopes, and its end. Each in one transaction with its audit event and job. */
import type { AuditAction } from '@congvu/contracts';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { readScopesOf, requireScopesWithin } from './read-scopes.ts';
import { lockServiceAccount, type ServiceAccountRow, updateServiceAccount } from './service-account-store.ts';

export interface ServiceAccountRef {
  id: string;
  /** As the caller read it (If-Match); any when absent. */
  version: number | undefined;
}
type ScopedActor = Actor & { agencyCode: string };

export const queueServiceAccounts = (transaction: Transaction): Promise<unknown> =>
  addJobs(transaction, 'directory', [{ task: 'converge-service-accounts', payload: {}, key: 'service-accounts' }]);

export const changeReadScopes = (
  database: Database,
  ref: ServiceAccountRef,
  wanted: readonly string[],
  actor: ScopedActor,
): Promise<unknown> =>
  database.transaction(async (transaction) => {
    const account = await lockActive(transaction, ref, actor);
    await requireScopesWithin(transaction, account.read_scopes, actor.agencyCode);
    const readScopes = await readScopesOf(transaction, wanted, actor.agencyCode);
    await updateServiceAccount(transaction, account.id, { read_scopes: readScopes });
    const change = { before: { readScopes: account.read_scopes }, after: { readScopes } };
    await record(transaction, account, 'service_account.scopes_changed', change, actor);
  });

export const retireServiceAccount = (
  database: Database,
  ref: ServiceAccountRef,
  reason: string,
  actor: ScopedActor,
): Promise<unknown> =>
  database.transaction(async (transaction) => {
    const account = await lockActive(transaction, ref, actor);
    await updateServiceAccount(transaction, account.id, { state: 'retired' });
    const change = { before: { state: account.state }, after: { state: 'retired', reason } };
    await record(transaction, account, 'service_account.retired', change, actor);
  });

/** Locked until the transaction ends, at the version that the caller read, and in use. */
export async function lockActive(
  transaction: Transaction,
  { id, version }: ServiceAccountRef,
  actor: ScopedActor,
): Promise<ServiceAccountRow> {
  const account = await lockServiceAccount(transaction, id, actor.agencyCode);
  if (version !== undefined && version !== account.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The service account is now at version ${account.version}; read it again before changing it.`,
    });
  }
  if (account.state !== 'active') {
    throw new ServiceError({
      kind: 'conflict',
      code: 'service_account_retired',
      detail: 'This service account was retired; make another.',
    });
  }
  return account;
}

export async function record(
  transaction: Transaction,
  account: ServiceAccountRow,
  action: AuditAction,
  change: { before?: object; after?: object },
  actor: Actor,
): Promise<void> {
  await insertEvents(transaction, [
    { actor, action, subjectType: 'service_account', subjectId: account.id, agencyId: account.agency_id, ...change },
  ]);
  await queueServiceAccounts(transaction);
}
