/**
 * Tone placement, one spelling for each syllable. The rule, applied only to words with the shape of a Vietnamese syllable:
 * 1. open -oa, -oe, -uy carry the tone on their first vowel: Hoà → Hòa, Thuỷ → Thủy;
 * 2. after qu- the u belongs to the consonant and never carries it: Qúy → Quý, and Quý stays;
 * 3. the same vowels with an ending, and -uê, -uơ, -uâ-, carry it on their second vowel: Hòang → Hoàng, Hùynh → Huỳnh.
 */

const initial = '(?:b|c|ch|d|đ|g|gh|h|k|kh|l|m|n|ng|ngh|nh|p|ph|r|s|t|th|tr|v|x)?';
const ending = '(?:ch|c|m|nh|ng|n|p|t|i|o|y|u|a)';
/** Grave, acute, tilde, hook above, dot below. */
const tone = '[\\u0300\\u0301\\u0303\\u0309\\u0323]';
/** Circumflex, breve, horn: they make another letter, not another tone. */
const shape = '[\\u0302\\u0306\\u031b]';

const openWithToneOnSecond = new RegExp(`^(${initial}(?:o(?=[ae])|u(?=y)))([aey])(${tone})$`, 'iu');
const quWithToneOnU = new RegExp(`^(qu)(${tone})([aeioy]${shape}?)(.*)$`, 'iu');
const closedWithToneOnFirst = new RegExp(
  `^(${initial}(?:o(?=.[ae])|u(?=.y)))(${tone})([ae]${shape}?|y)(${ending})$`,
  'iu',
);
const shapedWithToneOnFirst = new RegExp(`^(${initial}u)(${tone})([ea]\\u0302|o\\u031b)(${ending}?)$`, 'iu');

/** The word in NFC with its tone mark where the rule puts it; any other word unchanged. */
export function placeTone(word: string): string {
  const decomposed = word.normalize('NFD');
  const placed = decomposed
    .replace(openWithToneOnSecond, '$1$3$2')
    .replace(quWithToneOnU, '$1$3$2$4')
    .replace(closedWithToneOnFirst, '$1$3$2$4')
    .replace(shapedWithToneOnFirst, '$1$3$2$4');
  return placed.normalize('NFC');
}
