/**
 * Full names as HR departments write them, made canonical: NFC, single spaces, Đ and not its look-alikes, one tone
 * placement, capitals. Every change is stated as a correction; whatever would have to be guessed is a fault. No fault holds
 * the name itself.
 *
 * The surname is the first word, the given name the last, the middle names all between (Tôn Nữ Thị Ninh: surname Tôn). A
 * single word is refused, because a cut-off cell looks exactly like the name of those few people who have one word only;
 * `singleWord: 'accept'` is for the caller that has asked.
 *
 * Parsing `fullName` again with `honorific: 'absent'` gives the same result without corrections. Without that option a
 * stored name whose surname is Ông would be asked about again.
 */

import type { Finding, Refused } from './finding.ts';
import { removeHonorific, type Sex } from './honorific.ts';
import { placeTone } from './tone.ts';
import { stripMarks } from './transliterate.ts';

export interface ParsedName {
  readonly fullName: string;
  /** First word; empty for a single-word name. */
  readonly surname: string;
  /** Words between, separated by single spaces; empty when there are none. */
  readonly middleNames: string;
  /** Last word; the one people are called and lists are sorted by. */
  readonly givenName: string;
}

export interface NameOptions {
  /** `absent`: the input is known to hold no form of address, so that a leading "Ông" is the surname. */
  readonly honorific?: 'possible' | 'absent';
  /** When known: decides more cases of "Ông", and finds those that contradict it. */
  readonly sex?: Sex | undefined;
  readonly singleWord?: 'refuse' | 'accept';
}

export type NameResult = ({ readonly ok: true; readonly corrections: readonly Finding[] } & ParsedName) | Refused;

export const maximumNameLength = 100;

/** Beyond this nothing is looked at: no cell of a sheet holds a name of this size. */
const absurdLength = 1000;

/** Reads one full name. Never throws. */
export function parseFullName(input: string, options: NameOptions = {}): NameResult {
  if (input.length > absurdLength) return { ok: false, faults: [tooLong] };
  const corrections: Finding[] = [];
  const correct: Correct = (before, after, code, detail) => {
    if (after !== before) corrections.push({ code, detail });
    return after;
  };

  // 1. One spelling of each character.
  let text = plainName.test(input) ? input : spellOneWay(input, correct);

  // 2. The form of address; its dot, colon or stroke is no part of the name.
  if (text !== '' && options.honorific !== 'absent') {
    const address = removeHonorific(text, options.sex);
    if (!address.ok) {
      const name = text.replace(/^\p{L}+[\s.:]*/u, '');
      return { ok: false, faults: [...address.faults, ...characterFaults(name)] };
    }
    if (address.removed) corrections.push(address.removed);
    text = address.rest;
  }

  // 3. What no rule can repair.
  const faults = characterFaults(text);
  if (faults.length > 0) return { ok: false, faults };
  if (!text.includes(' ') && options.singleWord !== 'accept') return { ok: false, faults: [singleWord] };

  // 4. Words: capitals first, since tone placement keeps them.
  const words = text.split(' ');
  const capitalised = words.map(capitalise);
  correct(text, capitalised.join(' '), 'capitals', changes(words, capitalised, 'Capitals were set'));
  const placed = capitalised.map(placeToneOf);
  correct(
    capitalised.join(' '),
    placed.join(' '),
    'tone_placement',
    changes(capitalised, placed, 'Tone marks were placed'),
  );

  const fullName = placed.join(' ');
  return { ok: true, fullName, ...splitFullName(fullName), corrections };
}

/** The parts of a name that was read before. */
export function splitFullName(fullName: string): { surname: string; middleNames: string; givenName: string } {
  const words = fullName.split(' ');
  return {
    surname: words.length > 1 ? (words[0] ?? '') : '',
    middleNames: words.slice(1, -1).join(' '),
    givenName: words.at(-1) ?? '',
  };
}

const tooLong: Finding = {
  code: 'name_too_long',
  detail: `The name has more than ${maximumNameLength} characters. Give one person's full name.`,
};
const singleWord: Finding = {
  code: 'name_single_word',
  detail: 'The name is a single word. Give the full name, or confirm that the person has one word only.',
};

type Correct = (before: string, after: string, code: string, detail: string) => string;

function spellOneWay(input: string, correct: Correct): string {
  let text = correct(input, compose(input), 'unicode_form', 'Letters were composed with their marks (Unicode NFC).');
  const spaced = text
    .replace(/[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]/g, ' ')
    .replace(/ {2,}/g, ' ')
    .replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  text = correct(text, spaced, 'spaces', 'Superfluous spaces were removed.');
  const crossed = text.replace(/[ÐƉ]/g, 'Đ').replace(/[ðɖ]/g, 'đ');
  text = correct(text, crossed, 'letter_d', 'A letter that looks like Đ (U+00D0, U+0189) was replaced by Đ (U+0110).');
  const straight = text.replace(/['‘’ʼʹ`´]/g, "'").replace(/[‐‑]/g, '-');
  return correct(text, straight, 'apostrophe', 'Apostrophes and hyphens were replaced by their plain forms.');
}

/** NFC, also where the tone was typed before the mark that makes the letter (e + acute + circumflex for ế). */
function compose(text: string): string {
  if (/^[\x20-\x7e]*$/.test(text)) return text;
  return text
    .normalize('NFD')
    .replace(/([\u0300\u0301\u0303\u0309]+)([\u0302\u0306\u031b])/g, '$2$1')
    .normalize('NFC');
}

/** Names are made of a few thousand words: what was made of each is remembered, and all forgotten before it gets too much. */
function remembered(make: (word: string) => string): (word: string) => string {
  const made = new Map<string, string>();
  return (word) => {
    const known = made.get(word);
    if (known !== undefined) return known;
    if (made.size >= 10_000) made.clear();
    const result = make(word);
    made.set(word, result);
    return result;
  };
}

/** Title case for a word written wholly in capitals or wholly in small letters; mixed capitals are kept as given. */
const capitalise = remembered((word) => {
  const letters = word.replace(/['-]/g, '');
  const isAllCapitals = [...letters].length > 1 && word === word.toUpperCase();
  if (!isAllCapitals && word !== word.toLowerCase()) return word;
  return word
    .toLowerCase()
    .normalize('NFC')
    .replace(/(?<=^|['-])\p{Ll}/gu, (letter) => letter.toUpperCase());
});
const placeToneOf = remembered(placeTone);

function changes(before: readonly string[], after: readonly string[], what: string): string {
  const pairs = before.flatMap((word, index) => (word === after[index] ? [] : [`${word} → ${after[index]}`]));
  return `${what}: ${pairs.join(', ')}.`;
}

/** Words of Vietnamese letters, each in one case but for its first: what nearly every name is, and without a fault. No word fits both ways. */
const marked = 'àáảãạăằắẳẵặâầấẩẫậèéẻẽẹêềếểễệìíỉĩịòóỏõọôồốổỗộơờớởỡợùúủũụưừứửữựỳýỷỹỵđ';
const small = `a-z${marked}`;
const capital = `A-Z${marked.toUpperCase()}`;
const plainWord = `(?:[${small}${capital}][${small}]*|[${capital}]{2,})`;
const plainName = new RegExp(`^${plainWord}(?: ${plainWord})*$`);

/** Every fault in the characters of a name, at once. */
function characterFaults(text: string): Finding[] {
  if (text === '') return [{ code: 'name_empty', detail: 'The name is empty. Give the full name.' }];
  if (text.length <= maximumNameLength && plainName.test(text)) return [];
  const faults: Finding[] = [];
  const add = (code: string, found: readonly string[], detail: (list: string) => string): void => {
    if (found.length > 0) faults.push({ code, detail: detail(codePoints(found)) });
  };

  if ([...text].length > maximumNameLength) faults.push(tooLong);
  add(
    'name_control_character',
    text.match(/\p{Cc}/gu) ?? [],
    (list) => `Line breaks, tabs or control characters: ${list}. Write one name on one line.`,
  );
  add(
    'name_invisible_character',
    text.match(/[\p{Cf}\p{Cs}\p{Co}\p{Cn}\u2028\u2029\u115f\u1160\u3164\uffa0]/gu) ?? [],
    (list) => `Invisible characters: ${list}. Type the name again.`,
  );
  add('name_digit', text.match(/\p{N}/gu) ?? [], (list) => `Digits: ${list}. A name holds letters only.`);
  const symbols = text.match(/[^\p{L}\p{M}\p{N}\p{C}\p{Z}'-]|(?<![\p{L}\p{M}])['-]|['-](?![\p{L}])/gu) ?? [];
  add(
    'name_symbol',
    symbols,
    (list) => `Symbols: ${list}. A name holds letters, and apostrophes or hyphens within a word.`,
  );

  const letters = text.match(/(?![\u115f\u1160\u3164\uffa0])\p{L}/gu) ?? [];
  const foreign = letters.filter((letter) => !/\p{Script=Latin}/u.test(letter));
  if (foreign.length === letters.length) {
    add('name_script', foreign, () => 'The name is not in Latin letters. Write it in Vietnamese letters.');
  } else {
    add(
      'name_mixed_scripts',
      foreign,
      (list) => `Letters of another script among Latin ones: ${list}. Type the name again.`,
    );
  }
  // Only marks of Vietnamese and of the minority alphabets; others (cedilla, diaeresis …) are what is left of TCVN3 or VNI text.
  const strange = letters.filter(
    (letter) =>
      /\p{Script=Latin}/u.test(letter) &&
      !/^[A-Za-zđĐƀɃ][\u0300\u0301\u0302\u0303\u0306\u0309\u030c\u031b\u0323]*$/u.test(letter.normalize('NFD')),
  );
  add(
    'name_letter',
    strange,
    (list) =>
      `Letters of no Vietnamese alphabet: ${list}. If the text is in an old font (TCVN3, VNI), convert it to Unicode.`,
  );
  // "NguyÔn" is how TCVN3 text looks: a marked capital inside a word in small letters.
  const misplaced = text.match(/(?<=\p{Ll})\p{Lu}/gu)?.filter((letter) => stripMarks(letter) !== letter) ?? [];
  add(
    'name_legacy_encoding',
    misplaced,
    (list) =>
      `Marked capitals inside a word: ${list}. If the text is in an old font (TCVN3, VNI), convert it to Unicode.`,
  );
  // A breve may stay uncomposed (ê̆ of Ê Đê); any other mark that is left stands on nothing.
  const stray = text.match(/(?<!\p{L})\p{M}|(?!\u0306)\p{M}/gu) ?? [];
  add('name_stray_mark', stray, (list) => `Marks that belong to no letter: ${list}. Type the name again.`);
  return faults;
}

/** "U+0041, U+0042", each once, at most ten: what is safe to show of characters that may not be printable. */
function codePoints(characters: readonly string[]): string {
  const distinct = [...new Set(characters)];
  const shown = distinct.slice(0, 10).map((character) => {
    const hex = (character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
    return /^[\p{P}\p{S}]$/u.test(character) ? `${character} (U+${hex})` : `U+${hex}`;
  });
  return distinct.length > shown.length ? `${shown.join(', ')} and others` : shown.join(', ');
}
