/**
 * Activation codes on paper, a slip for each account: every slip makes a new code and voids the one before. Codes are made a batch
 * at a time while the document is read; whoever breaks off has codes that nobody saw, and asks again. Accounts for which no code may
 * be made are listed at the end with the reason.
 */
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import type { Actor } from '../audit/audit-event.ts';
import { type AccountName, listAccountNames, listAccountsOfRequest } from './account-store.ts';
import { type CodeRules, issueActivationCode } from './issue-activation-code.ts';
import { type LeftOut, type Slip, slipDocument } from './slip-document.ts';

export interface SlipDependencies {
  database: Database;
  /** Where a holder redeems a code; stands on the slips. */
  activationUrl: string;
}

const batchSize = 60;

/** For the accounts named; all must be in the caller's subtree. */
export async function printSlipsOfAccounts(
  dependencies: SlipDependencies,
  accountIds: readonly string[],
  rules: CodeRules,
  actor: Actor & { agencyCode: string },
): Promise<AsyncIterable<Buffer>> {
  const ids = [...new Set(accountIds)];
  const found = new Map(
    (await listAccountNames(dependencies.database, ids, actor.agencyCode)).map((account) => [account.id, account]),
  );
  const faults = accountIds.flatMap((id, index) => {
    const detail = 'There is no account of that id at or below your agency.';
    return found.has(id) ? [] : [{ pointer: `/accountIds/${index}`, code: 'account_not_found', detail }];
  });
  if (faults.length > 0) throw invalid('request_invalid', faults);
  const accounts = ids.flatMap((id) => found.get(id) ?? []);
  async function* batches() {
    for (let start = 0; start < accounts.length; start += batchSize) yield accounts.slice(start, start + batchSize);
  }
  return print(dependencies, batches(), rules, actor, null);
}

/** For all accounts that the lines of a request opened, in their order. The request must have been found in the caller's subtree. */
export function printSlipsOfRequest(
  dependencies: SlipDependencies,
  requestId: string,
  rules: CodeRules,
  actor: Actor & { agencyCode: string },
): Promise<AsyncIterable<Buffer>> {
  async function* batches() {
    for (let after = 0; ; ) {
      const accounts = await listAccountsOfRequest(
        dependencies.database,
        requestId,
        actor.agencyCode,
        after,
        batchSize,
      );
      if (accounts.length > 0) yield accounts;
      const last = accounts.at(-1);
      if (!last || accounts.length < batchSize) return;
      after = last.line_number;
    }
  }
  return print(dependencies, batches(), rules, actor, requestId);
}

/** The first octets are made before it returns, so that what fails at once is an answer of its own and no broken document. */
async function print(
  { database, activationUrl }: SlipDependencies,
  batches: AsyncIterable<readonly AccountName[]>,
  rules: CodeRules,
  actor: Actor,
  requestId: string | null,
): Promise<AsyncIterable<Buffer>> {
  async function* issued() {
    for await (const accounts of batches) yield issueBatch(database, accounts, rules, actor, requestId);
  }
  const document = slipDocument(issued(), activationUrl);
  const first = await document.next();
  return (async function* whole() {
    if (!first.done) yield first.value;
    yield* document;
  })();
}

async function issueBatch(
  database: Database,
  accounts: readonly AccountName[],
  rules: CodeRules,
  actor: Actor,
  requestId: string | null,
): Promise<{ slips: Slip[]; leftOut: LeftOut[] }> {
  const slips = new Map<string, Slip>();
  const leftOut: LeftOut[] = [];
  await database.transaction(async (transaction) => {
    // Locked in one order, so that two who print the same accounts never wait for each other.
    for (const { id, address, display_name: displayName } of [...accounts].sort((a, b) => (a.id < b.id ? -1 : 1))) {
      try {
        const code = await issueActivationCode(transaction, id, rules, { actor, requestId });
        slips.set(id, { ...code, expiresAt: new Date(code.expiresAt) });
      } catch (error) {
        if (!(error instanceof ServiceError) || !(error.code in reasons)) throw error;
        leftOut.push({ displayName, address, reason: reasons[error.code] as string });
      }
    }
  });
  return { slips: accounts.flatMap(({ id }) => slips.get(id) ?? []), leftOut };
}

const reasons: Record<string, string> = {
  account_state: 'tài khoản không hoạt động',
  already_activated: 'đã kích hoạt; đặt lại mật khẩu cần quyền riêng',
  position_vacant: 'chức vụ chưa có người giữ',
  account_not_found: 'không còn thuộc phạm vi của cơ quan yêu cầu',
};
