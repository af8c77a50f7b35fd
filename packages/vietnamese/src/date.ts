/**
 * Dates as Vietnamese sheets write them, day first, to ISO 8601 calendar dates. A date that no calendar has, a bare year
 * and a two-digit year are faults: nothing is completed or swapped.
 */

import { type Refused, refused } from './finding.ts';

export type DateResult = { readonly ok: true /** `YYYY-MM-DD`. */; readonly date: string } | Refused;

export const earliestYear = 1900;
export const latestYear = 2100;

/** Reads dd/mm/yyyy (also with - or . and without leading zeros) or ISO yyyy-mm-dd, alone or with midnight. Never throws. */
export function parseDate(input: string): DateResult {
  const text = input.replace(/\u00a0/g, ' ').trim();
  if (text === '') return refused('date_empty', 'The date is empty.');
  if (/^\d{4}$/.test(text)) {
    return refused('date_year_only', 'Only a year is given. Give the full date: day/month/year.');
  }
  if (/^\d{1,2}[/.-]\d{4}$/.test(text)) {
    return refused('date_day_missing', 'Only a month and a year are given. Give the full date: day/month/year.');
  }
  if (/^\d{1,2}([/.-])\d{1,2}\1\d{2}$/.test(text)) {
    return refused('date_two_digit_year', 'The year has two digits. Write all four.');
  }
  const iso = /^(\d{4})-(\d{2})-(\d{2})(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?$/.exec(text);
  if (iso) return calendarDate(Number(iso[1]), Number(iso[2]), Number(iso[3]));
  const local = /^(\d{1,2})([/.-])(\d{1,2})\2(\d{4})$/.exec(text);
  if (local) return calendarDate(Number(local[4]), Number(local[3]), Number(local[1]));
  return refused('date_form', 'The date has no known form. Write day/month/year, for example 05/03/1980.');
}

/** The date of a spreadsheet's serial day number (1900 system). Day 60, 29 February 1900, never was. */
export function dateFromSpreadsheetSerial(serial: number): DateResult {
  if (!Number.isFinite(serial) || serial < 1 || Math.floor(serial) === 60) {
    return refused('date_form', 'The number in the cell is no date.');
  }
  const days = Math.floor(serial) - (serial > 60 ? 25_569 : 25_568);
  const date = new Date(days * 86_400_000);
  if (Number.isNaN(date.getTime())) return refused('date_form', 'The number in the cell is no date.');
  return calendarDate(date.getUTCFullYear(), date.getUTCMonth() + 1, date.getUTCDate());
}

function calendarDate(year: number, month: number, day: number): DateResult {
  if (month < 1 || month > 12) {
    return refused('date_impossible', `There is no month ${month}. Write day/month/year, or year-month-day.`);
  }
  // Day 0 of the next month is the last of this one.
  const lastDay = new Date(Date.UTC(2000, month, 0)).getUTCDate();
  const isLeap = (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0;
  if (day < 1 || day > (month === 2 && !isLeap ? 28 : lastDay)) {
    return refused('date_impossible', 'That month has no such day.');
  }
  if (year < earliestYear || year > latestYear) {
    return refused('date_out_of_range', `The year is not between ${earliestYear} and ${latestYear}.`);
  }
  const pad = (value: number): string => String(value).padStart(2, '0');
  return { ok: true, date: `${year}-${pad(month)}-${pad(day)}` };
}

/** The day in Vietnam, YYYY-MM-DD; UTC+7 all year. */
export const dayInVietnam = (time: Date): string => new Date(time.getTime() + 7 * 3_600_000).toISOString().slice(0, 10);
