/**
 * The twelve-digit identity number (số định danh cá nhân): three digits of the province of birth registration, one of
 * century and sex, two of the year of birth, six of chance. Personal data: no finding holds the number or a part of it.
 *
 * Its form is checked; what the digits say against birth date and sex is only a warning, since the record may as well be
 * wrong as the number.
 */

import { type Finding, type Refused, refused } from './finding.ts';
import type { Sex } from './honorific.ts';
import { provinceNameByCode } from './provinces.ts';

export type NationalIdResult =
  | {
      readonly ok: true;
      readonly nationalId: string;
      readonly corrections: readonly Finding[];
      readonly warnings: readonly Finding[];
    }
  | Refused;

export interface KnownOfPerson {
  /** `YYYY-MM-DD`. */
  readonly birthDate?: string | undefined;
  readonly sex?: Sex | undefined;
}

/**
 * Reads an identity number. A number (and not text) is a numeric cell, which cannot keep leading zeros: ten or eleven digits
 * are padded to twelve, as a stated correction, since province codes open with one or two zeros. Text is never padded: there
 * a digit may be missing anywhere. Never throws.
 */
export function parseNationalId(input: string | number, known: KnownOfPerson = {}): NationalIdResult {
  const corrections: Finding[] = [];
  const given = String(input)
    .replace(/\u00a0/g, ' ')
    .trim();
  if (given === '') return refused('national_id_empty', 'The identity number is empty.');
  if (given.length > 100 || !/^[\d .-]+$/.test(given)) {
    return refused('national_id_characters', 'The identity number holds other characters than digits.');
  }
  let digits = given.replace(/[ .-]/g, '');
  if (typeof input === 'number') {
    if (!Number.isSafeInteger(input) || input < 0) {
      return refused('national_id_characters', 'The identity number is no whole number. Format the cell as text.');
    }
    if (digits.length === 10 || digits.length === 11) {
      digits = digits.padStart(12, '0');
      corrections.push({
        code: 'national_id_leading_zero',
        detail: 'Leading zeros that the spreadsheet had dropped from the identity number were restored.',
      });
    }
  } else if (digits !== given) {
    corrections.push({ code: 'national_id_separators', detail: 'Separators were removed from the identity number.' });
  }
  if (digits.length === 9) {
    return refused(
      'national_id_old',
      'Nine digits are an old identity card, no longer valid. Give the twelve-digit identity number.',
    );
  }
  if (digits.length === 11) {
    return refused(
      'national_id_length',
      'The identity number has 11 digits instead of 12. If a leading 0 was lost, restore it and format the cell as text.',
    );
  }
  if (digits.length !== 12) {
    return refused('national_id_length', `The identity number has ${digits.length} digits instead of 12.`);
  }
  return { ok: true, nationalId: digits, corrections, warnings: warningsOn(digits, known) };
}

/** The number with all but its last three digits hidden, for responses and logs. */
export function maskNationalId(nationalId: string): string {
  return nationalId.length < 9
    ? '*'.repeat(nationalId.length)
    : '*'.repeat(nationalId.length - 3) + nationalId.slice(-3);
}

function warningsOn(digits: string, { birthDate, sex }: KnownOfPerson): Finding[] {
  const warnings: Finding[] = [];
  if (!provinceNameByCode.has(digits.slice(0, 3))) {
    warnings.push({ code: 'national_id_province', detail: 'The identity number opens with the code of no province.' });
  }
  const centuryAndSex = Number(digits[3]);
  if (sex !== undefined && centuryAndSex % 2 !== (sex === 'male' ? 0 : 1)) {
    warnings.push({ code: 'national_id_sex', detail: 'The identity number does not agree with the sex.' });
  }
  const year = 1900 + 100 * Math.floor(centuryAndSex / 2) + Number(digits.slice(4, 6));
  if (birthDate !== undefined && Number(birthDate.slice(0, 4)) !== year) {
    warnings.push({
      code: 'national_id_birth_year',
      detail: 'The identity number does not agree with the year of birth.',
    });
  }
  return warnings;
}
