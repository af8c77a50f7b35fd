/**
 * Short names of agencies, for their own addresses (stttt@…) and as a suffix of usernames. The rules:
 *
 * 1. A people's committee is its place, written together: UBND huyện Quỳnh Lưu → quynhluu. A commune has its district
 *    behind it: quynhthang.quynhluu. A place that is a number keeps its kind: phuong1.
 * 2. A school is its kind abbreviated and its name written together: Trường THPT Quỳnh Lưu 2 → thptquynhluu2. One that
 *    belongs to a district or commune has that behind it: mnhoasen.quynhluu.
 * 3. Any other agency is the first letters of its words without "và", abbreviations whole: Sở Thông tin và Truyền thông →
 *    stttt, Văn phòng HĐND → vphdnd; with fewer than three letters, written out: Thanh tra → thanhtra. The place that
 *    ends its name, or else the agency it belongs to, comes behind: ttyt.quynhluu; the province never does.
 *
 * Different names may still meet (Nghi Văn and Nghi Vạn): the further candidates add, one at a time, the tone of the last
 * word as Telex writes it (nghivanj), the kind (xanghivan) or the words written out, the parent, and at last a number.
 */

import { cut, isLocalPart, squeeze } from './local-part.ts';
import { provinceNameByCode } from './provinces.ts';

export type AgencyLevel = 'province' | 'department' | 'district' | 'commune' | 'school' | 'public_unit';

/** The agency above: its short name as stored, and its level. */
export interface ParentAgency {
  readonly shortName: string;
  readonly level: AgencyLevel;
}

export const maximumShortNameLength = 40;

const maximumSuffixLength = 26;

/** The first choice of `agencyShortNameCandidates`; what is unique among all agencies, the caller has to find out. */
export function agencyShortName(name: string, level: AgencyLevel, parent?: ParentAgency): string {
  return agencyShortNameCandidates(name, level, parent).next().value;
}

/** Every candidate, best first, without end and without repeats. Each is a valid local part and none is reserved. */
export function* agencyShortNameCandidates(
  name: string,
  level: AgencyLevel,
  parent?: ParentAgency,
): Generator<string, never, void> {
  const words = wordsOf(name);
  const { labels, suffix } = placeAgency(words, level, parent) ?? school(words, level, parent) ?? office(words, parent);
  const parentSuffix = suffix || (parent ? parent.shortName : '');
  const plain = labels.find((label) => label !== '') ?? 'donvi';
  const tried = new Set<string>();
  const choices = [...labels.map((label) => join(label, suffix)), join(plain, parentSuffix)];
  for (const choice of choices) {
    if (!tried.has(choice) && isLocalPart(choice)) yield choice;
    tried.add(choice);
  }
  for (let number = 2; ; number += 1) {
    const choice = join(plain, suffix, `-${number}`);
    if (isLocalPart(choice)) yield choice;
  }
}

/** First labels, best first, and what comes behind the dot (or nothing). */
interface Parts {
  readonly labels: readonly string[];
  readonly suffix: string;
}

/** Kinds of places in small letters; written with marks, since "quận" and "Quản", "xã" and "xa" differ by them alone. */
const placeKinds = ['tỉnh', 'thành phố', 'huyện', 'quận', 'thị xã', 'xã', 'phường', 'thị trấn', 'đặc khu'];

const abbreviations = new Set(
  'UBND HĐND THPT THCS GDNN GDTX GDĐT CNTT TTTT KHCN PTNT PTDTNT PTDTBT BQL KKT'.split(' '),
);

const provinceNames = new Set([...provinceNameByCode.values(), 'Huế'].map(squeeze));

function placeAgency(words: readonly string[], level: AgencyLevel, parent?: ParentAgency): Parts | undefined {
  if (level !== 'province' && level !== 'district' && level !== 'commune') return undefined;
  const text = words.join(' ').replace(/^(?:ubnd|ủy ban nhân dân|uỷ ban nhân dân) /iu, '');
  const kind = placeKinds.find((candidate) => text.toLowerCase().startsWith(`${candidate} `));
  if (kind === undefined) return undefined;
  const place = text.slice(kind.length + 1);
  const label = squeeze(place);
  if (label === '') return undefined;
  const withKind = squeeze(kind) + label;
  const labels = /^\d+$/.test(label) ? [withKind] : [label, label + telexTone(place), withKind];
  return { labels, suffix: level === 'commune' && parent?.level === 'district' ? parent.shortName : '' };
}

const schoolKinds: readonly (readonly [RegExp, string])[] = [
  [/^phổ thông dân tộc nội trú /iu, 'ptdtnt'],
  [/^phổ thông dân tộc bán trú /iu, 'ptdtbt'],
  [/^trung học phổ thông /iu, 'thpt'],
  [/^trung học cơ sở /iu, 'thcs'],
  [/^tiểu học /iu, 'th'],
  [/^mầm non /iu, 'mn'],
  [/^đại học /iu, 'dh'],
  [/^cao đẳng /iu, 'cd'],
  [/^trung cấp /iu, 'tc'],
];

function school(words: readonly string[], level: AgencyLevel, parent?: ParentAgency): Parts | undefined {
  if (level !== 'school') return undefined;
  const { head, place } = splitPlace(words);
  let rest = `${head.join(' ').replace(/^trường /iu, '')} `;
  let kinds = '';
  // "Tiểu học và Trung học cơ sở" has two.
  for (let found = true; found; ) {
    found = false;
    for (const [pattern, abbreviation] of schoolKinds) {
      if (!pattern.test(rest)) continue;
      rest = rest.replace(pattern, '');
      kinds += abbreviation;
      found = true;
    }
  }
  const label = kinds + squeeze(rest);
  const local = parent?.level === 'district' || parent?.level === 'commune' ? parent.shortName : '';
  return { labels: [label, label + telexTone(rest), `truong${label}`], suffix: suffixOf(place, local) };
}

function office(words: readonly string[], parent?: ParentAgency): Parts {
  const { head, place } = splitPlace(words);
  const isAllCapitals = head.join('') === head.join('').toUpperCase();
  const isAbbreviation = (word: string): boolean =>
    abbreviations.has(word.toUpperCase()) ||
    /^\d+$/.test(word) ||
    (!isAllCapitals && [...word].length > 1 && word === word.toUpperCase());
  const letters = (initial: RegExp): string =>
    head.map((word) => (isAbbreviation(word) ? squeeze(word) : (initial.exec(squeeze(word))?.[0] ?? ''))).join('');
  // SNgV is how the Sở Ngoại vụ is abbreviated everywhere, to tell it from the Sở Nội vụ.
  const acronym = letters(/^(ng(?=oai$)|.)/);
  const full = head.map(squeeze).join('');
  const digraphs = letters(/^(ngh|ch|gh|gi|kh|ng|nh|ph|qu|th|tr|.)/);
  const local = parent && parent.level !== 'province' ? parent.shortName : '';
  return {
    labels: acronym.length < 3 ? [full] : [acronym, digraphs, full],
    suffix: suffixOf(place, local),
  };
}

/** Takes the place off the end of an agency's name: "huyện Quỳnh Lưu", a bare "tỉnh", the name of a province. */
function splitPlace(words: readonly string[]): { head: readonly string[]; place: string } {
  const lower = words.map((word) => word.toLowerCase());
  for (let index = 1; index < words.length; index += 1) {
    const kind = placeKinds.find((candidate) => `${lower.slice(index).join(' ')} `.startsWith(`${candidate} `));
    // "Xã hội" (society) and "Hợp tác xã" (cooperative) are no communes.
    if (kind === undefined || lower[index + 1] === 'hội' || (kind === 'xã' && lower[index - 1] === 'tác')) continue;
    const place = squeeze(words.slice(index + kind.split(' ').length).join(' '));
    const isProvince = kind === 'tỉnh' || provinceNames.has(place);
    return { head: words.slice(0, index), place: isProvince ? '' : place };
  }
  // A school is often named after its province alone; two words of "Trường …" are its kind.
  for (let count = Math.min(5, words.length - 2); count > 0 && lower[0] !== 'trường'; count -= 1) {
    if (provinceNames.has(squeeze(words.slice(-count).join('')))) return { head: words.slice(0, -count), place: '' };
  }
  return { head: words, place: '' };
}

/** The place in the name wins over the parent (a health centre belongs to the Sở Y tế), unless the parent is that place. */
function suffixOf(place: string, parentShortName: string): string {
  return place === '' || parentShortName.split('.')[0] === place ? parentShortName : place;
}

/** Words of a name in NFC, without punctuation and "và". */
function wordsOf(name: string): string[] {
  return name
    .normalize('NFC')
    .replace(/Ð/g, 'Đ')
    .split(/[^\p{L}\p{M}\p{N}]+/u)
    .filter((word) => word !== '' && word.toLowerCase() !== 'và');
}

const telexLetters: Readonly<Record<string, string>> = {
  '\u0300': 'f',
  '\u0301': 's',
  '\u0303': 'x',
  '\u0309': 'r',
  '\u0323': 'j',
};

/** The tone of the last word as Telex types it: s, f, r, x, j, or nothing for the level tone. */
function telexTone(text: string): string {
  const last = text.trim().split(' ').at(-1) ?? '';
  const mark = /[\u0300\u0301\u0303\u0309\u0323]/.exec(last.normalize('NFD'))?.[0] ?? '';
  return telexLetters[mark] ?? '';
}

function join(label: string, suffix: string, number = ''): string {
  const behind = suffix === '' ? '' : `.${cut(suffix, maximumSuffixLength)}`;
  return cut(label, maximumShortNameLength - behind.length - number.length) + number + behind;
}
