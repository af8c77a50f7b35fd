/** The usage of one mailbox with its days, and of one agency with what lies below it; each only within the client's agencies. */
import type { AgencyUsage, AgencyUsageDetail, MailboxUsage } from '@congvu/contracts';
import type { Database } from '@congvu/database';
import { invalid, ServiceError } from '@congvu/errors';
import { dayInVietnam } from '@congvu/vietnamese';
import { requireMailbox } from '../mailboxes/mailbox-store.ts';
import { findFigures, liesWithin, listAgencyUsage, listDays } from './figures-store.ts';

const dayMs = 24 * 3600 * 1000;
const mostDays = 366;

export async function readMailboxUsage(
  database: Database,
  accountId: string,
  scope: string,
  period: { from?: string | undefined; to?: string | undefined },
): Promise<MailboxUsage> {
  const to = period.to ?? dayInVietnam(new Date());
  const from = period.from ?? new Date(Date.parse(to) - 29 * dayMs).toISOString().slice(0, 10);
  const length = (Date.parse(to) - Date.parse(from)) / dayMs + 1;
  if (length < 1 || length > mostDays) {
    const detail = `The days from ${from} to ${to} must be 1 to ${mostDays}; choose others.`;
    throw invalid('period_invalid', [{ pointer: 'query/from', code: 'period_invalid', detail }]);
  }
  const mailbox = await requireMailbox(database, accountId, scope);
  const figures = (await findFigures(database, [accountId])).get(accountId);
  if (!figures) throw new Error(`mailbox ${accountId} has no row of usage`);
  const { address, quotaBytes } = mailbox;
  return { accountId, address, quotaBytes, ...figures, from, to, days: await listDays(database, accountId, from, to) };
}

export async function readAgencyUsage(database: Database, code: string, scope: string): Promise<AgencyUsageDetail> {
  const read = async (of: 'own' | 'subtree'): Promise<AgencyUsage | undefined> =>
    (await listAgencyUsage(database, { scope: code, of, code }, { sort: 'code', after: undefined }, 1))[0];
  const isVisible = await liesWithin(database, code, scope);
  const [own, subtree] = isVisible ? [await read('own'), await read('subtree')] : [];
  if (!own || !subtree) {
    const detail = 'There is no such agency at or below yours.';
    throw new ServiceError({ kind: 'not_found', code: 'agency_not_found', detail });
  }
  const { rank: _, agencyCode, agencyName, level, parentCode, ...figures } = own;
  return { agencyCode, agencyName, level, parentCode, own: figures, subtree: figuresOf(subtree) };
}

const figuresOf = ({
  rank: _,
  agencyCode: __,
  agencyName: ___,
  level: ____,
  parentCode: _____,
  ...figures
}: AgencyUsage) => figures;
