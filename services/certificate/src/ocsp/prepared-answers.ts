/**
 * Statuses and signatures that are ready to be sent, of as many certificates as `capacity`; then each new one takes the place of an old
 * one. A million of them must neither fill the heap nor keep the garbage collector busy, so they lie in slots of a fixed size outside of
 * it, found by a table of open addresses. Only serial numbers that were issued here get in, and those are random: nobody chooses
 * where they fall.
 *
 * A slot is taken with its status as soon as that was read, and its signature is added later: if the status was forgotten
 * meanwhile, because it changed, the signature comes too late and is dropped.
 */
import { type RevocationReason, revocationReasonCode } from '../authority/crl.ts';
import type { CertificateStatus } from '../authority/ocsp.ts';

export type KnownStatus = Exclude<CertificateStatus, { kind: 'unknown' }>;

export interface PreparedAnswer {
  readonly status: KnownStatus;
  /** Seconds since 1970; when the status was known to be so. */
  readonly thisUpdate: number;
  /** By which it was signed. */
  readonly responder: number;
  /** Lies where another may, once the version is not the same. */
  readonly signature: Buffer;
}

export interface PreparedAnswers {
  readonly size: () => number;
  /** Is another whenever something was put in or forgotten: until then, what was found is still so. */
  readonly version: () => number;
  /** Undefined as well while it is not signed. `issuer` is a number below 65,536 that stands for a way of naming an issuer. */
  find(issuer: number, serialNumber: Buffer): PreparedAnswer | undefined;
  /** The same of each, in less time than one after the other. */
  findAll(asked: readonly { issuer: number; serialNumber: Buffer }[]): (PreparedAnswer | undefined)[];
  /** In place of what there was. The function returned adds the signature, unless the answer was forgotten or replaced. */
  put(
    issuer: number,
    serialNumber: Buffer,
    status: KnownStatus,
    thisUpdate: number,
  ): (responder: number, signature: Buffer) => void;
  forget(issuer: number, serialNumber: Buffer): void;
  clear(): void;
}

/** DER of a P-256 signature, which is what responders here sign with. */
export const maximumSignature = 72;
const offset = {
  stamp: 0,
  revokedAt: 4,
  thisUpdate: 8,
  issuer: 12,
  responder: 14,
  status: 16,
  serialLength: 17,
  serial: 18,
  signatureLength: 38,
  signature: 39,
};
/** Two lines of a processor's cache; what a million of them cost to find is the lines that have to come from memory. */
const slotSize = 128;
/** Of some MB each, so that pages of 2 MB can be used for them. */
const slotsPerChunk = 65_536;
const good = 0xff;

const reasonOfCode = new Map<number, RevocationReason>(
  Object.entries(revocationReasonCode).map(([reason, code]) => [code, reason as RevocationReason]),
);

export function createPreparedAnswers(capacity: number): PreparedAnswers {
  /** Memory is taken as it is needed, and the table has always at least twice as many places as there are slots in use. */
  let chunks: Buffer[] = [];
  let table = new Int32Array(2048).fill(-1);
  let free: number[] = [];
  let used = 0;
  let hand = 0;
  let stamps = 0;
  let version = 0;

  const chunkOf = (slot: number): Buffer => chunks[Math.trunc(slot / slotsPerChunk)]!;
  const start = (slot: number): number => (slot % slotsPerChunk) * slotSize;
  const inUse = () => used - free.length;

  const homeOf = (issuer: number, serial: Buffer, from: number, length: number): number => {
    let hash = issuer + 1;
    for (let index = from + Math.max(0, length - 8); index < from + length; index++)
      hash = Math.imul(hash, 0x01000193) ^ serial[index]!;
    return (hash ^ (hash >>> 15)) & (table.length - 1);
  };
  const homeOfSlot = (slot: number): number => {
    const chunk = chunkOf(slot);
    const at = start(slot);
    return homeOf(chunk.readUInt16LE(at + offset.issuer), chunk, at + offset.serial, chunk[at + offset.serialLength]!);
  };
  const isOf = (slot: number, issuer: number, serial: Buffer): boolean => {
    const chunk = chunkOf(slot);
    const at = start(slot);
    if (chunk[at + offset.serialLength] !== serial.length) return false;
    for (let index = 0; index < serial.length; index++)
      if (chunk[at + offset.serial + index] !== serial[index]) return false;
    return chunk.readUInt16LE(at + offset.issuer) === issuer;
  };
  /** Place in the table, or -1. */
  const placeOf = (issuer: number, serial: Buffer): number => {
    for (let place = homeOf(issuer, serial, 0, serial.length); ; place = (place + 1) & (table.length - 1)) {
      const slot = table[place]!;
      if (slot === -1) return -1;
      if (isOf(slot, issuer, serial)) return place;
    }
  };
  const enter = (slot: number): void => {
    let place = homeOfSlot(slot);
    while (table[place] !== -1) place = (place + 1) & (table.length - 1);
    table[place] = slot;
  };
  /** Those behind it move up where they may, so that no search ends at a gap too early. */
  const vacate = (place: number): void => {
    const last = table.length - 1;
    let gap = place;
    for (let next = (gap + 1) & last; table[next] !== -1; next = (next + 1) & last) {
      const home = homeOfSlot(table[next]!);
      if (((next - home) & last) < ((next - gap) & last)) continue;
      table[gap] = table[next]!;
      gap = next;
    }
    table[gap] = -1;
  };
  const remove = (place: number): number => {
    const slot = table[place]!;
    vacate(place);
    chunkOf(slot).writeUInt32LE(0, start(slot) + offset.stamp);
    return slot;
  };
  const newSlot = (): number => {
    const freed = free.pop();
    if (freed !== undefined) return freed;
    if (used < capacity) {
      if (used % slotsPerChunk === 0) chunks.push(Buffer.alloc(slotsPerChunk * slotSize));
      used += 1;
      if (used * 2 > table.length) {
        const old = table;
        table = new Int32Array(old.length * 2).fill(-1);
        for (const slot of old) if (slot !== -1) enter(slot);
      }
      return used - 1;
    }
    // Full, and none is free: the hand goes round, and takes from each in turn.
    hand = (hand + 1) % capacity;
    const chunk = chunkOf(hand);
    const at = start(hand) + offset.serial;
    const serial = chunk.subarray(at, at + chunk[start(hand) + offset.serialLength]!);
    return remove(placeOf(chunk.readUInt16LE(start(hand) + offset.issuer), serial));
  };

  const find = (issuer: number, serialNumber: Buffer): PreparedAnswer | undefined => {
    const place = placeOf(issuer, serialNumber);
    if (place === -1) return undefined;
    const slot = table[place]!;
    const chunk = chunkOf(slot);
    const at = start(slot);
    const signatureLength = chunk[at + offset.signatureLength]!;
    if (signatureLength === 0) return undefined;
    const code = chunk[at + offset.status]!;
    const signature = at + offset.signature;
    return {
      status:
        code === good
          ? { kind: 'good' }
          : {
              kind: 'revoked',
              revokedAt: new Date(chunk.readUInt32LE(at + offset.revokedAt) * 1000),
              reason: reasonOfCode.get(code)!,
            },
      thisUpdate: chunk.readUInt32LE(at + offset.thisUpdate),
      responder: chunk.readUInt16LE(at + offset.responder),
      signature: chunk.subarray(signature, signature + signatureLength),
    };
  };
  /**
   * Reads where they probably lie. Among a million each look-up waits for memory two or three times; the processor waits for many at a
   * time if nothing that it does meanwhile depends on them.
   */
  const touch = (asked: readonly { issuer: number; serialNumber: Buffer }[]): void => {
    const slots = asked.map(
      ({ issuer, serialNumber }) => table[homeOf(issuer, serialNumber, 0, serialNumber.length)] as number,
    );
    for (const slot of slots)
      if (slot !== -1) touched[0]! ^= chunkOf(slot)[start(slot)]! ^ chunkOf(slot)[start(slot) + slotSize / 2]!;
  };
  const touched = new Uint8Array(1); // without a use, the compiler would leave the reading out

  return {
    size: inUse,
    version: () => version,
    find,
    findAll: (asked) => {
      touch(asked);
      return asked.map(({ issuer, serialNumber }) => find(issuer, serialNumber));
    },
    put: (issuer, serialNumber, status, thisUpdate) => {
      if (serialNumber.length > 20) throw new RangeError('no serial number issued here is that long');
      version += 1;
      const place = placeOf(issuer, serialNumber);
      const slot = place === -1 ? newSlot() : remove(place);
      const chunk = chunkOf(slot);
      const at = start(slot);
      stamps = stamps === 0xffffffff ? 1 : stamps + 1;
      const stamp = stamps;
      chunk.writeUInt32LE(stamp, at + offset.stamp);
      chunk.writeUInt32LE(
        status.kind === 'good' ? 0 : Math.floor(status.revokedAt.getTime() / 1000),
        at + offset.revokedAt,
      );
      chunk.writeUInt32LE(thisUpdate, at + offset.thisUpdate);
      chunk.writeUInt16LE(issuer, at + offset.issuer);
      chunk[at + offset.status] = status.kind === 'good' ? good : revocationReasonCode[status.reason];
      chunk[at + offset.serialLength] = serialNumber.length;
      serialNumber.copy(chunk, at + offset.serial);
      chunk[at + offset.signatureLength] = 0;
      enter(slot);
      return (responder, signature) => {
        if (chunk.readUInt32LE(at + offset.stamp) !== stamp || signature.length > maximumSignature) return;
        chunk.writeUInt16LE(responder, at + offset.responder);
        chunk[at + offset.signatureLength] = signature.length;
        signature.copy(chunk, at + offset.signature);
      };
    },
    forget: (issuer, serialNumber) => {
      const place = placeOf(issuer, serialNumber);
      if (place === -1) return;
      version += 1;
      free.push(remove(place));
    },
    clear: () => {
      version += 1;
      for (const chunk of chunks) chunk.fill(0); // for the signatures that are still being made
      chunks = [];
      table = new Int32Array(2048).fill(-1);
      free = [];
      used = 0;
      hand = 0;
    },
  };
}
