/**
 * Usernames by a province's policy: patterns in order of preference, the last of them numbered from 2 without end. The usual
 * one: Huỳnh Thanh Điền → dienht; taken, then with the agency's short name: dienht.stttt; taken too, then numbered within
 * the agency: dienht2.stttt, dienht3.stttt …
 *
 * The number stands before the dot because short names may end in a digit themselves (thptvinh2). It counts namesakes within
 * one agency, so that it stays small in a whole province.
 *
 * Candidates come in the same order for the same input. Which one is free, the database alone decides.
 */

import type { Finding } from './finding.ts';
import { cut, isLocalPart, maximumLocalPartOctets, squeeze } from './local-part.ts';
import type { ParsedName } from './name.ts';

/** The most that each part is given of the 64 octets. */
const maximumLengths = { given: 20, surname: 12, middle: 20, initials: 8, agency: 28, number: 6 } as const;
/** Of an office, which has no initials. */
const maximumOfficeLength = 28;
type Part = keyof typeof maximumLengths;
const isPart = (text: string): text is Part => Object.hasOwn(maximumLengths, text);

declare const parsed: unique symbol;
/** Patterns that `parseUsernamePatterns` found sound. */
export type UsernamePatterns = readonly string[] & { readonly [parsed]: true };

export type UsernamePatternsResult =
  | { readonly ok: true; readonly patterns: UsernamePatterns }
  | { readonly ok: false; readonly faults: readonly Finding[] };

/** Reads a policy such as `{given}{initials},{given}{initials}{number}`; every fault of it at once. Never throws. */
export function parseUsernamePatterns(text: string): UsernamePatternsResult {
  const patterns = text.split(',').map((pattern) => pattern.trim());
  const faults = patterns.flatMap((pattern, index) => {
    const isLast = index === patterns.length - 1;
    return faultsOf(pattern, isLast).map(([code, detail]) => ({ code, detail: `"${pattern}": ${detail}` }));
  });
  return faults.length > 0 ? { ok: false, faults } : { ok: true, patterns: patterns as unknown as UsernamePatterns };
}

function faultsOf(pattern: string, isLast: boolean): [code: string, detail: string][] {
  if (pattern === '') return [['pattern_empty', 'a pattern is empty.']];
  const faults: [string, string][] = [];
  const parts = [...pattern.matchAll(/\{([^{}]*)\}/g)].map((match) => match[1] ?? '');
  const unknown = parts.filter((part) => !isPart(part));
  if (unknown.length > 0) {
    const known = Object.keys(maximumLengths).map((part) => `{${part}}`);
    faults.push(['pattern_part', `there is no {${unknown.join('}, {')}}; the parts are ${known.join(' ')}.`]);
  }
  const rest = pattern.replace(/\{[^{}]*\}/g, '');
  if (!/^[a-z0-9.-]*$/.test(rest)) {
    faults.push(['pattern_character', 'between its parts stand small letters, digits, dots and hyphens alone.']);
  }
  if (/^[.-]|[.-]$|\.\./.test(pattern)) {
    faults.push(['pattern_dot', 'no dot or hyphen stands at an end, and no two dots together.']);
  }
  if (!parts.some((part) => part === 'given' || part === 'surname' || part === 'initials')) {
    faults.push(['pattern_nameless', 'it needs {given}, {surname} or {initials}.']);
  }
  if (parts.includes('number') !== isLast) {
    faults.push(['pattern_number', 'the last pattern, and no other, has a {number}, so that the names never end.']);
  }
  const longest = parts.filter(isPart).reduce((sum, part) => sum + maximumLengths[part], rest.length);
  if (longest > maximumLocalPartOctets) {
    const detail = `it may become ${longest} characters; an address has room for ${maximumLocalPartOctets}.`;
    faults.push(['pattern_long', detail]);
  }
  return faults;
}

export const defaultUsernamePatterns =
  '{given}{initials},{given}{initials}.{agency},{given}{initials}{number}.{agency}';

/**
 * Every candidate, best first, without end: stop at the first free one. Each is a valid local part and none is reserved.
 * `agencyShortName` may be empty: then the patterns stand without it.
 */
export function usernameCandidates(
  name: Pick<ParsedName, 'givenName' | 'surname' | 'middleNames'>,
  agencyShortName: string,
  patterns: UsernamePatterns,
): Generator<string, never, void> {
  const initials = `${name.surname} ${name.middleNames}`
    .split(' ')
    .map((word) => squeeze(word).slice(0, 1))
    .join('');
  const parts = {
    given: squeeze(name.givenName).slice(0, maximumLengths.given),
    surname: squeeze(name.surname).slice(0, maximumLengths.surname),
    middle: squeeze(name.middleNames).slice(0, maximumLengths.middle),
    initials: initials.slice(0, maximumLengths.initials),
  };
  // A parsed name always has letters; "x" keeps the promise for a name that was not parsed here.
  if (parts.given + parts.surname + parts.initials === '') parts.given = parts.surname = parts.initials = 'x';
  return candidates(patterns, parts, agencyShortName);
}

/** Of an office: Chủ tịch of quynhluu → chutich.quynhluu, chutich2.quynhluu … */
export const positionUsernameCandidates = (title: string, agencyShortName: string): Generator<string, never, void> =>
  candidates(
    ['{office}.{agency}', '{office}{number}.{agency}'],
    { office: squeeze(title).slice(0, maximumOfficeLength) || 'x' },
    agencyShortName,
  );

function* candidates(
  patterns: readonly string[],
  name: Readonly<Record<string, string>>,
  agencyShortName: string,
): Generator<string, never, void> {
  const labels = agencyShortName.split('.').map(squeezeLabel).filter(Boolean).join('.');
  const agency = cut(labels, maximumLengths.agency);
  const withoutAgency = agency === '' ? patterns.map((pattern) => pattern.replace(/[.-]?\{agency\}/g, '')) : patterns;
  const fill = (pattern: string, number: string): string => {
    const parts: Readonly<Record<string, string>> = { ...name, agency, number };
    const filled = pattern.replace(/\{(\w+)\}/g, (_, part: string) => parts[part] ?? '');
    return filled.replace(/\.{2,}/g, '.').replace(/^[.-]+|[.-]+$/g, '');
  };
  const given = new Set<string>();
  for (const pattern of withoutAgency.slice(0, -1)) {
    const candidate = fill(pattern, '');
    if (!isLocalPart(candidate) || given.has(candidate)) continue;
    given.add(candidate);
    yield candidate;
  }
  const numbered = withoutAgency.at(-1) ?? '';
  for (let number = 2; ; number += 1) {
    if (String(number).length > maximumLengths.number)
      throw new RangeError('More namesakes than a username has room for');
    const candidate = fill(numbered, String(number));
    if (isLocalPart(candidate) && !given.has(candidate)) yield candidate;
  }
}

/** One label of a short name; hyphens within it stay. */
function squeezeLabel(label: string): string {
  return label.split('-').map(squeeze).filter(Boolean).join('-');
}
