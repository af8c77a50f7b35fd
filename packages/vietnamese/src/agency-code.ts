/**
 * Agency codes in both official forms, stored in one. The form of Quyết định 20/2020/QĐ-TTg reads from the top: H41,
 * H41.12, H41.12.05. The older one of QCVN 102:2016/BTTTT reads from the bottom, in four parts of fixed width padded with
 * zeros for levels that do not exist: 000.05.12.H41.
 *
 * The forms cannot be confused: the older one starts with a digit, the newer one with a letter.
 */

import { type Finding, type Refused, refused } from './finding.ts';

export type AgencyCodeResult =
  | {
      readonly ok: true;
      /** Canonical: the form of Quyết định 20/2020. */
      readonly code: string;
      readonly form: 'current' | 'legacy';
      /** Code of the level above; undefined at the first level. */
      readonly parentCode: string | undefined;
      readonly corrections: readonly Finding[];
    }
  | Refused;

export const maximumAgencyCodeLength = 35;

const current = /^[A-Y]\d{2}(\.[0-9A-Z]+)*$/;
const legacy = /^(\d[0-9A-Z]{2})\.([0-9A-Z]{2})\.([0-9A-Z]{2})\.([A-Y]\d{2})$/;

/** Reads a code of either form. Never throws. */
export function parseAgencyCode(input: string): AgencyCodeResult {
  const trimmed = input.trim();
  if (trimmed === '') return refused('agency_code_empty', 'The agency code is empty.');
  if (trimmed.length > maximumAgencyCodeLength) {
    return refused('agency_code_too_long', `An agency code has at most ${maximumAgencyCodeLength} characters.`);
  }
  // Only ASCII: toUpperCase would turn ſ (U+017F) and ı (U+0131) into letters that a code may hold.
  const text = trimmed.replace(/[a-z]/g, (letter) => letter.toUpperCase());
  const corrections: Finding[] = [];
  if (text !== trimmed) {
    corrections.push({ code: 'agency_code_case', detail: 'The agency code was written in capitals.' });
  }

  if (current.test(text)) return { ok: true, code: text, form: 'current', parentCode: parentOf(text), corrections };

  const parts = legacy.exec(text);
  if (!parts) {
    return refused(
      'agency_code_form',
      'The agency code has neither the form of Quyết định 20/2020 (H41.12.05) nor that of QCVN 102:2016 (000.05.12.H41).',
    );
  }
  const [, fourth = '', third = '', second = '', first = ''] = parts;
  const levels = [second, third, fourth];
  const depth = levels.findIndex(isNone);
  if (depth !== -1 && !levels.slice(depth).every(isNone)) {
    return refused('agency_code_gap', 'The agency code names a lower level below a level that is all zeros.');
  }
  const code = [first, ...levels.slice(0, depth === -1 ? undefined : depth)].join('.');
  corrections.push({ code: 'agency_code_legacy', detail: `The code of QCVN 102:2016 was rewritten as ${code}.` });
  return { ok: true, code, form: 'legacy', parentCode: parentOf(code), corrections };
}

/** The QCVN 102:2016 form of a canonical code, or undefined where that form has no room for it (H41.23.S01, five levels). */
export function formatLegacyAgencyCode(code: string): string | undefined {
  if (!current.test(code)) return undefined;
  const [first = '', second = '00', third = '00', fourth = '000', ...deeper] = code.split('.');
  const named = code.split('.').slice(1);
  if (deeper.length > 0 || named.some(isNone)) return undefined;
  const text = `${fourth}.${third}.${second}.${first}`;
  return legacy.test(text) ? text : undefined;
}

function parentOf(code: string): string | undefined {
  const dot = code.lastIndexOf('.');
  return dot === -1 ? undefined : code.slice(0, dot);
}

function isNone(part: string): boolean {
  return /^0+$/.test(part);
}
