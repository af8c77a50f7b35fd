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
const underWay = new Map<string, Promise<HeldCrl | undefined>>();
const keyOf = ({ authorityId, partition }: ListId) => `${authorityId}:${partition}`;

/** The newest list; undefined when none was made yet. Many who ask at once share one reading. */
export function readCrl(connection: Connection, list: ListId): Promise<HeldCrl | undefined> {
  const key = keyOf(list);
  const reading = underWay.get(key) ?? readNewest(connection, list).finally(() => underWay.delete(key));
  underWay.set(key, reading);
  return reading;
}

async function readNewest(connection: Connection, list: ListId): Promise<HeldCrl | undefined> {
  const known = held.get(keyOf(list));
  const version = await findCrlVersion(connection, list);
  if (version === undefined || known?.version === version) return version === undefined ? undefined : known;
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

/** The entries of each of these chunks, in this order; undefined when one of them is not on record any more. */
export async function entriesOf(
  connection: Connection,
  list: ListId,
  chunkIds: readonly string[],
): Promise<Buffer[] | undefined> {
  const known = held.get(keyOf(list))?.chunks;
  const read = await readChunks(
    connection,
    chunkIds.filter((id) => !known?.has(id)),
  );
  const entries = chunkIds.map((id) => known?.get(id) ?? read.get(id));
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
  return now;
}
