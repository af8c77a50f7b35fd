/**
 * The life of one agency: periods in order, without gap or overlap, each with the facts that held in it. A statement changes the
 * facts from a date on and leaves what lies before as it was; only a statement from the very date on which a period begins corrects
 * that period. Dates are `YYYY-MM-DD` and compare as text; an end is the first day on which it holds no more. Pure.
 */
import type { Agency, AgencyPeriod } from '@congvu/contracts';

export type Facts = Pick<AgencyPeriod, 'name' | 'level' | 'parentCode' | 'mailDomain' | 'headCount'>;
export type Period = AgencyPeriod;
/** What is undefined is not stated. */
export type StatedFacts = { [Name in keyof Facts]?: Facts[Name] | undefined };

export interface Statement {
  /** What is not stated stays; of a new agency everything is. */
  facts: StatedFacts;
  /** From when on; null is from the agency's beginning, undefined is from today, or when nothing else can be meant. */
  from?: string | null | undefined;
  /** Until when; null is without end, undefined is as before. */
  to?: string | null | undefined;
}

export interface PeriodFault {
  /** Which of the statements. */
  index: number;
  field: 'validFrom' | 'validTo';
  code: 'validity_order' | 'validity_overlap' | 'validity_gap' | 'agency_closed';
  detail: string;
}
export type Life = { ok: true; periods: Period[] } | { ok: false; fault: PeriodFault };

/** The period that holds on a day, else the last one before, else the first one after. */
export const periodAt = (periods: readonly Period[], day: string): Period | undefined =>
  periods.findLast((period) => period.validFrom === null || period.validFrom <= day) ?? periods[0];

export function statusAt(periods: readonly Period[], day: string): Agency['status'] {
  const [from, to] = [periods[0]?.validFrom ?? null, periods.at(-1)?.validTo ?? null];
  return to !== null && to <= day ? 'closed' : from !== null && from > day ? 'future' : 'active';
}

/** What one statement makes of a life, which is empty for a new agency; its facts are complete then. */
export function state(periods: readonly Period[], statement: Statement, today: string): Life {
  const [first, now] = [periods[0], periodAt(periods, today)];
  if (!first || !now) return stateHistory([], [{ ...statement, from: statement.from ?? null }]);
  const endAt = (life: readonly Period[], from: string | null): Life =>
    statement.to === undefined
      ? { ok: true, periods: [...life] }
      : stateHistory(life, [{ facts: {}, from, to: statement.to }]);
  const from = statement.from === null ? first.validFrom : statement.from;

  // 1. It says what stands on record word for word.
  const isOnRecord = periods.some(
    (period) => period.validFrom === from && period.validTo === statement.to && holds(period, statement.facts),
  );
  if (isOnRecord) return { ok: true, periods: [...periods] };
  // 2. It says what the record says of today: whoever exports the list and imports it again must not rewrite the past.
  if (holds(now, statement.facts) && (from === undefined || from === first.validFrom || from === now.validFrom)) {
    return endAt(periods, now.validFrom);
  }
  // 3. No date is given: from today on, or from the beginning of what has not begun.
  if (from === undefined) {
    if (statusAt(periods, today) === 'closed') {
      const detail = `The agency closed on ${periods.at(-1)?.validTo}; say from which date on this held.`;
      return failed('validFrom', 'agency_closed', detail);
    }
    const begins = first.validFrom !== null && first.validFrom > today ? first.validFrom : today;
    return stateHistory(periods, [{ ...statement, from: begins }]);
  }
  // 4. Nothing but the beginning becomes known, or an earlier one. Within what has a beginning, the same is nothing new.
  const isWithinFirst = from !== null && (first.validTo === null || from < first.validTo);
  if (isWithinFirst && holds(first, statement.facts) && (first.validFrom === null || from < first.validFrom)) {
    return endAt([{ ...first, validFrom: from }, ...periods.slice(1)], from);
  }
  const within = periodAt(periods, from ?? '');
  if (within && isBefore(within.validFrom, from) && isWithin(within, from) && holds(within, statement.facts)) {
    return endAt(periods, within.validFrom);
  }
  // 5. A change from that date on.
  return stateHistory(periods, [{ ...statement, from }]);
}

/**
 * What several statements in order of their dates, the first perhaps without one, make of a life. What the record holds before the
 * first and after the last stays.
 */
export function stateHistory(
  periods: readonly Period[],
  statements: readonly (Statement & { from: string | null })[],
): Life {
  const begins = statements[0]?.from ?? null;
  const lastFrom = statements.at(-1)?.from ?? null;
  const recordedEnd = periods.at(-1)?.validTo ?? null;
  const earlier = periods
    .filter((period) => isBefore(period.validFrom, begins))
    .map((period) => ({ ...period, validTo: earlierOf(period.validTo, begins) }));
  const later = periods.filter((period) => isBefore(lastFrom, period.validFrom));
  const endOfEarlier = earlier.at(-1)?.validTo;
  if (endOfEarlier && endOfEarlier !== begins) {
    const detail = `The agency closed on ${endOfEarlier}; it can go on from that date, and not after a gap.`;
    return failed('validFrom', 'validity_gap', detail);
  }
  const stated: Period[] = [];
  for (const [index, { facts, from, to: wanted }] of statements.entries()) {
    const next = statements[index + 1]?.from ?? later[0]?.validFrom ?? undefined;
    const isOwnEnd = wanted === undefined || (next !== undefined && wanted === recordedEnd);
    const to = isOwnEnd ? (next ?? (isBefore(from, recordedEnd) ? recordedEnd : null)) : wanted;
    if (to !== null && from !== null && to <= from) {
      const detail = `It would end on ${to}, which is not after ${from}, when it begins.`;
      return failed('validTo', 'validity_order', detail, index);
    }
    if (next !== undefined && to !== next) {
      return to === null || to > next
        ? failed('validTo', 'validity_overlap', `Another period begins on ${next}, before this one ends.`, index)
        : failed('validTo', 'validity_gap', `It ends on ${to}, and the next period begins only on ${next}.`, index);
    }
    const before = periodAt(periods, from ?? '') ?? stated.at(-1);
    stated.push({ ...(before as Period), ...defined(facts), validFrom: from, validTo: to });
  }
  return { ok: true, periods: [...earlier, ...stated, ...later] };
}

const failed = (field: PeriodFault['field'], code: PeriodFault['code'], detail: string, index = 0): Life => ({
  ok: false,
  fault: { index, field, code, detail },
});

/** Of two beginnings, of which none is before everything. */
const isBefore = (one: string | null, other: string | null): boolean => other !== null && (one === null || one < other);

/** Of two ends, of which none is after everything. */
const earlierOf = (one: string | null, other: string | null): string | null =>
  one === null ? other : other === null ? one : one < other ? one : other;

/** Whether a period that has begun still holds then. */
const isWithin = ({ validTo }: Period, day: string | null): boolean =>
  validTo === null || day === null || day < validTo;

const defined = (facts: StatedFacts): Partial<Facts> =>
  Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));

const holds = (period: Period, facts: StatedFacts): boolean =>
  Object.entries(defined(facts)).every(([name, value]) => period[name as keyof Facts] === value);
