import { hash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { createPreparedAnswers, type KnownStatus, maximumSignature } from './prepared-answers.ts';

const serial = (number: number): Buffer => hash('sha256', String(number), 'buffer').subarray(0, number % 2 ? 16 : 20);
const signature = Buffer.alloc(maximumSignature, 5);
const good: KnownStatus = { kind: 'good' };
const held: KnownStatus = { kind: 'revoked', revokedAt: new Date('2026-03-01T02:03:04Z'), reason: 'certificateHold' };

describe('what was put in', () => {
  test('comes back, with its signature once that is there', () => {
    const answers = createPreparedAnswers(10);
    const sign = answers.put(3, serial(1), held, 1_700_000_000);
    expect(answers.find(3, serial(1))).toBeUndefined();
    sign(77, signature);
    expect(answers.find(3, serial(1))).toEqual({ status: held, thisUpdate: 1_700_000_000, responder: 77, signature });
    expect(answers.find(2, serial(1))).toBeUndefined();
    expect(answers.find(3, serial(2))).toBeUndefined();
    const asked = [2, 3, 3].map((issuer, index) => ({ issuer, serialNumber: serial(index) }));
    expect(answers.findAll(asked)).toEqual([undefined, answers.find(3, serial(1)), undefined]);
  });

  test.each([
    ['forgotten', (answers: ReturnType<typeof createPreparedAnswers>) => answers.forget(0, serial(1))],
    ['replaced', (answers) => answers.put(0, serial(1), held, 2)],
    ['forgotten with all others', (answers) => answers.clear()],
    [
      'forgotten, and its place taken by another',
      (answers) => {
        answers.forget(0, serial(1));
        answers.put(0, serial(3), good, 2);
      },
    ],
    [
      'forgotten with all others, and its place taken',
      (answers) => {
        answers.clear();
        answers.put(0, serial(3), good, 2);
      },
    ],
  ])('tells that it was %s, and takes no signature of it', (_name, change) => {
    const answers = createPreparedAnswers(10);
    const sign = answers.put(0, serial(1), good, 1);
    const version = answers.version();
    change(answers);
    expect(answers.version()).not.toBe(version);
    sign(1, signature);
    for (const number of [1, 3]) expect(answers.find(0, serial(number))).toBeUndefined();
  });

  test('is what a map would hold, whatever happens in whatever order', () => {
    const step = fc.record({
      kind: fc.constantFrom('put', 'put', 'put', 'forget', 'forget', 'clear'),
      number: fc.nat(60),
      issuer: fc.nat(2),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const answers = createPreparedAnswers(1_000);
        const model = new Map<string, { issuer: number; number: number; at: number }>();
        steps.forEach(({ kind, number, issuer }, at) => {
          const key = `${issuer} ${number}`;
          // Rarely, or nothing would ever gather.
          if (kind === 'clear' && number > 3) return;
          if (kind === 'put') {
            answers.put(issuer, serial(number), number % 3 ? good : held, at)(issuer, signature);
            model.set(key, { issuer, number, at });
          } else if (kind === 'forget') {
            answers.forget(issuer, serial(number));
            model.delete(key);
          } else {
            answers.clear();
            model.clear();
          }
        });
        expect(answers.size()).toBe(model.size);
        for (let number = 0; number <= 60; number++)
          for (let issuer = 0; issuer <= 2; issuer++)
            expect(answers.find(issuer, serial(number))?.thisUpdate).toBe(model.get(`${issuer} ${number}`)?.at);
      }),
      { seed: 6960, numRuns: 300 },
    );
  });

  test('is never more than there is room for: the new take the place of the old', () => {
    const [room, all] = [70_000, 150_000]; // more than lie in one piece
    const answers = createPreparedAnswers(room);
    const isFound = (number: number) => answers.find(0, serial(number))?.thisUpdate === number;
    const wrong: number[] = [];
    for (let number = 0; number < all; number++) {
      answers.put(0, serial(number), good, number)(0, signature);
      if (answers.size() > room || !isFound(number)) wrong.push(number);
    }
    expect(wrong).toEqual([]);
    expect(Array.from({ length: all }, (_, number) => number).filter(isFound)).toHaveLength(room);
  });
});
