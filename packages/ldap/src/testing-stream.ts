/** For tests: what a thread makes of entries, as modules for `streamMapped` do. */
import { type EntryOctets, EntryReader } from './stream-entries.ts';

export default (entries: readonly EntryOctets[]): unknown[] =>
  entries.map((entry) => {
    const reader = new EntryReader(entry);
    reader.nextAttribute();
    reader.nextValue();
    return reader.bytes.toString('utf8', reader.start, reader.end);
  });
