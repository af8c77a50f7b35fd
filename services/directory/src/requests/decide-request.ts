/**
 * The decision on a request: approved, rejected, or taken back. Nobody decides on what the same client submitted; two who
 * decide at once are one after the other, and the second is told. Approval opens all accounts in one transaction.
 */
import type { Database } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { openAccounts } from '../accounts/open-accounts.ts';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { decideRequest, type RequestRow, requireRequestForUpdate } from './request-store.ts';

interface Decision {
  state: 'approved' | 'rejected' | 'cancelled';
  remark?: string | undefined;
  /** Version that the decision was made on (If-Match); undefined when the caller did not say. */
  version?: number | undefined;
}

export async function decide(
  database: Database,
  id: string,
  decision: Decision,
  actor: Actor & { agencyCode: string },
): Promise<void> {
  await database.transaction(async (transaction) => {
    // 1. May this be decided, now, by this client?
    const request = await requireRequestForUpdate(transaction, id, actor.agencyCode);
    checkDecision(request, decision, actor);

    // 2. Decide, and for an approval open the accounts.
    await decideRequest(transaction, id, { state: decision.state, by: actor.id, remark: decision.remark ?? null });
    await insertEvents(transaction, [
      {
        actor,
        action: `request.${decision.state}`,
        subjectType: 'request',
        subjectId: id,
        agencyId: request.agency_id,
        requestId: id,
        before: { state: request.state },
        after: { state: decision.state, remark: decision.remark ?? null },
      },
    ]);
    if (decision.state === 'approved') await openAccounts(transaction, id, actor);

    // 3. The agency is told; what it took back itself it knows.
    if (decision.state !== 'cancelled') await transaction.raw('select mailbox.request_decision_notice(?)', [id]);
  });
}

function checkDecision(request: RequestRow, decision: Decision, actor: Actor): void {
  if (decision.version !== undefined && decision.version !== request.version) {
    throw new ServiceError({
      kind: 'stale',
      code: 'stale_version',
      detail: `The request is now at version ${request.version}; read it again before deciding.`,
    });
  }
  const own = request.submitted_by === actor.id;
  if (decision.state === 'cancelled' && !own) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'not_submitter',
      detail: 'Only the client that submitted a request may cancel it.',
    });
  }
  if (decision.state !== 'cancelled' && request.submitter_made_by === actor.id) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'own_client',
      detail: 'Your client made the client that submitted this; somebody else has to decide on it.',
    });
  }
  if (decision.state !== 'cancelled' && own) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'own_request',
      detail: 'A request is decided on by someone other than its submitter.',
    });
  }
  if (request.state !== 'submitted') {
    throw new ServiceError({
      kind: 'conflict',
      code: 'request_decided',
      detail: `The request is ${request.state} already.`,
    });
  }
}
