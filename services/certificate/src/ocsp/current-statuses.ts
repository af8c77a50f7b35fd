/**
 * The status of a certificate as the record has it at a moment after it was asked for: a revocation that was committed, by
 * whatever process, is seen by every request that comes after, however well prepared the answer was. Each read of the record serves
 * all who came before it began, so that it costs next to nothing however many they are; what it finds changed is forgotten, and only
 * then are prepared answers given out.
 */
import { ServiceError } from '@congvu/errors';
import { untilQuiet } from '../until-quiet.ts';
import type { KnownStatus, PreparedAnswer, PreparedAnswers } from './prepared-answers.ts';
import type { SerialOf, StatusesRead, StatusReader } from './status-store.ts';

/** A certificate, and by which of its issuer's names it is asked for. */
export interface Wanted extends SerialOf {
  readonly issuer: number;
}

export interface CurrentStatus {
  /** Undefined: not issued. */
  readonly status: KnownStatus | undefined;
  /** Seconds since 1970: the status is known to be so then. */
  readonly asOf: number;
  /** An answer that is ready; to be copied from at once. */
  readonly prepared: PreparedAnswer | undefined;
  /** Keeps the signature of an answer as of `asOf`, if the status has not changed meanwhile. */
  readonly keep: ((responder: number, signature: Buffer) => void) | undefined;
}

export interface CurrentStatuses {
  /** One of both is called, later: `failed` with `unavailable` when the record cannot be read, or when too many wait. */
  find(wanted: Wanted, found: (current: CurrentStatus) => void, failed: (error: unknown) => void): void;
  /** Nothing is known any more. */
  forget(): void;
}

const maximumWaiting = 10_000;

interface Waiting {
  wanted: Wanted;
  found: (current: CurrentStatus) => void;
  failed: (error: unknown) => void;
}

export function createCurrentStatuses(options: {
  read: StatusReader['read'];
  prepared: PreparedAnswers;
  /** The numbers by which an authority is asked for. */
  issuersOf: (authorityId: string) => readonly number[];
  /** Whether an answer may still be given out. */
  isUsable: (thisUpdate: number, responder: number) => boolean;
}): CurrentStatuses {
  const { read, prepared, issuersOf, isUsable } = options;
  let waiting: Waiting[] = [];
  let reading = false;
  let since: string | null = null;

  const forget = (): void => {
    since = null;
    prepared.clear();
  };
  const findUsable = (wanted: readonly Wanted[]): (PreparedAnswer | undefined)[] =>
    prepared.findAll(wanted).map((found) => (found && isUsable(found.thisUpdate, found.responder) ? found : undefined));

  const wait = (one: Waiting): void => {
    waiting.push(one);
    if (reading) return;
    reading = true;
    void run();
  };

  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      await untilQuiet(() => waiting.length); // a read costs as much as several answers
      const batch = waiting;
      waiting = [];
      const known: { one: Waiting; answer: PreparedAnswer }[] = [];
      const asked: Waiting[] = [];
      findUsable(batch.map(({ wanted }) => wanted)).forEach((answer, index) => {
        if (answer) known.push({ one: batch[index]!, answer });
        else asked.push(batch[index]!);
      });
      const version = prepared.version();
      // The clock first: the read tells of a moment after it.
      const asOf = Math.floor(Date.now() / 1000);
      let result: StatusesRead;
      try {
        result = await read(
          since,
          asked.map(({ wanted }) => wanted),
        );
      } catch (cause) {
        forget();
        for (const { failed } of batch) failed(unreadable(cause));
        continue;
      }
      since = result.snapshot;
      if (result.changed === undefined) prepared.clear();
      for (const { authorityId, serialNumber } of result.changed ?? [])
        for (const issuer of issuersOf(authorityId)) prepared.forget(issuer, serialNumber);
      const isChanged = prepared.version() !== version;
      for (const { one, answer } of known) {
        const current = isChanged ? findUsable([one.wanted])[0] : answer;
        if (current) one.found({ status: current.status, asOf, prepared: current, keep: undefined });
        // Prepared until now, and changed since: its status is read next.
        else wait(one);
      }
      asked.forEach(({ wanted, found }, index) => {
        const status = result.statuses[index];
        // What was not issued is not kept: it may be issued the next moment, and anybody can think of such numbers.
        const keep = status && prepared.put(wanted.issuer, wanted.serialNumber, status, asOf);
        found({ status, asOf, prepared: undefined, keep });
      });
    }
    reading = false;
  };

  return {
    forget,
    find: (wanted, found, failed) => {
      if (waiting.length >= maximumWaiting) return failed(unreadable(new Error('too many requests wait')));
      wait({ wanted, found, failed });
    },
  };
}

const unreadable = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'status_unavailable',
    detail: 'The status of certificates cannot be read now.',
    cause,
  });
