/**
 * All that the store holds as one number: the sum of the checks of its records, kept up to date from write to write.
 * Every batch carries it, so that a store which has lost, changed or brought back anything is found out, however that
 * came about. For the sum, the check of each record must be known when it is replaced; they are kept in a hash table of
 * 12 bytes an entry instead of a Map of strings, which takes ten times that. It is many small ones, so that none takes long
 * to grow.
 *
 * A key is known by 64 bits of hash under a random seed. With a million keys the chance that two are mistaken for one,
 * and a sound store for a damaged one at its next opening, is 1 in 30 million.
 */
import { randomInt } from 'node:crypto';
import { startOfName } from './keys';

/** Room for sums in a double. */
const MODULUS = 2 ** 48;
/** Numbers in one. */
const SLOT = 3;
const LEAST_SLOTS = 16;
/** Tables, a power of two. */
const TABLES = 256;
/** Of the slots in use, at most; beyond, probing becomes long. */
const FILLED = 0.6;
const ABSENT = -1;

export interface Digest {
  /** How many records. */
  count: number;
  /** Of their checks, modulo 2^48. */
  sum: number;
}

export function emptyDigest(): Digest {
  return { count: 0, sum: 0 };
}

/** @param sign -1 takes the record out */
export function addCheck(digest: Digest, check: number, sign: 1 | -1 = 1): void {
  digest.count += sign;
  const sum = digest.sum + sign * check;
  digest.sum = sum < 0 ? sum + MODULUS : sum < MODULUS ? sum : sum - MODULUS;
}

/** As another thread can be given them, which is to be told that the buffers of the tables are handed over. */
export interface PackedFingerprints {
  digest: Digest;
  seeds: [high: number, low: number];
  tables: Uint32Array<ArrayBuffer>[];
}

export class Fingerprints {
  readonly #digest: Digest;
  readonly #tables: Table[];
  readonly #seedHigh: number;
  readonly #seedLow: number;
  /** Of the key seen last, up to its last `/`, and the halves of the hash there: keys in their order have it alike. */
  #prefix = '';
  #prefixHigh: number;
  #prefixLow: number;
  /** What has changed since `begin`, three numbers each: the halves of the hash, and the former check. */
  #undo: number[] | null = null;

  /** @param expected so many records at least, more find room, too; or what `pack` has told */
  constructor(expected: number | PackedFingerprints = 0) {
    const { digest, seeds, tables } = typeof expected === 'number' ? packedFor(expected) : expected;
    this.#digest = digest;
    this.#tables = tables.map((slots) => new Table(slots));
    [this.#seedHigh, this.#seedLow] = seeds;
    this.#prefixHigh = this.#seedHigh;
    this.#prefixLow = this.#seedLow;
  }

  /** They are not to be used any more once they have been packed. */
  pack(): PackedFingerprints {
    const tables = this.#tables.map(({ slots }) => slots);
    return { digest: this.digest, seeds: [this.#seedHigh, this.#seedLow], tables };
  }

  get digest(): Digest {
    return { ...this.#digest };
  }

  put(key: string, check: number): void {
    this.#change(key, check);
  }

  delete(key: string): void {
    this.#change(key, ABSENT);
  }

  /** What changes from here on can be taken back. */
  begin(): void {
    this.#undo = [];
  }

  commit(): void {
    this.#undo = null;
  }

  rollback(): void {
    const undo = this.#undo ?? [];
    for (let i = undo.length - 3; i >= 0; i -= 3) this.#set(undo[i]!, undo[i + 1]!, undo[i + 2]!);
    this.#undo = null;
  }

  #change(key: string, check: number): void {
    const end = startOfName(key);
    const isKnown = end === this.#prefix.length && key.startsWith(this.#prefix);
    let high = isKnown ? this.#prefixHigh : this.#seedHigh;
    let low = isKnown ? this.#prefixLow : this.#seedLow;
    for (let i = isKnown ? end : 0; i < key.length; i++) {
      if (i === end) {
        this.#prefix = key.slice(0, end);
        this.#prefixHigh = high;
        this.#prefixLow = low;
      }
      const unit = key.charCodeAt(i);
      high = Math.imul(high ^ unit, 0x85ebca6b);
      high ^= high >>> 13;
      low = Math.imul(low ^ unit, 0xc2b2ae35);
      low ^= low >>> 16;
    }
    high >>>= 0;
    low = high === 0 && low === 0 ? 1 : low >>> 0;
    const former = this.#set(high, low, check);
    this.#undo?.push(high, low, former);
  }

  /** @returns the check before, or ABSENT */
  #set(high: number, low: number, check: number): number {
    const former = this.#tables[high & (TABLES - 1)]!.set(high, low, check);
    if (former !== ABSENT) addCheck(this.#digest, former, -1);
    if (check !== ABSENT) addCheck(this.#digest, check);
    return former;
  }
}

function packedFor(expected: number): PackedFingerprints {
  let slots = LEAST_SLOTS;
  while (expected / TABLES > FILLED * (slots - 1)) slots *= 2;
  return {
    digest: emptyDigest(),
    // As the hash goes by numbers of 32 bits with a sign, and V8 by what it sees first.
    seeds: [randomInt(2 ** 32) | 0, randomInt(2 ** 32) | 0],
    tables: Array.from({ length: TABLES }, () => new Uint32Array(SLOT * slots)),
  };
}

class Table {
  /** Of each slot the two halves of a key's hash, both 0 where it is free, and the check of the key's record. */
  #slots: Uint32Array<ArrayBuffer>;
  /** Of slots, a power of two, less one. */
  #mask: number;
  #count = 0;

  constructor(slots: Uint32Array<ArrayBuffer>) {
    this.#mask = slots.length / SLOT - 1;
    this.#slots = slots;
    for (let at = 0; at < slots.length; at += SLOT) if (slots[at] !== 0 || slots[at + 1] !== 0) this.#count += 1;
  }

  get slots(): Uint32Array<ArrayBuffer> {
    return this.#slots;
  }

  /** @returns the check before, or ABSENT */
  set(high: number, low: number, check: number): number {
    const slots = this.#slots;
    const at = this.#find(high, low);
    const isFree = slots[at] === 0 && slots[at + 1] === 0;
    const former = isFree ? ABSENT : slots[at + 2]!;
    if (check === ABSENT) {
      if (!isFree) this.#free(at);
      return former;
    }
    slots[at] = high;
    slots[at + 1] = low;
    slots[at + 2] = check;
    if (isFree) this.#count += 1;
    if (this.#count > FILLED * this.#mask) this.#grow();
    return former;
  }

  /** @returns where the key is, or the free slot where it belongs */
  #find(high: number, low: number): number {
    const slots = this.#slots;
    let slot = low & this.#mask;
    for (;;) {
      const at = SLOT * slot;
      if (slots[at] === high && slots[at + 1] === low) return at;
      if (slots[at] === 0 && slots[at + 1] === 0) return at;
      slot = (slot + 1) & this.#mask;
    }
  }

  /** Moves up those behind it that could not have the slot, so that no search ends before them (Knuth 6.4, R). */
  #free(at: number): void {
    const slots = this.#slots;
    let hole = at / SLOT;
    for (let next = hole; ; ) {
      next = (next + 1) & this.#mask;
      const from = SLOT * next;
      if (slots[from] === 0 && slots[from + 1] === 0) break;
      const home = slots[from + 1]! & this.#mask;
      if (((next - home) & this.#mask) < ((next - hole) & this.#mask)) continue;
      slots.copyWithin(SLOT * hole, from, from + SLOT);
      hole = next;
    }
    slots.fill(0, SLOT * hole, SLOT * (hole + 1));
    this.#count -= 1;
  }

  #grow(): void {
    const before = this.#slots;
    this.#mask = 2 * this.#mask + 1;
    this.#slots = new Uint32Array(SLOT * (this.#mask + 1));
    for (let at = 0; at < before.length; at += SLOT) {
      if (before[at] === 0 && before[at + 1] === 0) continue;
      this.#slots.set(before.subarray(at, at + SLOT), this.#find(before[at]!, before[at + 1]!));
    }
  }
}
