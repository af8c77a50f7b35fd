/**
 * Carries out the lines of an approved request, a part at a time: the first part within the approval, each further one in a
 * transaction of its own, so that a request of 100,000 lines holds up no other. What cannot be done any more fails
 * with its reason and harms no other line. Killed anywhere, what is left is done by the job that is run again.
 */
import { addJobs, brokenConstraint, type Database, type Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import type { UsernamePatterns } from '@congvu/vietnamese';
import type { Cause } from '../accounts/change-account.ts';
import { changeTitle } from '../accounts/change-title.ts';
import { crowd, openAccounts } from '../accounts/open-accounts.ts';
import { orderCertificate, withdrawCertificate } from '../accounts/order-certificate.ts';
import { queueSearch } from '../accounts/queue-convergence.ts';
import { renameAccount } from '../accounts/rename-account.ts';
import { defaultRetentionDays, retentionEnd, retireAccount } from '../accounts/retire-account.ts';
import { transferAccount } from '../accounts/transfer-account.ts';
import { lockUsernames } from '../accounts/usernames.ts';
import { findObstacles, kindOfLine } from './line-obstacles.ts';
import { findApproval, type RequestRow } from './request-store.ts';
import { completeRequest } from './settle-requests.ts';
import {
  hasLinesToCarryOut,
  type LineFailure,
  type LineToCarryOut,
  listLinesToCarryOut,
  markCarriedOut,
} from './work-store.ts';

/** So many lines are one transaction: enough to share the price of a commit, few enough to be done in a third of a second. */
export const linesPerPart = 500;
/** After so long a job gives its place to those that wait. */
const msPerJob = 5_000;

export const openAccountsJob = (requestId: string) => ({
  task: 'open-accounts',
  payload: { requestId },
  key: `open:${requestId}`,
});

/** What the province has decided for all. */
export interface OpeningPolicy {
  usernamePatterns: UsernamePatterns;
  /** How long what a retired account had is kept, unless told. */
  retentionDays?: number | undefined;
}

/** Part after part of a request for a while, then by another job. */
export async function carryOutRest(
  database: Database,
  requestId: string,
  policy: OpeningPolicy,
  signal: AbortSignal,
): Promise<void> {
  const end = Date.now() + msPerJob;
  while (await carryOutNextPart(database, requestId, policy)) {
    if (Date.now() < end && !signal.aborted) continue;
    return addJobs(database, 'directory', [openAccountsJob(requestId)]);
  }
}

/** The next part of a request; nothing when it is not approved, or nothing is left. Answers whether lines are left after it. */
export const carryOutNextPart = (database: Database, requestId: string, policy: OpeningPolicy): Promise<boolean> =>
  database.transaction(async (transaction) => {
    const approval = await findApproval(transaction, requestId);
    if (!approval) return false;
    const { decided_by: id, decided_from: ip, approver_agency: agencyCode } = approval;
    const actor = { kind: 'client' as const, id, ip, agencyCode };
    return carryOutPart(transaction, approval, policy, { actor, requestId });
  });

/** Answers whether lines are left. */
export async function carryOutPart(
  transaction: Transaction,
  request: Pick<RequestRow, 'id' | 'agency_code'>,
  policy: OpeningPolicy,
  cause: Cause,
): Promise<boolean> {
  // 1. What stands against them by now. From here to the commit nobody else opens accounts.
  const lines = await listLinesToCarryOut(transaction, request.id, linesPerPart);
  const [first, last] = [lines[0], lines.at(-1)];
  if (!first || !last) {
    await completeRequest(transaction, request.id);
    return false;
  }
  const openings = lines.filter((line) => line.operation === 'open');
  if (openings.length > 0 || lines.some(({ newAddress }) => newAddress)) await lockUsernames(transaction);
  const failures = new Map<number, LineFailure>();
  const asked = { id: request.id, agencyCode: request.agency_code };
  const part = {
    state: 'waiting' as const,
    from: first.lineNumber,
    to: last.lineNumber,
    kinds: new Set(lines.map(kindOfLine)),
  };
  for (const { lineNumber, code, detail } of await findObstacles(transaction, asked, part)) {
    if (!failures.has(lineNumber)) failures.set(lineNumber, { code, detail });
  }
  const possible = (line: LineToCarryOut): boolean => !failures.has(line.lineNumber);

  // 2. New accounts together, changes of accounts one by one.
  const opened = await openEach(transaction, openings.filter(possible), policy.usernamePatterns, cause, failures);
  const changes = lines.filter((line) => line.operation !== 'open' && possible(line)).sort(byTarget);
  for (const line of changes) {
    await attempt(transaction, line, failures, (inner) => changeAccount(inner, line, policy, cause));
  }

  // 3. How each ended, and what is next.
  await markCarriedOut(transaction, request.id, lines, opened, failures);
  const isMore = await hasLinesToCarryOut(transaction, request.id);
  if (!isMore) {
    await completeRequest(transaction, request.id);
    // Lines are numbered: this one's says that there may have been a crowd.
    if (last.lineNumber >= crowd) await queueSearch(transaction, request.id, true);
  }
  return isMore;
}

/** In one order, so that two requests about the same accounts do not wait for each other: people first, whose positions are locked with them. */
const byTarget = (one: LineToCarryOut, other: LineToCarryOut): number => (targetOf(one) < targetOf(other) ? -1 : 1);
const targetOf = ({ targetKind, targetAccountId }: LineToCarryOut): string =>
  `${targetKind === 'person' ? 1 : 2} ${targetAccountId}`;

/** All at once; if the database refuses one, each by itself, so that it is refused alone. Line number → account id. */
async function openEach(
  transaction: Transaction,
  lines: readonly LineToCarryOut[],
  patterns: UsernamePatterns,
  cause: Cause,
  failures: Map<number, LineFailure>,
): Promise<Map<number, string>> {
  try {
    return await transaction.transaction((inner) => openAccounts(inner, lines.map(toOpening), patterns, cause));
  } catch (error) {
    if (brokenConstraint(error) === undefined) throw error;
  }
  const opened = new Map<number, string>();
  for (const line of lines) {
    await attempt(transaction, line, failures, async (inner) => {
      const [pair] = await openAccounts(inner, [toOpening(line)], patterns, cause);
      if (pair) opened.set(...pair);
    });
  }
  return opened;
}

const toOpening = (line: LineToCarryOut) => {
  if (line.kind === null) throw new Error(`line ${line.lineNumber} opens an account of no kind`);
  return { ...line, kind: line.kind };
};

/** Within a savepoint: what the line did before it failed is undone. An outage is no failure of the line. */
async function attempt(
  transaction: Transaction,
  line: LineToCarryOut,
  failures: Map<number, LineFailure>,
  act: (inner: Transaction) => Promise<void>,
): Promise<void> {
  try {
    await transaction.transaction(act);
  } catch (error) {
    if (error instanceof ServiceError && error.kind !== 'unavailable') {
      failures.set(line.lineNumber, { code: error.code, detail: error.message });
    } else if (brokenConstraint(error) !== undefined) {
      const detail = 'Another account, made or changed meanwhile, stands against it.';
      failures.set(line.lineNumber, { code: 'account_conflict', detail });
    } else throw error;
  }
}

function changeAccount(
  transaction: Transaction,
  line: LineToCarryOut,
  { retentionDays, usernamePatterns }: OpeningPolicy,
  cause: Cause,
): Promise<void> {
  const { targetAccountId: accountId, reason, title, certificatePath: path } = line;
  if (!accountId) throw new Error(`line ${line.lineNumber} is about no account`);
  switch (line.operation) {
    case 'close':
      return retireAccount(
        transaction,
        { accountId, reason: reason ?? '', retainedUntil: retentionEnd(retentionDays ?? defaultRetentionDays) },
        cause,
      );
    case 'transfer':
      return transferAccount(
        transaction,
        { accountId, toAgencyId: line.agencyId, title: title ?? undefined, reason: reason ?? undefined },
        cause,
      );
    case 'rename':
      return renameAccount(
        transaction,
        { accountId, fullName: line.fullName ?? '', newAddressBy: line.newAddress ? usernamePatterns : undefined },
        cause,
      );
    case 'change_position':
      return changeTitle(transaction, { accountId, title }, cause);
    case 'issue_certificate':
      return orderCertificate(transaction, { accountId, path: path === 'csr' ? 'csr' : 'server_key' }, cause);
    case 'revoke_certificate':
      return withdrawCertificate(transaction, { accountId, reason: reason ?? 'unspecified' }, cause);
    case 'open':
      throw new Error('a line that opens an account changes none');
  }
}
