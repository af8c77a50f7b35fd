/**
 * Spreads the ends of what is issued together: of a crowd of one day, each certificate ends on another of the last days that its profile
 * allows, so that no day of renewals carries more than its share. The days are dealt out in turn, per profile and process, beginning
 * anywhere: n certificates put at most n / days, rounded up, on any day. Nothing is asked of the database for it.
 */
import { randomInt } from 'node:crypto';

/** A month of them for what lives a year or longer; a twelfth of a shorter life; none for what lives days. */
export const daysOfSpread = (validityDays: number): number => Math.max(1, Math.min(30, Math.floor(validityDays / 12)));

/** How many days earlier than its profile allows the next certificate is to end. */
export type SpreadEnds = (profile: { id: string; validityDays: number }) => number;

export function openEndSpread(): SpreadEnds {
  const next = new Map<string, number>();
  return ({ id, validityDays }) => {
    const days = daysOfSpread(validityDays);
    const turn = next.get(id) ?? randomInt(days);
    next.set(id, (turn + 1) % days);
    return turn;
  };
}
