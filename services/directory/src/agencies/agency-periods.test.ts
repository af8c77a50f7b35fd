import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Facts, type Period, periodAt, type Statement, state, stateHistory, statusAt } from './agency-periods.ts';

const today = '2026-06-15';
const facts: Facts = { name: 'A', level: 'commune', parentCode: 'H41', mailDomain: 'a.vn', headCount: null };
const period = (validFrom: string | null, validTo: string | null, name = 'A'): Period => ({
  ...facts,
  validFrom,
  validTo,
  name,
});
/** Names and dates of a life as one line: "- A 2020-01-01 B -". */
const line = (periods: readonly Period[]): string =>
  [...periods.map(({ validFrom, name }) => `${validFrom ?? '-'} ${name}`), periods.at(-1)?.validTo ?? '-'].join(' ');
const after = (periods: readonly Period[], statement: Statement): string => {
  const life = state(periods, statement, today);
  return life.ok ? line(life.periods) : `${life.fault.field} ${life.fault.code}`;
};
const named = (name: string, from?: string | null, to?: string | null): Statement => ({
  facts: { ...facts, name },
  from,
  to,
});
const open = [period(null, null)];
const founded = [period('2020-01-01', null)];
const renamed = [period('2020-01-01', '2024-01-01'), period('2024-01-01', null, 'B')];
const planned = [period('2020-01-01', '2026-12-01'), period('2026-12-01', null, 'B')];
const closed = [period('2020-01-01', '2025-07-01')];
const future = [period('2027-01-01', null)];

test.each<[string, readonly Period[], Statement, string]>([
  ['a new agency without a date has always been', [], named('A'), '- A -'],
  [
    'a new agency has the dates that it is given',
    [],
    named('A', '2020-01-01', '2025-07-01'),
    '2020-01-01 A 2025-07-01',
  ],
  ['what the record says already changes nothing', open, named('A'), '- A -'],
  ['another name holds from today on', open, named('B'), '- A 2026-06-15 B -'],
  ['another name holds from its date on', founded, named('B', '2025-01-01'), '2020-01-01 A 2025-01-01 B -'],
  ['a plan for later is one too', founded, named('B', '2027-01-01'), '2020-01-01 A 2027-01-01 B -'],
  [
    'from the very date of a period it corrects that period',
    renamed,
    named('C', '2024-01-01'),
    '2020-01-01 A 2024-01-01 C -',
  ],
  ['the first period as well', renamed, named('C', '2020-01-01'), '2020-01-01 C 2024-01-01 B -'],
  ['from the beginning it corrects what has no date', open, named('C', null), '- C -'],
  [
    'a correction to the neighbour’s name leaves the date on record',
    renamed,
    named('A', '2024-01-01'),
    '2020-01-01 A 2024-01-01 A -',
  ],
  [
    'the present with the founding date rewrites no past',
    renamed,
    named('B', '2020-01-01'),
    '2020-01-01 A 2024-01-01 B -',
  ],
  ['a date within a period that says the same is nothing new', founded, named('A', '2023-01-01'), '2020-01-01 A -'],
  ['a beginning becomes known', open, named('A', '2020-01-01'), '2020-01-01 A -'],
  ['an earlier beginning becomes known', founded, named('A', '2018-01-01'), '2018-01-01 A -'],
  ['what was before becomes known', founded, named('Z', '2018-01-01'), '2018-01-01 Z 2020-01-01 A -'],
  [
    'a change in the past ends where the next period begins',
    renamed,
    named('C', '2022-01-01'),
    '2020-01-01 A 2022-01-01 C 2024-01-01 B -',
  ],
  ['it ends', founded, named('A', undefined, '2026-07-01'), '2020-01-01 A 2026-07-01'],
  ['it ended, and only now is it said', founded, named('A', undefined, '2025-07-01'), '2020-01-01 A 2025-07-01'],
  [
    'it ends with another name',
    founded,
    named('B', '2025-01-01', '2025-07-01'),
    '2020-01-01 A 2025-01-01 B 2025-07-01',
  ],
  ['it ends later than was said', closed, named('A', undefined, '2027-01-01'), '2020-01-01 A 2027-01-01'],
  ['it is opened again', closed, { facts: {}, to: null }, '2020-01-01 A -'],
  ['it goes on under another name', closed, named('B', '2025-07-01'), '2020-01-01 A 2025-07-01 B -'],
  ['what has not begun is corrected', future, named('B'), '2027-01-01 B -'],
  [
    'the end of all that is planned may stand beside the present',
    [...planned.slice(0, 1), period('2026-12-01', '2030-01-01', 'B')],
    named('A', undefined, '2030-01-01'),
    '2020-01-01 A 2026-12-01 B 2030-01-01',
  ],
  ['a closed agency takes no name from today on', closed, named('B'), 'validFrom agency_closed'],
  ['a closed agency does not come back after a gap', closed, named('B', '2026-01-01'), 'validFrom validity_gap'],
  ['an end lies after the beginning', founded, named('B', '2025-01-01', '2025-01-01'), 'validTo validity_order'],
  [
    'an end in the past and a name from today on contradict each other',
    founded,
    named('B', undefined, '2025-01-01'),
    'validTo validity_order',
  ],
  ['an end before what is planned', planned, named('A', undefined, '2026-08-01'), 'validTo validity_gap'],
  ['an end after what is planned', planned, named('A', undefined, '2027-08-01'), 'validTo validity_overlap'],
  [
    'what stands on record word for word changes nothing',
    [period('2020-01-01', '2024-01-01'), period('2024-01-01', null)],
    named('A', '2020-01-01', '2024-01-01'),
    '2020-01-01 A 2024-01-01 A -',
  ],
])('%s', (_, before, statement, expected) => {
  expect(after(before, statement)).toBe(expected);
});

test('several statements are a history, whose ends are where the next begins', () => {
  const history = (periods: Period[], ...statements: Statement[]) => {
    const life = stateHistory(
      periods,
      statements.map((one) => ({ ...one, from: one.from ?? null })),
    );
    return life.ok ? line(life.periods) : `${life.fault.index} ${life.fault.field} ${life.fault.code}`;
  };
  expect(history([], named('A'), named('B', '2020-01-01'), named('C', '2024-01-01', '2025-07-01'))).toBe(
    '- A 2020-01-01 B 2024-01-01 C 2025-07-01',
  );
  expect(history(renamed, named('X', '2022-01-01'), named('Y', '2023-01-01'))).toBe(
    '2020-01-01 A 2022-01-01 X 2023-01-01 Y 2024-01-01 B -',
  );
  expect(history([], named('A', '2018-01-01', '2021-01-01'), named('B', '2020-01-01'))).toBe(
    '0 validTo validity_overlap',
  );
  expect(history([], named('A', '2018-01-01', '2019-01-01'), named('B', '2020-01-01'))).toBe('0 validTo validity_gap');
  expect(history([], named('A'), named('B', '2020-01-01', '2019-01-01'))).toBe('1 validTo validity_order');
});

const day = fc.integer({ min: 0, max: 400 }).map((n) => new Date(Date.UTC(2026, 0, 1 + n)).toISOString().slice(0, 10));
const statement = fc.record({
  facts: fc.record({ name: fc.constantFrom('A', 'B', 'C') }),
  from: fc.option(day, { nil: undefined }),
  to: fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, day, fc.constant(null)),
});

test('whatever is stated, a life has no gap and no overlap; what lies before the date stays, and saying it twice changes nothing', () => {
  fc.assert(
    fc.property(fc.array(statement, { maxLength: 8 }), (statements) => {
      let periods: Period[] = [];
      for (const one of statements) {
        const full = { ...one, facts: { ...facts, ...one.facts } };
        const life = state(periods, full, today);
        if (!life.ok) continue;
        const before = periods;
        periods = life.periods;
        periods.forEach(({ validFrom, validTo }, index) => {
          const next = periods[index + 1];
          if (validFrom !== null && validTo !== null) expect(validFrom < validTo).toBe(true);
          if (!next) return;
          expect(validTo).toBe(next.validFrom);
          expect(validTo).not.toBeNull();
        });
        // Days before the statement's date, where it is one that begins something.
        const from = full.from ?? today;
        const dayBefore = new Date(Date.parse(from) - 86_400_000).toISOString().slice(0, 10);
        const [was, is] = [before, periods].map((life) => life.find((p) => holdsOn(p, dayBefore)));
        if (was && is && statusAt(before, today) !== 'future') expect(is.name).toBe(was.name);
        const again = state(periods, full, today);
        if (again.ok) expect(line(again.periods)).toBe(line(periods));
      }
    }),
    { numRuns: 500 },
  );
});

const holdsOn = ({ validFrom, validTo }: Period, on: string): boolean =>
  (validFrom === null || validFrom <= on) && (validTo === null || on < validTo);

test('on a day it is what it was then, before its beginning what it will be, after its end what it was last', () => {
  const life = [period('2020-01-01', '2024-01-01'), period('2024-01-01', '2025-07-01', 'B')];
  const on = (d: string) => `${periodAt(life, d)?.name} ${statusAt(life, d)}`;
  expect(['2019-12-31', '2020-01-01', '2023-12-31', '2024-01-01', '2025-06-30', '2025-07-01'].map(on)).toEqual([
    'A future',
    'A active',
    'A active',
    'B active',
    'B active',
    'B closed',
  ]);
});
