import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { compareNames, searchKey, stripMarks } from './transliterate.ts';

const letters = [
  ...'aăâbcdđeêghiklmnoôơpqrstuưvxyAĂÂBCDĐEÊGHIKLMNOÔƠPQRSTUƯVXYàáảãạằắẳẵặầấẩẫậèéẻẽẹềếểễệìíỉĩịòóỏõọồốổỗộờớởỡợùúủũụừứửữựỳýỷỹỵ ',
];
const vietnamese = fc.array(fc.constantFrom(...letters)).map((text) => text.join(''));

test.each([
  ['Huỳnh Thanh Điền', 'Huynh Thanh Dien'],
  ['Ðặng Ƀlŏ đường', 'Dang Blo duong'],
  ['Thừa Thiên Huế'.normalize('NFD'), 'Thua Thien Hue'],
])('stripMarks(%j) is %j', (input, expected) => {
  expect(stripMarks(input)).toBe(expected);
});

test('searchKey', () => {
  expect(searchKey('  UBND  Huyện\u00a0QUỲNH Lưu\n')).toBe('ubnd huyen quynh luu');
});

test('stripMarks is idempotent, ASCII for Vietnamese, and blind to NFC and NFD', () => {
  fc.assert(
    fc.property(vietnamese, (text) => {
      const stripped = stripMarks(text);
      expect(stripped).toMatch(/^[\x20-\x7e]*$/);
      expect(stripped).toHaveLength(text.length);
      expect(stripMarks(text.normalize('NFD'))).toBe(stripped);
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      expect(stripMarks(stripMarks(text))).toBe(stripMarks(text));
      expect(searchKey(searchKey(text))).toBe(searchKey(text));
      expect(searchKey(text.normalize('NFD'))).toBe(searchKey(text.normalize('NFC')));
    }),
    { numRuns: 1000 },
  );
});

test('lists sort by given name, then surname, then middle names', () => {
  const list = [
    'Phan Thị Ý',
    'Lê Văn Ân',
    'Đỗ Văn An',
    'Dương Văn An',
    'Trần Đình Đạt',
    'Vũ Công Dũng',
    'Lê Bá Ánh',
    'Dương Bá An',
    'Vi Thị Ăng',
  ];
  const names = list.map((text) => {
    const [surname = '', middleNames = '', givenName = ''] = text.split(' ');
    return { surname, middleNames, givenName };
  });
  const sorted = names.sort(compareNames).map((name) => `${name.surname} ${name.middleNames} ${name.givenName}`);
  expect(sorted).toEqual([
    'Dương Bá An',
    'Dương Văn An',
    'Đỗ Văn An',
    'Lê Bá Ánh',
    'Vi Thị Ăng',
    'Lê Văn Ân',
    'Vũ Công Dũng',
    'Trần Đình Đạt',
    'Phan Thị Ý',
  ]);
});
