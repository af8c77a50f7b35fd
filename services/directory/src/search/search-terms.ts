/**
 * What was typed into the search box, as terms: small letters without marks, each of which must be found. Pure. A term holds
 * only what `directory.search_text` leaves standing, so that both sides compare the same characters.
 */
import { searchKey } from '@congvu/vietnamese';

/** More words than any name with its position and agency has; the rest of what was typed is not looked at. */
const mostTerms = 8;

export function toTerms(query: string): string[] {
  const words = searchKey(query)
    .replace(/[^a-z0-9.@_-]+/g, ' ')
    .split(' ')
    .map((word) => word.replace(/^[.-]+|[.-]+$/g, ''))
    .filter((word) => word !== '');
  const distinct = [...new Set(words)];
  // What stands in another word that is asked for as well says nothing more.
  return distinct
    .filter((word) => !distinct.some((other) => other !== word && !other.includes('@') && isImplied(word, other)))
    .sort((a, b) => b.length - a.length)
    .slice(0, mostTerms);
}

/** A term of one or two letters is looked for at the beginning of words, a longer one anywhere in them. */
const isImplied = (word: string, other: string): boolean =>
  word.length < 3 ? other.startsWith(word) : other.includes(word);
