/**
 * Server-made RSA keys, made ahead while the machine has nothing better to do, wrapped and stored at once. Who enrols takes one that is
 * ready; when there is none, the account's turn comes as soon as there is. Keys of other kinds take a fraction of a millisecond and
 * are made when they are needed.
 */
import { randomUUID } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Database, Transaction } from '@congvu/database';
import { ServiceError } from '@congvu/errors';
import { generateKeyPair } from '../authority/key-pair.ts';
import { type WrappingKey, wrapPrivateKey } from '../authority/key-wrap.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { countPooledKeys, deleteOtherKeys, insertPooledKey, type PooledKey, takePooledKey } from './key-pool-store.ts';
import { makeKeys } from './key-threads.ts';

export interface KeyPool {
  /** A key of the kind, bound to the enrolment of its id; undefined when none is ready. More are made meanwhile. */
  take(transaction: Transaction, keyKind: KeyKind): Promise<PooledKey | undefined>;
  /** Waits until a key is ready. Throws `unavailable` when none is within a minute. */
  waitForKey(signal: AbortSignal): Promise<void>;
  /** Makes keys until the pool is full, unless this process is at it already. */
  fill(): Promise<void>;
  /** The same, without waiting for the end of it. */
  fillUp(): void;
  /** The keys that are being made are the last, and are lost. */
  stop(): void;
}

export interface KeyPoolOptions {
  database: Database;
  wrappingKey: WrappingKey;
  /** Of the keys made ahead. */
  keyKind: KeyKind;
  /** How many are kept ready. */
  size: number;
  onFailure: (error: unknown) => void;
}

export function openKeyPool({ database, wrappingKey, keyKind, size, onFailure }: KeyPoolOptions): KeyPool {
  const isRsa = (kind: KeyKind): boolean => kind.startsWith('rsa');
  const place = { keyKind, wrappingKeyId: wrappingKey.id };
  let filling: Promise<void> | undefined;
  let isStopped = false;
  // Of two threads that both see one missing both make it: the pool may hold a few more than its size.
  const isWanted = async (): Promise<boolean> => !isStopped && (await countPooledKeys(database, place)) < size;

  const fill = (): Promise<void> => {
    if (filling) return filling;
    if (isStopped || !isRsa(keyKind)) return Promise.resolve();
    filling = (async () => {
      await deleteOtherKeys(database, place);
      if (!(await isWanted())) return;
      await makeKeys(keyKind, Math.max(1, Math.min(4, availableParallelism() - 1)), isWanted, (pair) =>
        insertPooledKey(database, place, wrapForEnrolment(pair, wrappingKey)),
      );
    })().finally(() => {
      filling = undefined;
    });
    return filling;
  };

  const fillUp = (): void =>
    void fill().catch((error: unknown) => {
      if (!isStopped) onFailure(error);
    });

  return {
    fill,
    fillUp,
    take: async (transaction, kind) => {
      // Of another kind than is made ahead there would never be one.
      if (!isRsa(kind) || kind !== keyKind) return wrapForEnrolment(await generateKeyPair(kind), wrappingKey);
      const taken = await takePooledKey(transaction, place);
      fillUp();
      return taken;
    },
    waitForKey: async (signal) => {
      const deadline = Date.now() + 60_000;
      while ((await countPooledKeys(database, place)) === 0) {
        if (Date.now() > deadline) throw noneReady();
        fillUp();
        await sleep(200, undefined, { signal });
      }
    },
    stop: () => {
      isStopped = true;
    },
  };
}

const noneReady = (): ServiceError =>
  new ServiceError({
    kind: 'unavailable',
    code: 'no_key_ready',
    detail: 'No key is ready yet, because the machine is busy with other things; it is tried again.',
  });

function wrapForEnrolment(
  { privateKey, subjectPublicKeyInfo }: { privateKey: Buffer; subjectPublicKeyInfo: Buffer },
  wrappingKey: WrappingKey,
): PooledKey {
  const id = randomUUID();
  const wrappedPrivateKey = wrapPrivateKey(privateKey, wrappingKey, id);
  privateKey.fill(0);
  return { id, wrappedPrivateKey, subjectPublicKeyInfo };
}
