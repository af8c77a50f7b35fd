import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatLegacyAgencyCode, parseAgencyCode } from './agency-code.ts';

test.each([
  ['H41', 'H41', undefined, []],
  ['H41.12', 'H41.12', 'H41', []],
  [' h41.23.s01 ', 'H41.23.S01', 'H41.23', ['agency_code_case']],
  ['000.05.12.H41', 'H41.12.05', 'H41.12', ['agency_code_legacy']],
  ['000.00.12.H41', 'H41.12', 'H41', ['agency_code_legacy']],
  ['000.00.00.h41', 'H41', undefined, ['agency_code_case', 'agency_code_legacy']],
  ['001.05.12.H41', 'H41.12.05.001', 'H41.12.05', ['agency_code_legacy']],
])('%j is %s below %s', (input, code, parentCode, corrections) => {
  const result = parseAgencyCode(input);
  expect(result).toMatchObject({ ok: true, code, parentCode });
  expect(result.ok && result.corrections.map((correction) => correction.code)).toEqual(corrections);
});

test.each([
  ['', 'agency_code_empty'],
  ['Z41', 'agency_code_form'],
  ['H4', 'agency_code_form'],
  ['H41.', 'agency_code_form'],
  ['H41..05', 'agency_code_form'],
  ['H41.é', 'agency_code_form'],
  ['H41.ſ', 'agency_code_form'],
  ['H41 .05', 'agency_code_form'],
  ['05.12.H41', 'agency_code_form'],
  ['000.05.00.H41', 'agency_code_gap'],
  ['001.00.12.H41', 'agency_code_gap'],
  [`H41${'.00000001'.repeat(4)}`, 'agency_code_too_long'],
])('%j is refused: %s', (input, code) => {
  expect(parseAgencyCode(input)).toMatchObject({ ok: false, faults: [{ code }] });
});

test('not every code has an older form', () => {
  expect(formatLegacyAgencyCode('H41.12.05')).toBe('000.05.12.H41');
  expect(formatLegacyAgencyCode('H41')).toBe('000.00.00.H41');
  for (const code of ['H41.23.S01', 'H41.12.05.001.1', 'H41.12.5', 'H41.00', 'H41.12.05.A01', 'nonsense']) {
    expect(formatLegacyAgencyCode(code)).toBeUndefined();
  }
});

test('codes survive the way there and back', () => {
  const level = fc.stringMatching(/^[0-9A-Z]{1,4}$/);
  const any = fc
    .tuple(fc.stringMatching(/^[A-Y]\d{2}$/), fc.array(level, { maxLength: 5 }))
    .map(([first, levels]) => [first, ...levels].join('.'));
  const withOlderForm = fc
    .tuple(
      fc.stringMatching(/^[A-Y]\d{2}$/),
      fc.stringMatching(/^[0-9A-Z]{2}$/),
      fc.stringMatching(/^[0-9A-Z]{2}$/),
      fc.stringMatching(/^\d[0-9A-Z]{2}$/),
      fc.nat(3),
    )
    .map(([first, a, b, c, depth]) => [first, ...[a, b, c].slice(0, depth)])
    .filter((parts) => !parts.some((part) => /^0+$/.test(part)))
    .map((parts) => parts.join('.'));
  fc.assert(
    fc.property(fc.oneof(any, withOlderForm), (code) => {
      expect(parseAgencyCode(code)).toMatchObject({ ok: true, code, form: 'current', corrections: [] });
      const older = formatLegacyAgencyCode(code);
      if (older !== undefined) expect(parseAgencyCode(older)).toMatchObject({ ok: true, code, form: 'legacy' });
    }),
  );
  fc.assert(
    fc.property(withOlderForm, (code) => {
      expect(formatLegacyAgencyCode(code)).toBeDefined();
    }),
  );
});
