/**
 * What the comparison takes of each entry, made in the thread that reads them: the digest that `digestOfExpected` has when the
 * entry is as it should be, from the octets as they came. A text for every value would cost several times as much.
 */
import { hash } from 'node:crypto';
import { type EntryOctets, EntryReader } from '@congvu/ldap';
import { hasEveryClass, lockedForGood } from '../accounts/entry.ts';
import { certificateName, digestedNames, joinValues, valueSeparator } from './compare-entry.ts';

export interface DigestedEntry {
  dn: string;
  /** The account that the entry says it is of. */
  id: string | undefined;
  digest: string;
}

/** What nothing in the record has: such an entry is looked at closely. */
const unlikeAny = '';

export default function digestEntries(entries: readonly EntryOctets[]): DigestedEntry[] {
  return entries.map(digestEntry);
}

const others = ['congvuAccountId', 'objectClass', 'pwdAccountLockedTime', certificateName] as const;
const names = [...digestedNames, ...others];
const [idPlace, classPlace, lockPlace, certificatePlace] = others.map((name) => names.indexOf(name)) as [
  number,
  number,
  number,
  number,
];
/** By length, first and last octet, which few names share. */
const candidates = new Map<number, { octets: Buffer; place: number }[]>();
const keyOf = (bytes: Buffer, start: number, end: number): number =>
  ((end - start) << 16) | ((bytes[start] as number) << 8) | (bytes[end - 1] as number);
names.forEach((name, place) => {
  const octets = Buffer.from(name);
  const key = keyOf(octets, 0, octets.length);
  candidates.set(key, [...(candidates.get(key) ?? []), { octets, place }]);
});

function placeOf({ bytes, start, end }: EntryReader): number | undefined {
  const found = candidates.get(keyOf(bytes, start, end))?.find(({ octets }) => octets.compare(bytes, start, end) === 0);
  return found?.place;
}

/** What several values come to, by their octets: classes, and the path of an agency, are the same in many entries. */
const known = new Map<string, string>();
const mostKnown = 10_000;

/** The reader is at the first of several. */
function joinedText(reader: EntryReader): string {
  const { bytes, setStart, setEnd } = reader;
  const octets = bytes.toString('latin1', setStart, setEnd);
  const text = known.get(octets);
  if (text !== undefined) return text;
  const values: string[] = [];
  do values.push(bytes.toString('utf8', reader.start, reader.end));
  while (reader.nextValue());
  const made = joinValues(values);
  if (known.size < mostKnown) known.set(octets, made);
  return made;
}

/** Where the one value of each name is, as pairs; where there are several, what they come to. */
const places = new Int32Array(names.length * 2);
const texts: (string | undefined)[] = [];
const scratch = Buffer.allocUnsafe(65_536);

function digestEntry(entry: EntryOctets): DigestedEntry {
  const { bytes } = entry;
  const reader = new EntryReader(entry);
  const { start: dnStart, end: dnEnd } = reader;
  const fingerprints: string[] = [];
  let most = dnEnd - dnStart + names.length + 10;
  places.fill(0);
  texts.length = 0;
  while (reader.nextAttribute()) {
    const place = placeOf(reader);
    if (place === undefined) continue;
    if (place === certificatePlace) {
      while (reader.nextValue()) fingerprints.push(hash('sha256', bytes.subarray(reader.start, reader.end)));
      most += fingerprints.length * 65;
    } else if (reader.nextValue()) {
      places[place * 2] = reader.start;
      places[place * 2 + 1] = reader.end;
      most += reader.setEnd - reader.setStart;
      if (reader.end < reader.setEnd) texts[place] = joinedText(reader);
    }
  }
  const textOf = (place: number): string =>
    texts[place] ?? bytes.toString('utf8', places[place * 2], places[place * 2 + 1]);
  const dn = bytes.toString('utf8', dnStart, dnEnd);
  const id = textOf(idPlace) || undefined;
  if (most > scratch.length) return { dn, id, digest: unlikeAny };

  // The octets of the text in `digestOf`.
  let size = scratch.write(dn.toLowerCase(), 0, 'utf8');
  const objectClass = textOf(classPlace).split(valueSeparator);
  size += scratch.write(`${hasEveryClass({ objectClass })}${textOf(lockPlace) === lockedForGood}`, size, 'latin1');
  for (let place = 0; place < digestedNames.length; place += 1) {
    scratch[size++] = 0;
    const text = texts[place];
    if (text === undefined) size += bytes.copy(scratch, size, places[place * 2], places[place * 2 + 1]);
    else size += scratch.write(text, size, 'utf8');
  }
  size += scratch.write(fingerprints.sort().join(), size, 'latin1');
  return { dn, id, digest: hash('sha1', scratch.subarray(0, size), 'binary') };
}
