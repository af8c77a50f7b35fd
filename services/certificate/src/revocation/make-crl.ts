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
import { entriesOf } from './held-crl.ts';

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

/** A chunk that grows past this is parted. */
const mostInChunk = 1_024;
const rowsAtOnce = 16 * mostInChunk;
/** With more in it, a delta saves nobody anything; the next one builds on this list. */
const mostInDelta = 5_000;

const hour = 3_600_000;

/** True when a list was made. */
export async function makeCrl(transaction: Transaction, source: ListSource, now: Date): Promise<boolean> {
  const { authority, partition, crlHours, deltaHours } = source;
  const list = { authorityId: authority.id, partition };
  await lockAuthority(transaction, authority.id);
  const last = await findPublishedCrl(transaction, list);
  const changed = await takeChanges(transaction, list);
  if (last && changed.length === 0 && !isDue(last, now, source)) return false;

  // A clock that jumped back makes no list that says it is older than the last: readers would keep that one.
  const thisUpdate = new Date(Math.max(wholeSecond(now), last?.thisUpdate.getTime() ?? 0));
  const header = { crlNumber: (last?.crlNumber ?? 0n) + 1n, thisUpdate };
  const nextUpdate = new Date(thisUpdate.getTime() + crlHours * hour);
  const deltaNextUpdate = new Date(thisUpdate.getTime() + deltaHours * hour);
  const [url] = authority.locations(partition).crl as [string];

  // 1. Entries: one that ended is on one list more after its end (section 3.3).
  const lastUpdate = last?.thisUpdate ?? new Date(0);
  const chunks = await renewChunks(transaction, list, changed, lastUpdate);
  const entries = await entriesOf(
    transaction,
    list,
    chunks.map(({ id }) => id),
  );
  if (!entries) throw new Error('entries of a revocation list are not on record');

  // 2. What changed since the oldest list on which somebody may still rely.
  const base = await findBase(transaction, list, changed.length, thisUpdate);
  const inDelta =
    base === undefined ? [] : await deltaEntries(transaction, list, base, changed, lastUpdate, thisUpdate);

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
    chunkIds: chunks.map(({ id }) => id),
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
  list: ListId,
  changed: readonly Buffer[],
  lastUpdate: Date,
): Promise<{ id: string; entryCount: number }[]> {
  const before = await listChunks(transaction, list);
  const stale = new Set<number>();
  for (const serialNumber of changed) stale.add(chunkOf(before, serialNumber));
  before.forEach(({ firstEnd }, index) => {
    if (firstEnd <= lastUpdate) stale.add(index);
  });
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
      after.push(...(await encodeRange(transaction, list, range, lastUpdate)));
    }
  }
  await deleteChunks(
    transaction,
    before.filter((_, index) => stale.has(index)).map(({ id }) => id),
  );
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

async function encodeRange(
  transaction: Transaction,
  list: ListId,
  { from, to }: { from: Buffer; to: Buffer | undefined },
  lastUpdate: Date,
): Promise<{ id: string; entryCount: number }[]> {
  const made: { id: string; entryCount: number }[] = [];
  for (let start = from; ; ) {
    const rows = await listRevoked(transaction, list, { from: start, to }, lastUpdate, rowsAtOnce);
    const parts = Math.ceil(rows.length / mostInChunk);
    const chunks = Array.from({ length: parts }, (_, part) => {
      const some = rows.slice(Math.floor((part * rows.length) / parts), Math.floor(((part + 1) * rows.length) / parts));
      return {
        firstSerial: (some[0] as Revocation).serialNumber,
        entries: encodeEntries(some.map(entryOf)),
        entryCount: some.length,
        firstEnd: new Date(Math.min(...some.map(({ notAfter }) => notAfter.getTime()))),
      };
    });
    made.push(...(await insertChunks(transaction, list, chunks)));
    const final = rows.at(-1);
    if (!final || rows.length < rowsAtOnce) return made;
    start = Buffer.concat([final.serialNumber, Buffer.of(0)]);
  }
}

const entryOf = ({ serialNumber, revokedAt, reason, invalidityDate }: Revocation): CrlEntry => ({
  serialNumber,
  revocationDate: revokedAt,
  reason,
  invalidityDate,
});

/** The oldest list still in date from which on not too much changed. */
async function findBase(
  transaction: Transaction,
  list: ListId,
  changedNow: number,
  thisUpdate: Date,
): Promise<bigint | undefined> {
  let base: bigint | undefined;
  let changes = changedNow;
  for (const past of await listPastCrls(transaction, list)) {
    if (changes > mostInDelta || past.nextUpdate <= thisUpdate) break;
    base = past.crlNumber;
    changes += past.changedCount;
  }
  return base;
}

async function deltaEntries(
  transaction: Transaction,
  list: ListId,
  base: bigint,
  changedNow: readonly Buffer[],
  lastUpdate: Date,
  thisUpdate: Date,
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
    if (!one) return [{ serialNumber, revocationDate: thisUpdate, reason: 'removeFromCRL' }];
    return one.notAfter > lastUpdate ? [entryOf(one)] : [];
  });
}
