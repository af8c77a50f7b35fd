/** A thread that reads CSRs, a batch at a time; what is wrong with one is said of that one. */
import { parentPort } from 'node:worker_threads';
import { ServiceError } from '@congvu/errors';
import { parseCsr } from '../authority/csr.ts';
import type { CsrAnswer } from './read-csrs.ts';

parentPort?.on('message', async (texts: readonly string[]) => {
  const answers: CsrAnswer[] = [];
  for (const text of texts) {
    try {
      const { subjectPublicKeyInfo, keyKind, fingerprint, subject, asksForExtensions } = await parseCsr(text);
      const ignoredSubject = subject.length > 0 || asksForExtensions;
      answers.push({ csr: { subjectPublicKeyInfo, keyKind, fingerprint, ignoredSubject } });
    } catch (error) {
      if (error instanceof ServiceError) {
        const { kind, code, detail, faults } = error;
        answers.push({ refusal: { kind, code, detail, faults } });
      } else answers.push({ failure: String(error) });
    }
  }
  parentPort?.postMessage(answers);
});
