/** Working days are counted by the clock of Vietnam. */
import { expect, test } from '@jest/globals';
import { endOfWorkingDay } from './deadlines.ts';

// 2026-01-16 is a Friday.
test.each([
  ['Thursday morning', '2026-01-15T08:00:00+07:00', 1, '2026-01-16'],
  ['Friday, over the weekend', '2026-01-16T08:00:00+07:00', 1, '2026-01-19'],
  ['Friday night', '2026-01-16T23:59:59+07:00', 3, '2026-01-21'],
  ['Saturday', '2026-01-17T10:00:00+07:00', 1, '2026-01-19'],
  ['Sunday', '2026-01-18T10:00:00+07:00', 3, '2026-01-21'],
  ['Monday by our clock, Sunday by UTC', '2026-01-19T01:00:00+07:00', 1, '2026-01-20'],
  ['two weeks', '2026-01-15T08:00:00+07:00', 10, '2026-01-29'],
])('%s', (_, from, days, day) => {
  expect(endOfWorkingDay(new Date(from), days)).toEqual(new Date(`${day}T23:59:59.999+07:00`));
});
