/**
 * What record and LDAP say of each account, as far as needed to see whether they agree: the id and a digest, 36 octets an account
 * and outside the heap, so that two million are 72 MB. The sides may come in any order. Ids are kept whole, so that none is ever taken for
 * another; two states whose digests are equal differ once in 2^64.
 */
const idOctets = 16;
const digestOctets = 8;

const empty = 0;
const inRecord = 1;
const inLdap = 2;
const agreed = 3;
const differs = 4;
/** The record knows it and has nothing to say yet; with and without an entry. */
const unjudged = 5;
const unjudgedInLdap = 6;

export interface Disagreement {
  id: string;
  kind: 'missing' | 'extra' | 'changed';
}

export class AccountTable {
  #capacity: number;
  #ids: Buffer;
  #digests: Buffer;
  #states: Uint8Array;
  #size = 0;

  constructor(expected: number) {
    this.#capacity = Math.ceil(Math.max(expected, 1_000) / 0.7);
    this.#ids = Buffer.alloc(this.#capacity * idOctets);
    this.#digests = Buffer.alloc(this.#capacity * digestOctets);
    this.#states = new Uint8Array(this.#capacity);
  }

  /** `digest`: octets as latin1 text, of which eight count; undefined while the record has nothing to say of the entry. */
  addFromRecord(id: string, digest: string | undefined): void {
    const slot = this.#slotOf(id);
    const inLdapToo = this.#states[slot] !== empty;
    if (digest === undefined) this.#states[slot] = inLdapToo ? unjudgedInLdap : unjudged;
    else this.#meet(slot, digest, inLdapToo, inRecord);
  }

  /** False when there was another entry of that id before. */
  addFromLdap(id: string, digest: string): boolean {
    const slot = this.#slotOf(id);
    const state = this.#states[slot];
    if (state === unjudged) this.#states[slot] = unjudgedInLdap;
    else if (state === empty || state === inRecord) this.#meet(slot, digest, state === inRecord, inLdap);
    else return false;
    return true;
  }

  *disagreements(): Generator<Disagreement> {
    const kinds = new Map<number, Disagreement['kind']>([
      [inRecord, 'missing'],
      [inLdap, 'extra'],
      [differs, 'changed'],
    ]);
    for (let slot = 0; slot < this.#capacity; slot += 1) {
      const kind = kinds.get(this.#states[slot] as number);
      if (kind) yield { id: idAt(this.#ids, slot * idOctets), kind };
    }
  }

  #meet(slot: number, digest: string, both: boolean, alone: number): void {
    const place = slot * digestOctets;
    if (both) {
      const equal = digest.startsWith(this.#digests.toString('latin1', place, place + digestOctets));
      this.#states[slot] = equal ? agreed : differs;
    } else {
      this.#digests.write(digest, place, digestOctets, 'latin1');
      this.#states[slot] = alone;
    }
  }

  /** Where the id is, put there if it was not. A UUID of version 4 begins with random octets, which serve as its hash. */
  #slotOf(id: string): number {
    if (this.#size > this.#capacity * 0.85) this.#grow();
    scratch.write(id.replaceAll('-', ''), 'hex');
    const slot = this.#find(scratch, 0);
    if (this.#states[slot] === empty) {
      scratch.copy(this.#ids, slot * idOctets);
      this.#size += 1;
    }
    return slot;
  }

  #find(ids: Buffer, offset: number): number {
    let slot = Math.floor((ids.readUInt32LE(offset) / 2 ** 32) * this.#capacity);
    while (this.#states[slot] !== empty && !isSame(ids, offset, this.#ids, slot * idOctets)) {
      slot = slot + 1 === this.#capacity ? 0 : slot + 1;
    }
    return slot;
  }

  /** LDAP holds many more entries than the record knew when it began. */
  #grow(): void {
    const [ids, digests, states] = [this.#ids, this.#digests, this.#states];
    this.#capacity *= 2;
    this.#ids = Buffer.alloc(this.#capacity * idOctets);
    this.#digests = Buffer.alloc(this.#capacity * digestOctets);
    this.#states = new Uint8Array(this.#capacity);
    for (let old = 0; old < states.length; old += 1) {
      if (states[old] === empty) continue;
      const slot = this.#find(ids, old * idOctets);
      ids.copy(this.#ids, slot * idOctets, old * idOctets, (old + 1) * idOctets);
      digests.copy(this.#digests, slot * digestOctets, old * digestOctets, (old + 1) * digestOctets);
      this.#states[slot] = states[old] as number;
    }
  }
}

const scratch = Buffer.alloc(idOctets);

/** Two numbers tell nearly all apart, without the price of a comparison of octets. */
const isSame = (some: Buffer, at: number, others: Buffer, place: number): boolean =>
  some.readUInt32LE(at) === others.readUInt32LE(place) &&
  some.compare(others, place, place + idOctets, at, at + idOctets) === 0;

const idAt = (octets: Buffer, offset: number): string =>
  octets.toString('hex', offset, offset + idOctets).replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
