/**
 * Vietnamese mobile numbers, stored as ten digits with their leading 0. What a spreadsheet does to them is undone and
 * stated; what would have to be guessed is a fault. No finding holds the number.
 */

import { type Finding, type Refused, refused } from './finding.ts';

export type MobileResult =
  | { readonly ok: true; readonly mobile: string; readonly e164: string; readonly corrections: readonly Finding[] }
  | Refused;

/** Prefixes of eleven-digit numbers and what they became in the national renumbering of September to November 2018. */
const renumbered: Readonly<Record<string, string>> = {
  '0120': '070',
  '0121': '079',
  '0122': '077',
  '0126': '076',
  '0128': '078',
  '0123': '083',
  '0124': '084',
  '0125': '085',
  '0127': '081',
  '0129': '082',
  '0162': '032',
  '0163': '033',
  '0164': '034',
  '0165': '035',
  '0166': '036',
  '0167': '037',
  '0168': '038',
  '0169': '039',
  '0186': '056',
  '0188': '058',
  '0199': '059',
};

const correctionsByCode = {
  phone_separators: 'Spaces, dots or dashes were removed from the telephone number.',
  phone_country_code: 'The country code of the telephone number was replaced by 0.',
  phone_leading_zero: 'The leading 0 that the spreadsheet had dropped from the telephone number was restored.',
  phone_renumbered: 'The eleven-digit telephone number was rewritten to its ten digits of the 2018 renumbering.',
} as const;

/** Reads a mobile number from text, or from a numeric cell. Never throws. */
export function parseMobile(input: string | number): MobileResult {
  const corrections: Finding[] = [];
  const correct = (before: string, after: string, code: keyof typeof correctionsByCode): string => {
    if (after !== before) corrections.push({ code, detail: correctionsByCode[code] });
    return after;
  };

  const text = String(input)
    .replace(/\u00a0/g, ' ')
    .trim();
  if (text === '') return refused('phone_empty', 'The telephone number is empty.');
  if (text.length > 100) return refused('phone_form', 'The cell is too long for a telephone number.');
  if ((text.match(/\d{9,}/g) ?? []).length > 1 || (/[/;,\n]/.test(text) && text.replace(/\D/g, '').length > 12)) {
    return refused('phone_several', 'The cell holds several telephone numbers. Give one mobile number.');
  }
  if (!/^\+?[\d .()-]+$/.test(text)) {
    return refused('phone_form', 'The telephone number holds other characters than digits, spaces, dots and dashes.');
  }

  let digits = correct(text, text.replace(/[ .()-]/g, ''), 'phone_separators');
  digits = correct(digits, digits.replace(/^(?:\+|00)84(?:0(?=\d{9}$))?|^84(?=\d{9,10}$)/, '0'), 'phone_country_code');
  digits = correct(digits, digits.replace(/^(?=[35789]\d{8}$|1[2689]\d{8}$)/, '0'), 'phone_leading_zero');
  if (/^0\d{10}$/.test(digits)) {
    const prefix = renumbered[digits.slice(0, 4)];
    if (prefix) digits = correct(digits, prefix + digits.slice(4), 'phone_renumbered');
  }

  if (/^0[35789]\d{8}$/.test(digits)) return { ok: true, mobile: digits, e164: `+84${digits.slice(1)}`, corrections };
  if (digits.startsWith('+')) return refused('phone_foreign', 'The telephone number is not a Vietnamese one (+84).');
  if (/^02\d{8,9}$/.test(digits)) return refused('phone_landline', 'The number is a landline. Give a mobile number.');
  return refused('phone_form', 'The number is no Vietnamese mobile number (ten digits, 03, 05, 07, 08 or 09 first).');
}
