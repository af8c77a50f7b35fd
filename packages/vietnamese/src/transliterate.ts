/**
 * Vietnamese text for machines: without marks, as a search key, and in the order that Vietnamese lists have. NFC and NFD
 * spellings of one text give the same result everywhere.
 */

/** Letters that Unicode does not decompose: đ and its look-alikes (U+00D0 eth, U+0189), and the ƀ of Ê Đê and Bahnar names. */
const undecomposed: Readonly<Record<string, string>> = {
  đ: 'd',
  Đ: 'D',
  ð: 'd',
  Ð: 'D',
  ɖ: 'd',
  Ɖ: 'D',
  ƀ: 'b',
  Ƀ: 'B',
};

/** The text without any diacritical mark; Vietnamese text becomes ASCII, anything else keeps what is not a mark. */
export function stripMarks(text: string): string {
  if (/^[\0-\x7f]*$/.test(text)) return text;
  return text
    .normalize('NFD')
    .replace(/\p{Mn}+/gu, '')
    .replace(/[đĐðÐɖƉƀɃ]/g, (letter) => undecomposed[letter] ?? letter)
    .normalize('NFC');
}

/** What a search column stores and a query is turned into: lower case, no marks, words separated by single spaces. */
export function searchKey(text: string): string {
  return stripMarks(stripMarks(text).toLowerCase()).replace(/\s+/gu, ' ').trim();
}

export interface SortableName {
  readonly givenName: string;
  readonly surname: string;
  readonly middleNames: string;
}

const collator = new Intl.Collator('vi');

/**
 * Order of Vietnamese lists: given name, then surname, then middle names (ICU `vi`: a ă â … d đ …, tones after letters). The
 * database has the same order in a key of its own (`directory.sort_part`).
 */
export function compareNames(a: SortableName, b: SortableName): number {
  return (
    collator.compare(a.givenName, b.givenName) ||
    collator.compare(a.surname, b.surname) ||
    collator.compare(a.middleNames, b.middleNames)
  );
}
