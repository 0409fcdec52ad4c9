/** Random choices that a seed makes again. */

/** mulberry32: Tommy Ettinger's 32-bit generator, good enough to choose faults. */
export class Random {
  #state: number;

  constructor(readonly seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to, but not, 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new Error('there is nothing to pick from');
    return from[this.between(0, from.length - 1)]!;
  }

  /** Fisher and Yates. */
  shuffle<T>(all: readonly T[]): T[] {
    const shuffled = [...all];
    for (let left = shuffled.length; left > 1; --left) {
      const at = this.between(0, left - 1);
      [shuffled[left - 1], shuffled[at]] = [shuffled[at]!, shuffled[left - 1]!];
    }
    return shuffled;
  }
}
