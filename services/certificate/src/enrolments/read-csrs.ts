/**
 * Reads CSRs: one that comes alone at once, a crowd on a thread of its own, because reading a key and verifying with it costs as much as
 * all else that the event loop does for a certificate.
 */
import { Worker } from 'node:worker_threads';
import { ServiceError, type ServiceErrorOptions } from '@congvu/errors';
import { parseCsr } from '../authority/csr.ts';
import type { KeyKind } from '../authority/public-key.ts';
import { gather, type Outcome, toOutcome } from '../certificates/gather.ts';

export interface ReadCsr {
  subjectPublicKeyInfo: Buffer;
  keyKind: KeyKind;
  /** SHA-256 of the key, in hexadecimal. */
  fingerprint: string;
  ignoredSubject: boolean;
}

/** As a message: an error's class does not survive the way, and a Buffer is a Uint8Array at its end. */
export type CsrAnswer =
  | { csr: Omit<ReadCsr, 'subjectPublicKeyInfo'> & { subjectPublicKeyInfo: Uint8Array } }
  | { refusal: ServiceErrorOptions }
  | { failure: string };

export interface CsrReader {
  /** Throws as `parseCsr` does. */
  read: (text: string) => Promise<ReadCsr>;
  stop: () => Promise<void>;
}

const mostInMessage = 50;

export function openCsrReader(): CsrReader {
  let thread: Worker | undefined;
  let counter = 0;

  const startThread = (): Worker => {
    const started = new Worker(new URL('./csr-thread.ts', import.meta.url), {
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    started.unref();
    // Also between two crowds, when nobody waits for it: a thread that has ended would never answer. The next crowd gets another.
    return started.once('exit', () => {
      if (thread === started) thread = undefined;
    });
  };
  const onThread = async (texts: readonly string[]): Promise<Outcome<ReadCsr>[]> => {
    thread ??= startThread();
    return (await ask(thread, texts)).map(outcomeOf);
  };
  const read = gather<{ text: string; number: number }, ReadCsr>(
    { most: mostInMessage, keyOf: ({ number }) => String(number) },
    async (waiting) => {
      const [only] = waiting;
      if (!only || waiting.length > 1) return onThread(waiting.map(({ text }) => text));
      return [await toOutcome(() => readHere(only.text))];
    },
  );
  return {
    read: (text) => {
      counter += 1;
      return read({ text, number: counter });
    },
    stop: async () => void (await thread?.terminate()),
  };
}

function outcomeOf(answer: CsrAnswer): Outcome<ReadCsr> {
  if ('refusal' in answer) return { error: new ServiceError(answer.refusal) };
  if ('failure' in answer) return { error: new Error(`a CSR could not be read: ${answer.failure}`) };
  const { buffer, byteOffset, byteLength } = answer.csr.subjectPublicKeyInfo;
  return { value: { ...answer.csr, subjectPublicKeyInfo: Buffer.from(buffer, byteOffset, byteLength) } };
}

async function readHere(text: string): Promise<ReadCsr> {
  const { subject, asksForExtensions, ...csr } = await parseCsr(text);
  return { ...csr, ignoredSubject: subject.length > 0 || asksForExtensions };
}

function ask(thread: Worker, texts: readonly string[]): Promise<CsrAnswer[]> {
  const { promise, resolve, reject } = Promise.withResolvers<CsrAnswer[]>();
  const ended = (code: number): void => reject(new Error(`the thread that reads CSRs ended by itself (${code})`));
  const done = (answers: CsrAnswer[]): void => {
    thread.off('error', reject).off('exit', ended);
    resolve(answers);
  };
  thread.once('message', done).once('error', reject).once('exit', ended);
  thread.postMessage(texts);
  return promise;
}
