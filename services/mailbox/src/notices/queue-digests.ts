/**
 * The weekly digest to IT administrators, each Monday at 07:00 in Việt Nam. Asked each hour for the week that is due, so that a Monday on
 * which nothing ran is made up for; whoever got that week's is not told again, however often it is asked.
 */
import type { Database } from '@congvu/database';
import type { Logger } from 'pino';
import { readDigest } from './digest-store.ts';
import { findAgency } from './facts-store.ts';
import { findNotice } from './notice-store.ts';
import { queueNotices } from './queue-notices.ts';

export interface DigestRecipient {
  address: string;
  /** Of which agency, with all below it; the province unless told. */
  agencyCode: string | undefined;
}

export async function queueDigests(
  { database, log }: { database: Database; log: Logger },
  recipients: readonly DigestRecipient[],
  now = new Date(),
): Promise<void> {
  const week = lastWeek(now);
  const occasion = week.to.toISOString().slice(0, 10);
  for (const { address, agencyCode } of recipients) {
    const agency = await findAgency(database, { code: agencyCode });
    if (!agency) {
      log.warn({ agencyCode }, 'a recipient of the weekly digest is of an agency that there is not');
      continue;
    }
    const identity = { kind: 'digest' as const, subjectId: agency.id, occasion, addressee: address };
    if (await findNotice(database, identity)) continue;
    await database.transaction(async (transaction) => {
      const facts = await readDigest(transaction, agency, week);
      await queueNotices(transaction, [{ ...identity, recipient: address, agencyId: agency.id, facts }]);
    });
  }
}

const weekMs = 7 * 24 * 3_600_000;
/** 00:00 UTC on a Monday is 07:00 in Việt Nam, all year round. */
const someMonday = Date.UTC(1970, 0, 5);

/** The one that ended last. */
export function lastWeek(now: Date): { from: Date; to: Date } {
  const monday = now.getTime() - ((now.getTime() - someMonday) % weekMs);
  return { from: new Date(monday - weekMs), to: new Date(monday) };
}
