/**
 * Many requests approved in one call, each in a transaction of its own: one that cannot be approved holds up no other. Their
 * lines are carried out by jobs, so that the call takes no longer for large ones.
 */
import type { BulkApprovalResult } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { type DecideDependencies, decide } from './decide-request.ts';

export async function approveRequests(
  dependencies: DecideDependencies,
  wanted: readonly { id: string; version?: number | undefined }[],
  remark: string | undefined,
  actor: Actor & { agencyCode: string },
): Promise<BulkApprovalResult> {
  const results: BulkApprovalResult['results'] = [];
  for (const { id, version } of wanted) {
    try {
      await decide(dependencies, id, { action: 'approve', remark, version, carryOutLater: true }, actor);
      results.push({ id, approved: true });
    } catch (error) {
      // An outage is the same for all that are left; what was approved before it stays so.
      if (!(error instanceof ServiceError) || error.kind === 'unavailable') throw error;
      results.push({ id, approved: false, code: error.code, detail: error.message });
    }
  }
  return { results };
}
