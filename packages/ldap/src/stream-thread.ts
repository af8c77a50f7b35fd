/** The thread of stream-in-thread.ts. */
import { parentPort, workerData } from 'node:worker_threads';
import { ServiceError } from '@congvu/errors';
import { NoSuchObjectError } from 'ldapts';
import { type EntryOctets, streamOctets } from './stream-entries.ts';
import { batchesAhead, type ThreadInput, type ThreadMessage } from './stream-in-thread.ts';

const port = parentPort;
if (!port) throw new Error('this module is the start of a thread');
const { ldap, base, options, map } = workerData as ThreadInput;
const say = (message: ThreadMessage) => port.postMessage(message);

let mayGo = batchesAhead;
let goOn: (() => void) | undefined;
port.on('message', () => {
  mayGo += 1;
  goOn?.();
});

try {
  const { default: make } = (await import(map)) as { default: (entries: readonly EntryOctets[]) => unknown[] };
  for await (const entries of streamOctets(ldap, base, options)) {
    while (mayGo === 0) {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
    }
    mayGo -= 1;
    say({ batch: make(entries) });
  }
  say({ end: true });
} catch (error) {
  if (error instanceof ServiceError) {
    const { kind, code, detail, retryAfterSeconds = 5 } = error;
    say({ failure: { kind, code, detail, retryAfterSeconds }, message: detail });
  } else {
    const failure = error instanceof NoSuchObjectError ? 'no_such_object' : 'other';
    say({ failure, message: error instanceof Error ? error.message : String(error) });
  }
}
port.close();
