import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, expect, test } from '@jest/globals';
import { parseCsr } from '../authority/csr.ts';
import { openJudge } from '../authority/judges/openssl-judge.ts';
import { openCsrReader } from './read-csrs.ts';

const judge = openJudge();
const csrs = openCsrReader();
afterAll(async () => {
  await csrs.stop();
  judge.close();
});

function newCsr(name: string, subject: string): string {
  judge.run('genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', `${name}.key`);
  judge.run('req', '-new', '-key', `${name}.key`, '-subj', subject, '-out', `${name}.csr`);
  return readFileSync(join(judge.directory, `${name}.csr`), 'utf8');
}

test('a crowd is read as each alone would be, and one that is refused costs no other', async () => {
  const good = Array.from({ length: 60 }, (_, index) => newCsr(`k${index}`, index % 2 === 0 ? '/' : '/CN=Somebody'));
  const broken = good[0]!.replace('MI', 'MJ');
  const texts = [...good.slice(0, 3), broken, 'no CSR', ...good.slice(3), good[5]!];
  const alone = await Promise.allSettled(texts.map((text) => parseCsr(text)));
  // Once beside each other, and again when the thread is there; the first of a crowd may be read here.
  for (const _round of [1, 2]) {
    const outcomes = await Promise.allSettled(texts.map((text) => csrs.read(text)));
    for (const [index, outcome] of outcomes.entries()) {
      const expected = alone[index]!;
      if (expected.status === 'rejected' || outcome.status === 'rejected') {
        const { kind, code, detail, faults } = (expected as PromiseRejectedResult).reason;
        expect((outcome as PromiseRejectedResult).reason).toMatchObject({ kind, code, detail, faults });
        continue;
      }
      const { subjectPublicKeyInfo, keyKind, fingerprint, subject } = expected.value;
      expect(outcome.value).toEqual({ subjectPublicKeyInfo, keyKind, fingerprint, ignoredSubject: subject.length > 0 });
      expect(Buffer.isBuffer(outcome.value.subjectPublicKeyInfo)).toBe(true);
    }
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(2);
  }
});

test('when the thread ends in the middle of a crowd nobody waits for ever, and the next crowd gets another', async () => {
  const texts = Array.from({ length: 40 }, (_, index) => newCsr(`t${index}`, '/'));
  const reader = openCsrReader();
  const crowd = Promise.allSettled([...texts, ...texts, ...texts].map((text) => reader.read(text)));
  await sleep(30); // it has the first of them by now
  await reader.stop();
  const outcomes = await crowd;
  const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
  expect(failed.length).toBeGreaterThan(0);
  for (const { reason } of failed) expect(String(reason)).toContain('the thread that reads CSRs ended by itself');
  // Nor when it ends between two crowds.
  for (const _crowd of [1, 2]) {
    expect(await Promise.all(texts.map((text) => reader.read(text)))).toHaveLength(texts.length);
    await reader.stop();
  }
});
