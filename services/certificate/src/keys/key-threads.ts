/**
 * Threads that make RSA keys beside everything else. `crypto.generateKeyPair` would make them on libuv's pool, where a handful of them
 * keeps every signature and every look-up waiting for a second. They are started when keys are wanted, and end when none are.
 */
import { Worker } from 'node:worker_threads';
import type { KeyPair } from '../authority/key-pair.ts';
import type { KeyKind } from '../authority/public-key.ts';

/**
 * Makes keys on `count` threads and hands each to `keep`, as long as `isWanted` says so before the next. Ends when all threads have
 * ended; rejects with the first failure.
 */
export async function makeKeys(
  keyKind: KeyKind,
  count: number,
  isWanted: () => Promise<boolean>,
  keep: (pair: KeyPair) => Promise<void>,
): Promise<void> {
  let isOver = false;
  const run = async (): Promise<void> => {
    const worker = new Worker(new URL('./key-thread.ts', import.meta.url), {
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    try {
      while (!isOver && (await isWanted())) {
        const { privateKey, subjectPublicKeyInfo } = await ask(worker, Number(keyKind.slice(4)));
        const pair = {
          keyKind,
          privateKey: Buffer.from(privateKey),
          subjectPublicKeyInfo: Buffer.from(subjectPublicKeyInfo),
        };
        await keep(pair).finally(() => pair.privateKey.fill(0));
        privateKey.fill(0);
      }
    } finally {
      isOver = true; // one that fails, or has enough, ends the others after the key that they are at
      await worker.terminate();
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: count }, run));
  const failure = outcomes.find((outcome) => outcome.status === 'rejected');
  if (failure) throw failure.reason;
}

const ask = (worker: Worker, modulusLength: number): Promise<Pick<KeyPair, 'privateKey' | 'subjectPublicKeyInfo'>> => {
  const { promise, resolve, reject } = Promise.withResolvers<Pick<KeyPair, 'privateKey' | 'subjectPublicKeyInfo'>>();
  const ended = (code: number): void => reject(new Error(`a thread that makes keys ended by itself (${code})`));
  worker.once('message', (pair) => {
    worker.off('error', reject);
    worker.off('exit', ended);
    resolve(pair);
  });
  worker.once('error', reject);
  worker.once('exit', ended);
  worker.postMessage(modulusLength);
  return promise;
};
