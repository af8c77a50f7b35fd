/**
 * Makes answers ahead: of every certificate that has not ended, the newest first, as many as there is room for; and makes each anew
 * when a third of its life is over. It goes round at its own slow pace, so that requests and issuing come first.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database } from '@congvu/database';
import type { Logger } from 'pino';
import type { OcspAnswers } from './answer-request.ts';
import { listIssued } from './status-store.ts';

const pageSize = 200;
/** Between two pages, so that this takes a part of one processor at most. */
const breatherMs = 10;
const roundMs = 10 * 60_000;

export async function keepPrepared(options: {
  database: Database;
  answers: Pick<OcspAnswers, 'prepare'>;
  capacity: number;
  log: Logger;
  signal: AbortSignal;
}): Promise<void> {
  const { log, signal } = options;
  while (!signal.aborted) {
    await prepareAll(options).catch((error: unknown) => {
      if (!signal.aborted) log.warn({ err: error }, 'OCSP answers could not be made ahead; it is tried again');
    });
    await sleep(roundMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
}

/** One round; the number of answers that were made. */
export async function prepareAll({
  database,
  answers,
  capacity,
  signal,
}: Omit<Parameters<typeof keepPrepared>[0], 'log'>): Promise<number> {
  // Some room stays for those that are asked for and are not among the newest.
  const wanted = Math.floor(capacity * 0.98);
  let made = 0;
  let after: Parameters<typeof listIssued>[1];
  for (let seen = 0; seen < wanted && !signal.aborted; ) {
    const page = await listIssued(database, after, Math.min(pageSize, wanted - seen));
    if (page.length === 0) break;
    const done = await Promise.all(page.map((one) => answers.prepare(one.authorityId, one.serialNumber)));
    const madeHere = done.filter(Boolean).length;
    made += madeHere;
    seen += page.length;
    after = page.at(-1);
    if (madeHere > 0) await sleep(breatherMs, undefined, { signal, ref: false }).catch(() => undefined);
  }
  return made;
}
