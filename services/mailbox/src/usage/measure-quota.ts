/**
 * Asks the mail store how much each mailbox holds, a few at a time and never more than half of the time, so that people's sessions have
 * the rest. What was measured is written down at once: interrupted, it goes on with what is left.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '@congvu/database';
import type { Doveadm } from '../dovecot/doveadm.ts';
import { type Due, listToMeasure, saveMeasurements } from './usage-store.ts';

const atOnce = 20;

/**
 * @param options.budgetMs how long to go on at most; the rest is the next run's.
 * @param options.progress hears how many were measured so far.
 */
export async function measureQuota(
  { database, doveadm }: { database: Database; doveadm: Doveadm },
  due: Due,
  signal: AbortSignal,
  options: { budgetMs?: number; progress?: (measured: number) => void } = {},
): Promise<void> {
  const end = Date.now() + (options.budgetMs ?? Number.POSITIVE_INFINITY);
  let after: string | undefined;
  for (let measured = 0; ; ) {
    const mailboxes = await listToMeasure(database, due, after, atOnce);
    if (mailboxes.length === 0) return;
    const began = new Date();
    const quotas = await doveadm.quotas(mailboxes.map(({ address }) => address));
    await saveMeasurements(
      database,
      began,
      mailboxes.map(({ id, address }) => {
        const used = quotas.get(address);
        return { id, quotaUsedBytes: used?.bytes ?? null, messageCount: used?.messages ?? null };
      }),
    );
    measured += mailboxes.length;
    options.progress?.(measured);
    if (Date.now() > end) return;
    after = mailboxes.at(-1)?.id;
    await sleep(Date.now() - began.getTime(), undefined, { signal });
  }
}
