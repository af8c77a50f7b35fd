/** Telephone numbers, identity numbers and dates, as cells hold them. All numbers here are made up. */

import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { dateFromSpreadsheetSerial, parseDate } from './date.ts';
import { maskNationalId, parseNationalId } from './national-id.ts';
import { parseMobile } from './phone.ts';

describe('mobile numbers', () => {
  test.each([
    ['0912345678', '0912345678', []],
    ['0912.345.678', '0912345678', ['phone_separators']],
    [912345678, '0912345678', ['phone_leading_zero']],
    ['849123456', '0849123456', ['phone_leading_zero']],
    ['+84 912 345 678', '0912345678', ['phone_separators', 'phone_country_code']],
    ['84912345678', '0912345678', ['phone_country_code']],
    ['0084912345678', '0912345678', ['phone_country_code']],
    ['+840912345678', '0912345678', ['phone_country_code']],
    ['01681234567', '0381234567', ['phone_renumbered']],
    [1681234567, '0381234567', ['phone_leading_zero', 'phone_renumbered']],
  ])('%j is %s', (input, mobile, corrections) => {
    const result = parseMobile(input);
    expect(result).toMatchObject({ ok: true, mobile, e164: `+84${mobile.slice(1)}` });
    expect(result.ok && result.corrections.map((correction) => correction.code)).toEqual(corrections);
  });

  test.each([
    ['', 'phone_empty'],
    ['091234567', 'phone_form'],
    ['09123456789', 'phone_form'],
    ['0112345678', 'phone_form'],
    ['0912O45678', 'phone_form'],
    ['02383123456', 'phone_landline'],
    ['+14155550100', 'phone_foreign'],
    ['0912345678 / 0987654321', 'phone_several'],
    ['0912345678 0987654321', 'phone_several'],
    [9.12e-8, 'phone_form'],
    ['9'.repeat(1_000_000), 'phone_form'],
  ])('%j is refused: %s', (input, code) => {
    const result = parseMobile(input);
    expect(result).toMatchObject({ ok: false, faults: [{ code }] });
  });
});

describe('identity numbers', () => {
  test('are checked against what is known of the person', () => {
    const known = { birthDate: '1990-05-17', sex: 'female' } as const;
    expect(parseNationalId('040190123456', known)).toEqual({
      ok: true,
      nationalId: '040190123456',
      corrections: [],
      warnings: [],
    });
    expect(parseNationalId('040301123456', { birthDate: '2001-01-31', sex: 'female' })).toMatchObject({ warnings: [] });
    const odd = parseNationalId('041085123456', known);
    expect(odd.ok && odd.warnings.map((warning) => warning.code)).toEqual([
      'national_id_province',
      'national_id_sex',
      'national_id_birth_year',
    ]);
  });

  test('get their zeros back from a numeric cell only', () => {
    expect(parseNationalId(40190123456)).toMatchObject({
      nationalId: '040190123456',
      corrections: [{ code: 'national_id_leading_zero' }],
    });
    expect(parseNationalId(1190123456)).toMatchObject({ nationalId: '001190123456' });
    expect(parseNationalId('40190123456')).toMatchObject({ ok: false, faults: [{ code: 'national_id_length' }] });
    expect(parseNationalId('040 190 123 456')).toMatchObject({
      nationalId: '040190123456',
      corrections: [{ code: 'national_id_separators' }],
    });
  });

  test.each([
    ['', 'national_id_empty'],
    ['12345', 'national_id_length'],
    ['186123456', 'national_id_old'],
    [186123456, 'national_id_old'],
    ['04019012345X', 'national_id_characters'],
    [4.019012345678e10, 'national_id_characters'],
    [-40190123456, 'national_id_characters'],
    ['0401901234567', 'national_id_length'],
  ])('%j is refused: %s', (input, code) => {
    expect(parseNationalId(input)).toMatchObject({ ok: false, faults: [{ code }] });
  });

  test('are in no finding', () => {
    fc.assert(
      fc.property(fc.stringMatching(/^\d{6,14}$/), (digits) => {
        const result = parseNationalId(digits, { birthDate: '1990-05-17', sex: 'male' });
        const findings = result.ok ? [...result.warnings, ...result.corrections] : result.faults;
        expect(JSON.stringify(findings)).not.toContain(digits.slice(0, 6));
      }),
    );
    expect(maskNationalId('040190123456')).toBe('*********456');
    expect(maskNationalId('12345')).toBe('*****');
  });
});

describe('dates', () => {
  test.each([
    ['05/03/1980', '1980-03-05'],
    ['5-3-1980', '1980-03-05'],
    ['5.3.1980', '1980-03-05'],
    ['1980-03-05', '1980-03-05'],
    ['1980-03-05T00:00:00.000Z', '1980-03-05'],
    ['29/02/2000', '2000-02-29'],
  ])('%s is %s', (input, date) => {
    expect(parseDate(input)).toEqual({ ok: true, date });
  });

  test.each([
    ['', 'date_empty'],
    ['1973', 'date_year_only'],
    ['03/1973', 'date_day_missing'],
    ['05/03/80', 'date_two_digit_year'],
    ['29/02/1900', 'date_impossible'],
    ['31/04/1980', 'date_impossible'],
    ['03/25/1980', 'date_impossible'],
    ['00/01/1980', 'date_impossible'],
    ['01/01/0980', 'date_out_of_range'],
    ['5/3-1980', 'date_form'],
    ['25603', 'date_form'],
    ['1980-03-05T12:00:00Z', 'date_form'],
  ])('%j is refused: %s', (input, code) => {
    expect(parseDate(input)).toMatchObject({ ok: false, faults: [{ code }] });
  });

  test('of a spreadsheet are serial numbers', () => {
    expect(dateFromSpreadsheetSerial(25_603)).toEqual({ ok: true, date: '1970-02-04' });
    expect(dateFromSpreadsheetSerial(25_569)).toEqual({ ok: true, date: '1970-01-01' });
    expect(dateFromSpreadsheetSerial(1)).toEqual({ ok: true, date: '1900-01-01' });
    expect(dateFromSpreadsheetSerial(61.75)).toEqual({ ok: true, date: '1900-03-01' });
    for (const serial of [0, -1, 60, Number.NaN, 1e300]) expect(dateFromSpreadsheetSerial(serial).ok).toBe(false);
  });

  test('survive the way there and back', () => {
    const days = fc.date({ min: new Date('1900-01-01'), max: new Date('2100-12-31'), noInvalidDate: true });
    fc.assert(
      fc.property(days, (day) => {
        const iso = day.toISOString().slice(0, 10);
        const [year, month, date] = iso.split('-');
        expect(parseDate(`${date}/${month}/${year}`)).toEqual({ ok: true, date: iso });
      }),
    );
  });
});
