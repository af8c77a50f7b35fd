/**
 * Lists as they are served, held in memory once: the whole list, and its chunks as views into it, so that the next list and the
 * next reader fetch only what is new. A list is looked for on record before it is given out, so that no process serves an old one.
 */
import type { Connection } from '@congvu/database';
import { findCrlVersion, findPublishedCrl, type ListId, type PublishedCrl, readChunks } from './crl-store.ts';

export interface HeldCrl extends PublishedCrl {
  crl: Buffer;
}

interface Held extends HeldCrl {
  chunks: ReadonlyMap<string, Buffer>;
}

const held = new Map<string, Held>();
/** Of the list that was made here last, if it came to be one: an id is never given twice. */
const fresh = new Map<string, ReadonlyMap<string, Buffer>>();
const underWay = new Map<string, Promise<HeldCrl | undefined>>();
const keyOf = ({ authorityId, partition }: ListId) => `${authorityId}:${partition}`;

/** The newest list; undefined when none was made yet. Many who ask for a new one at once share the reading of it. */
export async function readCrl(connection: Connection, list: ListId): Promise<HeldCrl | undefined> {
  const version = await findCrlVersion(connection, list);
  const known = held.get(keyOf(list));
  if (version === undefined || known?.version === version) return version === undefined ? undefined : known;
  const reading = underWay.get(version) ?? readNewest(connection, list).finally(() => underWay.delete(version));
  underWay.set(version, reading);
  return reading;
}

async function readNewest(connection: Connection, list: ListId): Promise<HeldCrl | undefined> {
  const published = await findPublishedCrl(connection, list);
  if (!published) return undefined;
  const chunks = await entriesOf(connection, list, published.chunkIds);
  // Another list took its place, and the chunks went with it.
  if (!chunks) {
    if ((await findCrlVersion(connection, list)) === published.version)
      throw new Error('entries of a revocation list are not on record');
    return readNewest(connection, list);
  }
  return holdCrl(list, published, chunks);
}

/** Chunks that were just made here need not be read again. */
export const keepChunks = (list: ListId, chunks: ReadonlyMap<string, Buffer>): void =>
  void fresh.set(keyOf(list), chunks);

/** The entries of each of these chunks, in this order; undefined when one of them is not on record any more. */
export async function entriesOf(
  connection: Connection,
  list: ListId,
  chunkIds: readonly string[],
): Promise<Buffer[] | undefined> {
  const known = [held.get(keyOf(list))?.chunks, fresh.get(keyOf(list))];
  const found = (id: string) => known[0]?.get(id) ?? known[1]?.get(id);
  const read = await readChunks(
    connection,
    chunkIds.filter((id) => !found(id)),
  );
  const entries = chunkIds.map((id) => found(id) ?? read.get(id));
  return entries.every((one) => one !== undefined) ? entries : undefined;
}

function holdCrl(list: ListId, published: PublishedCrl, entries: readonly Buffer[]): HeldCrl {
  const crl = Buffer.concat([published.prefix, ...entries, published.suffix]);
  const chunks = new Map<string, Buffer>();
  let offset = published.prefix.length;
  published.chunkIds.forEach((id, index) => {
    const { length } = entries[index] as Buffer;
    chunks.set(id, crl.subarray(offset, offset + length));
    offset += length;
  });
  const now = { ...published, crl, chunks };
  held.set(keyOf(list), now);
  fresh.delete(keyOf(list));
  return now;
}
