/** Makes the account of a connected system. It can do nothing until a secret is issued for it. */
import { brokenConstraint, type Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { requireAgency, requireOpenAgency } from '../agencies/agency-store.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { queueServiceAccounts } from './change-service-account.ts';
import { readScopesOf } from './read-scopes.ts';
import { insertServiceAccount } from './service-account-store.ts';

/** The platform's own identities, below the same node of the tree. */
const reserved = new Set(['directory', 'mailbox', 'certificate', 'postfix', 'dovecot', 'reader', 'internal']);

export async function createServiceAccount(
  database: Database,
  input: { name: string; displayName: string; agencyCode: string; readScopes: readonly string[] },
  actor: Actor & { agencyCode: string },
): Promise<string> {
  if (reserved.has(input.name)) throw nameTaken();
  try {
    return await database.transaction(async (transaction) => {
      const { id: agencyId } = await requireAgency(transaction, input.agencyCode, actor.agencyCode);
      await requireOpenAgency(transaction, agencyId, actor.agencyCode);
      const readScopes = await readScopesOf(transaction, input.readScopes, actor.agencyCode);
      const { name, displayName } = input;
      const id = await insertServiceAccount(transaction, { name, displayName, agencyId, readScopes });
      await insertEvents(transaction, [
        {
          actor,
          action: 'service_account.created',
          subjectType: 'service_account',
          subjectId: id,
          agencyId,
          after: { name, displayName, readScopes },
        },
      ]);
      await queueServiceAccounts(transaction);
      return id;
    });
  } catch (error) {
    if (brokenConstraint(error) === 'service_accounts_name_unique') throw nameTaken(error);
    throw error;
  }
}

const nameTaken = (cause?: unknown): ServiceError =>
  new ServiceError({
    kind: 'conflict',
    code: 'service_account_name_taken',
    detail: 'There is, or was, a service of that name; choose another.',
    cause,
  });
