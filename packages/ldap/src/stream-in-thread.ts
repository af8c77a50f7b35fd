/**
 * `streamOctets` in a thread of its own, with what is made of the entries there: on the main thread, decoding a province's entries
 * would hold up whatever else the process reads meanwhile. Runs ahead of the taker by a few batches and no more; ends, and fails, as
 * the stream itself would.
 */
import { Worker } from 'node:worker_threads';
import { ServiceError, type ServiceErrorOptions } from '@congvu/errors';
import { NoSuchObjectError } from 'ldapts';
import type { LdapOptions } from './index.ts';
import type { StreamOptions } from './stream-entries.ts';

/** No filter: its classes cannot be sent to a thread. */
export type MappedOptions = Omit<StreamOptions, 'filter'>;

export interface ThreadInput {
  ldap: LdapOptions;
  base: string;
  options: MappedOptions;
  /** URL of a module whose default export makes of a batch of entries what the taker gets; it must be cloneable. */
  map: string;
}

/** What the thread says; for each `taken` from here it goes on with another batch. */
export type ThreadMessage =
  | { batch: unknown[] }
  | { end: true }
  | { failure: ServiceErrorOptions | 'no_such_object' | 'other'; message: string };

/** So many batches may lie here before they are taken. */
export const batchesAhead = 4;
/** Batches die young when there is room for a few of them; a thread's own choice is small, and keeps it busy collecting. */
const maxYoungGenerationSizeMb = 64;

export async function* streamInThread<T>(input: ThreadInput): AsyncGenerator<T[]> {
  const resourceLimits = { maxYoungGenerationSizeMb, maxOldGenerationSizeMb: 256 };
  const thread = new Worker(new URL('./stream-thread.ts', import.meta.url), { workerData: input, resourceLimits });
  const waiting: ThreadMessage[] = [];
  let wake: (() => void) | undefined;
  const arrived = (message: ThreadMessage) => {
    waiting.push(message);
    wake?.();
  };
  thread.on('message', arrived);
  thread.on('error', (cause) => arrived({ failure: 'other', message: cause instanceof Error ? cause.message : '' }));
  thread.on('exit', () => arrived({ failure: 'other', message: 'the thread ended before the stream did' }));
  try {
    for (;;) {
      const message = waiting.shift();
      if (!message) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      } else if ('batch' in message) {
        thread.postMessage('taken');
        yield message.batch as T[];
      } else if ('end' in message) return;
      else throw failureOf(message);
    }
  } finally {
    await thread.terminate();
  }
}

function failureOf({ failure, message }: Extract<ThreadMessage, { failure: unknown }>): Error {
  if (failure === 'no_such_object') return new NoSuchObjectError(message);
  return failure === 'other' ? new Error(message) : new ServiceError(failure);
}
