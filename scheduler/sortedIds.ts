/**
 * Ids in their order, kept so from change to change: lists of a million go on after a cursor without being sorted. In runs of a
 * bounded length, so that adding one moves few others.
 */

const LONGEST_RUN = 1_024;

export class SortedIds {
  /** None is empty. */
  readonly #runs: string[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Nothing happens when it is there. */
  add(id: string): void {
    const at = this.#runOf(id);
    const run = this.#runs[at];
    if (run === undefined) {
      this.#runs.push([id]);
      this.#size += 1;
      return;
    }
    const place = placeOf(run, id);
    if (run[place] === id) return;
    run.splice(place, 0, id);
    this.#size += 1;
    if (run.length <= LONGEST_RUN) return;
    // Ids often come in their order: what is full at the end stays so.
    const isLast = at === this.#runs.length - 1 && place === run.length - 1;
    this.#runs.splice(at + 1, 0, run.splice(isLast ? LONGEST_RUN : LONGEST_RUN / 2));
  }

  delete(id: string): void {
    const at = this.#runOf(id);
    const run = this.#runs[at];
    if (run === undefined) return;
    const place = placeOf(run, id);
    if (run[place] !== id) return;
    run.splice(place, 1);
    this.#size -= 1;
    if (run.length === 0) this.#runs.splice(at, 1);
  }

  /** @param after null: from the first one on */
  *after(after: string | null): Generator<string> {
    let at = after === null ? 0 : this.#runOf(after);
    let place = after === null ? 0 : placeOf(this.#runs[at] ?? [], after);
    if (after !== null && this.#runs[at]?.[place] === after) place += 1;
    for (; at < this.#runs.length; at += 1, place = 0) {
      const run = this.#runs[at]!;
      for (; place < run.length; place += 1) yield run[place]!;
    }
  }

  /** The last run that does not begin behind it. */
  #runOf(id: string): number {
    let low = 0;
    let high = this.#runs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#runs[middle]![0]! <= id) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }
}

/** Index of the first that is not less. */
function placeOf(run: readonly string[], id: string): number {
  let low = 0;
  let high = run.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (run[middle]! < id) low = middle + 1;
    else high = middle;
  }
  return low;
}
