import { expect, test } from '@jest/globals';
import { untilQuiet } from './until-quiet.ts';

const rounds = (come: () => boolean): { count: () => number } => {
  let count = 1;
  const next = (): void => {
    if (!come()) return;
    count += 1;
    setImmediate(next);
  };
  setImmediate(next);
  return { count: () => count };
};

test('waits for those that come in one round of the event loop after the other', async () => {
  let left = 5;
  const { count } = rounds(() => left-- > 0);
  await untilQuiet(count, 10_000);
  expect(count()).toBe(6);
});

test('does not wait for ever where somebody always comes', async () => {
  let isOver = false;
  const { count } = rounds(() => !isOver);
  await untilQuiet(count);
  isOver = true;
  expect(count()).toBeGreaterThan(1);
});
