/**
 * Calls that come one by one and are worked at together: what is asked while a batch is at work goes with the next. Nobody waits
 * for company that is not about to come, so a call alone is as fast as without; the more there are at once, the less each costs. What
 * one asks fails for that one alone.
 */
import { untilQuiet } from '../until-quiet.ts';

/** What became of one of a batch. */
export type Outcome<R> = { value: R } | { error: unknown };

export const toOutcome = <R>(work: () => Promise<R>): Promise<Outcome<R>> =>
  work().then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );

export interface GatherOptions<T> {
  /** Of a batch. */
  most: number;
  /** Two of one key never go together: the second finds what the first left. */
  keyOf: (item: T) => string;
}

/** `work` says of each of its items, in their order, what became of it; when it throws, that is what became of all. */
export function gather<T, R>(
  { most, keyOf }: GatherOptions<T>,
  work: (items: readonly T[]) => Promise<readonly Outcome<R>[]>,
): (item: T) => Promise<R> {
  interface Call {
    item: T;
    resolve: (value: R) => void;
    reject: (error: unknown) => void;
  }
  let waiting: Call[] = [];
  let isWorking = false;

  const takeBatch = (): Call[] => {
    const taken = new Map<string, Call>();
    const left: Call[] = [];
    for (const call of waiting) {
      const key = keyOf(call.item);
      if (taken.size < most && !taken.has(key)) taken.set(key, call);
      else left.push(call);
    }
    waiting = left;
    return [...taken.values()];
  };

  const workOff = async (): Promise<void> => {
    isWorking = true;
    while (waiting.length > 0) {
      await untilQuiet(() => waiting.length);
      const batch = takeBatch();
      try {
        const outcomes = await work(batch.map(({ item }) => item));
        for (const [index, { resolve, reject }] of batch.entries()) {
          const outcome = outcomes[index] ?? { error: new Error('a batch said nothing of one of its calls') };
          if ('value' in outcome) resolve(outcome.value);
          else reject(outcome.error);
        }
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    isWorking = false;
  };

  return (item) => {
    const { promise, resolve, reject } = Promise.withResolvers<R>();
    waiting.push({ item, resolve, reject });
    if (!isWorking) void workOff();
    return promise;
  };
}
