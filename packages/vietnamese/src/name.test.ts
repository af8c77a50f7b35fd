import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type NameOptions, parseFullName } from './name.ts';
import { placeTone } from './tone.ts';
import { stripMarks } from './transliterate.ts';

const syllables = (
  'Nguyễn Trần Lê Phạm Hoàng Võ Vừ Xồng Moong Lầu Ông Y Thị Văn Đình Đức Hữu Thu Ngọc Quốc Quỳnh Khánh Huỳnh Thanh ' +
  'Hoà Hòa Thuỷ Thủy Quý Điền Ðức Tuấn Hiếu Phượng Ý Oanh Uyên Khoẻ Ánh Ứng'
).split(' ');
const word = fc.constantFrom(...syllables);
const name = fc.array(word, { minLength: 2, maxLength: 5 }).map((words) => words.join(' '));

function parsed(input: string, options?: NameOptions) {
  const result = parseFullName(input, options);
  if (!result.ok) throw new Error(`refused: ${result.faults.map((fault) => fault.code).join()}`);
  return result;
}
function codes(input: string, options?: NameOptions): string[] {
  const result = parseFullName(input, options);
  return (result.ok ? result.corrections : result.faults).map((finding) => finding.code);
}

describe('a full name', () => {
  test('is surname first, given name last', () => {
    expect(parseFullName('Huỳnh Thanh Điền')).toEqual({
      ok: true,
      fullName: 'Huỳnh Thanh Điền',
      surname: 'Huỳnh',
      middleNames: 'Thanh',
      givenName: 'Điền',
      corrections: [],
    });
    expect(parsed('Lê Hải')).toMatchObject({ surname: 'Lê', middleNames: '', givenName: 'Hải' });
    expect(parsed('Nguyễn Thị Thanh Phương')).toMatchObject({ middleNames: 'Thị Thanh', givenName: 'Phương' });
  });

  test.each([
    ['  Nguyễn  Thị Oanh  ', 'Nguyễn Thị Oanh', ['spaces']],
    ['Nguyễn\u00a0Thị Oanh\n', 'Nguyễn Thị Oanh', ['spaces']],
    ['Lê Bá Tuấn'.normalize('NFD'), 'Lê Bá Tuấn', ['unicode_form']],
    ['Nguye\u0303\u0302n Tuâ\u0301n', 'Nguyễn Tuấn', ['unicode_form']],
    ['Ngô Thanh Ðức', 'Ngô Thanh Đức', ['letter_d']],
    ['Nguyễn Quang Hoà', 'Nguyễn Quang Hòa', ['tone_placement']],
    ['HUỲNH THANH ĐIỀN', 'Huỳnh Thanh Điền', ['capitals']],
    ['huỳnh thanh điền', 'Huỳnh Thanh Điền', ['capitals']],
    ['NGUYỄN văn An', 'Nguyễn Văn An', ['capitals']],
    ['LÊ THỊ THUỶ', 'Lê Thị Thủy', ['capitals', 'tone_placement']],
    ['H’HEN NIÊ', "H'Hen Niê", ['apostrophe', 'capitals']],
    ['Y Djuang Êban', 'Y Djuang Êban', []],
    ["H'Yă Ayŭn", "H'Yă Ayŭn", []],
    ['Xồng Y Lâm', 'Xồng Y Lâm', []],
  ])('%j → %j', (input, fullName, corrections) => {
    expect(parsed(input).fullName).toBe(fullName);
    expect(codes(input)).toEqual(corrections);
  });

  test.each([
    ['', ['name_empty']],
    [' \t ', ['name_empty']],
    ['Hlênh', ['name_single_word']],
    ['Nguyễn Văn 2', ['name_digit']],
    ['Nguyễn Văn A (phó)', ['name_symbol']],
    ['Nguyễn @ 1', ['name_digit', 'name_symbol']],
    ["Nguyễn 'An", ['name_symbol']],
    ['Nguyễn\nVăn An', ['name_control_character']],
    ['Nguyễn\tVăn An', ['name_control_character']],
    ['Nguyễn\u200bVăn An', ['name_invisible_character']],
    ['\ufeffNguyễn Văn An', ['name_invisible_character']],
    ['Nguyễn \u202eVăn An', ['name_invisible_character']],
    ['Nguyễn \u3164 An', ['name_invisible_character']],
    ['Nguyễn Văn \ud800', ['name_invisible_character']],
    ['Nguyễn Vаn An', ['name_mixed_scripts']],
    ['阮 文安', ['name_script']],
    ['TrÇn V¨n An', ['name_symbol', 'name_letter', 'name_legacy_encoding']],
    ['NguyÔn An', ['name_legacy_encoding']],
    ['Nguyễn An\u0301\u0301', ['name_stray_mark']],
    [`${'Nguyễn '.repeat(20)}An`, ['name_too_long']],
    ['x'.repeat(5_000_000), ['name_too_long']],
  ])('%j is refused', (input, expected) => {
    expect(parseFullName(input).ok).toBe(false);
    expect(codes(input)).toEqual(expected);
  });

  test('of one word is taken when the caller has asked', () => {
    expect(parsed('Hlênh', { singleWord: 'accept' })).toMatchObject({
      surname: '',
      middleNames: '',
      givenName: 'Hlênh',
    });
  });

  test('is in no fault', () => {
    const result = parseFullName('Nguyễn Văn Kín 7');
    expect(JSON.stringify(result)).not.toContain('Kín');
  });
});

describe('a form of address', () => {
  test.each([
    ['Ông: Hoàng Nam', 'Hoàng Nam'],
    ['ông. Hoàng Văn Nam', 'Hoàng Văn Nam'],
    ['Bà:Lê Thị An', 'Lê Thị An'],
    ['Ông/Bà Hoàng Nam', 'Hoàng Nam'],
    ['Ông (Bà): Hoàng Nam', 'Hoàng Nam'],
    ['Ông Nguyễn Mạnh Minh', 'Nguyễn Mạnh Minh'],
    ['Ông Phạm Thị Ngọc Oanh', 'Phạm Thị Ngọc Oanh'],
    ['BÀ NGUYỄN THỊ AN', 'Nguyễn Thị An'],
    ['ông Hoàng Văn Nam', 'Hoàng Văn Nam'],
    ['Bà Ông Thị Thảo', 'Ông Thị Thảo'],
    ['Ông Ông Văn Minh', 'Ông Văn Minh'],
    ['Ông: Ông Hoàng Nam', 'Ông Hoàng Nam'],
  ])('%j → %j', (input, fullName) => {
    expect(parsed(input).fullName).toBe(fullName);
    expect(codes(input)).toContain('honorific_removed');
  });

  test.each(['Ông Công Hiếu', 'Ông Ðình Tuấn', 'Ông Thị Thảo', 'Ông Tài', 'Ông Văn Minh', 'Ông Phương An'])(
    '%j is a name with the surname Ông',
    (input) => {
      expect(parsed(input).surname).toBe('Ông');
    },
  );

  test.each(['Ông Hoàng Nam', 'Ông Mai Dung', 'Bà Lan', 'ông Tài'])('%j cannot be decided', (input) => {
    expect(codes(input)).toEqual(['ambiguous_honorific']);
  });

  test('is decided by the sex where that says something, and refused where it contradicts', () => {
    expect(parsed('Ông Mai Dung', { sex: 'female' }).surname).toBe('Ông');
    expect(codes('Ông Mai Dung', { sex: 'male' })).toEqual(['ambiguous_honorific']);
    expect(codes('Ông Phạm Thị Ngọc Oanh', { sex: 'female' })).toEqual(['honorific_contradicts_sex']);
    expect(codes('Bà: Lê Văn An', { sex: 'male' })).toEqual(['honorific_contradicts_sex']);
    expect(codes('Ông Hoàng Nam 2')).toEqual(['ambiguous_honorific', 'name_digit']);
  });

  test('leaves one word behind: refused', () => {
    expect(codes('Ông: Nam')).toEqual(['name_single_word']);
    expect(codes('Ông:')).toEqual(['name_empty']);
  });
});

test.each([
  ['Hoà', 'Hòa'],
  ['HOÀ', 'HÒA'],
  ['Thuỷ', 'Thủy'],
  ['Khoẻ', 'Khỏe'],
  ['Uỷ', 'Ủy'],
  ['Quý', 'Quý'],
  ['Qúy', 'Quý'],
  ['Qùynh', 'Quỳnh'],
  ['Hòang', 'Hoàng'],
  ['Hùynh', 'Huỳnh'],
  ['Thúê', 'Thuế'],
  ['Tùân', 'Tuần'],
  ['Toàn', 'Toàn'],
  ['Thoại', 'Thoại'],
  ['Mùa', 'Mùa'],
  ['Của', 'Của'],
  ['Già', 'Già'],
  ['Hoá'.normalize('NFD'), 'Hóa'],
])('tone placement: %s → %s', (input, expected) => {
  expect(placeTone(input)).toBe(expected);
});

describe('laws', () => {
  test('parsing is idempotent, and NFC and NFD give the same name', () => {
    fc.assert(
      fc.property(name, (input) => {
        const once = parsed(input, { honorific: 'absent' });
        expect(parsed(once.fullName, { honorific: 'absent' })).toEqual({ ...once, corrections: [] });
        expect(parsed(input.normalize('NFD'), { honorific: 'absent' }).fullName).toBe(once.fullName);
        expect(stripMarks(once.fullName)).toMatch(/^[A-Za-z ]+$/);
        expect([once.surname, once.middleNames, once.givenName].filter(Boolean).join(' ')).toBe(once.fullName);
      }),
    );
  });

  test('whatever the input, a result; what is accepted is canonical', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary' }),
      word,
      fc.constantFrom(' ', "'", '-', 'Ông ', 'Bà: ', 'ß', 'ŉ', 'İ'),
    );
    fc.assert(
      fc.property(
        fc.array(piece).map((pieces) => pieces.join('')),
        (input) => {
          const result = parseFullName(input, { singleWord: 'accept' });
          if (!result.ok) {
            expect(result.faults.length).toBeGreaterThan(0);
            return;
          }
          expect(result.fullName).toBe(result.fullName.normalize('NFC'));
          const again = parsed(result.fullName, { honorific: 'absent', singleWord: 'accept' });
          expect(again).toEqual({ ...result, corrections: [] });
        },
      ),
      { numRuns: 1000 },
    );
  });
});
