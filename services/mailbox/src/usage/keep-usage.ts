/**
 * Once a night: counts of days long past are forgotten, every mailbox has its place in lists, and every one is measured, those at
 * rest too. Begun anew it measures what is left of the day.
 */
import type { Database } from '@congvu/database';
import { dayInVietnam } from '@congvu/vietnamese';
import type { Logger } from 'pino';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { measureQuota } from './measure-quota.ts';
import { forgetOldCounts, listMailboxIds, refreshListKeys } from './usage-store.ts';

const atOnce = 2_000;

export async function keepUsage(
  { database, doveadm, log, days }: { database: Database; doveadm: Doveadm; log: Logger; days: number },
  signal: AbortSignal,
): Promise<void> {
  const now = new Date();
  await forgetOldCounts(database, dayInVietnam(new Date(now.getTime() - days * 24 * 3600 * 1000)));
  for (let ids = await listMailboxIds(database, undefined, atOnce); ids.length > 0; ) {
    await refreshListKeys(database, ids);
    ids = await listMailboxIds(database, ids.at(-1), atOnce);
  }
  const midnight = new Date(`${dayInVietnam(now)}T00:00:00+07:00`);
  const told = 5_000;
  const progress = (measured: number): void => {
    if (measured % told === 0) log.info({ measured }, 'mailboxes are being measured');
  };
  await measureQuota({ database, doveadm }, { notSince: midnight }, signal, { progress });
}
