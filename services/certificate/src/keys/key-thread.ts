/**
 * A thread that makes RSA keys, one after the other, as it is asked. It takes the time that nobody else wants, so that no request is
 * slower for it: by Linux's idle policy (sched(7), SCHED_IDLE), which gives way at once, where there is `chrt` to ask for it; by the
 * lowest priority otherwise. Linux counts niceness by thread, and 0 is whoever calls (setpriority(2), "C library/kernel differences").
 */
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { setPriority } from 'node:os';
import { basename } from 'node:path';
import { parentPort } from 'node:worker_threads';

setPriority(0, 19);
try {
  const thread = basename(readlinkSync('/proc/thread-self'));
  execFileSync('chrt', ['--idle', '--pid', '0', thread], { stdio: 'ignore', timeout: 5_000 });
} catch {
  // The lowest priority it is.
}
parentPort?.on('message', (modulusLength: number) => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength,
    publicExponent: 65537,
    publicKeyEncoding: { type: 'spki', format: 'der' },
    privateKeyEncoding: { type: 'pkcs8', format: 'der' },
  });
  parentPort?.postMessage({ privateKey, subjectPublicKeyInfo: publicKey });
  privateKey.fill(0);
});
