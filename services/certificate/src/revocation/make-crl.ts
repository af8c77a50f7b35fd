/**
 * Makes a list and its delta (RFC 5280 sections 5.2.4 and 5.2.6) when something changed, or the last ones have lived half their time. What
 * is revoked stands encoded in chunks in the order of serial numbers; only chunks in which something changed or ended are encoded
 * anew, so a revocation costs one chunk, one hash over the list and a signature, however much was issued or revoked before.
 * Number and contents of a list are fixed under one lock.
 */
import type { Transaction } from '@congvu/database';
import type { Authority } from '../authorities/authorities.ts';
import { buildTbsCrl, type CrlEntry, encodeEntries, signCrl, splitCrl } from '../authority/crl.ts';
import { findRevocations, listRevoked, type Revocation } from '../certificates/certificate-store.ts';
import {
  type Chunk,
  deleteChunks,
  findPublishedCrl,
  insertChunks,
  insertCrl,
  type ListId,
  listChangedSince,
  listChunks,
  listPastCrls,
  lockAuthority,
  type PublishedCrl,
  savePublishedCrl,
  takeChanges,
} from './crl-store.ts';
import { entriesOf, keepChunks } from './held-crl.ts';

export interface ListSource {
  authority: Authority;
  partition: number;
  /** The list then says that it holds only the certificates that point to it. */
  isOneOfSeveral: boolean;
  crlHours: number;
  deltaHours: number;
}

/** In the name of a delta, after that of its list. */
export const deltaSuffix = '-delta';

/** The list that is being made, and when the last one was. */
interface Making extends ListId {
  thisUpdate: Date;
  lastUpdate: Date;
}

/** A chunk that grows past this is parted. */
const mostInChunk = 1_024;
const rowsAtOnce = 16 * mostInChunk;
/** With more in it, a delta saves nobody anything; the next one builds on this list. */
const mostInDelta = 5_000;

const hour = 3_600_000;

/** True when a list was made. */
export async function makeCrl(transaction: Transaction, source: ListSource, now: Date): Promise<boolean> {
  const { authority, partition, crlHours, deltaHours } = source;
  const id = { authorityId: authority.id, partition };
  await lockAuthority(transaction, authority.id);
  const last = await findPublishedCrl(transaction, id);
  const changed = await takeChanges(transaction, id, mostInDelta + 1);
  if (last && changed.length === 0 && !isDue(last, now, source)) return false;

  const lastUpdate = last?.thisUpdate ?? new Date(0);
  // A clock that jumped back makes no list that says it is older than the last: readers would keep that one.
  const thisUpdate = new Date(Math.max(wholeSecond(now), lastUpdate.getTime()));
  const header = { crlNumber: (last?.crlNumber ?? 0n) + 1n, thisUpdate };
  const nextUpdate = new Date(thisUpdate.getTime() + crlHours * hour);
  const deltaNextUpdate = new Date(thisUpdate.getTime() + deltaHours * hour);
  const list = { ...id, thisUpdate, lastUpdate };
  const [url] = authority.locations(partition).crl as [string];

  // 1. Entries: one that ended is on one list more after its end (section 3.3).
  const chunks = await renewChunks(transaction, list, changed);
  const chunkIds = chunks.map((chunk) => chunk.id);
  const entries = await entriesOf(transaction, list, chunkIds);
  if (!entries) throw new Error('entries of a revocation list are not on record');

  // 2. What changed since the oldest list on which somebody may still rely.
  const base = await findBase(transaction, list, changed.length);
  const inDelta = base === undefined ? [] : await deltaEntries(transaction, list, base, changed);

  // 3. Signatures.
  const freshestCrl = base === undefined ? undefined : url.replace(/\.crl$/, `${deltaSuffix}.crl`);
  const sign = (contents: Omit<Parameters<typeof buildTbsCrl>[1], keyof typeof header>) =>
    signCrl(
      authority.issuer,
      buildTbsCrl(authority.issuer, {
        ...header,
        ...contents,
        ...(source.isOneOfSeveral && { distributionPoint: url }),
      }),
    );
  const [crl, delta] = await Promise.all([
    sign({ nextUpdate, entries, freshestCrl }),
    base === undefined ? null : sign({ nextUpdate: deltaNextUpdate, entries: inDelta, baseCrlNumber: base }),
  ]);

  // 4. The record.
  await savePublishedCrl(transaction, list, {
    ...header,
    ...splitCrl(crl),
    nextUpdate,
    chunkIds,
    delta,
    deltaNextUpdate: delta && deltaNextUpdate,
  });
  await insertCrl(transaction, list, {
    ...header,
    nextUpdate,
    entryCount: chunks.reduce((sum, { entryCount }) => sum + entryCount, 0),
    changed: base === undefined ? [] : changed,
    base: base ?? header.crlNumber,
  });
  return true;
}

const wholeSecond = (date: Date) => Math.floor(date.getTime() / 1_000) * 1_000;

function isDue(last: PublishedCrl, now: Date, { crlHours, deltaHours }: ListSource): boolean {
  return (
    now.getTime() - last.thisUpdate.getTime() >= (deltaHours * hour) / 2 ||
    last.nextUpdate.getTime() - now.getTime() <= (crlHours * hour) / 2
  );
}

/** Encodes anew the chunks in which something changed, or that hold what was on the last list after its end; all chunks in order. */
async function renewChunks(
  transaction: Transaction,
  list: Making,
  changed: readonly Buffer[],
): Promise<{ id: string; entryCount: number }[]> {
  const before = await listChunks(transaction, list);
  const stale = new Set<number>();
  for (const serialNumber of changed) stale.add(chunkOf(before, serialNumber));
  before.forEach(({ firstEnd }, index) => {
    // With so many changes there are more than are known, and hardly a chunk without one.
    if (firstEnd <= list.lastUpdate || changed.length > mostInDelta) stale.add(index);
  });
  const made = new Map<string, Buffer>();
  const after: { id: string; entryCount: number }[] = [];
  for (let index = 0; index < Math.max(before.length, stale.size); index++) {
    const chunk = before[index];
    if (!stale.has(index)) after.push(chunk as Chunk);
    else {
      // Neighbours that are stale together are read together, and may become fewer.
      const start = index;
      while (stale.has(index + 1)) index++;
      const [from, to] = [before[start]?.firstSerial, before[index + 1]?.firstSerial];
      const range = { from: start === 0 ? Buffer.alloc(0) : (from as Buffer), to };
      after.push(...(await encodeRange(transaction, list, range, made)));
    }
  }
  await deleteChunks(
    transaction,
    before.filter((_, index) => stale.has(index)).map(({ id }) => id),
  );
  keepChunks(list, made);
  return after;
}

/** Index of the chunk to which a serial number belongs; the first takes also what comes before it. */
function chunkOf(chunks: readonly Chunk[], serialNumber: Buffer): number {
  let [low, high] = [0, chunks.length];
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare((chunks[middle] as Chunk).firstSerial, serialNumber) <= 0) low = middle;
    else high = middle;
  }
  return low;
}

/** What it makes is also put into `kept`. */
async function encodeRange(
  transaction: Transaction,
  list: Making,
  { from, to }: { from: Buffer; to: Buffer | undefined },
  kept: Map<string, Buffer>,
): Promise<{ id: string; entryCount: number }[]> {
  const made: { id: string; entryCount: number }[] = [];
  const read = (start: Buffer) => listRevoked(transaction, list, { from: start, to }, rowsAtOnce);
  for (let reading: Promise<Revocation[]> | undefined = read(from); reading; ) {
    const rows: Revocation[] = await reading;
    // The database looks for the next while these are encoded.
    const final = rows.at(-1);
    reading = final && rows.length === rowsAtOnce ? read(Buffer.concat([final.serialNumber, Buffer.of(0)])) : undefined;
    // Should what follows fail, so does this, and nobody waits for it any more.
    reading?.catch(() => undefined);
    const parts = Math.ceil(rows.length / mostInChunk);
    const chunks = Array.from({ length: parts }, (_, part) => {
      const bound = (index: number) => Math.floor((index * rows.length) / parts);
      const entries = rows.slice(bound(part), bound(part + 1));
      return {
        firstSerial: (entries[0] as Revocation).serialNumber,
        entries: encodeEntries(entries),
        entryCount: entries.length,
        firstEnd: new Date(Math.min(...entries.map(({ notAfter }) => notAfter.getTime()))),
      };
    });
    const inserted = await insertChunks(transaction, list, chunks);
    inserted.forEach(({ id }, index) => {
      kept.set(id, (chunks[index] as (typeof chunks)[number]).entries);
    });
    made.push(...inserted);
  }
  return made;
}

/** The oldest list still in date from which on not too much changed. */
async function findBase(transaction: Transaction, list: Making, changedNow: number): Promise<bigint | undefined> {
  let base: bigint | undefined;
  let changes = changedNow;
  for (const past of await listPastCrls(transaction, list)) {
    if (changes > mostInDelta || past.nextUpdate <= list.thisUpdate) break;
    base = past.crlNumber;
    changes += past.changedCount;
  }
  return base;
}

async function deltaEntries(
  transaction: Transaction,
  list: Making,
  base: bigint,
  changedNow: readonly Buffer[],
): Promise<CrlEntry[]> {
  const serials = new Map(
    [...changedNow, ...(await listChangedSince(transaction, list, base))].map((one) => [one.toString('hex'), one]),
  );
  const revoked = new Map(
    (await findRevocations(transaction, list, [...serials.values()])).map((one) => [
      one.serialNumber.toString('hex'),
      one,
    ]),
  );
  return [...serials].flatMap(([key, serialNumber]): CrlEntry[] => {
    const one = revoked.get(key);
    if (!one) return [{ serialNumber, revocationDate: list.thisUpdate, reason: 'removeFromCRL' }];
    return one.notAfter > list.lastUpdate ? [one] : [];
  });
}
