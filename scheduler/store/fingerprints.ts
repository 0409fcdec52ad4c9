/**
 * All that the store holds as one number: the sum of the checks of its records, kept up to date from write to write.
 * Every batch carries it, so that a store which has lost, changed or brought back anything is found out, however that
 * came about. For the sum, the check of each record must be known when it is replaced; they are kept in a hash table of
 * 12 bytes an entry instead of a Map of strings, which takes ten times that.
 *
 * A key is known by 64 bits of hash under a random seed. With a million keys the chance that two are mistaken for one,
 * and a sound store for a damaged one at its next opening, is 1 in 30 million.
 */
import { randomBytes } from 'node:crypto';

/** Room for sums in a double. */
const MODULUS = 2 ** 48;
const LEAST_SLOTS = 1_024;
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
  digest.sum = (digest.sum + sign * check + MODULUS) % MODULUS;
}

export class Fingerprints {
  readonly #digest = emptyDigest();
  /** The two halves of a key's hash, never both 0 where the slot is in use; and the check of its record. */
  #high = new Uint32Array(LEAST_SLOTS);
  #low = new Uint32Array(LEAST_SLOTS);
  #check = new Uint32Array(LEAST_SLOTS);
  readonly #seed = randomBytes(8);
  /** What has changed since `begin`, three numbers each: the halves of the hash, and the former check. */
  #undo: number[] | null = null;

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
    let high = this.#seed.readUInt32LE(0);
    let low = this.#seed.readUInt32LE(4);
    for (let i = 0; i < key.length; i++) {
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
    const slot = this.#find(high, low);
    const former = this.#isFree(slot) ? ABSENT : this.#check[slot]!;
    if (former !== ABSENT) addCheck(this.#digest, former, -1);
    if (check === ABSENT) {
      if (former !== ABSENT) this.#free(slot);
      return former;
    }
    addCheck(this.#digest, check);
    this.#high[slot] = high;
    this.#low[slot] = low;
    this.#check[slot] = check;
    if (this.#digest.count > FILLED * this.#high.length) this.#grow();
    return former;
  }

  #isFree(slot: number): boolean {
    return this.#high[slot] === 0 && this.#low[slot] === 0;
  }

  /** @returns the slot that has the key, or the free one where it belongs */
  #find(high: number, low: number): number {
    const [highs, lows] = [this.#high, this.#low];
    const mask = highs.length - 1;
    let slot = low & mask;
    while ((highs[slot] !== high || lows[slot] !== low) && (highs[slot] !== 0 || lows[slot] !== 0)) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  /** Moves up those behind it that could not have the slot, so that no search ends before them (Knuth 6.4, R). */
  #free(slot: number): void {
    const mask = this.#high.length - 1;
    let hole = slot;
    for (let next = (slot + 1) & mask; !this.#isFree(next); next = (next + 1) & mask) {
      const home = this.#low[next]! & mask;
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      this.#high[hole] = this.#high[next]!;
      this.#low[hole] = this.#low[next]!;
      this.#check[hole] = this.#check[next]!;
      hole = next;
    }
    this.#high[hole] = 0;
    this.#low[hole] = 0;
  }

  #grow(): void {
    const [high, low, check] = [this.#high, this.#low, this.#check];
    this.#high = new Uint32Array(2 * high.length);
    this.#low = new Uint32Array(2 * high.length);
    this.#check = new Uint32Array(2 * high.length);
    for (let i = 0; i < high.length; i++) {
      if (high[i] === 0 && low[i] === 0) continue;
      const slot = this.#find(high[i]!, low[i]!);
      this.#high[slot] = high[i]!;
      this.#low[slot] = low[i]!;
      this.#check[slot] = check[i]!;
    }
  }
}
