/** A list that grows to millions at its end and is shortened at its beginning, without ever being copied as a whole. */

const BLOCK = 8_192;

export class LongList<T> {
  readonly #blocks: T[][] = [];
  /** Of those that were dropped, how many are in blocks that are gone. */
  #dropped = 0;
  #first = 0;
  #end = 0;

  /** Of the first one that is kept: indexes stay as they were when it was pushed. */
  get first(): number {
    return this.#first;
  }

  /** Of the next one that is pushed. */
  get end(): number {
    return this.#end;
  }

  push(one: T): void {
    const last = this.#blocks.at(-1);
    if (last === undefined || last.length === BLOCK) this.#blocks.push([one]);
    else last.push(one);
    this.#end += 1;
  }

  /** @param index from `first` on, before `end` */
  at(index: number): T {
    const place = index - this.#dropped;
    return this.#blocks[Math.floor(place / BLOCK)]![place % BLOCK]!;
  }

  /** Those before the index; @param index before or at `end` */
  dropBefore(index: number): void {
    this.#first = Math.max(this.#first, index);
    const whole = Math.floor((this.#first - this.#dropped) / BLOCK);
    if (whole === 0) return;
    this.#blocks.splice(0, whole);
    this.#dropped += whole * BLOCK;
  }

  *[Symbol.iterator](): Generator<T> {
    for (let index = this.#first; index < this.#end; index++) yield this.at(index);
  }
}
