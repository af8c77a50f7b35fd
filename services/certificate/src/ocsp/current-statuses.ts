/**
 * The status of a certificate as the record has it at a moment after it was asked for: a revocation that was committed, by
 * whatever process, is seen by every request that comes after, however well prepared the answer was. Each read of the record serves
 * all who came before it began, so that it costs next to nothing however many they are; what it finds changed is forgotten, and only
 * then are prepared answers given out.
 */
import { ServiceError } from '@congvu/errors';
import type { KnownStatus, PreparedAnswers } from './prepared-answers.ts';
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
  readonly prepared:
    | { readonly thisUpdate: number; readonly responder: number; readonly signature: Buffer }
    | undefined;
  /** Keeps the signature of an answer as of `asOf`, if the status has not changed meanwhile. */
  readonly keep: ((responder: number, signature: Buffer) => void) | undefined;
}

export interface CurrentStatuses {
  /** Rejects with `unavailable` when the record cannot be read, or when too many wait. */
  find(wanted: Wanted): Promise<CurrentStatus>;
  /** Nothing is known any more. */
  forget(): void;
}

const maximumWaiting = 10_000;

interface Waiting extends Wanted {
  resolve: (current: CurrentStatus) => void;
  reject: (error: unknown) => void;
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
  let since: string | undefined;

  const forget = (): void => {
    since = undefined;
    prepared.clear();
  };
  const isKnown = ({ issuer, serialNumber }: Wanted): boolean => {
    const found = prepared.find(issuer, serialNumber);
    return found?.signed !== undefined && isUsable(found.thisUpdate, found.signed.responder);
  };

  const run = async (): Promise<void> => {
    while (waiting.length > 0) {
      // After all that the event loop has at hand, so that they share the read.
      await new Promise((resolve) => setImmediate(resolve));
      const batch = waiting;
      waiting = [];
      const asked = batch.filter((one) => !isKnown(one));
      // The clock first: the read tells of a moment after it.
      const asOf = Math.floor(Date.now() / 1000);
      let found: StatusesRead;
      try {
        found = await read(since, asked);
      } catch (cause) {
        forget();
        for (const { reject } of batch) reject(unreadable(cause));
        continue;
      }
      since = found.snapshot;
      if (found.changed === undefined) prepared.clear();
      for (const { authorityId, serialNumber } of found.changed ?? [])
        for (const issuer of issuersOf(authorityId)) prepared.forget(issuer, serialNumber);
      const statuses = new Map<Waiting, KnownStatus | undefined>(
        asked.map((one, index) => [one, found.statuses[index]]),
      );
      for (const one of batch) settle(one, asOf, statuses);
    }
    reading = false;
  };

  const settle = (one: Waiting, asOf: number, statuses: ReadonlyMap<Waiting, KnownStatus | undefined>): void => {
    if (!statuses.has(one)) {
      const found = isKnown(one) ? prepared.find(one.issuer, one.serialNumber) : undefined;
      if (found?.signed)
        one.resolve({ ...found, asOf, prepared: { thisUpdate: found.thisUpdate, ...found.signed }, keep: undefined });
      // Prepared until now, and changed since: its status is read next.
      else waiting.push(one);
      return;
    }
    const status = statuses.get(one);
    // What was not issued is not kept: it may be issued the next moment, and anybody can think of such numbers.
    const keep = status && prepared.put(one.issuer, one.serialNumber, status, asOf);
    one.resolve({ status, asOf, prepared: undefined, keep });
  };

  return {
    forget,
    find: (wanted) =>
      new Promise<CurrentStatus>((resolve, reject) => {
        if (waiting.length >= maximumWaiting) return reject(unreadable(new Error('too many requests wait')));
        waiting.push({ ...wanted, resolve, reject });
        if (reading) return;
        reading = true;
        void run();
      }),
  };
}

const unreadable = (cause: unknown): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'status_unavailable',
    detail: 'The status of certificates cannot be read now.',
    cause,
  });
