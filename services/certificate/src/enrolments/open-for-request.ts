/**
 * The same enrolment for every account that a request opened, page by page. Accounts succeed and fail one by one, and the answer says
 * of each; asked again, those that have theirs are left as they are.
 */
import type { RequestEnrolments, RequestEnrolmentsInput } from '@congvu/contracts';
import { ServiceError } from '@congvu/errors';
import type { SystemOrActor } from '../certificates/certificate-event.ts';
import type { EnrolmentDependencies } from './converge-certificates.ts';
import { listAccountsOfRequest } from './enrolment-store.ts';
import { openOne } from './open-enrolment.ts';

const pageSize = 100;

export async function openForRequest(
  dependencies: EnrolmentDependencies,
  requestId: string,
  input: RequestEnrolmentsInput,
  actor: SystemOrActor & { agencyCode: string },
): Promise<RequestEnrolments> {
  const { database, authorities } = dependencies;
  authorities.profile(input.profile);
  const items: RequestEnrolments['items'] = [];
  for (let after = ''; ; ) {
    const accounts = await listAccountsOfRequest(database, requestId, actor.agencyCode, after, pageSize);
    const opened = await database.transaction(async (transaction) => {
      const page: RequestEnrolments['items'] = [];
      for (const account of accounts) {
        const item = { accountId: account.id, address: account.address, enrolmentId: null, code: null, detail: null };
        try {
          const id = await openOne(transaction, dependencies, account, { ...input, dnsNames: [] }, actor);
          page.push({ ...item, enrolmentId: id });
        } catch (error) {
          // A fault of the database ends the page.
          if (!(error instanceof ServiceError)) throw error;
          page.push({ ...item, code: error.faults[0]?.code ?? error.code, detail: error.detail });
        }
      }
      return page;
    });
    items.push(...opened);
    if (accounts.length < pageSize) break;
    after = accounts.at(-1)!.username;
  }
  if (items.length === 0)
    throw new ServiceError({
      kind: 'not_found',
      code: 'request_not_found',
      detail: 'No account at or below your agency was opened by that request.',
    });
  return { openedCount: items.filter((item) => item.enrolmentId !== null).length, items };
}
