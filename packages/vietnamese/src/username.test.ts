import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { agencyShortName, agencyShortNameCandidates } from './agency-short-name.ts';
import { isLocalPart, isReservedLocalPart } from './local-part.ts';
import { parseFullName } from './name.ts';
import {
  defaultUsernamePatterns,
  parseUsernamePatterns,
  positionUsernameCandidates,
  type UsernamePatterns,
  usernameCandidates,
} from './username.ts';

const addressForm = /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/;

function sound(text: string): UsernamePatterns {
  const result = parseUsernamePatterns(text);
  if (!result.ok) throw new Error(JSON.stringify(result.faults));
  return result.patterns;
}
const usual = sound(defaultUsernamePatterns);

function take(candidates: Generator<string>, count: number): string[] {
  return Array.from({ length: count }, () => candidates.next().value);
}
function usernames(fullName: string, agency: string, count = 4): string[] {
  const name = parseFullName(fullName, { honorific: 'absent', singleWord: 'accept' });
  if (!name.ok) throw new Error('refused');
  return take(usernameCandidates(name, agency, usual), count);
}

test.each([
  ['Huỳnh Thanh Điền', 'stttt', ['dienht', 'dienht.stttt', 'dienht2.stttt', 'dienht3.stttt']],
  [
    'Lê Hải',
    'quynhthang.quynhluu',
    ['hail', 'hail.quynhthang.quynhluu', 'hail2.quynhthang.quynhluu', 'hail3.quynhthang.quynhluu'],
  ],
  ["H'Hen Niê", '', ['nieh', 'nieh2', 'nieh3', 'nieh4']],
  ['Hlênh', 'syt', ['hlenh', 'hlenh.syt', 'hlenh2.syt', 'hlenh3.syt']],
  // A reserved name is passed over: vanthu@ is the clerk's office.
  ['Trần Hồng Uy Vân', 'syt', ['vanthu.syt', 'vanthu2.syt', 'vanthu3.syt', 'vanthu4.syt']],
])('%s in %j: %j', (fullName, agency, expected) => {
  expect(usernames(fullName, agency)).toEqual(expected);
});

test.each([
  ['{given}.{surname},{given}.{surname}{number}', 'syt', ['dien.huynh', 'dien.huynh2', 'dien.huynh3']],
  ['{surname}-{given},{initials}.{agency},{given}{number}', 'syt', ['huynh-dien', 'ht.syt', 'dien2', 'dien3']],
  ['{given}{initials}.{agency},{given}{initials}.{agency}{number}', '', ['dienht', 'dienht2', 'dienht3']],
])('by the policy %s', (policy, agency, expected) => {
  const name = { surname: 'Huỳnh', middleNames: 'Thanh', givenName: 'Điền' };
  expect(take(usernameCandidates(name, agency, sound(policy)), expected.length)).toEqual(expected);
});

test('a policy is refused with every fault of it', () => {
  const codes = (policy: string) => {
    const result = parseUsernamePatterns(policy);
    return result.ok ? [] : result.faults.map((fault) => fault.code);
  };
  expect(codes(defaultUsernamePatterns)).toEqual([]);
  expect(codes('')).toEqual(['pattern_empty']);
  expect(codes('{given}')).toEqual(['pattern_number']);
  expect(codes('{given}{number},{given}{number}')).toEqual(['pattern_number']);
  expect(codes('{Given}_x,{agency}.{number}.')).toEqual([
    'pattern_part',
    'pattern_character',
    'pattern_nameless',
    'pattern_dot',
    'pattern_nameless',
  ]);
  expect(codes('{given}..{surname},{given}{middle}{agency}{number}')).toEqual(['pattern_dot', 'pattern_long']);
});

test.each([
  ['Chủ tịch', 'quynhluu', ['chutich.quynhluu', 'chutich2.quynhluu', 'chutich3.quynhluu']],
  ['Phó Giám đốc', 'syt', ['phogiamdoc.syt', 'phogiamdoc2.syt', 'phogiamdoc3.syt']],
  ['Văn thư', '', ['vanthu2', 'vanthu3', 'vanthu4']], // vanthu itself is reserved
])('the office %s of %j: %j', (title, agency, expected) => {
  expect(take(positionUsernameCandidates(title, agency), 3)).toEqual(expected);
});

test('candidates of any name and agency are valid, distinct and never reserved', () => {
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string(),
    fc.constantFrom('Điền', 'root', 'Vân', 'x'.repeat(200)),
  );
  fc.assert(
    fc.property(text, text, text, text, (surname, middleNames, givenName, agency) => {
      const found = take(usernameCandidates({ surname, middleNames, givenName }, agency, usual), 12);
      expect(new Set(found).size).toBe(12);
      for (const candidate of found) {
        expect(candidate).toMatch(addressForm);
        expect(candidate).not.toContain('..');
        expect(Buffer.byteLength(candidate)).toBeLessThanOrEqual(64);
        expect(isReservedLocalPart(candidate)).toBe(false);
      }
    }),
    { numRuns: 500 },
  );
});

test.each([
  'postmaster',
  'abuse',
  'hostmaster',
  'webmaster',
  'root',
  'admin',
  'administrator',
  'noreply',
  'thongbao',
  'mailer-daemon',
  'list-request',
])('%s is reserved', (name) => {
  expect(isLocalPart(name)).toBe(false);
});

const province = { shortName: 'nghean', level: 'province' } as const;
const education = { shortName: 'sgddt', level: 'department' } as const;
const quynhLuu = { shortName: 'quynhluu', level: 'district' } as const;

test.each([
  ['UBND tỉnh Nghệ An', 'province', undefined, 'nghean'],
  ['Sở Thông tin và Truyền thông Nghệ An', 'department', province, 'stttt'],
  ['Sở Thông tin và Truyền thông Nghệ An', 'department', undefined, 'stttt'],
  ['SỞ THÔNG TIN VÀ TRUYỀN THÔNG', 'department', province, 'stttt'],
  ['Sở Lao động - Thương binh và Xã hội Nghệ An', 'department', province, 'sldtbxh'],
  ['Văn phòng UBND tỉnh', 'department', province, 'vpubnd'],
  ['Văn phòng HĐND tỉnh', 'department', province, 'vphdnd'],
  ['Thanh tra tỉnh', 'department', province, 'thanhtra'],
  ['Sở Nội vụ Nghệ An', 'department', province, 'snv'],
  ['Sở Ngoại vụ Nghệ An', 'department', province, 'sngv'],
  ['UBND huyện Quỳnh Lưu', 'district', province, 'quynhluu'],
  ['Ủy ban nhân dân thị xã Thái Hoà'.normalize('NFD'), 'district', province, 'thaihoa'],
  ['UBND xã Quỳnh Thắng', 'commune', quynhLuu, 'quynhthang.quynhluu'],
  ['UBND xã Quỳnh Thắng', 'commune', province, 'quynhthang'],
  ['UBND Phường 1', 'commune', { shortName: 'tanbinh', level: 'district' }, 'phuong1.tanbinh'],
  ['Trường THPT Quỳnh Lưu 2', 'school', education, 'thptquynhluu2'],
  ['Trường Trung học phổ thông Hà Huy Tập', 'school', education, 'thpthahuytap'],
  ['Trường Mầm non Hoa Sen', 'school', quynhLuu, 'mnhoasen.quynhluu'],
  ['Trung tâm Y tế huyện Quỳnh Lưu', 'public_unit', quynhLuu, 'ttyt.quynhluu'],
  ['Trung tâm Y tế huyện Quỳnh Lưu', 'public_unit', { shortName: 'syt', level: 'department' }, 'ttyt.quynhluu'],
  ['Trung tâm GDNN - GDTX huyện Quỳnh Lưu', 'public_unit', quynhLuu, 'ttgdnngdtx.quynhluu'],
  [
    'Trung tâm Văn hóa, Thể thao và Truyền thông thành phố Vinh',
    'public_unit',
    { shortName: 'vinh', level: 'district' },
    'ttvhtttt.vinh',
  ],
  ['Ban Quản lý rừng phòng hộ thị xã Cửa Lò', 'public_unit', { shortName: 'cualo', level: 'district' }, 'bqlrph.cualo'],
  [
    'Trung tâm CNTT và Truyền thông Nghệ An',
    'public_unit',
    { shortName: 'stttt', level: 'department' },
    'ttcntttt.stttt',
  ],
] as const)('short name of %s (%s)', (name, level, parent, expected) => {
  expect(agencyShortName(name, level, parent)).toBe(expected);
});

test('communes whose names differ by a mark alone get the tone, then the kind, then a number', () => {
  expect(
    take(agencyShortNameCandidates('UBND xã Nghi Vạn', 'commune', { shortName: 'nghiloc', level: 'district' }), 4),
  ).toEqual(['nghivan.nghiloc', 'nghivanj.nghiloc', 'xanghivan.nghiloc', 'nghivan-2.nghiloc']);
  expect(take(agencyShortNameCandidates('Sở Nội vụ Nghệ An', 'department', province), 4)).toEqual([
    'snv',
    'sonoivu',
    'snv.nghean',
    'snv-2',
  ]);
});

test('short names of any name are valid and distinct', () => {
  const levels = ['province', 'department', 'district', 'commune', 'school', 'public_unit'] as const;
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('UBND xã ', 'Trường THPT A', 'Sở', 'x '.repeat(300), 'x'.repeat(90)),
  );
  fc.assert(
    fc.property(text, fc.constantFrom(...levels), fc.constantFrom(...levels), (name, level, parentLevel) => {
      const parent = { shortName: 'a'.repeat(40), level: parentLevel };
      const found = take(agencyShortNameCandidates(name, level, parent), 8);
      expect(new Set(found).size).toBe(8);
      for (const candidate of found) {
        expect(isLocalPart(candidate)).toBe(true);
        expect(candidate.length).toBeLessThanOrEqual(40);
      }
    }),
    { numRuns: 500 },
  );
});
