/**
 * A set of account ids that takes 32 octets an account at most, outside the heap: two million are 64 MB, where a Set of strings
 * would be several times that. Ids are kept whole, so that none is ever taken for another.
 */
export class AccountIds {
  #slots = Buffer.alloc(1_024 * 16);
  #used = new Uint8Array(1_024);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** False when it was there already. */
  add(id: string): boolean {
    if (this.#size * 2 >= this.#used.length) this.#grow();
    const octets = octetsOf(id);
    const slot = this.#slotOf(octets, 0);
    if (this.#used[slot]) return false;
    this.#put(slot, octets, 0);
    this.#size += 1;
    return true;
  }

  /** Whether the id whose 16 octets begin at `offset` is there. */
  hasOctets(octets: Buffer, offset: number): boolean {
    return this.#used[this.#slotOf(octets, offset)] === 1;
  }

  /** Where the id is, or would be. A UUID of version 4 begins with random octets, which serve as its hash. */
  #slotOf(octets: Buffer, offset: number): number {
    const mask = this.#used.length - 1;
    let slot = octets.readUInt32LE(offset) & mask;
    while (this.#used[slot] && octets.compare(this.#slots, slot * 16, slot * 16 + 16, offset, offset + 16) !== 0) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #put(slot: number, octets: Buffer, offset: number): void {
    octets.copy(this.#slots, slot * 16, offset, offset + 16);
    this.#used[slot] = 1;
  }

  #grow(): void {
    const [slots, used] = [this.#slots, this.#used];
    this.#slots = Buffer.alloc(slots.length * 2);
    this.#used = new Uint8Array(used.length * 2);
    for (let slot = 0; slot < used.length; slot += 1) {
      if (used[slot]) this.#put(this.#slotOf(slots, slot * 16), slots, slot * 16);
    }
  }
}

const scratch = Buffer.alloc(16);
/** Valid until the next call. */
function octetsOf(id: string): Buffer {
  scratch.write(id.replaceAll('-', ''), 'hex');
  return scratch;
}

export const idOf = (octets: Buffer, offset: number): string =>
  octets.toString('hex', offset, offset + 16).replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, '$1-$2-$3-$4-$5');
