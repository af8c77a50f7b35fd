/** Once a night: every mailbox measured, those at rest too, and counts of days long past forgotten. Begun anew it does what is left of the day. */
import type { Database } from '@congvu/database';
import type { Logger } from 'pino';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { measureQuota } from './measure-quota.ts';
import { dayInVietNam } from './tally.ts';
import { forgetOldCounts } from './usage-store.ts';

export async function keepUsage(
  { database, doveadm, log, days }: { database: Database; doveadm: Doveadm; log: Logger; days: number },
  signal: AbortSignal,
): Promise<void> {
  const now = new Date();
  await forgetOldCounts(database, dayInVietNam(new Date(now.getTime() - days * 24 * 3600 * 1000)));
  const midnight = new Date(`${dayInVietNam(now)}T00:00:00+07:00`);
  const told = 5_000;
  await measureQuota({ database, doveadm }, { notSince: midnight }, signal, (measured) => {
    if (measured % told === 0) log.info({ measured }, 'mailboxes are being measured');
  });
}
