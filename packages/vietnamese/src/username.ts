/**
 * Usernames by the policy `{given}{initials}`: Huỳnh Thanh Điền → dienht; taken, then with the agency's short name:
 * dienht.stttt; taken too, then numbered from 2 within the agency: dienht2.stttt, dienht3.stttt …
 *
 * The number stands before the dot because short names may end in a digit themselves (thptvinh2). It counts namesakes within
 * one agency, so that it stays small in a whole province.
 *
 * Candidates come in the same order for the same input. Which one is free, the database alone decides.
 */

import { cut, isLocalPart, maximumLocalPartOctets, squeeze } from './local-part.ts';
import type { ParsedName } from './name.ts';

/** Room for the name; the rest of the 64 octets is for the number, a dot and the agency. */
const maximumGivenLength = 20;
const maximumInitials = 8;
const maximumAgencyLength = 28;

/**
 * Every candidate, best first, without end: stop at the first free one. Each is a valid local part and none is reserved.
 * `agencyShortName` may be empty: then numbers follow the plain form.
 */
export function* usernameCandidates(
  name: Pick<ParsedName, 'givenName' | 'surname' | 'middleNames'>,
  agencyShortName: string,
): Generator<string, never, void> {
  const initials = `${name.surname} ${name.middleNames}`
    .split(' ')
    .map((word) => squeeze(word).slice(0, 1))
    .join('')
    .slice(0, maximumInitials);
  // A parsed name always has letters; "x" keeps the promise for a name that was not parsed here.
  const base = squeeze(name.givenName).slice(0, maximumGivenLength) + initials || 'x';
  const labels = agencyShortName.split('.').map(squeezeLabel).filter(Boolean).join('.');
  const agency = labels === '' ? '' : `.${cut(labels, maximumAgencyLength)}`;

  if (isLocalPart(base)) yield base;
  if (agency !== '' && isLocalPart(base + agency)) yield base + agency;
  for (let number = 2; ; number += 1) {
    const candidate = `${base}${number}${agency}`;
    if (candidate.length > maximumLocalPartOctets) throw new RangeError('More namesakes than an address has room for');
    if (isLocalPart(candidate)) yield candidate;
  }
}

/** One label of a short name; hyphens within it stay. */
function squeezeLabel(label: string): string {
  return label.split('-').map(squeeze).filter(Boolean).join('-');
}
