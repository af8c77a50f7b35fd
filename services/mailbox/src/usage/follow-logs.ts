/**
 * Follows the logs of Postfix and Dovecot and counts what they say of use, within a second or two of its happening. What a stretch of
 * a log adds and how far it was read are one transaction: killed at any line, each line counts once. While a log or the database
 * cannot be reached it waits, and then goes on from where it was.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database, Transaction } from '@congvu/database';
import type { Logger } from 'pino';
import { countAliasUse } from '../aliases/alias-store.ts';
import { type LogEvent, parseDovecotLine, parsePostfixLine } from './log-lines.ts';
import { readStretch, stateOfLog } from './read-log.ts';
import { tally } from './tally.ts';
import {
  addAddressUses,
  addMailboxCounts,
  findUnderWay,
  lockLogPosition,
  saveLogPosition,
  saveUnderWay,
} from './usage-store.ts';

export interface FollowedLog {
  name: 'postfix' | 'dovecot';
  path: string;
}

export interface LogFollower {
  stop(): Promise<void>;
}

const pauseMs = 500;
const pauseAfterErrorMs = 5_000;

/** Follows each of the logs until stopped. */
export function followLogs(options: { database: Database; logs: readonly FollowedLog[]; log: Logger }): LogFollower {
  const { database, log } = options;
  const stopping = new AbortController();
  const { signal } = stopping;
  const follow = async (followed: FollowedLog): Promise<void> => {
    let isDisturbed = false;
    /** As the log was when it was read to its end: the database need not be asked as long as nothing is written. */
    let readToEnd: string | undefined;
    while (!signal.aborted) {
      let pause = pauseMs;
      try {
        const state = await stateOfLog(followed.path);
        const outcome =
          state === readToEnd ? { lineCount: 0, isAfterLoss: false } : await countStretch(database, followed);
        readToEnd = outcome.lineCount === 0 && !outcome.isAfterLoss ? state : undefined;
        if (outcome.isAfterLoss)
          log.warn({ path: followed.path }, 'lines of a mail log were gone before they were counted');
        if (outcome.lineCount > 0) pause = 0;
        if (isDisturbed) log.info({ path: followed.path }, 'a mail log is followed again');
        isDisturbed = false;
      } catch (error) {
        if (!isDisturbed)
          log.warn({ err: error, path: followed.path }, 'a mail log cannot be followed; it is tried again');
        isDisturbed = true;
        pause = pauseAfterErrorMs;
      }
      if (pause > 0) await sleep(pause, undefined, { signal }).catch(() => undefined);
    }
  };
  const following = Promise.all(options.logs.map(follow));
  return {
    stop: async () => {
      stopping.abort();
      await following;
    },
  };
}

/** Counts the next stretch of a log. */
export const countStretch = (
  database: Database,
  { name, path }: FollowedLog,
): Promise<{ lineCount: number; isAfterLoss: boolean }> =>
  database.transaction(async (transaction) => {
    // 1. Where reading ended, held against any other process.
    const { position, recent } = await lockLogPosition(transaction, name);

    // 2. What has been written since.
    const stretch = await readStretch(path, position);
    if (!stretch) return { lineCount: 0, isAfterLoss: false };
    const now = new Date();
    const events = stretch.lines.flatMap(
      (line) => (name === 'postfix' ? parsePostfixLine(line, now) : parseDovecotLine(line)) ?? [],
    );

    // 3. What it adds.
    const counted = await count(transaction, events, recent);

    // 4. How far it was read.
    await saveLogPosition(transaction, name, stretch.next, counted);
    return { lineCount: stretch.lines.length, isAfterLoss: stretch.isAfterLoss };
  });

/** The deliveries to look back on. */
async function count(
  transaction: Transaction,
  events: readonly LogEvent[],
  recent: readonly string[],
): Promise<string[]> {
  const queueIds = [...new Set(events.flatMap((event) => ('queueId' in event ? event.queueId : [])))];
  const underWay = await findUnderWay(transaction, queueIds);
  const counts = tally(events, underWay, recent);
  await addMailboxCounts(transaction, counts.mailboxes);
  await addAddressUses(transaction, counts.addresses);
  await countAliasUse(transaction, counts.addresses);
  await saveUnderWay(transaction, queueIds, underWay);
  return counts.recent;
}
