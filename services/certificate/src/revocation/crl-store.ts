/**
 * Every query on what lists are made of and served from: certificate.crls, published_crls, crl_chunks and crl_changes. A list is one
 * partition of an authority.
 */
import { randomUUID } from 'node:crypto';
import type { Connection, Transaction } from '@congvu/database';

export interface ListId {
  authorityId: string;
  partition: number;
}

const keyOf = ({ authorityId, partition }: ListId) => ({ authority_id: authorityId, crl_partition: partition });

/** What is served of a list, without the entries. */
export interface PublishedCrl {
  /** Another with every list. */
  version: string;
  crlNumber: bigint;
  thisUpdate: Date;
  nextUpdate: Date;
  /** Octets before and after the entries. */
  prefix: Buffer;
  suffix: Buffer;
  chunkIds: string[];
  delta: Buffer | null;
  deltaNextUpdate: Date | null;
}

export async function findPublishedCrl(connection: Connection, list: ListId): Promise<PublishedCrl | undefined> {
  const row = await connection('certificate.published_crls').where(keyOf(list)).first();
  return (
    row && {
      version: row.version,
      crlNumber: BigInt(row.crl_number),
      thisUpdate: row.this_update,
      nextUpdate: row.next_update,
      prefix: row.prefix,
      suffix: row.suffix,
      chunkIds: row.chunk_ids,
      delta: row.delta,
      deltaNextUpdate: row.delta_next_update,
    }
  );
}

/** To be asked before anything large is read. */
export const findCrlVersion = async (connection: Connection, list: ListId): Promise<string | undefined> =>
  (await connection('certificate.published_crls').where(keyOf(list)).first('version'))?.version;

export async function savePublishedCrl(
  transaction: Transaction,
  list: ListId,
  crl: Omit<PublishedCrl, 'version'>,
): Promise<void> {
  await transaction('certificate.published_crls')
    .insert({
      ...keyOf(list),
      version: randomUUID(),
      crl_number: crl.crlNumber.toString(),
      this_update: crl.thisUpdate,
      next_update: crl.nextUpdate,
      prefix: crl.prefix,
      suffix: crl.suffix,
      chunk_ids: crl.chunkIds,
      delta: crl.delta,
      delta_next_update: crl.deltaNextUpdate,
    })
    .onConflict(['authority_id', 'crl_partition'])
    .merge();
}

/** Of an authority with so many partitions: these, and those in which it ever issued. */
export async function listPartitions(
  connection: Connection,
  { id, crlPartitions }: { id: string; crlPartitions: number },
): Promise<number[]> {
  const former: number[] = await connection('certificate.published_crls')
    .where({ authority_id: id })
    .pluck('crl_partition');
  return [...new Set([...Array(crlPartitions).keys(), ...former])].sort((a, b) => a - b);
}

/** The lists of an authority are made one at a time, so that a higher number never says less. Issuing goes on beside it. */
export const lockAuthority = (transaction: Transaction, authorityId: string): Promise<unknown> =>
  transaction('certificate.authorities').where({ id: authorityId }).forNoKeyUpdate().first('id');

/**
 * Serial numbers of what changed since the last list, which the list that is being made must have. A change whose transaction is
 * still under way is not among them; it waits for the next list.
 */
export async function takeChanges(transaction: Transaction, list: ListId): Promise<Buffer[]> {
  const taken = await transaction('certificate.crl_changes')
    .where(keyOf(list))
    .delete()
    .returning<{ serial_number: Buffer }[]>('serial_number');
  return taken.map((row) => row.serial_number);
}

export interface Chunk {
  id: string;
  firstSerial: Buffer;
  entryCount: number;
  firstEnd: Date;
}

/** In the order of their serial numbers. */
export const listChunks = (connection: Connection, list: ListId): Promise<Chunk[]> =>
  connection('certificate.crl_chunks')
    .where(keyOf(list))
    .orderBy('first_serial')
    .select('id', 'first_serial as firstSerial', 'entry_count as entryCount', 'first_end as firstEnd');

/** In the order in which they were given. */
export async function insertChunks(
  transaction: Transaction,
  list: ListId,
  chunks: readonly (Omit<Chunk, 'id'> & { entries: Buffer })[],
): Promise<{ id: string; entryCount: number }[]> {
  if (chunks.length === 0) return [];
  const inserted = await transaction('certificate.crl_chunks')
    .insert(
      chunks.map((chunk) => ({
        ...keyOf(list),
        first_serial: chunk.firstSerial,
        entries: chunk.entries,
        entry_count: chunk.entryCount,
        first_end: chunk.firstEnd,
      })),
    )
    .returning<{ id: string; first_serial: Buffer; entryCount: number }[]>([
      'id',
      'first_serial',
      'entry_count as entryCount',
    ]);
  return inserted.sort((a, b) => Buffer.compare(a.first_serial, b.first_serial));
}

export async function deleteChunks(transaction: Transaction, ids: readonly string[]): Promise<void> {
  await transaction('certificate.crl_chunks').whereIn('id', ids).delete();
}

/** Entries of those chunks that are still there. */
export async function readChunks(connection: Connection, ids: readonly string[]): Promise<Map<string, Buffer>> {
  if (ids.length === 0) return new Map();
  const found: { id: string; entries: Buffer }[] = await connection('certificate.crl_chunks')
    .whereIn('id', ids)
    .select('id', 'entries');
  return new Map(found.map(({ id, entries }) => [id, entries]));
}

export interface PastCrl {
  crlNumber: bigint;
  nextUpdate: Date;
  changedCount: number;
}

/** Newest first. */
export async function listPastCrls(connection: Connection, list: ListId): Promise<PastCrl[]> {
  const found = await connection('certificate.crls')
    .where(keyOf(list))
    .orderBy('crl_number', 'desc')
    .select('crl_number', 'next_update', connection.raw('cardinality(changed) as changed_count'));
  return found.map((row) => ({
    crlNumber: BigInt(row.crl_number),
    nextUpdate: row.next_update,
    changedCount: row.changed_count,
  }));
}

/** Serial numbers of what the lists after `base` changed. */
export const listChangedSince = async (connection: Connection, list: ListId, base: bigint): Promise<Buffer[]> =>
  (
    await connection('certificate.crls')
      .where(keyOf(list))
      .where('crl_number', '>', base.toString())
      .select<{ serial_number: Buffer }[]>(connection.raw('distinct unnest(changed) as serial_number'))
  ).map((row) => row.serial_number);

/** Records a list, and forgets those that come before `base`, on which no delta builds any more. */
export async function insertCrl(
  transaction: Transaction,
  list: ListId,
  crl: {
    crlNumber: bigint;
    thisUpdate: Date;
    nextUpdate: Date;
    entryCount: number;
    changed: readonly Buffer[];
    base: bigint;
  },
): Promise<void> {
  await transaction('certificate.crls').insert({
    ...keyOf(list),
    crl_number: crl.crlNumber.toString(),
    this_update: crl.thisUpdate,
    next_update: crl.nextUpdate,
    entry_count: crl.entryCount,
    changed: crl.changed,
  });
  await transaction('certificate.crls').where(keyOf(list)).where('crl_number', '<', crl.base.toString()).delete();
}
