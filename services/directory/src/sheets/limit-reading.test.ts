/** One sheet too many is refused at once, and a place is free again however the reading ended. */
import { expect, test } from '@jest/globals';
import { limitReading } from './limit-reading.ts';

test('a third is told to come back; an end, good or bad, frees a place', async () => {
  const read = limitReading(2);
  const first = Promise.withResolvers<string>();
  const second = Promise.withResolvers<string>();
  const running = [read(() => first.promise), read(() => second.promise)];
  const busy = { kind: 'unavailable', code: 'sheets_busy', retryAfterSeconds: 10 };
  await expect(read(async () => 'third')).rejects.toMatchObject(busy);
  first.reject(new Error('damaged'));
  await expect(running[0]).rejects.toThrow('damaged');
  expect(await read(async () => 'third')).toBe('third');
  second.resolve('second');
  expect(await running[1]).toBe('second');
  expect(await Promise.all([read(async () => 'a'), read(async () => 'b')])).toEqual(['a', 'b']);
});
