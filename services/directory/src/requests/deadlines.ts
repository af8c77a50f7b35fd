/** By when somebody should act: at the end of a day, so many working days on; Monday to Friday, by the clock of Vietnam. */

export interface Deadlines {
  /** For the approver, from submission. */
  decisionDays: number;
  /** For the agency, from the return. */
  correctionDays: number;
}

const hour = 3_600_000;
/** Vietnam has one time, UTC+7, all the year. */
const offset = 7 * hour;

/** The last millisecond of the working day that is `days` after `from`; from a weekend, Monday is the first. */
export function endOfWorkingDay(from: Date, days: number): Date {
  const day = new Date(from.getTime() + offset);
  day.setUTCHours(0, 0, 0, 0);
  const isWorking = () => day.getUTCDay() !== 0 && day.getUTCDay() !== 6;
  for (let left = days; left > 0; ) {
    day.setUTCDate(day.getUTCDate() + 1);
    if (isWorking()) left -= 1;
  }
  return new Date(day.getTime() + 24 * hour - 1 - offset);
}
