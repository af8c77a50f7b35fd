/**
 * "Ông" and "Bà" before a name. "Ông" is also a surname, so that a leading "Ông" is read by stated rules only, and what
 * they cannot decide is left to whoever wrote it.
 *
 * 1. With a dot or colon, or as "Ông/Bà", "Ông (Bà)": a form of address.
 * 2. "Bà" is no surname: a form of address when at least two words follow; with one word after it, undecided.
 * 3. "ông" in small letters before a capitalised name, with at least two words after it: a form of address.
 * 4. "Ông" with one word after it: the surname (an address with a bare given name is no full name).
 * 5. "Ông" before "Ông", or before a surname that is hardly ever a middle name (Nguyễn, Trần …), with another word after
 *    it: a form of address.
 * 6. "Ông" before a surname that is also a common middle or given name (Hoàng, Mai …): undecided, unless the person is a
 *    woman: then it is the surname.
 * 7. "Ông" before any other word: the surname.
 * A form of address that contradicts the known sex is undecided. Whoever is refused writes "Ông: " before the name: by rule
 * 1 that is a form of address, and nothing after it is taken for a second one.
 */

import { type Finding, type Refused, refused } from './finding.ts';

export type Sex = 'male' | 'female';

const hardlyEverMiddleNames = new Set(
  (
    'nguyễn trần lê phạm huỳnh phan vũ võ đặng bùi đỗ hồ ngô đinh trịnh đoàn trương lương đào phùng tạ quách nghiêm lưu ' +
    'đậu hứa tăng khổng kiều thân lục chử mạc bạch doãn ninh vừ lầu xồng moong lô lò lữ lỳ kha sầm cụt tôn'
  ).split(' '),
);
// Văn, Phương and An are surnames too, but stand second in a name far more often: rule 7 has them.
const surnamesAndMiddleNames = new Set(
  (
    'hoàng dương hà mai thái lý cao lâm kim vương tô châu giang vi la chu triệu thạch trang tiêu đàm tống từ cù lại ' +
    'diệp đường hàn viên'
  ).split(' '),
);

const punctuated = /^(ông\s*(?:\/\s*bà|\(\s*bà\s*\))|ông|bà)(?:\s*[.:]+\s*|(?<=\)|\/\s*bà)\s+)/iu;

/** Takes off a leading form of address. `text` is NFC with single spaces; `removed` is what was taken off, if anything. */
export function removeHonorific(
  text: string,
  sex: Sex | undefined,
): { ok: true; rest: string; removed: Finding | undefined } | Refused {
  const marked = punctuated.exec(text);
  if (marked) {
    const form = marked[1] ?? '';
    return /^(ông|bà)$/iu.test(form) && contradicts(form, sex)
      ? contradiction(form)
      : taken(text, marked[0].length, form);
  }

  const [first = '', second = '', ...others] = text.split(' ');
  const isOng = /^ông$/iu.test(first);
  if (!isOng && !/^bà$/iu.test(first)) return { ok: true, rest: text, removed: undefined };
  if (second === '') return { ok: true, rest: text, removed: undefined };

  const smallBeforeCapital = isSmall(first) && !isSmall(second);
  if (others.length === 0) {
    return isOng && !smallBeforeCapital ? { ok: true, rest: text, removed: undefined } : undecided(first);
  }
  const next = second.toLowerCase();
  const isAddress = !isOng || smallBeforeCapital || next === 'ông' || hardlyEverMiddleNames.has(next);
  if (isAddress) return contradicts(first, sex) ? contradiction(first) : taken(text, first.length + 1, first);
  if (surnamesAndMiddleNames.has(next) && sex !== 'female') return undecided(first);
  return { ok: true, rest: text, removed: undefined };
}

function isSmall(word: string): boolean {
  return word === word.toLowerCase();
}

function contradicts(form: string, sex: Sex | undefined): boolean {
  return sex !== undefined && sex !== (/^ông$/iu.test(form) ? 'male' : 'female');
}

function taken(text: string, length: number, form: string): { ok: true; rest: string; removed: Finding } {
  const removed = { code: 'honorific_removed', detail: `The form of address "${form}" before the name was removed.` };
  return { ok: true, rest: text.slice(length), removed };
}

function undecided(form: string): Refused {
  return refused(
    'ambiguous_honorific',
    `"${form}" may be a form of address or part of the name. Remove it, or keep it by writing a form of address with a colon before the whole name ("Ông: …", "Bà: …").`,
  );
}

function contradiction(form: string): Refused {
  return refused(
    'honorific_contradicts_sex',
    `"${form}" before the name and the sex given contradict each other. Correct one of them; if "${form}" is the surname, write a form of address with a colon before the whole name ("Ông: …", "Bà: …").`,
  );
}
