/**
 * The decision on a request: approved, whole or by line, returned with remarks, rejected, or taken back. Two who decide at once
 * are one after the other, and the second is told. The first lines of an approved one are carried out with it.
 */
import type { LineRemark } from '@congvu/contracts';
import { addJobs, type Database, type Transaction } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { insertEvents } from '../audit/audit-store.ts';
import { deleteSheet } from '../sheets/sheet-store.ts';
import { carryOutPart, type OpeningPolicy, openAccountsJob } from './carry-out-lines.ts';
import { type Deadlines, endOfWorkingDay } from './deadlines.ts';
import { findForeignLine, findUnknownLines, moveLines, rejectLines, remarkLines } from './line-store.ts';
import { checkAction, transitions } from './request-states.ts';
import { insertReturn, type RequestRow, requireRequestForUpdate, setState } from './request-store.ts';
import { hasLinesToCarryOut } from './work-store.ts';

export interface DecideDependencies extends OpeningPolicy {
  database: Database;
  deadlines: Deadlines;
}

type Remarked = { remark?: string | undefined; lineRemarks?: readonly LineRemark[] | undefined };
export type Decision = (
  | ({
      action: 'approve';
      /** These alone, or all but those; all when neither is said. */
      lines?: readonly number[] | undefined;
      exceptLines?: readonly number[] | undefined;
      /** Leaves even the first lines to the job: for one of many approvals in a call. */
      carryOutLater?: boolean;
    } & Remarked)
  | ({ action: 'return'; remark: string } & Remarked)
  | ({ action: 'reject' | 'cancel' } & Remarked)
) & {
  /** That the decision was made on (If-Match); undefined when the caller did not say. */
  version?: number | undefined;
};

type Decider = Actor & { agencyCode: string };

export async function decide(
  { database, deadlines, ...policy }: DecideDependencies,
  id: string,
  decision: Decision,
  actor: Decider,
): Promise<void> {
  await database.transaction(async (transaction) => {
    // 1. May this be decided, now, by this client?
    const request = await requireRequestForUpdate(transaction, id, actor);
    checkAction(request, decision.action, actor.id, decision.version);
    await checkLines(transaction, request, decision, actor);

    // 2. The decision, on the request and on its lines.
    await decideLines(transaction, request, decision);
    const dueAt = decision.action === 'return' ? endOfWorkingDay(new Date(), deadlines.correctionDays) : null;
    const decided = decision.action === 'return' ? {} : { decided: { by: actor.id, from: actor.ip } };
    const { to: state } = transitions[decision.action];
    await setState(transaction, id, { state, remark: decision.remark ?? null, dueAt, ...decided });
    await recordDecision(transaction, request, decision, actor);

    // 3. What follows: the agency is told, but what it took back itself it knows.
    if (decision.action === 'approve') {
      const isLeft =
        decision.carryOutLater || (await carryOutPart(transaction, request, policy, { actor, requestId: id }));
      if (isLeft) await addJobs(transaction, 'directory', [openAccountsJob(id)]);
    }
    if (decision.action === 'return') await tellReturn(transaction, request, decision, actor);
    else {
      await deleteSheet(transaction, id);
      if (decision.action !== 'cancel') await transaction.raw('select mailbox.request_decision_notice(?)', [id]);
    }
  });
}

/** Every line that the decision names is there; and whoever approves may decide for every agency that is touched. */
async function checkLines(
  transaction: Transaction,
  request: RequestRow,
  decision: Decision,
  actor: Decider,
): Promise<void> {
  const named = decision.action === 'approve' ? [...(decision.lines ?? []), ...(decision.exceptLines ?? [])] : [];
  const remarked = (decision.lineRemarks ?? []).map((line) => line.lineNumber);
  const unknown = await findUnknownLines(transaction, request.id, [...named, ...remarked]);
  if (unknown.length > 0) {
    throw invalid(
      'request_invalid',
      unknown.map((lineNumber) => ({
        pointer: '/lines',
        code: 'line_not_found',
        detail: `The request has no line ${lineNumber} that could be decided on.`,
      })),
    );
  }
  if (decision.action !== 'approve') return;
  const foreign = await findForeignLine(transaction, request.id, decision, actor.agencyCode);
  if (foreign !== undefined) {
    throw new ServiceError({
      kind: 'forbidden',
      code: 'line_outside_scope',
      detail: `Line ${foreign} touches an agency that is not below yours; whoever is above both has to approve it.`,
    });
  }
}

async function decideLines(transaction: Transaction, request: RequestRow, decision: Decision): Promise<void> {
  const { id } = request;
  await remarkLines(transaction, id, decision.lineRemarks ?? []);
  switch (decision.action) {
    case 'approve':
      await rejectLines(transaction, id, decision);
      // The others stay as they are until they are carried out: that their request is approved says it of them all.
      if (!(await hasLinesToCarryOut(transaction, id))) {
        const detail = 'No line would be approved; reject the request instead.';
        throw invalid('request_invalid', [{ pointer: '/exceptLines', code: 'nothing_approved', detail }]);
      }
      return;
    case 'return':
      await moveLines(transaction, id, 'submitted', 'draft');
      return;
    case 'reject':
      await moveLines(transaction, id, 'submitted', 'rejected');
      return;
    case 'cancel':
      await moveLines(transaction, id, request.state === 'submitted' ? 'submitted' : 'draft', 'cancelled');
  }
}

const recordDecision = (
  transaction: Transaction,
  request: RequestRow,
  decision: Decision,
  actor: Actor,
): Promise<void> => {
  const state = transitions[decision.action].to;
  const { lines, exceptLines } = decision.action === 'approve' ? decision : {};
  const lineRemarks = decision.lineRemarks?.length ? { lineRemarks: decision.lineRemarks } : {};
  return insertEvents(transaction, [
    {
      actor,
      action: `request.${state}`,
      subjectType: 'request',
      subjectId: request.id,
      agencyId: request.agency_id,
      requestId: request.id,
      before: { state: request.state },
      after: { state, remark: decision.remark ?? null, lines, exceptLines, ...lineRemarks },
    },
  ]);
};

async function tellReturn(
  transaction: Transaction,
  request: RequestRow,
  decision: Decision & { action: 'return' },
  actor: Actor,
): Promise<void> {
  const { remark, lineRemarks: lines = [] } = decision;
  const returnId = await insertReturn(transaction, { requestId: request.id, returnedBy: actor.id, remark, lines });
  await transaction.raw('select mailbox.request_return_notice(?)', [returnId]);
}
