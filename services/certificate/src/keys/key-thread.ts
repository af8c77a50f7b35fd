/**
 * A thread that makes RSA keys, one after the other, as it is asked. At the lowest priority: it takes the time that nobody else wants,
 * so that no request is slower for it. Linux counts niceness by thread, and 0 is whoever calls (setpriority(2), "C library/kernel
 * differences").
 */
import { generateKeyPairSync } from 'node:crypto';
import { setPriority } from 'node:os';
import { parentPort } from 'node:worker_threads';

setPriority(0, 19);
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
